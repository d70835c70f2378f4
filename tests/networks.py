"""Small trainings of networks, for tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from utils.loading import EventSource, SkimData
from utils.models.estimator import Estimator, FitContext


class Recorder:
    """Remembers what a fit reports."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[dict[str, float]] = []

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        assert not self.steps or step == self.steps[-1] + 1
        self.steps.append(step)
        self.values.append(dict(values))

    def curve(self, name: str) -> list[float]:
        return [values[name] for values in self.values]


def halves(data: SkimData, weighted: bool = True) -> tuple[EventSource, EventSource]:
    """Odd events to train on, even ones to watch."""
    rows_N = np.arange(data.skim.n_rows)
    weight_N = np.linspace(0.5, 1.5, len(rows_N), dtype=np.float32)
    train, valid = (
        EventSource(data, rows_N[rows_N % 2 == odd], weight_N[rows_N % 2 == odd] if weighted else None)
        for odd in (1, 0)
    )
    return train, valid


def fitted(data: SkimData, estimator: Any, context: FitContext = FitContext(), monitor: Any = None) -> Any:
    """The estimator, after a fit on one half."""
    made: Estimator = estimator
    made.fit(*halves(data), monitor or Recorder(), context)
    return made

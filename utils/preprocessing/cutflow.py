"""How many events, and which yield, are left after every step of every process."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from utils.preprocessing.moments import BlockSums


@dataclass(frozen=True)
class CutflowStep:
    """One line: events, yield Σw and its uncertainty √Σw²."""

    sample: str
    process: str
    step: str
    n_events: int
    sum_w: float
    sqrt_sum_w2: float


def _sums(weight_N1: NDArray[np.generic]) -> NDArray[np.float64]:
    weights = weight_N1[:, 0].astype(np.float64)
    return np.array([len(weights), weights.sum(), np.square(weights).sum()])


@dataclass
class Cutflow:
    """Sums per (sample, process, step), independent of how the input was chunked."""

    _sums: dict[tuple[str, str, str], BlockSums] = field(default_factory=dict)

    def add(
        self,
        key: tuple[str, str, str],
        file_index: int,
        entry_N: NDArray[np.int64],
        weight_N: NDArray[np.float64],
    ) -> None:
        """Add events that pass `key` = (sample, process, step)."""
        sums = self._sums.setdefault(key, BlockSums(_sums))
        sums.add(file_index, entry_N, weight_N[:, None])

    def steps(self) -> tuple[CutflowStep, ...]:
        """All lines in the order in which they were first met."""
        lines = []
        for (sample, process, step), sums in self._sums.items():
            total = sums.total()
            n, sum_w, sum_w2 = (0.0, 0.0, 0.0) if total is None else total
            lines.append(CutflowStep(sample, process, step, int(n), float(sum_w), float(np.sqrt(sum_w2))))
        return tuple(lines)


def as_records(steps: tuple[CutflowStep, ...]) -> list[Mapping[str, str | int | float]]:
    """Plain mappings, for JSON."""
    return [vars(step) for step in steps]

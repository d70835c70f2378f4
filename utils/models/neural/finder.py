"""Trying learning rates: the loss over some hundred steps while the rate grows, and the rate where it falls fastest."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.models.neural.loop import CHECK_EVERY, Loop
from utils.models.neural.plan import LearningRateRange

SMOOTHING = 0.9
WIDTHS = 10  # the loss falls over a tenth of its way down, not from one batch to the next
DIVERGED = 4.0  # times the best loss: the rates beyond teach nothing


@dataclass(frozen=True, eq=False)
class LearningRateCurve:
    """What was seen.

    Parameters
    ----------
    rates : (S,) learning rates, ascending.
    losses : (S,) smoothed losses.
    suggestion : where the loss falls fastest per factor of the rate, before it is lowest; None where it never falls.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float | None

    @classmethod
    def of(cls, rates: NDArray[np.float64], losses: NDArray[np.float64]) -> "LearningRateCurve":
        """Smooth the losses of single batches, and cut off where they diverge."""
        smoothed = smooth(losses)
        bad = ~np.isfinite(smoothed) | (smoothed > DIVERGED * np.fmin.accumulate(smoothed))
        n_good = int(np.argmax(bad)) if bad.any() else len(smoothed)
        rates, smoothed = rates[:n_good], smoothed[:n_good]
        # On its way down; beyond, a loss that jumps about falls steeply, too.
        fall = smoothed[: int(np.argmin(smoothed)) + 1] if n_good else smoothed
        width = max(1, len(fall) // WIDTHS)
        if len(fall) <= width:
            return cls(rates, smoothed, None)
        drops = fall[:-width] - fall[width:]  # the rates are equal factors apart
        steepest = int(np.argmax(drops))
        return cls(rates, smoothed, float(rates[steepest + width // 2]) if drops[steepest] > 0 else None)


def find_learning_rate(trial: Loop, asked: LearningRateRange) -> LearningRateCurve:
    """The loss at each rate, in steps of a training made for that alone."""
    rates, pending, found = rates_of(asked), list[Any](), list[NDArray[np.float64]]()
    batches = (batch for number in itertools.count() for batch in trial.batches.epoch(number))
    trial.begin_epoch()
    for number, (rate, batch) in enumerate(zip(rates, batches, strict=False), start=1):
        pending.append(trial.step_at(batch, float(rate)))
        if len(pending) == CHECK_EVERY or number == len(rates):
            found.append(trial.fetched(pending))
            pending = []
            if not np.isfinite(found[-1][-1]):
                break
    batches.close()
    losses = np.concatenate(found)
    return LearningRateCurve.of(rates[: len(losses)], losses)


def rates_of(asked: LearningRateRange) -> NDArray[np.float64]:
    """(n_steps,) rates, each the same factor larger than the one before."""
    return np.geomspace(asked.start, asked.end, asked.n_steps)


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential moving average, unbiased at its start."""
    average, smoothed = 0.0, np.empty(len(values))
    for i, value in enumerate(values):
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        smoothed[i] = average / (1 - SMOOTHING ** (i + 1))
    return smoothed

"""Learning rates over a training, as factors of `learning_rate`: plain functions of the step, for any library.

The names and the default numbers are those that Weaver's users know.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from utils.errors import ConfigError, nearest_name
from utils.models.neural.plan import NeuralPlan

Factor = Callable[[int], float]

# Name → its numbers and their defaults. Fractions are of the training, `initial` and `final` of `learning_rate`.
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "steps": {"milestones": None, "gamma": 0.1},
    "flat+decay": {"flat": 0.7, "final": 0.01},
    "flat+linear": {"flat": 0.7, "final": 0.001},
    "flat+cos": {"flat": 0.7, "final": 0.001},
    "warmup+cos": {"warmup": 0.05, "final": 0.001},
    "one-cycle": {"rise": 0.3, "initial": 0.04, "final": 4e-6},
    "plateau": {"factor": 0.1, "patience": 5, "minimum": 0.0},
}
_FRACTIONS = ("flat", "warmup", "rise")
_POSITIVE = ("gamma", "final", "initial", "factor")


def numbers_of(plan: NeuralPlan) -> dict[str, Any]:
    """The schedule's numbers: what the plan gives, else the defaults.

    ConfigError for one that the schedule does not have, or that makes no sense.
    """
    known = PARAMETERS[plan.schedule]
    for name, value in plan.schedule_param.items():
        where = f"model_param.schedule_param.{name}"
        if name not in known:
            raise ConfigError(
                f"the schedule '{plan.schedule}' has no '{name}'",
                where=where,
                nearest=nearest_name(name, known),
                remedy=f"It has {', '.join(known) or 'none'}.",
            )
        _check(name, value, where)
    return {**known, **plan.schedule_param}


def _check(name: str, value: Any, where: str) -> None:
    if name == "milestones":
        if not isinstance(value, list | tuple) or not all(isinstance(m, int) and m > 0 for m in value):
            raise ConfigError(f"milestones are {value!r}", where=where, remedy="List epochs, such as [20, 40].")
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in _FRACTIONS and not (number and 0 <= value <= 1):
        raise ConfigError(f"{name} is {value!r}", where=where, remedy="Use a fraction of the training, 0 to 1.")
    if not number or value < 0 or (name in _POSITIVE and value == 0):
        raise ConfigError(f"{name} is {value!r}", where=where, remedy="Use a number above zero.")


def factor_of(plan: NeuralPlan, steps_per_epoch: int) -> Factor | None:
    """Step (from 0) → factor of `learning_rate`; None for `none` and `plateau`, which look at no step.

    The last step of the last epoch has the final factor; so has every step beyond.
    """
    numbers, n_steps = numbers_of(plan), max(1, plan.epochs * steps_per_epoch)
    if plan.schedule in ("none", "plateau"):
        return None
    if plan.schedule == "steps":
        third = max(1, round(plan.epochs / 3))
        milestones = [third, 2 * third] if numbers["milestones"] is None else list(numbers["milestones"])
        return lambda step: float(numbers["gamma"] ** sum(step >= m * steps_per_epoch for m in milestones))
    final, last = float(numbers["final"]), n_steps - 1
    if plan.schedule == "warmup+cos":
        n_warmup = min(last, round(numbers["warmup"] * n_steps))
        return lambda step: (
            (step + 1) / (n_warmup + 1) if step < n_warmup else _cosine(_part(step, n_warmup, last), 1.0, final)
        )
    if plan.schedule == "one-cycle":
        n_rise, initial = min(last, max(1, round(numbers["rise"] * n_steps))), float(numbers["initial"])
        return lambda step: (
            _cosine(step / n_rise, initial, 1.0) if step < n_rise else _cosine(_part(step, n_rise, last), 1.0, final)
        )
    n_flat = min(last, round(numbers["flat"] * n_steps))
    shape = {"flat+decay": _exponential, "flat+linear": _linear, "flat+cos": _cosine}[plan.schedule]
    return lambda step: 1.0 if step < n_flat else shape(_part(step, n_flat, last), 1.0, final)


def _part(step: int, first: int, last: int) -> float:
    """How far a step is on the way from `first` to `last`; a way of no length is not gone."""
    return min(1.0, (step - first) / (last - first)) if last > first else 0.0


def _cosine(part: float, first: float, last: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * part))


def _linear(part: float, first: float, last: float) -> float:
    return first + (last - first) * part


def _exponential(part: float, first: float, last: float) -> float:
    return float(first * (last / first) ** part)

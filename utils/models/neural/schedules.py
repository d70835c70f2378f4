"""Learning rates over a training, as factors of the starting one: plain functions of the step, for any library.

`flat+decay`, `flat+linear`, `flat+cos` and `warmup+cos` are those of Weaver's users.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from utils.errors import ConfigError, nearest_name
from utils.models.neural.plan import NeuralPlan

Factor = Callable[[int], float]

# Name → its numbers and their defaults.
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "steps": {"milestones": None, "gamma": 0.1},
    "flat+decay": {"flat": 0.7, "final": 0.01},
    "flat+linear": {"flat": 0.7, "final": 0.01},
    "flat+cos": {"flat": 0.7, "final": 0.001},
    "warmup+cos": {"warmup": 0.05, "final": 0.001},
    "one-cycle": {"rise": 0.3, "initial": 0.04, "final": 1e-5},
    "plateau": {"factor": 0.1, "patience": 5, "minimum": 0.0},
}


def numbers_of(plan: NeuralPlan) -> dict[str, Any]:
    """The schedule's numbers: what the plan gives, else the defaults."""
    known = PARAMETERS[plan.schedule]
    for name in plan.schedule_param:
        if name not in known:
            raise ConfigError(
                f"the schedule '{plan.schedule}' has no '{name}'",
                where=f"model_param.schedule_param.{name}",
                nearest=nearest_name(name, known),
                remedy=f"It has {', '.join(known) or 'none'}.",
            )
    return {**known, **plan.schedule_param}


def factor_of(plan: NeuralPlan, steps_per_epoch: int) -> Factor | None:
    """Step (from 0) → factor of `learning_rate`; None for `none` and `plateau`, which look at no step."""
    numbers, n_steps = numbers_of(plan), max(1, plan.epochs * steps_per_epoch)
    if plan.schedule in ("none", "plateau"):
        return None
    if plan.schedule == "steps":
        milestones = numbers["milestones"] or [plan.epochs // 2, (3 * plan.epochs) // 4]
        return lambda step: float(numbers["gamma"] ** sum(step >= m * steps_per_epoch for m in milestones))
    final = float(numbers["final"])
    if plan.schedule == "warmup+cos":
        n_warmup = max(1, round(numbers["warmup"] * n_steps))
        return lambda step: (
            (step + 1) / n_warmup
            if step < n_warmup
            else _cosine((step - n_warmup) / max(1, n_steps - n_warmup), 1.0, final)
        )
    if plan.schedule == "one-cycle":
        n_rise = max(1, round(numbers["rise"] * n_steps))
        return lambda step: (
            _cosine(step / n_rise, float(numbers["initial"]), 1.0)
            if step < n_rise
            else _cosine((step - n_rise) / max(1, n_steps - n_rise), 1.0, final)
        )
    n_flat = round(numbers["flat"] * n_steps)
    shape = {"flat+decay": _exponential, "flat+linear": _linear, "flat+cos": _cosine}[plan.schedule]
    return lambda step: 1.0 if step < n_flat else shape((step - n_flat) / max(1, n_steps - n_flat), 1.0, final)


def _cosine(part: float, first: float, last: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))


def _linear(part: float, first: float, last: float) -> float:
    return first + (last - first) * min(part, 1.0)


def _exponential(part: float, first: float, last: float) -> float:
    return float(first * (last / first) ** min(part, 1.0))

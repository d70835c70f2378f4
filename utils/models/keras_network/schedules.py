"""How the learning rate changes over a training."""

from typing import Any

from utils.errors import ConfigError
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.schedules import factor_of, numbers_of

_THRESHOLD = 1e-4  # a smaller relative improvement is none, as in torch


class LearningRate:
    """A plan's schedule, told of every step and of every epoch.

    Parameters
    ----------
    plan : the training.
    optimizer : whose learning rate changes.
    steps_per_epoch : batches of an epoch.
    """

    def __init__(self, plan: NeuralPlan, optimizer: Any, steps_per_epoch: int) -> None:
        self._numbers, self._factor = numbers_of(plan), factor_of(plan, steps_per_epoch)
        self._on_plateau = plan.schedule == "plateau"
        self.is_own = hasattr(getattr(optimizer, "inner_optimizer", optimizer)._learning_rate, "assign")
        if not self.is_own and plan.schedule != "none":
            raise ConfigError(
                "the optimizer of the compiled network has a schedule of its own",
                where="model_param.schedule",
                remedy="Set schedule=none, or give that optimizer a number as learning rate.",
            )
        self._start = float(optimizer.learning_rate) if self.is_own else 0.0
        self._step, self._rate = 0, self._start
        self._lowest, self._since = float("inf"), 0

    @property
    def rate(self) -> float:
        """For the next step."""
        return self._rate if self._factor is None else self._start * self._factor(self._step)

    def after_step(self) -> None:
        """One batch is done."""
        self._step += 1

    def after_epoch(self, loss: float) -> None:
        """One epoch is done, with this validation loss."""
        if not self._on_plateau:
            return
        if loss < self._lowest * (1 - _THRESHOLD):
            self._lowest, self._since = loss, 0
            return
        self._since += 1
        if self._since > self._numbers["patience"]:
            self._rate = max(self._rate * self._numbers["factor"], self._numbers["minimum"])
            self._since = 0

    def state(self) -> dict[str, float]:
        """Plain values, for a checkpoint."""
        return {"step": self._step, "rate": self._rate, "lowest": self._lowest, "since": self._since}

    def restore(self, state: dict[str, float]) -> None:
        """The inverse of `state`."""
        self._step, self._since = int(state["step"]), int(state["since"])
        self._rate, self._lowest = float(state["rate"]), float(state["lowest"])

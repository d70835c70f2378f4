"""How the learning rate of an optimizer changes over a training."""

from typing import Any

import torch

from utils.models.neural.plan import NeuralPlan
from utils.models.neural.schedules import factor_of, numbers_of


class LearningRate:
    """A plan's schedule, told of every step and of every epoch.

    Parameters
    ----------
    plan : the training.
    optimizer : whose learning rate changes.
    steps_per_epoch : batches of an epoch.
    """

    def __init__(self, plan: NeuralPlan, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> None:
        self._optimizer = optimizer
        self._rate = plan.learning_rate
        self._factor = factor_of(plan, steps_per_epoch)
        self._plateau: Any = None
        self._step = 0
        if plan.schedule == "plateau":
            numbers = numbers_of(plan)
            self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=numbers["factor"], patience=numbers["patience"], min_lr=numbers["minimum"]
            )
        self._set()

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def _set(self) -> None:
        if self._factor is not None:
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate * self._factor(self._step)

    def after_step(self) -> None:
        """One batch is done."""
        self._step += 1
        self._set()

    def after_epoch(self, loss: float) -> None:
        """One epoch is done, with this validation loss."""
        if self._plateau is not None:
            self._plateau.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; the rate itself is in the optimizer's."""
        return {"step": self._step, "plateau": None if self._plateau is None else self._plateau.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._step = int(state["step"])
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])

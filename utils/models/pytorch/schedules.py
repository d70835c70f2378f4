"""How the learning rate changes over a training."""

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
        self._per_step: Any = None
        self._per_epoch: Any = None
        numbers, factor = numbers_of(plan), factor_of(plan, steps_per_epoch)
        if factor is not None:
            self._per_step = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        elif plan.schedule == "plateau":
            self._per_epoch = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=numbers["factor"], patience=numbers["patience"], min_lr=numbers["minimum"]
            )

    def after_step(self) -> None:
        """One batch is done."""
        if self._per_step is not None:
            self._per_step.step()

    def after_epoch(self, loss: float) -> None:
        """One epoch is done, with this validation loss."""
        if self._per_epoch is not None:
            self._per_epoch.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        schedule = self._per_step or self._per_epoch
        return {} if schedule is None else dict(schedule.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        schedule = self._per_step or self._per_epoch
        if schedule is not None:
            schedule.load_state_dict(state)

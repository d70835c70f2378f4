"""How the learning rate changes over a training."""

from typing import Any

import torch

from utils.models.neural.plan import NeuralPlan


class LearningRate:
    """A schedule that is told of every step and of every epoch.

    Parameters
    ----------
    per_step : what is stepped after every batch.
    per_epoch : what is stepped after every epoch, with the validation loss.
    """

    def __init__(self, per_step: Any = None, per_epoch: Any = None) -> None:
        self._per_step = per_step
        self._per_epoch = per_epoch

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
        return {
            "step": None if self._per_step is None else self._per_step.state_dict(),
            "epoch": None if self._per_epoch is None else self._per_epoch.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        if self._per_step is not None:
            self._per_step.load_state_dict(state["step"])
        if self._per_epoch is not None:
            self._per_epoch.load_state_dict(state["epoch"])


def make_schedule(plan: NeuralPlan, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> LearningRate:
    """The plan's schedule."""
    return LearningRate()

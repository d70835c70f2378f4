"""The exponential moving average of a network's weights, without ever asking the device for a number."""

import copy
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """A copy of a network that follows it.

    Parameters
    ----------
    network : to follow.
    decay : share of the average that stays in every step. It grows to that from 1/10, so that the initial weights are
        soon forgotten: min(decay, (1 + t) / (10 + t)) in step t.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.n_updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """After a step of the optimizer."""
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        self.n_updates += 1
        mine, theirs = self.network.state_dict(keep_vars=True), network.state_dict(keep_vars=True)
        pairs = [(mine[name].detach(), theirs[name].detach()) for name in mine]
        averaged = [(own, other) for own, other in pairs if own.is_floating_point()]
        copied = [(own, other) for own, other in pairs if not own.is_floating_point()]
        if averaged:
            torch._foreach_lerp_([own for own, _ in averaged], [other for _, other in averaged], 1 - decay)
        for own, other in copied:  # such as the number of batches that a norm has seen
            own.copy_(other)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"n_updates": self.n_updates, "network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.n_updates = int(state["n_updates"])
        self.network.load_state_dict(state["network"])

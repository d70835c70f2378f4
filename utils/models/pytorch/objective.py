"""What a network is trained for: the loss of every event, and what its outputs mean.

These are modules, so that the numbers they need lie on the device already when a step asks for them.

Shape suffixes: B events of a batch, F features, K outputs, T targets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from utils.models.neural.plan import NeuralPlan, ValueLoss


def penalty(loss: ValueLoss, given: Tensor, wanted: Tensor) -> Tensor:
    """What each difference costs, without any mean."""
    if loss == "mae":
        return (given - wanted).abs()
    return nn.functional.huber_loss(given, wanted, reduction="none") if loss == "huber" else (given - wanted) ** 2


class Objective(nn.Module):
    """One task."""

    has_auc = False

    def loss(self, outputs_BK: Tensor, target: Any, features_BF: Tensor, mask_BF: Any) -> Tensor:
        """(B,) losses."""
        raise NotImplementedError

    def finish(self, outputs_BK: Tensor, features_BF: Tensor, mask_BF: Any) -> Tensor:
        """(B, …) what `predict` gives."""
        raise NotImplementedError


class Classification(Objective):
    """Cross entropy of the classes; probabilities."""

    has_auc = True

    def loss(self, outputs_BK: Tensor, target: Any, features_BF: Tensor, mask_BF: Any) -> Tensor:
        """(B,) cross entropies; `target` is (B,) classes."""
        return nn.functional.cross_entropy(outputs_BK, target.long(), reduction="none")

    def finish(self, outputs_BK: Tensor, features_BF: Tensor, mask_BF: Any) -> Tensor:
        """(B, K) probabilities."""
        return torch.softmax(outputs_BK, dim=1)


class Regression(Objective):
    """Mean squared error, or another, in units of the targets' own spread; values in the targets' units.

    Parameters
    ----------
    offset, scale : (T,) mean and standard deviation of the training events.
    value_loss : what a difference costs.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, offset: Sequence[float], scale: Sequence[float], value_loss: ValueLoss = "mse") -> None:
        super().__init__()
        self.value_loss: ValueLoss = value_loss
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))

    def loss(self, outputs_BK: Tensor, target: Any, features_BF: Tensor, mask_BF: Any) -> Tensor:
        """(B,) means over the targets; `target` is (B, T), or (B,) for a single one."""
        wanted_BT = (target.reshape(len(outputs_BK), -1) - self.offset) / self.scale
        return penalty(self.value_loss, outputs_BK, wanted_BT).mean(dim=1)

    def finish(self, outputs_BK: Tensor, features_BF: Tensor, mask_BF: Any) -> Tensor:
        """(B, T) values."""
        return outputs_BK * self.scale + self.offset


class Autoencoder(Objective):
    """Mean squared difference, or another, between features and what comes back of them; that is what is predicted.

    Parameters
    ----------
    columns : (K,) features that are to come back. Padding does not count.
    value_loss : what a difference costs.
    """

    columns: Tensor

    def __init__(self, columns: Sequence[int], value_loss: ValueLoss = "mse") -> None:
        super().__init__()
        self.value_loss: ValueLoss = value_loss
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.long))

    def loss(self, outputs_BK: Tensor, target: Any, features_BF: Tensor, mask_BF: Any) -> Tensor:
        """(B,) means over what is not padding."""
        costs_BK = penalty(self.value_loss, outputs_BK, features_BF.index_select(1, self.columns))
        if mask_BF is None:
            return costs_BK.mean(dim=1)
        there_BK = (~mask_BF.index_select(1, self.columns)).to(costs_BK.dtype)
        return (costs_BK * there_BK).sum(dim=1) / there_BK.sum(dim=1).clamp(min=1)

    def finish(self, outputs_BK: Tensor, features_BF: Tensor, mask_BF: Any) -> Tensor:
        """(B, 1) losses."""
        return self.loss(outputs_BK, None, features_BF, mask_BF)[:, None]


def objective_of(shape: Mapping[str, Any], plan: NeuralPlan) -> Objective:
    """From what an estimator knows of the data, and the plan of its training."""
    loss = plan.value_loss(shape["task"])
    if shape["task"] == "regression":
        return Regression(shape["offset"], shape["scale"], loss)
    if shape["task"] == "autoencoder":
        return Autoencoder(shape["columns"], loss)
    return Classification()

"""Networks in torch as estimators: the shipped perceptron, or a module of the user's own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from utils.loading import EventSource, SkimData
from utils.loading.shuffled import ShuffledBatches
from utils.models.estimator import FitContext, Monitor
from utils.models.neural.plan import NeuralPlan
from utils.models.pytorch.loop import PREDICT_ROWS, Training

WEIGHTS_FILE = "weights.pt"
DESCRIPTION_FILE = "network.json"
MLP = "utils.models.pytorch.networks.Mlp"


class TorchEstimator:
    """A classifier in torch.

    Parameters
    ----------
    params : see :class:`~utils.models.neural.plan.NeuralPlan`.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = dict(params)
        self.plan = NeuralPlan.from_params(params, MLP)
        self._shape: dict[str, Any] = {}
        self._network: nn.Module | None = None
        self._best_epoch = 0

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Train; the weights of the best epoch on `valid` are kept."""
        torch.manual_seed(self.plan.seed)
        self._shape = _shape_of(train.data)
        self._network = self._make()
        batches = ShuffledBatches(train, self.plan.batch_size, self.plan.seed, self.plan.buffer.n_bytes)
        loss = nn.CrossEntropyLoss(reduction="none")
        training = Training(self.plan, self._network, batches, lambda o, t: loss(o, t.long()), torch.device("cpu"))
        training.run(valid, monitor, lambda _: None)
        self._network = training.trained
        self._best_epoch = training.best.epoch

    def _make(self) -> nn.Module:
        shape = dict(self._shape)
        shape["categories"] = {int(column): size for column, size in shape["categories"].items()}
        network: nn.Module = self.plan.network(**shape)
        return network

    @torch.no_grad()
    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) → (N, K) probabilities."""
        assert self._network is not None, "fit or load comes first"
        self._network.eval()
        scores = [np.empty((0, self._shape["n_outputs"]), np.float32)]
        for start in range(0, len(features_NF), PREDICT_ROWS):
            features_BF: Tensor = torch.from_numpy(np.ascontiguousarray(features_NF[start : start + PREDICT_ROWS]))
            scores.append(torch.softmax(self._network(features_BF), dim=1).numpy())
        return np.concatenate(scores)

    @property
    def libraries(self) -> tuple[str, ...]:
        """torch."""
        return ("torch",)

    @property
    def n_iterations(self) -> int | None:
        """The epoch that is kept."""
        return self._best_epoch

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """None."""
        return {}

    def save(self, folder: Path) -> None:
        """Weights as torch writes them, and what makes the network."""
        assert self._network is not None, "fit comes first"
        torch.save(self._network.state_dict(), folder / WEIGHTS_FILE)
        content = {"params": self.params, "shape": self._shape, "best_epoch": self._best_epoch}
        (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        content = json.loads((folder / DESCRIPTION_FILE).read_text())
        loaded = cls(content["params"])
        loaded._shape, loaded._best_epoch = content["shape"], content["best_epoch"]
        loaded._network = loaded._make()
        loaded._network.load_state_dict(torch.load(folder / WEIGHTS_FILE, weights_only=True))
        return loaded


def _shape_of(data: SkimData) -> dict[str, Any]:
    """What a network has to know of the data."""
    categories = {
        str(column): int(data.skim.read([name])[name].max(initial=0)) + 1
        for column, name in zip(data.categorical_indices, data.cat_features, strict=True)
    }
    return {"n_features": len(data.feature_names), "n_outputs": data.n_classes, "categories": categories}

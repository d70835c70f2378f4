"""A user's torch module: trained by its own `torch_train` where there is one, else with Adam.

Shape suffixes: N events, B events of a batch, F features, W outputs of the model.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from utils.errors import ConfigError, DataError
from utils.models.user_model.kinds import Events, Watch
from utils.models.user_model.model_file import TRAINING, WHERE, ModelFile, blamed
from utils.models.user_model.outputs import Kind
from utils.models.user_model.settings import Settings

WEIGHTS_FILE = "weights.pt"
PREDICT_ROWS = 65_536
# `train_clf` is what `torch_train` was called at first.
_METHODS = (TRAINING, "train_clf")


class TorchModel:
    """See :class:`~utils.models.user_model.kinds.Handled`."""

    name = "torch"
    is_network = True
    learns_in_chunks = True

    def __init__(self, model: nn.Module, file: ModelFile) -> None:
        self.model = model
        self.file = file
        self.kind: Kind = "probabilities"
        self._settings = Settings("")
        self._width = 0
        self._optimizer: torch.optim.Optimizer | None = None

    def begin(self, settings: Settings, n_classes: int, n_features: int, is_autoencoder: bool) -> None:
        """Nothing to check before the first batch."""
        self._settings = settings
        if is_autoencoder:
            self.kind = "features"

    def _training(self) -> Callable[..., Any] | None:
        """The user's own: a method of the module, or a function of the file."""
        for name in _METHODS:
            method = getattr(self.model, name, None)
            if callable(method):
                return method  # type: ignore[no-any-return]
        return self.file.torch_train()

    def fit(self, events: Events, valid: Events, n_epochs: int, watch: Watch) -> None:
        """`torch_train` once, which makes its own epochs; else epochs of ours."""
        own = self._training()
        if own is not None:
            self._fit_own(own, events, valid)
            watch({})
            return
        if self._optimizer is None:
            rate = self._settings.learning_rate
            self._optimizer = torch.optim.Adam((p for p in self.model.parameters() if p.requires_grad), lr=rate)
        for _ in range(n_epochs):
            nn.Module.train(self.model, True)
            for batch in self._batches(events, shuffle=True):
                self._step(*batch)
            watch({})

    def _step(self, features_BF: Tensor, target: Tensor, weight_B: Tensor | None = None) -> None:
        assert self._optimizer is not None
        losses_B = self._losses(self.model(features_BF), target)
        loss = losses_B.mean() if weight_B is None else (losses_B * weight_B).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()

    def _losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """(B,) losses that fit what the outputs are."""
        outputs_BW = outputs.reshape(len(outputs), -1)
        functions = nn.functional
        if self.kind == "features":
            return ((outputs_BW - target) ** 2).mean(dim=1)
        if self._width == 1:
            target_B1 = target.reshape(-1, 1)
            if self.kind == "probabilities":
                return functions.binary_cross_entropy(outputs_BW, target_B1, reduction="none")[:, 0]
            return functions.binary_cross_entropy_with_logits(outputs_BW, target_B1, reduction="none")[:, 0]
        if self.kind == "probabilities":
            # Rows that do not add up to one, as of a sigmoid per class, are held to it.
            outputs_BW = torch.log(outputs_BW.clamp(min=1e-7) / outputs_BW.sum(dim=1, keepdim=True).clamp(min=1e-7))
        return functions.cross_entropy(outputs_BW, target, reduction="none")

    def _batches(self, events: Events, shuffle: bool, with_weights: bool = True) -> Any:
        """Batches of (features, target[, weight]); the target is (B, 1) for one output, (B,) classes for several."""
        tensors = [torch.from_numpy(events.features_NF)]
        if events.class_N is None:
            tensors.append(tensors[0])
        elif self._width == 1:
            tensors.append(torch.from_numpy(events.class_N[:, None].astype(np.float32)))
        else:
            tensors.append(torch.from_numpy(events.class_N.astype(np.int64)))
        if with_weights and events.weight_N is not None:
            tensors.append(torch.from_numpy(events.weight_N))
        return DataLoader(TensorDataset(*tensors), batch_size=self._settings.batch_size, shuffle=shuffle)

    def _fit_own(self, own: Callable[..., Any], events: Events, valid: Events) -> None:
        if events.weight_N is not None:
            raise ConfigError(
                f"{own.__name__} of {self.file.path} takes no event weights",
                where="weight_name",
                remedy="Set weight_name=null, or leave the function out.",
            )
        given = {
            "model": self.model,
            "train_loader": self._batches(events, shuffle=True),
            "val_loader": self._batches(valid, shuffle=False, with_weights=False),
        }
        before = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        # MLaaS4HEP's example speaks of `self.model`, which its module does not have.
        if getattr(self.model, "model", None) is None:
            object.__setattr__(self.model, "model", self.model)
            try:
                result = self._call(own, given)
            finally:
                object.__delattr__(self.model, "model")
        else:
            result = self._call(own, given)
        if isinstance(result, nn.Module) and result is not self.model:
            self._take_over(result, own.__name__)
        after = self.model.state_dict()
        if all(torch.equal(value, after[name]) for name, value in before.items()):
            gave = "nothing" if result is None else f"a {type(result).__name__}"
            raise DataError(
                f"{own.__name__} of {self.file.path} gives {gave} and leaves every weight as it was",
                where=WHERE,
                remedy="Let it train the model that it is given, or return the trained one.",
            )

    def _call(self, own: Callable[..., Any], given: dict[str, Any]) -> Any:
        try:
            by_name = set(given) <= set(inspect.signature(own).parameters)
            inspect.signature(own).bind(**given) if by_name else inspect.signature(own).bind(*given.values())
        except TypeError as error:
            raise ConfigError(
                f"{own.__name__}{inspect.signature(own)} of {self.file.path} cannot be called",
                where=WHERE,
                remedy=f"Write def {TRAINING}(model, train_loader, val_loader).",
            ) from error
        with blamed(f"{own.__name__} of {self.file.path}"):
            return own(**given) if by_name else own(*given.values())

    def _take_over(self, trained: nn.Module, name: str) -> None:
        mine, theirs = self.model.state_dict(), trained.state_dict()
        if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in theirs.items()}:
            raise ConfigError(
                f"{name} of {self.file.path} gives another network than it was given",
                where=WHERE,
                remedy="Return the model that it is given, or let model(idim) make the other one.",
            )
        self.model.load_state_dict(theirs)

    def outputs(self, features_NF: NDArray[np.float32]) -> Any:
        """(N, W) of the module as it stands."""
        with torch.no_grad():
            return self._outputs(features_NF)

    def _outputs(self, features_NF: NDArray[np.float32]) -> Any:
        self.model.eval()
        nn.Module.train(self.model, False)  # an `eval` of the user's own may have forgotten its parts
        parts = []
        for start in range(0, max(1, len(features_NF)), PREDICT_ROWS):
            outputs = self.model(torch.from_numpy(np.ascontiguousarray(features_NF[start : start + PREDICT_ROWS])))
            if not isinstance(outputs, Tensor):
                return outputs  # no shape that fits: said by whoever checks it
            parts.append(outputs.float().cpu().numpy())
        found = np.concatenate(parts)
        self._width = found.shape[1] if found.ndim == 2 else 1
        return found

    def save(self, folder: Path) -> None:
        """The weights; `model(idim)` makes the rest again."""
        torch.save(self.model.state_dict(), folder / WEIGHTS_FILE)

    def restore(self, folder: Path) -> None:
        """The inverse of `save`."""
        self.model.load_state_dict(torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True))

    def write_copy(self, path: Path) -> None:
        """The weights, for `model(idim).load_state_dict(torch.load(path))`."""
        torch.save(self.model.state_dict(), path)

    @property
    def libraries(self) -> Sequence[str]:
        """torch."""
        return ("torch",)

    def importances(self) -> dict[str, NDArray[np.float64]]:
        """None."""
        return {}

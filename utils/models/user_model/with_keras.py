"""A user's Keras model: fitted chunk by chunk with its own optimizer, loss and, where it has one, its own `fit`.

Shape suffixes: N events, F features, W outputs of the model.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError, RunError
from utils.models.keras_network.arrays import assign, read_arrays, values_of, write_arrays
from utils.models.keras_network.library import keras
from utils.models.user_model.kinds import Events, Watch
from utils.models.user_model.model_file import WHERE, ModelFile, blamed
from utils.models.user_model.outputs import Kind
from utils.models.user_model.settings import Settings

WEIGHTS_FILE = "weights.npz"
PREDICT_ROWS = 8192


class KerasModel:
    """See :class:`~utils.models.user_model.kinds.Handled`."""

    name = "Keras"
    is_network = True
    learns_in_chunks = True

    def __init__(self, model: Any, file: ModelFile) -> None:
        self.model = model
        self.file = file
        self.kind: Kind = "logits" if getattr(model.loss, "from_logits", False) else "probabilities"
        self.has_own_fit = type(model).fit is not keras.Model.fit
        self._settings = Settings("")
        self._width = 0

    def begin(self, settings: Settings, n_classes: int, n_features: int, is_autoencoder: bool) -> None:
        """Check that it can be trained."""
        self._settings = settings
        if is_autoencoder:
            self.kind = "features"
        if not self.has_own_fit and not self.model.compiled:
            raise ConfigError(
                f"the Keras model of {self.file.path} is not compiled",
                where=WHERE,
                remedy="Call its compile(optimizer=…, loss=…) before it is returned.",
            )

    def fit(self, events: Events, valid: Events, n_epochs: int, watch: Watch) -> None:
        """An epoch a call, watched after each. A `fit` of the user's own is called once, and makes all epochs."""
        options: dict[str, Any] = {"batch_size": self._settings.batch_size, "verbose": self._settings.verbose}
        options |= {"shuffle": True}
        if events.weight_N is not None:
            options["sample_weight"] = events.weight_N
        if self.has_own_fit:
            options |= {"epochs": n_epochs, "validation_data": (valid.features_NF, self._target(valid))}
            options = self._accepted(options)
        for _ in range(1 if self.has_own_fit else n_epochs):
            with blamed(f"fit of the model of {self.file.path}"):
                history = self.model.fit(events.features_NF, self._target(events), **options)
            watch(_last_of(history))

    def _accepted(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the user's `fit` takes of them."""
        taken = inspect.signature(self.model.fit).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
            return options
        if "sample_weight" in options and "sample_weight" not in taken:
            raise ConfigError(
                f"fit of {type(self.model).__name__} takes no event weights",
                where="weight_name",
                remedy="Let it take sample_weight, or set weight_name=null.",
            )
        return {name: value for name, value in options.items() if name in taken}

    def _target(self, events: Events) -> NDArray[Any]:
        """What the loss compares with: the inputs, whole numbers, (N, 1) of 0 and 1, or a column per class."""
        if events.class_N is None:
            return events.features_NF
        loss = self.model.loss
        said = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
        if str(said).startswith("sparse_"):
            return events.class_N
        if self._width > 1 and loss is not None:
            return np.eye(self._width, dtype=np.float32)[events.class_N]
        return events.class_N[:, None].astype(np.float32)

    def outputs(self, features_NF: NDArray[np.float32]) -> Any:
        """(N, W) of the model as it stands."""
        parts = []
        for start in range(0, max(1, len(features_NF)), PREDICT_ROWS):
            outputs = self.model(features_NF[start : start + PREDICT_ROWS], training=False)
            if isinstance(outputs, list | tuple | dict):
                return outputs  # no shape that fits: said by whoever checks it
            parts.append(np.asarray(outputs))
        found = np.concatenate(parts)
        self._width = found.shape[1] if found.ndim == 2 else 1
        return found

    def save(self, folder: Path) -> None:
        """The weights; `model(idim)` makes the rest again."""
        write_arrays(folder / WEIGHTS_FILE, {"weights": values_of(self.model.weights)})

    def restore(self, folder: Path) -> None:
        """The inverse of `save`."""
        values = read_arrays(folder / WEIGHTS_FILE, "weights")["weights"]
        if [tuple(own.shape) for own in self.model.weights] != [value.shape for value in values]:
            raise RunError(
                "model(idim) makes another network now than when it was trained",
                where=str(folder),
                remedy="Let it make the same one each time: what is trained is kept by the order of its weights.",
            )
        assign(self.model.weights, values)

    def write_copy(self, path: Path) -> None:
        """.keras or .h5; a path without suffix becomes a folder with TensorFlow's SavedModel."""
        if path.suffix in (".keras", ".h5"):
            self.model.save(path)
        else:
            self.model.export(path, verbose=False)

    @property
    def libraries(self) -> Sequence[str]:
        """Keras and TensorFlow."""
        return ("keras", "tensorflow")

    def importances(self) -> dict[str, NDArray[np.float64]]:
        """None."""
        return {}


def _last_of(history: Any) -> dict[str, float]:
    """Keras' own numbers after the last epoch; a user's `fit` need not give any."""
    values = getattr(history, "history", None)
    if not isinstance(values, dict):
        return {}
    return {
        str(name): float(numbers[-1])
        for name, numbers in values.items()
        if isinstance(numbers, list) and numbers and isinstance(numbers[-1], int | float | np.number)
    }

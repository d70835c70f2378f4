"""Which library a user's model is of, told by what it is; and what all of them can do here.

Shape suffixes: N events, F features, W outputs of the model.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError
from utils.models.user_model.model_file import WHERE, ModelFile
from utils.models.user_model.outputs import Kind
from utils.models.user_model.settings import Settings


@dataclass(frozen=True)
class Events:
    """(N, F) float32 features without NaN, (N,) classes or None without labels, (N,) weights or None for all ones."""

    features_NF: NDArray[np.float32]
    class_N: NDArray[np.int32] | None
    weight_N: NDArray[np.float32] | None


# After so many epochs: their number from the start, and what the library says of itself.
Watch = Callable[[dict[str, float]], None]


class Handled(Protocol):
    """A user's model behind the same few calls for every library.

    Parameters of `fit`: events of a chunk; how many epochs (a library that knows none makes one pass); what to watch
    with; and what to call after every epoch, or after the whole where the user's code makes the epochs.
    """

    name: str
    is_network: bool
    learns_in_chunks: bool
    kind: Kind

    def outputs(self, features_NF: NDArray[np.float32]) -> Any: ...

    def begin(self, settings: Settings, n_classes: int, n_features: int, is_autoencoder: bool) -> None: ...

    def fit(self, events: Events, valid: Events, n_epochs: int, watch: Watch) -> None: ...

    def save(self, folder: Path) -> None: ...

    def restore(self, folder: Path) -> None: ...

    def write_copy(self, path: Path) -> None: ...

    @property
    def libraries(self) -> Sequence[str]: ...

    def importances(self) -> dict[str, NDArray[np.float64]]: ...


def handled(model: Any, file: ModelFile) -> Handled:
    """The model behind our calls.

    Raises
    ------
    ConfigError : it is neither a Keras model, nor a torch module, nor an estimator of scikit-learn's interface.
    """
    keras, torch = sys.modules.get("keras"), sys.modules.get("torch")
    # Whoever made such a model has imported its library; with torch as its backend, a Keras model is both.
    if keras is not None and hasattr(keras, "Model") and isinstance(model, keras.Model):
        from utils.models.user_model.with_keras import KerasModel

        return KerasModel(model, file)
    if torch is not None and hasattr(torch, "nn") and isinstance(model, torch.nn.Module):
        from utils.models.user_model.with_torch import TorchModel

        return TorchModel(model, file)
    if not isinstance(model, type) and callable(getattr(model, "fit", None)) and _predicts(model):
        from utils.models.user_model.with_sklearn import SklearnModel

        return SklearnModel(model, file)
    what = f"the class {model.__name__}, not one of its objects" if isinstance(model, type) else _described(model)
    raise ConfigError(
        f"model of {file.path} gives {what}",
        where=WHERE,
        remedy="Return a compiled Keras model, a torch.nn.Module, or a classifier with fit and predict_proba "
        "(scikit-learn, XGBoost).",
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every generator of the libraries that are there; what others draw from is afterwards as it was."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (users' models draw from the global one)
    with ExitStack() as stack:
        if "keras" in sys.modules:
            from utils.models.keras_network.devices import own_randomness as for_keras

            stack.enter_context(for_keras(seed))
        if "torch" in sys.modules:
            import torch

            from utils.models.pytorch.randomness import own_randomness as for_torch

            stack.enter_context(for_torch(seed, torch.device("cpu")))
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def _predicts(model: Any) -> bool:
    return any(callable(getattr(model, name, None)) for name in ("predict_proba", "predict", "score_samples"))


def _described(model: Any) -> str:
    kind = type(model)
    return f"a {kind.__name__}" if kind.__module__ == "builtins" else f"a {kind.__module__}.{kind.__qualname__}"

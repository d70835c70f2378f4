"""What every model can do, whatever library it comes from."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError, RunError
from utils.factory import Factory, user_file
from utils.loading import EventSource
from utils.outputs import Task

ESTIMATOR_FILE = "estimator.json"


class Monitor(Protocol):
    """Receives what a fit reports: the step (iteration or epoch, from 1) and values by name.

    Names are `train-METRIC` and `valid-METRIC`.
    """

    def __call__(self, step: int, values: Mapping[str, float]) -> None: ...


class Checkpoints(Protocol):
    """Where a fit keeps what it needs to go on after an interruption."""

    def latest(self) -> Path | None:
        """Folder of the last checkpoint that is whole; None where there is none."""

    def save(self, epoch: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill an empty folder; it counts once it is whole."""


@dataclass(frozen=True)
class FitContext:
    """What a fit may use besides its events. An estimator refuses what it cannot do.

    Parameters
    ----------
    fold : number of the model.
    checkpoints : to go on from, and to write after every epoch; None: an interrupted fit starts anew.
    fast_dev_run : one batch of every phase, to see that everything works.
    gpus : numbers of the devices; none: the processor.
    n_processes : that share the fit, each on a GPU where there are several, else on the processor.
    initial : folder of a saved estimator whose weights to start from.
    freeze : patterns of the names of parameters that are not trained.
    """

    fold: int = 0
    checkpoints: Checkpoints | None = None
    fast_dev_run: bool = False
    gpus: tuple[int, ...] = ()
    n_processes: int = 1
    initial: Path | None = None
    freeze: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Processes that share the fit: one for each of several GPUs."""
        return max(self.n_processes, len(self.gpus))

    def given(self) -> dict[str, bool]:
        """Key of the config → whether it asks for something that only a network can do."""
        return {
            "gpus": bool(self.gpus),
            "n_processes": self.n_processes > 1,
            "freeze": bool(self.freeze),
            "init_from": self.initial is not None,
        }


class Estimator(Protocol):
    """One model of the ensemble.

    `fit` trains on `train`, watches `valid`, and must not depend on the order in which folds are trained. Features are
    (N, F) float32 with the input pipe applied; NaN is passed on as it is. `predict` gives (N, K) float32: class
    probabilities, K ≥ 2, whose rows sum to one; or by `train.data.task` a value for each target in its own unit, or an
    autoencoder's loss, K = 1. `save` and `load` work with a folder of the estimator's own.
    """

    def fit(
        self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()
    ) -> None: ...

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]: ...

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions that `load` and `predict` need."""

    @property
    def n_iterations(self) -> int | None:
        """Iterations or epochs of the model that is kept; None where there is no such thing."""

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """Kind (gain, split, …) → (F,) importances; empty where the model has none."""


@dataclass(frozen=True)
class Description:
    """What a fitted model says of itself besides its scores.

    Parameters
    ----------
    params : the same for all folds: precision, device, …
    numbers : of this fold: parameters, FLOPs per event, events per second, share of the time spent waiting for data, …
    texts : name of a file → its content, the same for all folds: the layers, the source of the network.
    """

    params: Mapping[str, str | float] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Described(Protocol):
    """An estimator that has something to say of itself."""

    def description(self) -> Description:
        """Of the model that `fit` has made."""


def refuse(context: FitContext, name: str, task: Task) -> None:
    """ConfigError for what only networks can do; for estimators that are none."""
    if task == "autoencoder":
        raise ConfigError(
            f"{name} makes no autoencoder", where="task", remedy="Choose a network: model=torch_mlp, with its network."
        )
    for key, given in context.given().items():
        if given:
            raise ConfigError(
                f"{name} has no use for {key}", where=key, remedy="Leave it out, or choose a network: model=torch_mlp."
            )


def save_estimator(estimator: Estimator, folder: Path) -> None:
    """Save into a folder that `load_estimator` opens."""
    folder.mkdir(parents=True, exist_ok=True)
    estimator.save(folder)
    kind = type(estimator)
    target, source = f"{kind.__module__}.{kind.__qualname__}", user_file(kind)
    if source is not None:
        copy = f"estimator_{source.name}"
        (folder / copy).write_bytes(source.read_bytes())
        target = f"{copy}:{kind.__qualname__}"
    description: dict[str, Any] = {"class": target}
    (folder / ESTIMATOR_FILE).write_text(json.dumps(description) + "\n")


def load_estimator(folder: Path) -> Estimator:
    """The estimator saved in a folder of a run. A run is trusted: its class is imported."""
    path = folder / ESTIMATOR_FILE
    if not path.is_file():
        raise RunError("no saved estimator", where=str(folder), remedy="Train again.")
    target = str(json.loads(path.read_text())["class"])
    kind: Any = Factory(str(folder / target) if ".py:" in target else target).load()
    loaded: Estimator = kind.load(folder)
    return loaded


def as_probabilities(scores: NDArray[Any], n_classes: int) -> NDArray[np.float32]:
    """(N,) or (N, 1) probabilities of class 1, or (N, K) of all classes → (N, K) float32."""
    if scores.ndim == 1 or scores.shape[1] == 1:
        positive = scores.reshape(-1)
        return np.stack([1.0 - positive, positive], axis=1).astype(np.float32)
    assert scores.shape[1] == n_classes
    return scores.astype(np.float32, copy=False)

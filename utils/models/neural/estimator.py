"""What estimators in torch and in Keras share: all that is no matter of the library."""

import abc
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError
from utils.loading import EventSource
from utils.loading.inputs import NetworkInputs
from utils.loading.shuffled import OrderedBatches, ShuffledBatches, few_events, row_bytes
from utils.logs import get_logger
from utils.models.estimator import Description, FitContext, Monitor
from utils.models.neural.finder import LearningRateCurve, find_learning_rate
from utils.models.neural.loop import Loop
from utils.models.neural.making import saved_params
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.schedules import numbers_of
from utils.models.neural.shape import check_same, made_by, shape_of, source_of
from utils.models.neural.world import ALONE, World
from utils.plots.description import Figure
from utils.plots.learning_rate import learning_rate_figure

logger = get_logger(__name__)

DESCRIPTION_FILE = "network.json"
SHAPE_ARGUMENTS = ("n_features", "n_outputs", "categories")
# Without gradients, twice the events of a step need no more memory than the step.
EVALUATED_PER_STEP = 2


class NeuralEstimator(abc.ABC):
    """A network: a classifier, a regression, or an autoencoder, as the data asks for.

    Parameters
    ----------
    params : see :class:`~utils.models.neural.plan.NeuralPlan`.
    """

    library: ClassVar[str]
    default_network: ClassVar[str]
    weights_file: ClassVar[str]

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = dict(params)
        self.plan = NeuralPlan.from_params(params, self.default_network)
        numbers_of(self.plan)  # wrong ones are an error now, not after the data was read
        self.learning_rates: LearningRateCurve | None = None
        self._source = source_of(self.plan.network)
        self._shape: dict[str, Any] = {}
        self._network: Any = None
        self._best_epoch = 0
        self._numbers: dict[str, float] = {}
        self._device_name = "cpu"

    @abc.abstractmethod
    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Train; the weights of the best epoch on `valid` are kept.

        With `context.checkpoints` a fit that was interrupted goes on, and ends with the weights it would have had.
        """

    @abc.abstractmethod
    def finished(self, features_BF: NDArray[np.float32], mask_BF: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """(B, K) what `predict` gives for some events."""

    @abc.abstractmethod
    def write_state(self, training: Any, origin: Mapping[str, Any]) -> Callable[[Path], None]:
        """What writes a checkpoint of a training into a folder, with what the training was made of."""

    @abc.abstractmethod
    def read_state(self, folder: Path) -> tuple[dict[str, Any], Any]:
        """The inverse of `write_state`: what the training was made of, and what its `restore` takes."""

    @abc.abstractmethod
    def save_weights(self, path: Path) -> None:
        """Write the weights of the fitted network."""

    @abc.abstractmethod
    def restored(self, path: Path, content: Mapping[str, Any]) -> Any:
        """The network with the weights of a file; `content` is what `DESCRIPTION_FILE` beside it says."""

    @abc.abstractmethod
    def texts(self) -> dict[str, str]:
        """The layers, and the source of the network where it can be had, by the names of their files."""

    def prepared(self, train: EventSource, valid: EventSource, context: FitContext) -> tuple[EventSource, EventSource]:
        """The events to train on and to watch, once it is known what they look like."""
        self._shape = shape_of(train)
        if self.plan.best_by == "auc" and self._shape["task"] != "classification":
            raise ConfigError(
                f"there is no AUC of a {self._shape['task']}", where="model_param.best_by", remedy="Use best_by=loss."
            )
        if context.fast_dev_run:
            return few_events(train, self.plan.batch_size), few_events(valid, self.plan.batch_size)
        if self.plan.best_by == "auc":
            valid.check_classes("validation events, which best_by=auc needs all of")
        return train, valid

    def known_shape(self) -> dict[str, Any]:
        """What a network may be told of the data."""
        shape = {name: self._shape[name] for name in SHAPE_ARGUMENTS}
        shape["categories"] = {int(column): size for column, size in shape["categories"].items()}
        return shape

    def n_epochs(self, context: FitContext) -> int:
        """At most."""
        return 1 if context.fast_dev_run else self.plan.epochs

    def batches(self, train: EventSource, world: World = ALONE) -> ShuffledBatches:
        """This process' share of the batches to train on."""
        plan = self.plan
        n_bytes = self._buffer_bytes(train, world)
        return ShuffledBatches(train, plan.batch_size // world.size, plan.seed, n_bytes, world.rank, world.size)

    def _watched(self, train: EventSource, valid: EventSource, world: World) -> OrderedBatches:
        """This process' share of the events to watch, kept in memory where there is room beside the others."""
        left = self._buffer_bytes(train, world) - train.n_events * row_bytes(train.data) // world.size
        return OrderedBatches(world.share(valid), EVALUATED_PER_STEP * self.plan.batch_size, left)

    def _buffer_bytes(self, train: EventSource, world: World) -> int:
        return self.plan.buffer.events(row_bytes(train.data)) * row_bytes(train.data) // world.size

    def finds_rate(self, context: FitContext) -> bool:
        """Whether learning rates are to be tried before this training."""
        asked = self.plan.lr_finder is not None and context.fold == 0 and not context.fast_dev_run
        return asked and _latest(context) is None

    @property
    def trial_plan(self) -> NeuralPlan:
        """The plan of the steps in which learning rates are tried."""
        return replace(self.plan, schedule="none", schedule_param={}, ema=None, compile=False)

    def find_rate(self, trial: Loop) -> None:
        """Try learning rates, keep the curve, and log what it shows; `trial` is of no use afterwards."""
        assert self.plan.lr_finder is not None
        self.learning_rates = find_learning_rate(trial, self.plan.lr_finder)
        found = self.learning_rates.suggestion
        said = "nowhere" if found is None else f"fastest at {found:.2g}"
        logger.info("learning-rate finder: the loss falls %s; learning_rate stays %g", said, self.plan.learning_rate)

    def train(
        self, training: Loop, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext
    ) -> None:
        """Run a training, from its last checkpoint where there is one, and remember how it went."""
        latest, checkpoints, world = _latest(context), context.checkpoints, training.world
        origin = made_by(self.params, self._source, self._shape, context, train, valid)
        if latest is not None:
            before, state = self.read_state(latest)
            check_same(before, origin, str(latest))
            training.restore(state)
            logger.info("%s: goes on after epoch %d", training.name, training.epoch)

        def keep(_: Loop) -> None:
            if checkpoints is None or context.fast_dev_run:
                return
            write = self.write_state(training, origin)
            if world.speaks:
                checkpoints.save(training.epoch, write)

        with training.explained("reading the events"):
            training.run(self._watched(train, valid, world), monitor, keep)
        logger.info("%s: %s", training.name, training.summary())
        self._best_epoch = training.best.epoch
        self._numbers |= {"best_epoch": training.best.epoch, **training.speed()}

    def initial_weights(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """File of the weights of a saved estimator, and what it says of itself; ConfigError where it does not fit."""
        path = folder / self.weights_file
        if not path.is_file():
            raise ConfigError(
                f"the model to start from is no network in {self.library}",
                where="init_from",
                remedy="Name a run with one.",
            )
        content: dict[str, Any] = json.loads((folder / DESCRIPTION_FILE).read_text())
        theirs, own = content["shape"]["names"], self._shape["names"]
        if theirs != own:
            differing = sorted(set(theirs) ^ set(own)) or ["their order"]
            raise ConfigError(
                f"the model to start from has other features (differing: {', '.join(differing[:5])})",
                where="init_from",
                remedy="Use the features of that training.",
            )
        return path, content

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) → (N, K) probabilities, (N, T) values, or (N, 1) losses of an autoencoder.

        Padding may be NaN; any other NaN or infinity is a DataError that names the input.
        """
        names = NetworkInputs(tuple(self._shape["names"]), tuple(self._shape["padded"]))
        n_columns = 1 if self._shape["task"] == "autoencoder" else self._shape["n_outputs"]
        scores_NK = np.empty((len(features_NF), n_columns), np.float32)
        size = EVALUATED_PER_STEP * self.plan.batch_size
        for start in range(0, len(features_NF), size):
            part_BF = np.ascontiguousarray(features_NF[start : start + size])
            what = f"events {start + 1:,} to {start + len(part_BF):,} of those to predict"
            scores_NK[start : start + size] = self.finished(*names.checked(part_BF, what))
        return scores_NK

    @property
    def network(self) -> Any:
        """The fitted network, on the processor."""
        assert self._network is not None, "fit or load comes first"
        return self._network

    @property
    def n_iterations(self) -> int | None:
        """The epoch that is kept."""
        return self._best_epoch

    def description(self) -> Description:
        """Precision and device; parameters, operations, speed; the layers, and the source of the network."""
        texts = self.texts() | ({} if self._source is None else {"source.py": self._source})
        params = {"network/precision": self.plan.precision, "network/device": self._device_name}
        return Description(params, self._numbers, texts)

    def figures(self) -> tuple[Figure, ...]:
        """What the fit has to show besides its curves: the loss over learning rates, where that was asked for."""
        curve = self.learning_rates
        if curve is None:
            return ()
        return (learning_rate_figure(curve.rates, curve.losses, curve.suggestion, self.plan.learning_rate),)

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """None."""
        return {}

    def save(self, folder: Path) -> None:
        """Weights as the library writes them, what makes the network, and the user's file that defines it."""
        self.save_weights(folder / self.weights_file)
        params = dict(self.params)
        if self._source is not None:
            path, _, name = self.plan.network.target.rpartition(":")
            copy = f"network_{Path(path).name}"
            (folder / copy).write_text(self._source)
            params["network"] = {**self.plan.network.to_config(), "_target_": f"{copy}:{name}"}
        content = {
            "params": params,
            "shape": self._shape,
            "best_epoch": self._best_epoch,
            "numbers": self._numbers,
            "device": self._device_name,
            **self.said(),
        }
        (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=1) + "\n")

    def said(self) -> dict[str, Any]:
        """What the library adds to `DESCRIPTION_FILE`."""
        return {}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        content = json.loads((folder / DESCRIPTION_FILE).read_text())
        loaded = cls(saved_params(folder, content["params"]))
        loaded.take(folder, content)
        return loaded

    def take(self, folder: Path, content: Mapping[str, Any]) -> None:
        """Become the estimator that was saved to a folder, with these parameters."""
        self._shape, self._best_epoch = content["shape"], content["best_epoch"]
        self._numbers, self._device_name = content["numbers"], content["device"]
        self._network = self.restored(folder / self.weights_file, content)


def _latest(context: FitContext) -> Path | None:
    """The checkpoint to go on from; None where there is none."""
    return None if context.checkpoints is None or context.fast_dev_run else context.checkpoints.latest()

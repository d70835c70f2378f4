"""Networks in Keras as estimators: the shipped perceptron, or a network of the user's own."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError
from utils.loading import EventSource
from utils.loading.inputs import NetworkInputs
from utils.loading.shuffled import OrderedBatches, ShuffledBatches, few_events, row_bytes
from utils.logs import get_logger
from utils.models.estimator import Description, FitContext, Monitor
from utils.models.keras_network import describing
from utils.models.keras_network.arrays import assign, check_same_variables, read_arrays, values_of, write_arrays
from utils.models.keras_network.beginning import SHAPE_ARGUMENTS, called, freeze, make_network, tried_outputs
from utils.models.keras_network.devices import device_of, explained, limit_threads, making, own_randomness
from utils.models.keras_network.finder import find_learning_rate
from utils.models.keras_network.library import tf
from utils.models.keras_network.loop import Training
from utils.models.keras_network.objective import Objective, objective_of
from utils.models.neural.finder import LearningRateCurve
from utils.models.neural.making import saved_params
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.schedules import numbers_of
from utils.models.neural.shape import check_same, made_by, shape_of, source_of
from utils.plots.description import Figure
from utils.plots.learning_rate import learning_rate_figure

logger = get_logger(__name__)

WEIGHTS_FILE = "weights.npz"
DESCRIPTION_FILE = "network.json"
STATE_FILE, PLAIN_STATE_FILE = "state.npz", "state.json"
MLP = "utils.models.keras_network.networks.mlp"
# Without gradients, twice the events of a step need no more memory than the step.
EVALUATED_PER_STEP = 2
_OF_THE_OPTIMIZER = ("learning_rate", "optimizer", "optimizer_param", "weight_decay", "clip_grad_norm")


class KerasEstimator:
    """A network in Keras: a classifier, a regression, or an autoencoder, as the data asks for.

    A network that is compiled keeps its optimizer (with its learning rate, which a schedule multiplies) and its loss;
    what `model_param` says of the optimizer does not count then. Everything else is the plan's. Probabilities that the
    network makes itself, by a softmax or a sigmoid at its end, are recognised; with two classes it may have one output.

    Random numbers of Keras (`keras.random`, dropout and noise of its layers) go on exactly after an interruption; those
    that a network draws from `tf.random` do not.

    Parameters
    ----------
    params : see :class:`~utils.models.neural.plan.NeuralPlan`.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = dict(params)
        self.plan = NeuralPlan.from_params(params, MLP)
        numbers_of(self.plan)  # wrong ones are an error now, not after the data was read
        self.learning_rates: LearningRateCurve | None = None
        self._source = source_of(self.plan.network)
        self._shape: dict[str, Any] = {}
        self._network: Any = None
        self._objective: Objective | None = None
        self._finished: Any = None
        self._best_epoch = 0
        self._numbers: dict[str, float] = {}
        self._device_name = "cpu"

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Train; the weights of the best epoch on `valid` are kept.

        With `context.checkpoints` a fit that was interrupted goes on, and ends with the weights it would have had.
        """
        device = device_of(context.gpus)
        limit_threads(self.plan.threads)
        self._shape, self._finished = shape_of(train), None
        if context.fast_dev_run:
            train, valid = (few_events(source, self.plan.batch_size) for source in (train, valid))
        elif self.plan.best_by == "auc":
            valid.check_classes("validation events, which best_by=auc needs all of")
        with own_randomness(self.plan.seed), tf.device(device):
            first = not self._resumes(context) and context.fold == 0 and not context.fast_dev_run
            if self.plan.lr_finder is not None and first:
                self._find_rate(train, context)
        with own_randomness(self.plan.seed), tf.device(device):
            training = self._begin(train, context, self.plan)
            self._numbers = describing.numbers_of(training.network, self._shape["n_features"])
            if self._resumes(context):
                self._resume(training, context, train, valid)
            with explained(self.plan, "reading the events"):
                training.run(self._watched(train, valid), monitor, self._keeper(context, train, valid))
        logger.info("%s: %s", training.name, training.summary())
        self._network, self._objective = training.network, training.objective
        self._best_epoch = training.best.epoch
        self._numbers |= {"best_epoch": training.best.epoch, **training.speed()}
        self._device_name = device.strip("/") if context.gpus else "cpu"

    def _begin(self, train: EventSource, context: FitContext, plan: NeuralPlan) -> Training:
        """The training before its first step."""
        with explained(plan, "making the network"):
            network, objective, generator = self._make()
        if network.compiled:
            self._tell_compiled(network)
        if plan.best_by == "auc" and not objective.has_auc:
            raise ConfigError(
                f"there is no AUC of a {self._shape['task']}", where="model_param.best_by", remedy="Use best_by=loss."
            )
        if context.initial is not None:
            self._load_initial(network, context.initial)
        freeze(network, context.freeze)
        batches = ShuffledBatches(train, plan.batch_size, plan.seed, self._buffer_bytes(train))
        n_epochs = 1 if context.fast_dev_run else plan.epochs
        with explained(plan, "making the optimizer"):
            return Training(plan, network, batches, objective, [generator.state], n_epochs, f"fold {context.fold}")

    def _make(self) -> tuple[Any, Objective, Any]:
        """A network, what it is for, and the generator for random numbers that are not of its layers."""
        shape = {name: self._shape[name] for name in SHAPE_ARGUMENTS}
        shape["categories"] = {int(column): size for column, size in shape["categories"].items()}
        with making(self.plan.precision) as generator:
            network = make_network(self.plan.network, shape)
            outputs_BK = tried_outputs(network, {**self._shape, **shape})
        return network, objective_of(self._shape, self.plan, network, outputs_BK), generator

    def _tell_compiled(self, network: Any) -> None:
        unused = [name for name in _OF_THE_OPTIMIZER if name in self.params]
        but = f", not {', '.join(unused)} of model_param" if unused else ""
        logger.info("the network is compiled: its own %s and loss are used%s", type(network.optimizer).__name__, but)

    def _load_initial(self, network: Any, folder: Path) -> None:
        if not (folder / WEIGHTS_FILE).is_file():
            raise ConfigError(
                "the model to start from is no network in Keras", where="init_from", remedy="Name a run with one."
            )
        content = json.loads((folder / DESCRIPTION_FILE).read_text())
        theirs, own = content["shape"]["names"], self._shape["names"]
        if theirs != own:
            differing = sorted(set(theirs) ^ set(own)) or ["their order"]
            raise ConfigError(
                f"the model to start from has other features (differing: {', '.join(differing[:5])})",
                where="init_from",
                remedy="Use the features of that training.",
            )
        weights = read_arrays(folder / WEIGHTS_FILE, "weights")["network"]
        check_same_variables(network.weights, content["weights"], weights)
        assign(network.weights, weights)

    def _buffer_bytes(self, train: EventSource) -> int:
        return self.plan.buffer.events(row_bytes(train.data)) * row_bytes(train.data)

    def _watched(self, train: EventSource, valid: EventSource) -> OrderedBatches:
        """The validation events, kept in memory where there is room beside the training events."""
        left = self._buffer_bytes(train) - train.n_events * row_bytes(train.data)
        return OrderedBatches(valid, EVALUATED_PER_STEP * self.plan.batch_size, left)

    def _find_rate(self, train: EventSource, context: FitContext) -> None:
        assert self.plan.lr_finder is not None
        plan = replace(self.plan, schedule="none", schedule_param={}, ema=None, compile=False)
        self.learning_rates = find_learning_rate(self._begin(train, context, plan), self.plan.lr_finder)
        found = self.learning_rates.suggestion
        said = "the loss falls nowhere" if found is None else f"the loss falls fastest at {found:.2g}"
        logger.info("learning-rate finder: %s; learning_rate stays %g", said, self.plan.learning_rate)

    def figures(self) -> tuple[Figure, ...]:
        """What the fit has to show besides its curves: the loss over learning rates, where that was asked for."""
        curve = self.learning_rates
        if curve is None:
            return ()
        return (learning_rate_figure(curve.rates, curve.losses, curve.suggestion, self.plan.learning_rate),)

    def _resumes(self, context: FitContext) -> bool:
        return context.checkpoints is not None and not context.fast_dev_run and context.checkpoints.latest() is not None

    def _resume(self, training: Training, context: FitContext, train: EventSource, valid: EventSource) -> None:
        assert context.checkpoints is not None
        folder = context.checkpoints.latest()
        assert folder is not None
        arrays = read_arrays(folder / STATE_FILE, "checkpoint")
        plain = json.loads((folder / PLAIN_STATE_FILE).read_text())
        now = made_by(self.params, self._source, self._shape, context, train, valid)
        check_same(plain["made_by"], now, str(folder))
        training.restore(plain, arrays)
        logger.info("%s: goes on after epoch %d", training.name, training.epoch)

    def _keeper(self, context: FitContext, train: EventSource, valid: EventSource) -> Any:
        """What writes a checkpoint after every epoch."""
        checkpoints = context.checkpoints
        if checkpoints is None or context.fast_dev_run:
            return lambda _: None
        origin = made_by(self.params, self._source, self._shape, context, train, valid)

        def keep(training: Training) -> None:
            plain, arrays = training.state()

            def write(folder: Path) -> None:
                write_arrays(folder / STATE_FILE, arrays)
                (folder / PLAIN_STATE_FILE).write_text(json.dumps({**plain, "made_by": origin}) + "\n")

            checkpoints.save(training.epoch, write)

        return keep

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) → (N, K) probabilities, (N, T) values, or (N, 1) losses of an autoencoder.

        Padding may be NaN; any other NaN or infinity is a DataError that names the input.
        """
        if self._finished is None:
            self._finished = self._compiled_predict()
        names = NetworkInputs(tuple(self._shape["names"]), tuple(self._shape["padded"]))
        n_columns = 1 if self._shape["task"] == "autoencoder" else self._shape["n_outputs"]
        scores_NK = np.empty((len(features_NF), n_columns), np.float32)
        size = EVALUATED_PER_STEP * self.plan.batch_size
        for start in range(0, len(features_NF), size):
            part_BF = np.ascontiguousarray(features_NF[start : start + size])
            what = f"events {start + 1:,} to {start + len(part_BF):,} of those to predict"
            inputs_BF, mask_BF = names.checked(part_BF, what)
            if mask_BF is None:
                mask_BF = np.zeros(inputs_BF.shape, np.bool_)
            scores_NK[start : start + size] = self._finished(inputs_BF, mask_BF).numpy()
        return scores_NK

    def _compiled_predict(self) -> Any:
        network, objective = self.network, self._objective
        assert objective is not None

        def finished(features_BF: Any, mask_BF: Any) -> Any:
            return objective.finish(called(network, features_BF, mask_BF, training=False), features_BF, mask_BF)

        shape = (None, self._shape["n_features"])
        signature = (tf.TensorSpec(shape, tf.float32), tf.TensorSpec(shape, tf.bool))
        return tf.function(finished, input_signature=signature, autograph=False)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Keras and TensorFlow."""
        return ("keras", "tensorflow")

    @property
    def network(self) -> Any:
        """The fitted `keras.Model`."""
        assert self._network is not None, "fit or load comes first"
        return self._network

    @property
    def n_iterations(self) -> int | None:
        """The epoch that is kept."""
        return self._best_epoch

    def description(self) -> Description:
        """Precision and device; parameters, operations, speed; the layers, and the source of the network."""
        source = self._source or describing.source_of(self.plan.network)
        texts = {"layers.txt": describing.layers_of(self.network)} | ({} if source is None else {"source.py": source})
        params = {"network/precision": self.plan.precision, "network/device": self._device_name}
        return Description(params, self._numbers, texts)

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """None."""
        return {}

    def save(self, folder: Path) -> None:
        """Weights as arrays, what makes the network, and the user's file that defines it."""
        write_arrays(folder / WEIGHTS_FILE, {"network": values_of(self.network.weights)})
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
            "weights": [variable.path for variable in self.network.weights],
        }
        (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        content = json.loads((folder / DESCRIPTION_FILE).read_text())
        loaded = cls(saved_params(folder, content["params"]))
        loaded._shape, loaded._best_epoch = content["shape"], content["best_epoch"]
        loaded._numbers, loaded._device_name = content["numbers"], content["device"]
        with own_randomness(loaded.plan.seed):
            loaded._network, loaded._objective, _ = loaded._make()
        assign(loaded._network.weights, read_arrays(folder / WEIGHTS_FILE, "weights")["network"])
        return loaded

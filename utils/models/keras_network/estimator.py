"""Networks in Keras as estimators: the shipped perceptron, or a network of the user's own."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.loading import EventSource
from utils.logs import get_logger
from utils.models.estimator import FitContext, Monitor
from utils.models.keras_network import describing
from utils.models.keras_network.arrays import assign, check_same_variables, read_arrays, values_of, write_arrays
from utils.models.keras_network.beginning import called, freeze, make_network, tried_outputs
from utils.models.keras_network.devices import device_of, explained, limit_threads, making, own_randomness
from utils.models.keras_network.library import tf
from utils.models.keras_network.loop import Training
from utils.models.keras_network.objective import Objective, objective_of
from utils.models.neural.estimator import NeuralEstimator
from utils.models.neural.plan import NeuralPlan

logger = get_logger(__name__)

STATE_FILE, PLAIN_STATE_FILE = "state.npz", "state.json"
MLP = "utils.models.keras_network.networks.mlp"
_OF_THE_OPTIMIZER = ("learning_rate", "optimizer", "optimizer_param", "weight_decay", "clip_grad_norm")


class KerasEstimator(NeuralEstimator):
    """See the base.

    A network that is compiled keeps its optimizer (with its learning rate, which a schedule multiplies) and its loss;
    what `model_param` says of the optimizer does not count then. Everything else is the plan's. Probabilities that the
    network makes itself, by a softmax or a sigmoid at its end, are recognised; with two classes it may have one output.

    Random numbers of Keras (`keras.random`, dropout and noise of its layers) go on exactly after an interruption; those
    that a network draws from `tf.random` do not.
    """

    library, default_network, weights_file = "Keras", MLP, "weights.npz"

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        self._objective: Objective | None = None
        self._compiled: Any = None

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Train; see the base."""
        device = device_of(context)
        limit_threads(self.plan.threads)
        train, valid = self.prepared(train, valid, context)
        self._compiled = None
        with own_randomness(self.plan.seed), tf.device(device):
            if self.finds_rate(context):
                self.find_rate(self._begin(train, context, self.trial_plan))
        with own_randomness(self.plan.seed), tf.device(device):
            training = self._begin(train, context, self.plan)
            self._numbers = describing.numbers_of(training.network, self._shape["n_features"])
            self.train(training, train, valid, monitor, context)
        self._network, self._objective = training.network, training.objective
        self._device_name = device.strip("/") if context.gpus else "cpu"

    def _begin(self, train: EventSource, context: FitContext, plan: NeuralPlan) -> Training:
        """The training before its first step."""
        with explained(plan, "making the network"):
            network, objective, generator = self._make()
        if network.compiled:
            self._tell_compiled(network)
        if context.initial is not None:
            path, content = self.initial_weights(context.initial)
            weights = read_arrays(path, "weights")["network"]
            check_same_variables(network.weights, content["weights"], weights)
            assign(network.weights, weights)
        freeze(network, context.freeze)
        with explained(plan, "making the optimizer"):
            return Training(
                plan=plan,
                network=network,
                batches=self.batches(train),
                objective=objective,
                random_state=[generator.state],
                epochs=self.n_epochs(context),
                name=f"fold {context.fold}",
            )

    def _make(self) -> tuple[Any, Objective, Any]:
        """A network, what it is for, and the generator for random numbers that are not of its layers."""
        shape = self.known_shape()
        with making(self.plan.precision) as generator:
            network = make_network(self.plan.network, shape)
            outputs_BK = tried_outputs(network, {**self._shape, **shape})
        return network, objective_of(self._shape, self.plan, network, outputs_BK), generator

    def _tell_compiled(self, network: Any) -> None:
        unused = [name for name in _OF_THE_OPTIMIZER if name in self.params]
        but = f", not {', '.join(unused)} of model_param" if unused else ""
        logger.info("the network is compiled: its own %s and loss are used%s", type(network.optimizer).__name__, but)

    def write_state(self, training: Any, origin: Mapping[str, Any]) -> Callable[[Path], None]:
        """Arrays in one file, plain values in another."""
        plain, arrays = training.state()

        def write(folder: Path) -> None:
            write_arrays(folder / STATE_FILE, arrays)
            (folder / PLAIN_STATE_FILE).write_text(json.dumps({**plain, "made_by": dict(origin)}) + "\n")

        return write

    def read_state(self, folder: Path) -> tuple[dict[str, Any], Any]:
        """The inverse of `write_state`."""
        arrays = read_arrays(folder / STATE_FILE, "checkpoint")
        plain = json.loads((folder / PLAIN_STATE_FILE).read_text())
        return plain["made_by"], (plain, arrays)

    def finished(self, features_BF: NDArray[np.float32], mask_BF: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """(B, K) what `predict` gives for some events."""
        if self._compiled is None:
            self._compiled = self._compiled_predict()
        if mask_BF is None:
            mask_BF = np.zeros(features_BF.shape, np.bool_)
        return np.asarray(self._compiled(features_BF, mask_BF).numpy())

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

    def texts(self) -> dict[str, str]:
        """The layers, and the source of what makes the network."""
        source = describing.source_of(self.plan.network)
        return {"layers.txt": describing.layers_of(self.network)} | ({} if source is None else {"source.py": source})

    def said(self) -> dict[str, Any]:
        """The paths of the variables, by which `init_from` tells whether they fit."""
        return {"weights": [variable.path for variable in self.network.weights]}

    def save_weights(self, path: Path) -> None:
        """The network's variables as arrays."""
        write_arrays(path, {"network": values_of(self.network.weights)})

    def restored(self, path: Path, content: Mapping[str, Any]) -> Any:
        """The inverse of `save_weights`."""
        with own_randomness(self.plan.seed):
            network, self._objective, _ = self._make()
        assign(network.weights, read_arrays(path, "weights")["network"])
        return network

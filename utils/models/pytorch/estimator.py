"""Networks in torch as estimators: the shipped perceptron, or a module of the user's own."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from utils.errors import ConfigError
from utils.loading import EventSource
from utils.loading.inputs import NetworkInputs
from utils.loading.shuffled import OrderedBatches, ShuffledBatches, few_events, row_bytes
from utils.logs import get_logger
from utils.models.estimator import Description, FitContext, Monitor
from utils.models.neural.finder import LearningRateCurve
from utils.models.neural.making import saved_params
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.schedules import numbers_of
from utils.models.neural.shape import check_same, made_by, shape_of, source_of
from utils.models.pytorch import describing
from utils.models.pytorch.beginning import (
    SHAPE_ARGUMENTS,
    check_outputs,
    freeze,
    load_weights,
    make_network,
    read_tensors,
    takes_mask,
)
from utils.models.pytorch.devices import device_of, explained, threads
from utils.models.pytorch.finder import find_learning_rate
from utils.models.pytorch.loop import Training
from utils.models.pytorch.objective import objective_of
from utils.models.pytorch.randomness import own_randomness
from utils.plots.description import Figure
from utils.plots.learning_rate import learning_rate_figure

logger = get_logger(__name__)

WEIGHTS_FILE = "weights.pt"
DESCRIPTION_FILE = "network.json"
STATE_FILE = "state.pt"
MLP = "utils.models.pytorch.networks.Mlp"
# Without gradients, twice the events of a step need no more memory than the step.
EVALUATED_PER_STEP = 2


class TorchEstimator:
    """A network in torch: a classifier, a regression, or an autoencoder, as the data asks for.

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
        self._network: nn.Module | None = None
        self._best_epoch = 0
        self._numbers: dict[str, float] = {}
        self._device_name = "cpu"

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Train; the weights of the best epoch on `valid` are kept.

        With `context.checkpoints` a fit that was interrupted goes on, and ends with the weights it would have had.
        """
        device = self._device(context)
        self._shape = shape_of(train)
        if context.fast_dev_run:
            train, valid = (few_events(source, self.plan.batch_size) for source in (train, valid))
        elif self.plan.best_by == "auc":
            valid.check_classes("validation events, which best_by=auc needs all of")
        with own_randomness(self.plan.seed, device), threads(self.plan.threads):
            with explained(self.plan, "making the network"):
                network = self._begin(context)
                self._numbers = describing.numbers_of(network, self._shape["n_features"])
                network = network.to(device)
            training = self._training(network, train, device, context)
            state = self._state_to_resume(context, train, valid)
            if state is not None:
                training.restore(state)
                logger.info("%s: goes on after epoch %d", training.name, training.epoch)
            elif self.plan.lr_finder is not None and context.fold == 0 and not context.fast_dev_run:
                self._find_rate(training)
            with explained(self.plan, "reading the events"):
                training.run(self._watched(train, valid), monitor, self._keeper(context, train, valid))
        logger.info("%s: %s", training.name, training.summary())
        self._numbers |= {"best_epoch": training.best.epoch, **training.speed()}
        self._device_name = str(device) if device.type == "cpu" else torch.cuda.get_device_name(device)
        self._network = training.trained.cpu().requires_grad_(True)
        self._best_epoch = training.best.epoch

    def _device(self, context: FitContext) -> torch.device:
        if len(context.gpus) > 1:
            raise ConfigError(
                "one fit in one process uses one GPU", where="gpus", remedy=f"Set gpus=[{context.gpus[0]}]."
            )
        return device_of(context.gpus)

    def _begin(self, context: FitContext) -> nn.Module:
        """The network before its first step."""
        network = self._make()
        check_outputs(network, self._shape["n_features"], self._shape["n_outputs"])
        if context.initial is not None:
            self._load_initial(network, context.initial)
        freeze(network, context.freeze)
        return network

    def _load_initial(self, network: nn.Module, folder: Path) -> None:
        if not (folder / DESCRIPTION_FILE).is_file():
            raise ConfigError(
                "the model to start from is no network in torch", where="init_from", remedy="Name a run with one."
            )
        theirs = json.loads((folder / DESCRIPTION_FILE).read_text())["shape"]["names"]
        if theirs != self._shape["names"]:
            differing = sorted(set(theirs) ^ set(self._shape["names"])) or ["their order"]
            raise ConfigError(
                f"the model to start from has other features (differing: {', '.join(differing[:5])})",
                where="init_from",
                remedy="Use the features of that training.",
            )
        load_weights(network, read_tensors(folder / WEIGHTS_FILE, "weights"), "init_from")

    def _training(self, network: nn.Module, train: EventSource, device: torch.device, context: FitContext) -> Training:
        plan = self.plan
        batches = ShuffledBatches(train, plan.batch_size, plan.seed, self._buffer_bytes(train))
        objective = objective_of(self._shape, self.plan).to(device)
        if plan.best_by == "auc" and not objective.has_auc:
            raise ConfigError(
                f"there is no AUC of a {self._shape['task']}", where="model_param.best_by", remedy="Use best_by=loss."
            )
        n_epochs = 1 if context.fast_dev_run else plan.epochs
        return Training(plan, network, batches, objective, device, n_epochs, f"fold {context.fold}")

    def _watched(self, train: EventSource, valid: EventSource) -> OrderedBatches:
        """The validation events, kept in memory where there is room beside the training events."""
        left = self._buffer_bytes(train) - train.n_events * row_bytes(train.data)
        return OrderedBatches(valid, EVALUATED_PER_STEP * self.plan.batch_size, left)

    def _buffer_bytes(self, train: EventSource) -> int:
        buffer = self.plan.buffer
        return buffer.n_events * row_bytes(train.data) if buffer.n_events else buffer.n_bytes

    def _find_rate(self, training: Training) -> None:
        assert self.plan.lr_finder is not None
        with own_randomness(self.plan.seed, training.device):
            self.learning_rates = find_learning_rate(training, self.plan.lr_finder)
        training.batches.meter.waited = training.batches.meter.total = 0.0
        found = self.learning_rates.suggestion
        said = "the loss falls nowhere" if found is None else f"the loss falls fastest at {found:.2g}"
        logger.info("learning-rate finder: %s; learning_rate stays %g", said, self.plan.learning_rate)

    def figures(self) -> tuple[Figure, ...]:
        """What the fit has to show besides its curves: the loss over learning rates, where that was asked for."""
        curve = self.learning_rates
        if curve is None:
            return ()
        return (learning_rate_figure(curve.rates, curve.losses, curve.suggestion, self.plan.learning_rate),)

    def _state_to_resume(self, context: FitContext, train: EventSource, valid: EventSource) -> dict[str, Any] | None:
        folder = None if context.checkpoints is None or context.fast_dev_run else context.checkpoints.latest()
        if folder is None:
            return None
        saved = read_tensors(folder / STATE_FILE, "checkpoint")
        now = made_by(self.params, self._source, self._shape, context, train, valid)
        check_same(saved["made_by"], now, str(folder))
        state: dict[str, Any] = saved["training"]
        return state

    def _keeper(self, context: FitContext, train: EventSource, valid: EventSource) -> Any:
        """What writes a checkpoint after every epoch."""
        checkpoints = context.checkpoints
        if checkpoints is None or context.fast_dev_run:
            return lambda _: None
        origin = made_by(self.params, self._source, self._shape, context, train, valid)

        def keep(training: Training) -> None:
            content = {"made_by": origin, "training": training.state()}
            checkpoints.save(training.epoch, lambda folder: torch.save(content, folder / STATE_FILE))

        return keep

    def _make(self) -> nn.Module:
        shape = {name: self._shape[name] for name in SHAPE_ARGUMENTS}
        shape["categories"] = {int(column): size for column, size in shape["categories"].items()}
        return make_network(self.plan.network, shape)

    @torch.no_grad()
    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) → (N, K) probabilities, (N, T) values, or (N, 1) losses of an autoencoder.

        Padding may be NaN; any other NaN or infinity is a DataError that names the input.
        """
        assert self._network is not None, "fit or load comes first"
        network, objective = self._network.eval(), objective_of(self._shape, self.plan)
        names = NetworkInputs(tuple(self._shape["names"]), tuple(self._shape["padded"]))
        n_columns = 1 if self._shape["task"] == "autoencoder" else self._shape["n_outputs"]
        scores_NK = np.empty((len(features_NF), n_columns), np.float32)
        size = EVALUATED_PER_STEP * self.plan.batch_size
        for start in range(0, len(features_NF), size):
            part_BF = np.ascontiguousarray(features_NF[start : start + size])
            what = f"events {start + 1:,} to {start + len(part_BF):,} of those to predict"
            checked_BF, checked_mask_BF = names.checked(part_BF, what)
            inputs_BF = torch.from_numpy(checked_BF)
            mask_BF = None if checked_mask_BF is None else torch.from_numpy(checked_mask_BF)
            if takes_mask(network):
                hidden_BF = torch.zeros_like(inputs_BF).bool() if mask_BF is None else mask_BF
                outputs_BK = network(inputs_BF, mask=hidden_BF)
            else:
                outputs_BK = network(inputs_BF)
            scores_NK[start : start + size] = objective.finish(outputs_BK.float(), inputs_BF, mask_BF).numpy()
        return scores_NK

    @property
    def libraries(self) -> tuple[str, ...]:
        """torch."""
        return ("torch",)

    @property
    def network(self) -> nn.Module:
        """The fitted network, on the processor."""
        assert self._network is not None, "fit or load comes first"
        return self._network

    @property
    def n_iterations(self) -> int | None:
        """The epoch that is kept."""
        return self._best_epoch

    def description(self) -> Description:
        """Precision and device; parameters, operations, speed; the layers, and the source of the network."""
        source = self._source or describing.source_of(self.network)
        texts = {"layers.txt": describing.layers_of(self.network)} | ({} if source is None else {"source.py": source})
        params = {"network/precision": self.plan.precision, "network/device": self._device_name}
        return Description(params, self._numbers, texts)

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """None."""
        return {}

    def save(self, folder: Path) -> None:
        """Weights as torch writes them, what makes the network, and the user's file that defines it."""
        torch.save(self.network.state_dict(), folder / WEIGHTS_FILE)
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
        }
        (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        content = json.loads((folder / DESCRIPTION_FILE).read_text())
        loaded = cls(saved_params(folder, content["params"]))
        loaded._shape, loaded._best_epoch = content["shape"], content["best_epoch"]
        loaded._numbers, loaded._device_name = content["numbers"], content["device"]
        made = loaded._make()
        with contextlib.suppress(ConfigError):  # layers that wait for a first batch to know their shape
            check_outputs(made, content["shape"]["n_features"], content["shape"]["n_outputs"])
        made.load_state_dict(read_tensors(folder / WEIGHTS_FILE, "weights"))
        loaded._network = made
        return loaded

"""Networks in torch as estimators: the shipped perceptron, or a module of the user's own."""

import contextlib
import copy
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from utils.errors import ConfigError
from utils.loading import EventSource
from utils.loading.shuffled import ShuffledBatches
from utils.models.estimator import FitContext, Monitor
from utils.models.neural.estimator import DESCRIPTION_FILE, NeuralEstimator
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.world import ALONE, World
from utils.models.pytorch import describing
from utils.models.pytorch.beginning import (
    check_outputs,
    freeze,
    load_weights,
    make_network,
    read_tensors,
    takes_mask,
)
from utils.models.pytorch.devices import device_of, explained, threads
from utils.models.pytorch.distributed import FITTED, common_statistics, fit_together, threads_of
from utils.models.pytorch.loop import Training
from utils.models.pytorch.objective import objective_of
from utils.models.pytorch.randomness import own_randomness, seed_process

STATE_FILE = "state.pt"
MLP = "utils.models.pytorch.networks.Mlp"


class TorchEstimator(NeuralEstimator):
    """See the base. On several GPUs, or with `n_processes`, as many processes share every step."""

    library, default_network, weights_file = "torch", MLP, "weights.pt"

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Train; see the base."""
        if context.size == 1:
            self.fit_in(ALONE, train, valid, monitor, context)
            return
        with tempfile.TemporaryDirectory() as scratch:
            self.learning_rates = fit_together(self, train, valid, monitor, context, Path(scratch))
            folder = Path(scratch) / FITTED
            self.take(folder, json.loads((folder / DESCRIPTION_FILE).read_text()))

    def fit_in(
        self, world: World, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext
    ) -> None:
        """Train in this process, as one of the world's."""
        device = device_of(context.gpus, world.rank)
        train, valid = self.prepared(train, valid, context)
        with own_randomness(self.plan.seed, device), threads(threads_of(self.plan.threads, world)):
            with explained(self.plan, "making the network"):
                network = self._begin(context)
                self._numbers = describing.numbers_of(network, self._shape["n_features"])
                network = network.to(device)
            batches = self.batches(train, world)
            if self.finds_rate(context) and world.speaks:
                with own_randomness(self.plan.seed, device):
                    whole = batches if world.size == 1 else self.batches(train)
                    self.find_rate(self._training(self.trial_plan, copy.deepcopy(network), whole, device, context))
                whole.meter.waited = whole.meter.total = 0.0
            seed_process(self.plan.seed, world)
            network = common_statistics(network, world, device)
            training = self._training(self.plan, network, batches, device, context, world)
            self.train(training, train, valid, monitor, context)
        self._device_name = str(device) if device.type == "cpu" else torch.cuda.get_device_name(device)
        self._network = training.trained.cpu().requires_grad_(True)

    def _begin(self, context: FitContext) -> nn.Module:
        """The network before its first step."""
        network = make_network(self.plan.network, self.known_shape())
        check_outputs(network, self._shape["n_features"], self._shape["n_outputs"])
        if context.initial is not None:
            path, _ = self.initial_weights(context.initial)
            load_weights(network, read_tensors(path, "weights"), "init_from")
        freeze(network, context.freeze)
        return network

    def _training(
        self,
        plan: NeuralPlan,
        network: nn.Module,
        batches: ShuffledBatches,
        device: torch.device,
        context: FitContext,
        world: World = ALONE,
    ) -> Training:
        return Training(
            plan=plan,
            network=network,
            batches=batches,
            objective=objective_of(self._shape, self.plan).to(device),
            device=device,
            epochs=self.n_epochs(context),
            name=f"fold {context.fold}",
            world=world,
        )

    def write_state(self, training: Any, origin: Mapping[str, Any]) -> Callable[[Path], None]:
        """Tensors and plain values in one file."""
        content = {"made_by": dict(origin), "training": training.state()}
        return lambda folder: torch.save(content, folder / STATE_FILE)

    def read_state(self, folder: Path) -> tuple[dict[str, Any], Any]:
        """The inverse of `write_state`."""
        saved = read_tensors(folder / STATE_FILE, "checkpoint")
        return saved["made_by"], saved["training"]

    @torch.no_grad()
    def finished(self, features_BF: NDArray[np.float32], mask_BF: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """(B, K) what `predict` gives for some events."""
        network, objective = self.network.eval(), objective_of(self._shape, self.plan)
        inputs_BF = torch.from_numpy(features_BF)
        hidden_BF = None if mask_BF is None else torch.from_numpy(mask_BF)
        if takes_mask(network):
            outputs_BK = network(inputs_BF, mask=torch.zeros_like(inputs_BF).bool() if hidden_BF is None else hidden_BF)
        else:
            outputs_BK = network(inputs_BF)
        return np.asarray(objective.finish(outputs_BK.float(), inputs_BF, hidden_BF).numpy())

    @property
    def libraries(self) -> tuple[str, ...]:
        """torch."""
        return ("torch",)

    def texts(self) -> dict[str, str]:
        """The layers, and the source of the network's class."""
        source = describing.source_of(self.network)
        return {"layers.txt": describing.layers_of(self.network)} | ({} if source is None else {"source.py": source})

    def save_weights(self, path: Path) -> None:
        """The state of the network."""
        torch.save(self.network.state_dict(), path)

    def restored(self, path: Path, content: Mapping[str, Any]) -> nn.Module:
        """The inverse of `save_weights`."""
        made = make_network(self.plan.network, self.known_shape())
        with contextlib.suppress(ConfigError):  # layers that wait for a first batch to know their shape
            check_outputs(made, self._shape["n_features"], self._shape["n_outputs"])
        made.load_state_dict(read_tensors(path, "weights"))
        return made

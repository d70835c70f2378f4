"""The training loop in torch: what a step is, and how events are watched.

Shape suffixes: B events of a batch, F features, K outputs, S steps.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from utils.loading import Batch
from utils.models.neural.loop import Loop
from utils.models.neural.watch import BestEpoch
from utils.models.pytorch.average import MovingAverage
from utils.models.pytorch.beginning import takes_mask, train_mode
from utils.models.pytorch.devices import batch_to_device, compiled, explained
from utils.models.pytorch.distributed import aligned, in_step
from utils.models.pytorch.objective import Objective
from utils.models.pytorch.optimizers import make_optimizer
from utils.models.pytorch.randomness import capture, restore
from utils.models.pytorch.schedules import LearningRate

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(kw_only=True)
class Training(Loop):
    """A network with everything that changes while it is trained, so that a checkpoint can hold all of it.

    Parameters
    ----------
    network : on the device already.
    objective : what the network is trained for.
    device : where it computes.
    """

    network: nn.Module
    objective: Objective
    device: torch.device

    def __post_init__(self) -> None:
        super().__post_init__()
        self.takes_mask = takes_mask(self.network)
        together = in_step(self.network, self.world, self.device)
        self.optimizer = make_optimizer(self.plan, self.network)
        self.schedule = LearningRate(self.plan, self.optimizer, self.batches.n_batches)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.plan.precision == "fp16")
        self.average = None if self.plan.ema is None else MovingAverage(self.network, self.plan.ema)
        self.forward = compiled(together, self.device) if self.plan.compile else together
        self.trained_parameters = [value for value in self.network.parameters() if value.requires_grad]
        self.best_weights: dict[str, Tensor] = {}
        self.randomness = capture(self.device)

    @property
    def trained(self) -> nn.Module:
        """The network that is judged and kept: the moving average where there is one."""
        return self.network if self.average is None else self.average.network

    def begin_epoch(self) -> None:
        """Whatever has drawn random numbers since the last epoch does not matter."""
        restore(self.randomness, self.device)
        train_mode(self.network)

    def end_epoch(self, valid_loss: float) -> None:
        """The random numbers of the next epoch go on from here."""
        self.schedule.after_epoch(valid_loss)
        self.randomness = capture(self.device)

    def step(self, batch: Batch) -> Tensor:
        """One step of the optimizer; the mean loss of the batch, still on the device."""
        features_BF, target, weight_B, mask_BF = batch_to_device(batch, self.device)
        with self.autocast():
            outputs_BK = self.called(self.forward, features_BF, mask_BF)
        losses_B = self.objective.loss(outputs_BK.float(), target, features_BF, mask_BF)
        loss = (losses_B if weight_B is None else losses_B * weight_B).mean()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss if batch.share == 1.0 else loss * batch.share).backward()
        if self.plan.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.trained_parameters, self.plan.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.after_step()
        if self.average is not None:
            self.average.update(self.network)
        return loss.detach()

    def step_at(self, batch: Batch, learning_rate: float) -> Tensor:
        """One step with this rate, whatever the schedule says."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        return self.step(batch)

    def called(self, network: nn.Module, features_BF: Tensor, mask_BF: Any) -> Tensor:
        """(B, K) outputs; a network that takes a mask always gets one."""
        if not self.takes_mask:
            return network(features_BF)
        return network(features_BF, mask=torch.zeros_like(features_BF).bool() if mask_BF is None else mask_BF)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of the plan."""
        if self.plan.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, _AUTOCAST[self.plan.precision])

    def fetched(self, losses: list[Any]) -> NDArray[np.float64]:
        """(S,) losses of steps, in one copy from the device."""
        return np.asarray(torch.stack(losses).double().cpu().numpy())

    @torch.no_grad()
    def looked_at(self, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        """(B,) losses of events that are watched and, for classes, their (B, K) probabilities."""
        features_BF, target, _, mask_BF = batch_to_device(batch, self.device)
        with self.autocast():
            outputs_BK = self.called(self.trained, features_BF, mask_BF)
        outputs_BK = outputs_BK.float()
        losses_B = self.objective.loss(outputs_BK, target, features_BF, mask_BF).double().cpu().numpy()
        if not self.objective.has_auc:
            return losses_B, None
        return losses_B, self.objective.finish(outputs_BK, features_BF, mask_BF).cpu().numpy()

    @contextlib.contextmanager
    def judged(self) -> Iterator[None]:
        """For the block, `trained` does what it does untrained, with the same running statistics in all processes."""
        aligned(self.trained, self.world)
        self.trained.eval()
        yield

    def keep(self) -> None:
        """Remember the weights of `trained`: they are the best so far."""
        self.best_weights = {name: kept.detach().clone() for name, kept in self.trained.state_dict().items()}

    def finish(self) -> None:
        """Give `trained` the best weights."""
        self.trained.load_state_dict(self.best_weights)

    def explained(self, doing: str) -> contextlib.AbstractContextManager[Any]:
        """See `devices.explained`."""
        return explained(self.plan, doing)

    def state(self) -> dict[str, Any]:
        """All that a resumption needs; asked for in every process, since each has random numbers of its own."""
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "best": self.best.state(),
            "best_weights": self.best_weights,
            "randomness": self.world.gathered(self.randomness),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's `state`."""
        self.epoch = int(state["epoch"])
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best = BestEpoch.from_state(state["best"])
        self.best_weights = {name: value.to(self.device) for name, value in state["best_weights"].items()}
        self.randomness = state["randomness"][self.world.rank]

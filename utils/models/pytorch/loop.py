"""The training loop: epochs of shuffled batches, the whole validation set after each, the best epoch kept.

Nothing inside a step waits for the device: losses stay there, and are looked at every `CHECK_EVERY` steps.

Shape suffixes: N events, B events of a batch, F features, K outputs.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from utils.errors import DataError
from utils.loading import Batch
from utils.loading.shuffled import ShuffledBatches
from utils.logs import count, get_logger, progress, rate
from utils.models.estimator import Monitor
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.watch import BestEpoch, macro_auc
from utils.models.pytorch.average import MovingAverage
from utils.models.pytorch.beginning import takes_mask, train_mode
from utils.models.pytorch.devices import batch_to_device, compiled, explained
from utils.models.pytorch.objective import Objective
from utils.models.pytorch.optimizers import make_optimizer
from utils.models.pytorch.randomness import capture, restore
from utils.models.pytorch.schedules import LearningRate

logger = get_logger(__name__)

CHECK_EVERY = 200
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

AfterEpoch = Callable[["Training"], None]


@dataclass
class Training:
    """A network with everything that changes while it is trained, so that a checkpoint can hold all of it.

    Parameters
    ----------
    plan : the training.
    network : on the device already.
    batches : of the training events; of this process' share of them where there are several.
    objective : what the network is trained for.
    device : where it computes.
    epochs : how many at most.
    name : for the progress bar.
    wrap : what the network is put into before it is compiled, such as what sums gradients over processes.
    """

    plan: NeuralPlan
    network: nn.Module
    batches: ShuffledBatches
    objective: Objective
    device: torch.device
    epochs: int
    name: str = "training"
    wrap: Callable[[nn.Module], nn.Module] = field(default=lambda network: network)

    def __post_init__(self) -> None:
        self.takes_mask = takes_mask(self.network)
        self.optimizer = make_optimizer(self.plan, self.network)
        self.schedule = LearningRate(self.plan, self.optimizer, self.batches.n_batches)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.plan.precision == "fp16")
        self.average = None if self.plan.ema is None else MovingAverage(self.network, self.plan.ema)
        wrapped = self.wrap(self.network)
        self.forward = compiled(wrapped, self.device) if self.plan.compile else wrapped
        self.trained_parameters = [value for value in self.network.parameters() if value.requires_grad]
        self.best = BestEpoch(self.plan.best_by, self.plan.early_stopping)
        self.best_weights: dict[str, Tensor] = {}
        self.epoch = self.epochs_made = 0
        self.randomness = capture(self.device)

    @property
    def trained(self) -> nn.Module:
        """The network that is judged and kept: the moving average where there is one."""
        return self.network if self.average is None else self.average.network

    @property
    def is_over(self) -> bool:
        """Whether there is no epoch left to make."""
        return self.epoch >= self.epochs or self.best.is_over

    def run(self, valid: Iterable[Batch], monitor: Monitor, after_epoch: AfterEpoch = lambda _: None) -> None:
        """Train from where it stands to the end; `trained` then has the weights of the best epoch."""
        while not self.is_over:
            # Whatever has drawn random numbers since the last epoch does not matter.
            restore(self.randomness, self.device)
            began = time.perf_counter()
            values = {"train-loss": self.one_epoch()}
            seconds = time.perf_counter() - began
            with explained(self.plan, "watching the validation events"):
                values |= self.validate(valid)
            self.epoch, self.epochs_made = self.epoch + 1, self.epochs_made + 1
            value = values[f"valid-{self.best.by}"]
            if self.best.update(self.epoch, value):
                self.best_weights = {name: kept.detach().clone() for name, kept in self.trained.state_dict().items()}
            self.schedule.after_epoch(values["valid-loss"])
            self.randomness = capture(self.device)
            said = ", ".join(f"{name} {value:.5g}" for name, value in values.items())
            logger.debug("%s: epoch %d: %s, %.1f s of training", self.name, self.epoch, said, seconds)
            monitor(self.epoch, values)
            after_epoch(self)
        self.trained.load_state_dict(self.best_weights)

    def one_epoch(self) -> float:
        """Go through all training events once; the mean loss."""
        train_mode(self.network)
        total, n_events, n_steps = 0.0, 0, 0
        pending: list[Tensor] = []
        meter = self.batches.meter
        title = f"{self.name}, epoch {self.epoch + 1}"
        with progress(self.batches.source.n_events, title) as bar:
            for batch in self.batches.epoch(self.epoch):
                with explained(self.plan, "training"):
                    pending.append(self.step(batch) * len(batch.features_NF))
                n_events, n_steps = n_events + len(batch.features_NF), n_steps + 1
                bar.update(len(batch.features_NF))
                if len(pending) == CHECK_EVERY:
                    total += self._sum(pending, n_steps)
                    pending = []
                    bar.set_postfix_str(f"loss {total / n_events:.4g}, waiting for data {meter.share:.0%}")
        return (total + self._sum(pending, n_steps)) / n_events

    def _sum(self, losses: list[Tensor], n_steps: int) -> float:
        """The sum of the last losses, of `n_steps` in all; DataError where one is no number."""
        if not losses:
            return 0.0
        losses_S = torch.stack(losses).double().cpu()
        bad_S = torch.nonzero(~torch.isfinite(losses_S))
        if len(bad_S):
            number = n_steps - len(losses) + int(bad_S[0]) + 1
            raise DataError(
                f"the loss is NaN or infinite in batch {number} of epoch {self.epoch + 1}",
                where="model_param",
                remedy="Lower learning_rate, or set clip_grad_norm=1; with precision=fp16, try bf16.",
            )
        return float(losses_S.sum())

    def step(self, batch: Batch) -> Tensor:
        """One step of the optimizer; the mean loss of the batch, still on the device."""
        features_BF, target, weight_B, mask_BF = batch_to_device(batch, self.device)
        with self.autocast():
            outputs_BK = self.called(self.forward, features_BF, mask_BF)
        losses_B = self.objective.loss(outputs_BK.float(), target, features_BF, mask_BF)
        loss = (losses_B if weight_B is None else losses_B * weight_B).mean()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.plan.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.trained_parameters, self.plan.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.after_step()
        if self.average is not None:
            self.average.update(self.network)
        return loss.detach()

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

    @torch.no_grad()
    def validate(self, valid: Iterable[Batch]) -> dict[str, float]:
        """Mean weighted loss and, for classes, macro area of all validation events, as they are."""
        self.trained.eval()
        total = weights = 0.0
        scores, targets = [], []
        for batch in valid:
            features_BF, target, _, mask_BF = batch_to_device(batch, self.device)
            with self.autocast():
                outputs_BK = self.called(self.trained, features_BF, mask_BF)
            outputs_BK = outputs_BK.float()
            losses_B = self.objective.loss(outputs_BK, target, features_BF, mask_BF).double().cpu().numpy()
            weight_B = np.ones(len(losses_B)) if batch.weight_N is None else batch.weight_N
            total, weights = total + float((losses_B * weight_B).sum()), weights + float(weight_B.sum())
            if self.objective.has_auc:
                scores.append(self.objective.finish(outputs_BK, features_BF, mask_BF).cpu().numpy())
                targets.append(batch.target_N)
        loss = total / weights if weights else float("nan")
        if weights and not np.isfinite(loss):
            raise DataError(
                f"the validation loss is NaN or infinite after epoch {self.epoch + 1}",
                where="model_param",
                remedy="Lower learning_rate, or set clip_grad_norm=1; with precision=fp16, try bf16.",
            )
        if not scores:
            return {"valid-loss": loss}
        return {"valid-loss": loss, "valid-auc": macro_auc(np.concatenate(scores), np.concatenate(targets))}

    def speed(self) -> dict[str, float]:
        """Training events per second, and the share of the time that went into waiting for them."""
        meter = self.batches.meter
        n_events = self.batches.source.n_events * self.epochs_made
        return {"events_per_second": n_events / meter.total, "wait_share": meter.share} if meter.total else {}

    def summary(self) -> str:
        """What is said at the end: the best epoch, the speed, and how much of the time went into waiting for data."""
        n_events, speed = self.batches.source.n_events, self.speed()
        best = f"best epoch {self.best.epoch} of {self.epoch} (validation {self.best.by} {self.best.value:.5g})"
        if not speed:
            return best
        fast = rate(speed["events_per_second"], 1.0)
        return f"{best}, {count(n_events)} training events at {fast}, {speed['wait_share']:.1%} of it waiting for data"

    def state(self) -> dict[str, Any]:
        """All that a resumption needs."""
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "best": self.best.state(),
            "best_weights": self.best_weights,
            "randomness": self.randomness,
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
        self.randomness = state["randomness"]

"""The training loop: epochs of shuffled batches, the whole validation set after each, the best epoch kept.

Nothing inside a step waits for the device: losses stay there until the epoch ends.

Shape suffixes: N events, B events of a batch, F features, K outputs.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from utils.errors import DataError
from utils.loading.shuffled import ShuffledBatches
from utils.loading.source import Batch, EventSource
from utils.models.estimator import Monitor
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.watch import BestEpoch, macro_auc
from utils.models.pytorch.optimizers import make_optimizer
from utils.models.pytorch.schedules import LearningRate

Loss = Callable[[Tensor, Tensor], Tensor]  # (B, K) outputs and (B, …) targets → (B,) losses

PREDICT_ROWS = 65_536
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Training:
    """A network with everything that changes while it is trained, so that a checkpoint can hold all of it."""

    plan: NeuralPlan
    network: nn.Module
    batches: ShuffledBatches
    loss: Loss
    device: torch.device

    def __post_init__(self) -> None:
        self.network.to(self.device)
        self.optimizer = make_optimizer(self.plan, self.network)
        self.schedule = LearningRate(self.plan, self.optimizer, self.batches.n_batches)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.plan.precision == "fp16")
        self.average = None
        if self.plan.ema is not None:
            average = torch.optim.swa_utils.get_ema_multi_avg_fn(self.plan.ema)
            self.average = torch.optim.swa_utils.AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.best = BestEpoch(self.plan.best_by, self.plan.early_stopping)
        self.best_weights: dict[str, Tensor] = {}
        self.epoch = 0

    @property
    def trained(self) -> nn.Module:
        """The network that is judged and kept: the moving average where there is one."""
        return self.network if self.average is None else self.average.module

    def run(self, valid: EventSource, monitor: Monitor, after_epoch: Callable[["Training"], None]) -> None:
        """Train from where it stands to the end; `trained` then has the weights of the best epoch."""
        while self.epoch < self.plan.epochs and not self.best.is_over:
            train_loss = self.one_epoch()
            self.epoch += 1
            loss, auc = self.validate(valid)
            monitor(self.epoch, {"train-loss": train_loss, "valid-loss": loss, "valid-auc": auc})
            if self.best.update(self.epoch, auc if self.best.by == "auc" else loss):
                self.best_weights = {name: value.detach().clone() for name, value in self.trained.state_dict().items()}
            self.schedule.after_epoch(loss)
            after_epoch(self)
        self.trained.load_state_dict(self.best_weights)

    def one_epoch(self) -> float:
        """Go through all training events once; the mean loss."""
        self.network.train()
        # Seeded by the epoch, so that dropout goes on after a resumption as it would have without.
        torch.manual_seed(self.plan.seed * 1_000_003 + self.epoch)
        losses: list[Tensor] = []
        n_events = 0
        for batch in self.batches.epoch(self.epoch):
            losses.append(self.step(batch) * len(batch.target_N))
            n_events += len(batch.target_N)
        losses_S = torch.stack(losses)
        bad_S = torch.nonzero(~torch.isfinite(losses_S))
        if len(bad_S):
            raise DataError(
                f"the loss is NaN or infinite from batch {int(bad_S[0])} of epoch {self.epoch + 1} on",
                where="model_param",
                remedy="Lower learning_rate, or set clip_grad_norm; with precision=fp16, try bf16.",
            )
        return float(losses_S.sum()) / n_events

    def step(self, batch: Batch) -> Tensor:
        """One step of the optimizer; the mean loss of the batch, still on the device."""
        features_BF, target_B, weight_B = to_device(batch, self.device)
        with self.autocast():
            losses_B = self.loss(self.network(features_BF), target_B)
        loss = losses_B.float().mean() if weight_B is None else (losses_B.float() * weight_B).mean()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.plan.clip_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.after_step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        return loss.detach()

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of the plan."""
        if self.plan.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, _AUTOCAST[self.plan.precision])

    def validate(self, valid: EventSource) -> tuple[float, float]:
        """(mean weighted loss, macro AUC) of all validation events, as they are."""
        total = weights = 0.0
        scores = []
        for batch in valid.batches(PREDICT_ROWS):
            outputs_BK = self.outputs(torch.from_numpy(batch.features_NF))
            losses_B = self.loss(outputs_BK, torch.from_numpy(batch.target_N).to(self.device)).double().cpu().numpy()
            weight_B = np.ones(len(losses_B)) if batch.weight_N is None else batch.weight_N
            total += float((losses_B * weight_B).sum())
            weights += float(weight_B.sum())
            scores.append(torch.softmax(outputs_BK, dim=1).cpu().numpy())
        return total / weights if weights else float("nan"), macro_auc(np.concatenate(scores), valid.target_N)

    @torch.no_grad()
    def outputs(self, features_BF: Tensor) -> Tensor:
        """(B, F) → (B, K) of the network that is kept."""
        self.trained.eval()
        with self.autocast():
            outputs: Tensor = self.trained(features_BF.to(self.device)).float()
        return outputs

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
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's `state`."""
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best = BestEpoch.from_state(state["best"])
        self.best_weights = state["best_weights"]


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    """Features, targets and weights of a batch on the device, copied without waiting."""
    on_gpu = device.type != "cpu"

    def moved(values: Any) -> Tensor:
        tensor = torch.from_numpy(values)
        return tensor.pin_memory().to(device, non_blocking=True) if on_gpu else tensor

    weight_B = None if batch.weight_N is None else moved(batch.weight_N)
    return moved(batch.features_NF), moved(batch.target_N), weight_B


def parameters_of(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that are trained, by name."""
    return ((name, value) for name, value in network.named_parameters() if value.requires_grad)

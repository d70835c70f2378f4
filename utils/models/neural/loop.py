"""The loop of a training: epochs of shuffled batches, the whole validation set after each, the best epoch kept.

What a step and a look at a batch are, the libraries' own loops say, which derive from this one. Nothing inside a step
waits for the device: losses stay there, and are looked at every `CHECK_EVERY` steps.

Shape suffixes: B events of a batch, K outputs, S steps.
"""

import abc
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError
from utils.loading import Batch
from utils.loading.shuffled import ShuffledBatches
from utils.logs import count, get_logger, progress, rate
from utils.models.estimator import Monitor
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.watch import BestEpoch, macro_auc
from utils.models.neural.world import ALONE, World

logger = get_logger(__name__)

CHECK_EVERY = 200
# How long a training is silent at most, where there is no bar [s].
SAY_EVERY = 60.0

AfterEpoch = Callable[[Any], None]


@dataclass(kw_only=True)
class Loop(abc.ABC):
    """A training as it stands after some epochs.

    Parameters
    ----------
    plan : the training.
    batches : of the training events; of this process' share of them where there are several.
    epochs : how many at most.
    name : for the progress bar.
    world : the processes that train the same network.
    """

    plan: NeuralPlan
    batches: ShuffledBatches
    epochs: int
    name: str = "training"
    world: World = field(default=ALONE)

    def __post_init__(self) -> None:
        self.best = BestEpoch(self.plan.best_by, self.plan.early_stopping)
        self.epoch = self.epochs_made = 0
        self.bar = progress(0, self.name, shown=False)

    @abc.abstractmethod
    def step(self, batch: Batch) -> Any:
        """One step of the optimizer; the mean loss of the batch, still on the device."""

    @abc.abstractmethod
    def step_at(self, batch: Batch, learning_rate: float) -> Any:
        """One step with this rate, whatever the schedule says."""

    @abc.abstractmethod
    def fetched(self, losses: list[Any]) -> NDArray[np.float64]:
        """(S,) losses of steps, which are waited for."""

    @abc.abstractmethod
    def looked_at(self, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        """(B,) losses of events that are watched and, for classes, their (B, K) probabilities."""

    @abc.abstractmethod
    def judged(self) -> contextlib.AbstractContextManager[Any]:
        """For the block, the network has the weights that are judged and kept, and does what it does untrained."""

    @abc.abstractmethod
    def keep(self) -> None:
        """Remember the weights that are judged: they are the best so far."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Give the network the best weights."""

    @abc.abstractmethod
    def explained(self, doing: str) -> contextlib.AbstractContextManager[Any]:
        """Say what to do about errors of the library in the block."""

    @abc.abstractmethod
    def state(self) -> Any:
        """All that a resumption needs."""

    @abc.abstractmethod
    def restore(self, state: Any) -> None:
        """Go on from a checkpoint's `state`."""

    @abc.abstractmethod
    def begin_epoch(self) -> None:
        """Called before an epoch's first batch."""

    @abc.abstractmethod
    def end_epoch(self, valid_loss: float) -> None:
        """Called after its validation."""

    @property
    def is_over(self) -> bool:
        """Whether there is no epoch left to make."""
        return self.epoch >= self.epochs or self.best.is_over

    def run(self, valid: Iterable[Batch], monitor: Monitor, after_epoch: AfterEpoch = lambda _: None) -> None:
        """Train from where it stands to the end; the network then has the weights of the best epoch.

        Parameters
        ----------
        valid : the events to watch; of this process' share of them.
        monitor : told of every epoch, by the process that speaks.
        after_epoch : called with the training after every epoch, in every process.
        """
        said = time.perf_counter()
        n_left = (self.epochs - self.epoch) * self.batches.n_events
        with progress(n_left, self.name, shown=self.world.speaks) as self.bar:
            while not self.is_over:
                self.bar.set_description(f"{self.name}, epoch {self.epoch + 1} of {self.epochs}", refresh=False)
                values = self._epoch_and_validation(valid)
                now = time.perf_counter()
                level = logging.INFO if now - said > SAY_EVERY else logging.DEBUG
                said = now if level == logging.INFO else said
                told = ", ".join(f"{name} {value:.5g}" for name, value in values.items())
                logger.log(level, "%s: epoch %d of %d: %s", self.name, self.epoch, self.epochs, told)
                if self.world.speaks:
                    monitor(self.epoch, values)
                after_epoch(self)
        self.finish()

    def _epoch_and_validation(self, valid: Iterable[Batch]) -> dict[str, float]:
        """Train for one epoch, watch, and keep the weights if they are the best so far."""
        self.begin_epoch()
        values = {"train-loss": self.one_epoch()}
        with self.explained("watching the validation events"), self.judged():
            values |= self.validate(valid)
            self.epoch, self.epochs_made = self.epoch + 1, self.epochs_made + 1
            if self.best.update(self.epoch, values[f"valid-{self.best.by}"]):
                self.keep()
        self.end_epoch(values["valid-loss"])
        self._tell(values["train-loss"], values["valid-loss"])
        return values

    def _tell(self, *losses: float) -> None:
        """The loss, and after an epoch that of the validation, beside the bar's events per second."""
        said = "loss " + ", validation ".join(f"{loss:.4g}" for loss in losses)
        self.bar.set_postfix_str(f"{said}, waiting for data {self.batches.meter.share:.0%}", refresh=False)

    def one_epoch(self) -> float:
        """Go through all training events once; the mean loss."""
        total, n_events, n_steps = 0.0, 0, 0
        pending: list[tuple[Any, int]] = []
        for batch in self.batches.epoch(self.epoch):
            size = len(batch.features_NF)
            with self.explained("training"):
                pending.append((self.step(batch), size))
            n_events, n_steps = n_events + size, n_steps + 1
            self.bar.update(size)
            if len(pending) == CHECK_EVERY:
                total += self._sum(pending, n_steps)
                pending = []
                self._tell(total / n_events)
        total, n_all = self.world.total(total + self._sum(pending, n_steps), n_events)
        return float(total / n_all)

    def _sum(self, losses: list[tuple[Any, int]], n_steps: int) -> float:
        """The sum over the events of the last steps, of `n_steps` in all; DataError where a loss is no number."""
        if not losses:
            return 0.0
        losses_S = self.fetched([loss for loss, _ in losses])
        bad_S = np.flatnonzero(~np.isfinite(losses_S))
        if len(bad_S):
            number = n_steps - len(losses) + int(bad_S[0]) + 1
            raise _no_number(f"the loss is NaN or infinite in batch {number} of epoch {self.epoch + 1}")
        return float(losses_S @ np.array([size for _, size in losses], np.float64))

    def validate(self, valid: Iterable[Batch]) -> dict[str, float]:
        """Mean weighted loss and, for classes, macro area of all validation events, of all processes."""
        own = weights = 0.0
        seen: list[tuple[NDArray[np.float32], NDArray[Any]]] = []
        for batch in valid:
            losses_B, scores_BK = self.looked_at(batch)
            weight_B = np.ones(len(losses_B)) if batch.weight_N is None else batch.weight_N
            own, weights = own + float((losses_B * weight_B).sum()), weights + float(weight_B.sum())
            if scores_BK is not None:
                seen.append((scores_BK, batch.target_N))
        total, weights = self.world.total(own, weights)
        loss = float(total / weights) if weights else float("nan")
        if weights and not np.isfinite(loss):
            raise _no_number(f"the validation loss is NaN or infinite after epoch {self.epoch + 1}")
        everything = [pair for of_process in self.world.gathered(seen) for pair in of_process]
        if not everything:
            return {"valid-loss": loss}
        scores_NK, target_N = (np.concatenate(parts) for parts in zip(*everything, strict=True))
        return {"valid-loss": loss, "valid-auc": macro_auc(scores_NK, target_N)}

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


def _no_number(what: str) -> DataError:
    remedy = "Lower learning_rate, or set clip_grad_norm=1; with precision=fp16, try bf16."
    return DataError(what, where="model_param", remedy=remedy)

"""The training loop: epochs of shuffled batches, the whole validation set after each, the best epoch kept.

A step is one compiled function of TensorFlow. Losses stay on the device, and are looked at every `CHECK_EVERY` steps.

Shape suffixes: N events, B events of a batch, F features, K outputs.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import DataError
from utils.loading import Batch
from utils.loading.shuffled import ShuffledBatches
from utils.logs import count, get_logger, progress, rate
from utils.models.estimator import Monitor
from utils.models.keras_network.arrays import Arrays, assign, values_of
from utils.models.keras_network.beginning import called, takes_mask
from utils.models.keras_network.devices import explained
from utils.models.keras_network.library import tf
from utils.models.keras_network.objective import Objective
from utils.models.keras_network.optimizers import make_optimizer
from utils.models.keras_network.schedules import LearningRate
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.watch import BestEpoch, macro_auc

logger = get_logger(__name__)

CHECK_EVERY = 200
_NO_MASK = np.zeros((0, 0), np.bool_)
_REMEDY = "Lower learning_rate, or set clip_grad_norm=1; with precision=fp16, try bf16."

AfterEpoch = Callable[["Training"], None]


@dataclass
class Training:
    """A network with everything that changes while it is trained, so that a checkpoint can hold all of it.

    Parameters
    ----------
    plan : the training.
    network : built.
    batches : of the training events.
    objective : what the network is trained for.
    random_state : variables of generators that are not the network's own.
    epochs : how many at most.
    name : for the progress bar.
    """

    plan: NeuralPlan
    network: Any
    batches: ShuffledBatches
    objective: Objective
    random_state: list[Any]
    epochs: int
    name: str = "training"

    def __post_init__(self) -> None:
        self.trained_variables = self.network.trainable_variables
        self.optimizer = make_optimizer(self.plan, self.network)
        self.optimizer.build(self.trained_variables)
        self.schedule = LearningRate(self.plan, self.optimizer, self.batches.n_batches)
        self.averages: list[Any] = []
        if self.plan.ema is not None:
            self.averages = [tf.Variable(weights, trainable=False) for weights in self.network.weights]
        self.best = BestEpoch(self.plan.best_by, self.plan.early_stopping)
        self.best_weights: Arrays = []
        self.epoch = self.epochs_made = self.n_steps = 0
        self._masked = bool(self.batches.inputs.padded) or takes_mask(self.network)
        self._step, self._evaluate = self._compiled()

    def _compiled(self) -> tuple[Any, Any]:
        """The functions of a step and of watching, for batches of any size."""
        n_features, task = len(self.batches.inputs.names), self.batches.source.data.task
        features = tf.TensorSpec((None, n_features), tf.float32)
        target = tf.TensorSpec((None,), tf.int32) if task == "classification" else tf.TensorSpec((None, None))
        mask, number = tf.TensorSpec((None, None), tf.bool), tf.TensorSpec(())
        step = (features, target, tf.TensorSpec((None,), tf.float32), mask, number, number)

        def compiled(function: Any, signature: Any) -> Any:
            return tf.function(function, input_signature=signature, jit_compile=self.plan.compile, autograph=False)

        return compiled(self._make_step, step), compiled(self._watch, (features, target, mask))

    def _make_step(
        self, features_BF: Any, target: Any, weight_B: Any, mask_BF: Any, learning_rate: Any, kept: Any
    ) -> Any:
        """One step of the optimizer; the mean loss of the batch."""
        mask_BF = mask_BF if self._masked else None
        with tf.GradientTape() as tape:
            outputs_BK = called(self.network, features_BF, mask_BF, training=True)
            losses_B = self.objective.loss(outputs_BK, target, features_BF, mask_BF)
            loss = tf.reduce_mean(losses_B * weight_B)
            for penalty in self.network.losses:
                loss += tf.cast(penalty, tf.float32)
            scaled = self.optimizer.scale_loss(loss)
        if self.schedule.is_own:
            self.optimizer.learning_rate = learning_rate
        gradients = tape.gradient(scaled, [variable.value for variable in self.trained_variables])
        if self.plan.clip_grad_norm is not None:
            # Those of embeddings come in pieces, of which Keras would take the norm without adding them first.
            gradients = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
        self.optimizer.apply(gradients, self.trained_variables)
        for average, weights in zip(self.averages, self.network.weights, strict=False):
            if average.dtype.is_floating:
                average.assign(kept * average + (1.0 - kept) * weights.value)
            else:
                average.assign(weights.value)
        return loss

    def _watch(self, features_BF: Any, target: Any, mask_BF: Any) -> Any:
        """(B,) losses, and what the outputs mean."""
        mask_BF = mask_BF if self._masked else None
        outputs_BK = called(self.network, features_BF, mask_BF, training=False)
        losses_B = self.objective.loss(outputs_BK, target, features_BF, mask_BF)
        return losses_B, self.objective.finish(outputs_BK, features_BF, mask_BF)

    @property
    def is_over(self) -> bool:
        """Whether there is no epoch left to make."""
        return self.epoch >= self.epochs or self.best.is_over

    def run(self, valid: Iterable[Batch], monitor: Monitor, after_epoch: AfterEpoch = lambda _: None) -> None:
        """Train from where it stands to the end; the network then has the weights of the best epoch."""
        while not self.is_over:
            began = time.perf_counter()
            values = {"train-loss": self.one_epoch()}
            seconds = time.perf_counter() - began
            with explained(self.plan, "watching the validation events"), self.judged():
                values |= self.validate(valid)
                self.epoch, self.epochs_made = self.epoch + 1, self.epochs_made + 1
                if self.best.update(self.epoch, values[f"valid-{self.best.by}"]):
                    self.best_weights = values_of(self.network.weights)
            self.schedule.after_epoch(values["valid-loss"])
            said = ", ".join(f"{name} {value:.5g}" for name, value in values.items())
            logger.debug("%s: epoch %d: %s, %.1f s of training", self.name, self.epoch, said, seconds)
            monitor(self.epoch, values)
            after_epoch(self)
        assign(self.network.weights, self.best_weights)

    @contextlib.contextmanager
    def judged(self) -> Iterator[None]:
        """Let the network have the weights that are judged and kept: the moving average where there is one."""
        if not self.averages:
            yield
            return
        now = values_of(self.network.weights)
        assign(self.network.weights, self.averages)
        try:
            yield
        finally:
            assign(self.network.weights, now)

    def one_epoch(self) -> float:
        """Go through all training events once; the mean loss."""
        total, n_events, n_steps = 0.0, 0, 0
        pending: list[tuple[Any, int]] = []
        meter = self.batches.meter
        title = f"{self.name}, epoch {self.epoch + 1}"
        with progress(self.batches.source.n_events, title) as bar:
            for batch in self.batches.epoch(self.epoch):
                with explained(self.plan, "training"):
                    pending.append((self.step(batch), len(batch.features_NF)))
                n_events, n_steps = n_events + len(batch.features_NF), n_steps + 1
                bar.update(len(batch.features_NF))
                if len(pending) == CHECK_EVERY:
                    total += self._sum(pending, n_steps)
                    pending = []
                    bar.set_postfix_str(f"loss {total / n_events:.4g}, waiting for data {meter.share:.0%}")
        return (total + self._sum(pending, n_steps)) / n_events

    def _sum(self, losses: list[tuple[Any, int]], n_steps: int) -> float:
        """The sum of the last losses, of `n_steps` in all; DataError where one is no number."""
        losses_S = np.array([float(loss) for loss, _ in losses])
        bad_S = np.flatnonzero(~np.isfinite(losses_S))
        if len(bad_S):
            number = n_steps - len(losses) + int(bad_S[0]) + 1
            raise DataError(
                f"the loss is NaN or infinite in batch {number} of epoch {self.epoch + 1}",
                where="model_param",
                remedy=_REMEDY,
            )
        return float(losses_S @ np.array([n for _, n in losses], np.float64)) if losses else 0.0

    def step(self, batch: Batch, learning_rate: float | None = None) -> Any:
        """One step of the optimizer, with another rate than the schedule's where one is given; the mean loss."""
        weight_B = np.ones(len(batch.features_NF), np.float32) if batch.weight_N is None else batch.weight_N
        kept = min(self.plan.ema or 0.0, (1 + self.n_steps) / (10 + self.n_steps))
        asked = self.schedule.rate if learning_rate is None else learning_rate
        loss = self._step(
            batch.features_NF, batch.target_N, weight_B, self._mask_of(batch), np.float32(asked), np.float32(kept)
        )
        self.n_steps += 1
        self.schedule.after_step()
        return loss

    def _mask_of(self, batch: Batch) -> Any:
        if not self._masked:
            return _NO_MASK
        return np.zeros(batch.features_NF.shape, np.bool_) if batch.mask_NF is None else batch.mask_NF

    def validate(self, valid: Iterable[Batch]) -> dict[str, float]:
        """Mean weighted loss and, for classes, macro area of all validation events, as they are."""
        total = weights = 0.0
        scores, targets = [], []
        for batch in valid:
            losses, finished_BK = self._evaluate(batch.features_NF, batch.target_N, self._mask_of(batch))
            losses_B = losses.numpy().astype(np.float64)
            weight_B = np.ones(len(losses_B)) if batch.weight_N is None else batch.weight_N
            total, weights = total + float((losses_B * weight_B).sum()), weights + float(weight_B.sum())
            if self.objective.has_auc:
                scores.append(finished_BK.numpy())
                targets.append(batch.target_N)
        loss = total / weights if weights else float("nan")
        if weights and not np.isfinite(loss):
            raise DataError(
                f"the validation loss is NaN or infinite after epoch {self.epoch + 1}",
                where="model_param",
                remedy=_REMEDY,
            )
        if not scores:
            return {"valid-loss": loss}
        return {"valid-loss": loss, "valid-auc": macro_auc(np.concatenate(scores), np.concatenate(targets))}

    def summary(self) -> str:
        """What is said at the end: the best epoch, the speed, and how much of the time went into waiting for data."""
        meter, n_events = self.batches.meter, self.batches.source.n_events
        best = f"best epoch {self.best.epoch} of {self.epoch} (validation {self.best.by} {self.best.value:.5g})"
        if not meter.total:
            return best
        speed = rate(n_events * self.epochs_made, meter.total)
        return f"{best}, {count(n_events)} training events at {speed}, {meter.share:.1%} of it waiting for data"

    def speed(self) -> dict[str, float]:
        """Events per second of training, and the part of the time that it waited for data."""
        meter = self.batches.meter
        if not meter.total:
            return {}
        speed = self.batches.source.n_events * self.epochs_made / meter.total
        return {"events_per_second": speed, "wait_share": meter.share}

    def state(self) -> tuple[dict[str, Any], dict[str, Arrays]]:
        """All that a resumption needs: plain values and arrays."""
        plain = {
            "epoch": self.epoch,
            "n_steps": self.n_steps,
            "schedule": self.schedule.state(),
            "best": self.best.state(),
        }
        return plain, {name: values_of(variables) for name, variables in self._variables().items()} | {
            "best": self.best_weights
        }

    def restore(self, plain: Mapping[str, Any], arrays: Mapping[str, Arrays]) -> None:
        """Go on from a checkpoint's `state`."""
        self.epoch, self.n_steps = int(plain["epoch"]), int(plain["n_steps"])
        self.schedule.restore(plain["schedule"])
        self.best = BestEpoch.from_state(plain["best"])
        self.best_weights = arrays["best"]
        for name, variables in self._variables().items():
            assign(variables, arrays.get(name, []))

    def _variables(self) -> dict[str, list[Any]]:
        """Whatever a step changes. Among the network's are the generators of its layers, such as dropout."""
        return {
            "network": self.network.variables,
            "optimizer": self.optimizer.variables,
            "average": self.averages,
            "random": self.random_state,
        }

"""The training loop in Keras: a step is one compiled function of TensorFlow, and so is a look at events.

Shape suffixes: B events of a batch, F features, K outputs, S steps.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.loading import Batch
from utils.models.keras_network.arrays import Arrays, assign, values_of
from utils.models.keras_network.beginning import called, takes_mask
from utils.models.keras_network.devices import explained
from utils.models.keras_network.library import tf
from utils.models.keras_network.objective import Objective
from utils.models.keras_network.optimizers import make_optimizer
from utils.models.keras_network.schedules import LearningRate
from utils.models.neural.loop import Loop
from utils.models.neural.watch import BestEpoch

_NO_MASK = np.zeros((0, 0), np.bool_)


@dataclass(kw_only=True)
class Training(Loop):
    """A network with everything that changes while it is trained, so that a checkpoint can hold all of it.

    Parameters
    ----------
    network : built.
    objective : what the network is trained for.
    random_state : variables of generators that are not the network's own.
    """

    network: Any
    objective: Objective
    random_state: list[Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.trained_variables = self.network.trainable_variables
        self.optimizer = make_optimizer(self.plan, self.network)
        self.optimizer.build(self.trained_variables)
        self.schedule = LearningRate(self.plan, self.optimizer, self.batches.n_batches)
        self.averages: list[Any] = []
        if self.plan.ema is not None:
            self.averages = [tf.Variable(weights, trainable=False) for weights in self.network.weights]
        self.best_weights: Arrays = []
        self.n_steps = 0
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

    def begin_epoch(self) -> None:
        """Nothing: the generators are variables, and go on from where they are."""

    def end_epoch(self, valid_loss: float) -> None:
        """Tell the schedule."""
        self.schedule.after_epoch(valid_loss)

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

    def step(self, batch: Batch) -> Any:
        """One step of the optimizer; the mean loss of the batch, still on the device."""
        return self.step_at(batch, self.schedule.rate)

    def step_at(self, batch: Batch, learning_rate: float) -> Any:
        """One step with this rate, whatever the schedule says."""
        weight_B = np.ones(len(batch.features_NF), np.float32) if batch.weight_N is None else batch.weight_N
        kept = min(self.plan.ema or 0.0, (1 + self.n_steps) / (10 + self.n_steps))
        numbers = np.float32(learning_rate), np.float32(kept)
        loss = self._step(batch.features_NF, batch.target_N, weight_B, self._mask_of(batch), *numbers)
        self.n_steps += 1
        self.schedule.after_step()
        return loss

    def _mask_of(self, batch: Batch) -> Any:
        if not self._masked:
            return _NO_MASK
        return np.zeros(batch.features_NF.shape, np.bool_) if batch.mask_NF is None else batch.mask_NF

    def fetched(self, losses: list[Any]) -> NDArray[np.float64]:
        """(S,) losses of steps, in one copy from the device."""
        return np.asarray(tf.stack(losses).numpy(), np.float64)

    def looked_at(self, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
        """(B,) losses of events that are watched and, for classes, their (B, K) probabilities."""
        losses, finished_BK = self._evaluate(batch.features_NF, batch.target_N, self._mask_of(batch))
        return losses.numpy().astype(np.float64), finished_BK.numpy() if self.objective.has_auc else None

    def keep(self) -> None:
        """Remember the weights as they are: they are the best so far."""
        self.best_weights = values_of(self.network.weights)

    def finish(self) -> None:
        """Give the network the best weights."""
        assign(self.network.weights, self.best_weights)

    def explained(self, doing: str) -> contextlib.AbstractContextManager[Any]:
        """See `devices.explained`."""
        return explained(self.plan, doing)

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

    def restore(self, state: tuple[Mapping[str, Any], Mapping[str, Arrays]]) -> None:
        """Go on from a checkpoint's `state`."""
        plain, arrays = state
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

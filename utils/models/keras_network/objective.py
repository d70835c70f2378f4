"""What a network is trained for: the loss of every event, and what its outputs mean.

Shape suffixes: B events of a batch, F features, K outputs, T targets.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from utils.errors import ConfigError
from utils.models.keras_network.library import keras, tf
from utils.models.neural.plan import NeuralPlan, ValueLoss

EventLoss = Callable[[Any, Any], Any]  # what is wanted and (B, K) outputs → (B,) losses


def penalty(loss: ValueLoss, given: Any, wanted: Any) -> Any:
    """What each difference costs, without any mean."""
    size = tf.abs(given - wanted)
    if loss == "mae":
        return size
    return tf.where(size <= 1.0, 0.5 * size**2, size - 0.5) if loss == "huber" else size**2


class Objective:
    """One task.

    Parameters
    ----------
    own_loss : of a compiled network, see `own_loss_of`; None: the usual one of the task.
    """

    has_auc = False

    def __init__(self, own_loss: EventLoss | None) -> None:
        self.own_loss = own_loss

    def loss(self, outputs_BK: Any, target: Any, features_BF: Any, mask_BF: Any) -> Any:
        """(B,) losses."""
        raise NotImplementedError

    def finish(self, outputs_BK: Any, features_BF: Any, mask_BF: Any) -> Any:
        """(B, …) what `predict` gives."""
        raise NotImplementedError


class Classification(Objective):
    """Cross entropy of the classes; probabilities.

    Parameters
    ----------
    n_classes : of the task; a network with one output for two classes gives that of class 1.
    probabilities : whether the outputs are that already; else softmax (or sigmoid) makes them so.
    sparse : whether the own loss wants the number of the class; else 0 and 1 for every output.
    """

    has_auc = True

    def __init__(self, own_loss: EventLoss | None, n_classes: int, *, probabilities: bool, sparse: bool) -> None:
        super().__init__(own_loss)
        self.n_classes, self.probabilities, self.sparse = n_classes, probabilities, sparse

    def loss(self, outputs_BK: Any, target: Any, features_BF: Any, mask_BF: Any) -> Any:
        """(B,) losses; `target` is (B,) classes."""
        one = outputs_BK.shape[1] == 1
        if self.own_loss is not None:
            if self.sparse:
                return self.own_loss(target, outputs_BK)
            wanted = tf.cast(target[:, None], tf.float32) if one else tf.one_hot(target, self.n_classes)
            return self.own_loss(wanted, outputs_BK)
        logits = not self.probabilities
        if one:
            wanted_B1 = tf.cast(target[:, None], tf.float32)
            return keras.losses.binary_crossentropy(wanted_B1, outputs_BK, from_logits=logits)
        return keras.losses.sparse_categorical_crossentropy(target, outputs_BK, from_logits=logits)

    def finish(self, outputs_BK: Any, features_BF: Any, mask_BF: Any) -> Any:
        """(B, K) probabilities; those of a network that has made them itself are scaled to a sum of one."""
        if outputs_BK.shape[1] == 1:
            signal_B1 = outputs_BK if self.probabilities else tf.sigmoid(outputs_BK)
            return tf.concat([1.0 - signal_B1, signal_B1], axis=1)
        if not self.probabilities:
            return tf.nn.softmax(outputs_BK)
        return outputs_BK / tf.reduce_sum(outputs_BK, axis=1, keepdims=True)


class Regression(Objective):
    """Mean squared error, or another, in units of the targets' own spread; values in the targets' units.

    Parameters
    ----------
    offset, scale : (T,) mean and standard deviation of the training events.
    value_loss : what a difference costs.
    """

    def __init__(self, own_loss: EventLoss | None, offset: Any, scale: Any, value_loss: ValueLoss) -> None:
        super().__init__(own_loss)
        self.value_loss: ValueLoss = value_loss
        self.offset, self.scale = (tf.constant(numbers, tf.float32) for numbers in (offset, scale))

    def loss(self, outputs_BK: Any, target: Any, features_BF: Any, mask_BF: Any) -> Any:
        """(B,) losses; `target` is (B, T)."""
        wanted_BT = (target - self.offset) / self.scale
        if self.own_loss is not None:
            return self.own_loss(wanted_BT, outputs_BK)
        return tf.reduce_mean(penalty(self.value_loss, outputs_BK, wanted_BT), axis=1)

    def finish(self, outputs_BK: Any, features_BF: Any, mask_BF: Any) -> Any:
        """(B, T) values."""
        return outputs_BK * self.scale + self.offset


class Autoencoder(Objective):
    """Mean squared difference, or another, between features and what comes back of them; that is what is predicted.

    Parameters
    ----------
    columns : (K,) features that are to come back. Padding does not count.
    value_loss : what a difference costs.
    """

    def __init__(self, own_loss: EventLoss | None, columns: Any, value_loss: ValueLoss) -> None:
        super().__init__(own_loss)
        self.value_loss: ValueLoss = value_loss
        self.columns = tf.constant(columns, tf.int32)

    def loss(self, outputs_BK: Any, target: Any, features_BF: Any, mask_BF: Any) -> Any:
        """(B,) losses over what is not padding."""
        wanted_BK = tf.gather(features_BF, self.columns, axis=1)
        if mask_BF is None:
            there_BK = tf.ones_like(wanted_BK)
        else:
            there_BK = tf.cast(~tf.gather(mask_BF, self.columns, axis=1), tf.float32)
        n_there_B = tf.maximum(tf.reduce_sum(there_BK, axis=1), 1.0)
        if self.own_loss is not None:  # it takes the mean of all, in which what is equal counts as zero
            losses_B = self.own_loss(wanted_BK * there_BK, outputs_BK * there_BK)
            return losses_B * tf.cast(tf.shape(wanted_BK)[1], tf.float32) / n_there_B
        return tf.reduce_sum(penalty(self.value_loss, outputs_BK, wanted_BK) * there_BK, axis=1) / n_there_B

    def finish(self, outputs_BK: Any, features_BF: Any, mask_BF: Any) -> Any:
        """(B, 1) losses."""
        return self.loss(outputs_BK, None, features_BF, mask_BF)[:, None]


def objective_of(shape: Mapping[str, Any], plan: NeuralPlan, network: Any, outputs_BK: Any) -> Objective:
    """The task of the data, with the plan's loss where it names one, else the network's own where it is compiled.

    Parameters
    ----------
    shape : what an estimator knows of the data.
    plan : of the training.
    network : made for it.
    outputs_BK : what it gives for some events, by which probabilities are told from logits.
    """
    value_loss = plan.value_loss(shape["task"])
    loss = _compiled_loss(network) if plan.loss is None else None
    own = None if loss is None else own_loss_of(loss)
    if shape["task"] == "regression":
        return Regression(own, shape["offset"], shape["scale"], value_loss)
    if shape["task"] == "autoencoder":
        return Autoencoder(own, shape["columns"], value_loss)
    from_logits = _from_logits(loss)
    if from_logits is not None:
        probabilities = not from_logits
    elif outputs_BK.shape[1] > 1:
        total_B = tf.reduce_sum(outputs_BK, axis=1)
        probabilities = bool(tf.reduce_all((outputs_BK >= 0) & (tf.abs(total_B - 1) < 0.02)[:, None]))
    else:
        last = network.layers[-1]
        probabilities = getattr(last, "activation", None) is keras.activations.sigmoid
    said = f"{getattr(loss, 'name', '')} {getattr(loss, '__name__', '')}".lower()
    return Classification(own, shape["n_outputs"], probabilities=probabilities, sparse="sparse" in said)


def _compiled_loss(network: Any) -> Any:
    """The loss that a network is compiled with, as a function or an object of Keras; None without one."""
    loss = network.loss if network.compiled else None
    if loss is None:
        return None
    if isinstance(loss, list | tuple | dict):
        raise ConfigError(
            "the network is compiled with several losses",
            where="model_param.network",
            remedy="Compile it with one, or not at all.",
        )
    return keras.losses.get(loss)


def _from_logits(loss: Any) -> bool | None:
    """Whether a loss wants logits; None where it does not say."""
    if loss is None:
        return None
    if isinstance(loss, keras.losses.Loss):
        said = getattr(loss, "from_logits", loss.get_config().get("from_logits"))
    else:
        parameter = inspect.signature(loss).parameters.get("from_logits")
        said = None if parameter is None else parameter.default
    return None if said is None else bool(said)


def own_loss_of(loss: Any) -> EventLoss:
    """A loss of Keras without its mean over the batch."""
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss

    def of_events(wanted: Any, outputs_BK: Any) -> Any:
        losses = function(wanted, outputs_BK)
        if losses.shape.rank == 0:
            raise ConfigError(
                "the loss of the compiled network gives one number for a batch, which cannot be weighted",
                where="model_param.network",
                remedy="Let it give one for each event: a mean over axis −1, not over all.",
            )
        return tf.reduce_mean(tf.reshape(losses, (tf.shape(outputs_BK)[0], -1)), axis=1)

    return of_events

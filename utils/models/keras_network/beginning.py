"""Before the first step: making a network, weights of an earlier training, what is not trained, what it gives."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from utils.errors import ConfigError
from utils.factory import Factory
from utils.models.keras_network.library import keras, tf
from utils.models.neural.freezing import frozen
from utils.models.neural.making import made

_TRIED = 8


def make_network(factory: Factory, shape: Mapping[str, Any]) -> Any:
    """The network, told of the shape of the data as far as it takes `n_features`, `n_outputs` and `categories`."""
    network = made(factory, shape)
    if not isinstance(network, keras.Model):
        raise ConfigError(
            f"'{factory.target}' gives a {type(network).__name__}, not a keras.Model",
            where="model_param.network",
            remedy="Name a class that derives from it, or a function that returns one.",
        )
    if takes_mask(network):
        network.supports_masking = True  # or Keras warns that it cannot hand the mask on
    return network


def takes_mask(network: Any) -> bool:
    """Whether the network wants to know what is padding: as a second input, or as the argument `mask` of its `call`."""
    if isinstance(network, keras.Sequential):
        return False
    inputs = getattr(network, "inputs", None)  # only networks made of layers' outputs have them
    return len(inputs) == 2 if inputs else "mask" in inspect.signature(type(network).call).parameters


def called(network: Any, features_BF: Any, mask_BF: Any, *, training: bool) -> Any:
    """(B, K) float32 outputs; a network that takes a mask always gets one."""
    if not takes_mask(network):
        outputs = network(features_BF, training=training)
    else:
        mask_BF = tf.zeros_like(features_BF, tf.bool) if mask_BF is None else mask_BF
        if getattr(network, "inputs", None):
            outputs = network([features_BF, tf.cast(mask_BF, network.inputs[1].dtype)], training=training)
        else:
            takes_training = "training" in inspect.signature(type(network).call).parameters
            outputs = network(features_BF, mask=mask_BF, **({"training": training} if takes_training else {}))
    return tf.cast(outputs, tf.float32) if tf.is_tensor(outputs) else outputs


def tried_outputs(network: Any, shape: Mapping[str, Any]) -> Any:
    """(B, K) what the network gives for a few made-up events; this also gives their shapes to layers that wait for it.

    ConfigError unless K is the number of outputs of the task, or one for two classes.
    """
    features_BF = np.random.default_rng(0).normal(size=(_TRIED, shape["n_features"])).astype(np.float32)
    features_BF[:, list(shape["categories"])] = 0.0
    try:
        outputs = called(network, tf.constant(features_BF), None, training=False)
    except Exception as error:
        error.add_note(f"This came from the network {type(network).__name__} with {features_BF.shape} features.")
        raise
    n_outputs = shape["n_outputs"]
    allowed = {n_outputs, 1} if shape["task"] == "classification" and n_outputs == 2 else {n_outputs}
    found = tuple(outputs.shape) if tf.is_tensor(outputs) else type(outputs).__name__
    if found not in {(_TRIED, n) for n in allowed}:
        raise ConfigError(
            f"the network gives {found} for {_TRIED} events, not ({_TRIED}, {n_outputs})",
            where="model_param.network",
            remedy=f"Let its last layer have n_outputs = {n_outputs} outputs.",
        )
    return outputs


def freeze(network: Any, patterns: Sequence[str]) -> None:
    """Exclude variables from the training, see `frozen`.

    A layer that is frozen as a whole keeps its running statistics, too.
    """
    variables = {variable.path: variable for variable in network.trainable_variables}
    for path in frozen(list(variables), patterns, "variable", "/"):
        variables[path].trainable = False
    for layer in network._flatten_layers(include_self=False) if patterns else ():
        own = [variables[v.path] for v in layer.weights if v.path in variables]
        if own and not any(variable.trainable for variable in own):
            layer.trainable = False

"""What a network is: its layers, how many numbers it has, and what an event costs."""

import inspect
import math
from typing import Any

from utils.factory import Factory
from utils.models.keras_network.beginning import called
from utils.models.keras_network.library import tf

_EVENTS = 2


def numbers_of(network: Any, n_features: int) -> dict[str, float]:
    """Parameters, those that are trained, and floating-point operations of one event's forward pass.

    Every operation that TensorFlow knows the cost of is counted.
    """
    spec = tf.TensorSpec((_EVENTS, n_features), tf.float32)
    forward = tf.function(lambda features: called(network, features, None, training=False), autograph=False)
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    profile = tf.compat.v1.profiler.profile(forward.get_concrete_function(spec).graph, options=options)
    return {
        "parameters": _size(network.weights),
        "trained_parameters": _size(network.trainable_weights),
        "flops_per_event": profile.total_float_ops / _EVENTS,
    }


def layers_of(network: Any) -> str:
    """The layers as Keras prints them."""
    lines: list[str] = []
    network.summary(print_fn=lambda line, **_: lines.append(line), line_length=110, expand_nested=True)
    return "\n".join(lines) + "\n"


def source_of(factory: Factory) -> str | None:
    """The code of what makes the network, where it can be had."""
    try:
        return inspect.getsource(factory.load())
    except (OSError, TypeError):
        return None


def _size(variables: Any) -> float:
    return float(sum(math.prod(variable.shape) for variable in variables))

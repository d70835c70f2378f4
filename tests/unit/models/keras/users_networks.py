"""Networks as users write them in files of their own."""

from typing import Any

import keras


def compiled(n_features: int) -> Any:
    """One sigmoid for two classes, compiled, as in MLaaS4HEP; named layers only where Keras names them."""
    network = keras.Sequential(
        [keras.Input((n_features,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1, "sigmoid")]
    )
    network.compile(optimizer=keras.optimizers.SGD(0.25, momentum=0.9), loss="binary_crossentropy", metrics=["AUC"])
    return network


def one_hot(n_features: int, n_outputs: int) -> Any:
    """Compiled for targets of 0 and 1 for every class, from logits."""
    network = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(n_outputs)])
    network.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    return network


def own_schedule(n_features: int, n_outputs: int) -> Any:
    """Compiled with a learning rate that changes by itself."""
    network = keras.Sequential([keras.Input((n_features,)), keras.layers.Dense(n_outputs)])
    network.compile(keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)), "mse")
    return network


def softmax(n_features: int, n_outputs: int) -> Any:
    """Not compiled, and makes probabilities itself."""
    inputs = keras.Input((n_features,))
    return keras.Model(inputs, keras.layers.Dense(n_outputs, "softmax")(inputs))


class Noisy(keras.Model):
    """Noise and dropout from generators of its own and from that of everyone; running statistics."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.norm = keras.layers.BatchNormalization(momentum=0.8)
        self.noise = keras.layers.GaussianNoise(0.1)
        self.first, self.last = keras.layers.Dense(8, "relu"), keras.layers.Dense(n_outputs)

    def call(self, features: Any, training: bool = False) -> Any:
        x = self.noise(self.norm(features, training=training), training=training)
        x = self.first(x)
        if training:
            x = x + 0.1 * keras.random.normal(keras.ops.shape(x), dtype=x.dtype)
        return self.last(x)


class Masked(keras.Model):
    """Told what is padding: gives its share, so that a test can see it."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.last = keras.layers.Dense(n_outputs)

    def call(self, features: Any, mask: Any = None) -> Any:
        return self.last(keras.ops.cast(mask, "float32"))


def two_inputs(n_features: int, n_outputs: int) -> Any:
    """Told what is padding, as a second input."""
    inputs = [keras.Input((n_features,)), keras.Input((n_features,))]
    return keras.Model(inputs, keras.layers.Dense(n_outputs)(keras.layers.Concatenate()(inputs)))


def too_many(n_features: int, n_outputs: int) -> Any:
    """A wrong output shape."""
    return keras.Sequential([keras.Input((n_features,)), keras.layers.Dense(n_outputs + 2)])


def no_network() -> str:
    """Not a network at all."""
    return "nothing"


def raising(n_features: int) -> Any:
    """Raises."""
    raise ZeroDivisionError(f"{n_features} by zero")


def whole_loss(n_features: int, n_outputs: int) -> Any:
    """Compiled with a loss that cannot be weighted."""
    network = keras.Sequential([keras.Input((n_features,)), keras.layers.Dense(n_outputs)])
    network.compile("sgd", loss=lambda wanted, given: keras.ops.mean((wanted - given) ** 2))
    return network


def reconstruction(n_features: int, n_outputs: int) -> Any:
    """For regressions and autoencoders."""
    return keras.Sequential([keras.Input((n_features,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(n_outputs)])


def compiled_reconstruction(n_features: int, n_outputs: int) -> Any:
    """The same with a loss and an optimizer of its own."""
    network = reconstruction(n_features, n_outputs)
    network.compile(keras.optimizers.Adam(0.05), keras.losses.MeanSquaredError())
    return network

"""A network to begin with.

Shape suffixes: B events of a batch, F features, K outputs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from utils.errors import ConfigError, nearest_name
from utils.models.keras_network.library import keras

ACTIVATIONS = ("relu", "gelu", "silu", "elu", "selu", "leaky_relu", "mish", "tanh", "sigmoid", "softplus")


class Columns(keras.layers.Layer):
    """(B, F) → (B, C): some of the columns."""

    def __init__(self, columns: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.columns = list(columns)

    def call(self, features_BF: Any) -> Any:
        """The columns, in their order."""
        return keras.ops.take(features_BF, self.columns, axis=1)


class Category(keras.layers.Layer):
    """(B, F) → (B, W): the vector of the category in a column. One that was not trained on is one of its own.

    Parameters
    ----------
    column : of the features.
    n_categories : 0 to n_categories − 1 are known.
    width : W.
    """

    def __init__(self, column: int, n_categories: int, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.column, self.n_categories = column, n_categories
        self.embedding = keras.layers.Embedding(n_categories + 1, width, name="embedding")

    def call(self, features_BF: Any) -> Any:
        """Embedded categories."""
        code_B = features_BF[:, self.column]
        known_B = (code_B >= 0) & (code_B < self.n_categories)
        return self.embedding(keras.ops.cast(keras.ops.where(known_B, code_B + 1, 0), "int32"))


def mlp(
    n_features: int,
    n_outputs: int,
    categories: Mapping[int, int] | None = None,
    hidden: Sequence[int] = (256, 256),
    dropout: float = 0.0,
    activation: str = "relu",
) -> Any:
    """A multilayer perceptron on (B, F) features, with embedded categories, without a final activation.

    Parameters
    ----------
    n_features : F.
    n_outputs : K.
    categories : column → number of categories; each becomes a vector of its own.
    hidden : widths of the hidden layers.
    dropout : probability after each of them.
    activation : its name in `keras.activations`.
    """
    if not callable(getattr(keras.activations, activation.lower(), None)):
        raise ConfigError(
            f"keras.activations has no '{activation}'",
            where="model_param.network.activation",
            nearest=nearest_name(activation.lower(), ACTIVATIONS),
            remedy=f"Use {', '.join(ACTIVATIONS)}, or another of keras.activations.",
        )
    categories = dict(categories or {})
    continuous = [i for i in range(n_features) if i not in categories]
    # Not rounded before they are told apart: bfloat16 has no 257.
    features_BF = keras.Input((n_features,), dtype="float32", name="features")
    x = features_BF
    if categories:
        parts = [Columns(continuous, dtype="float32", name="continuous")(x)] if continuous else []
        for column, n_categories in sorted(categories.items()):
            width = min(16, 1 + n_categories)
            parts.append(Category(column, n_categories, width, dtype="float32", name=f"category_{column}")(x))
        x = keras.layers.Concatenate(name="inputs")(parts) if len(parts) > 1 else parts[0]
    for i, size in enumerate(hidden):
        x = keras.layers.Dense(size, activation=activation.lower(), name=f"hidden_{i}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"dropout_{i}")(x)
    outputs_BK = keras.layers.Dense(n_outputs, dtype="float32", name="outputs")(x)
    return keras.Model(features_BF, outputs_BK, name="mlp")

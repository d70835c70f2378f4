"""Networks to begin with, and layers that users of MLaaS4HEP bring in their files.

Shape suffixes: B events of a batch, F features, K outputs.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from utils.errors import ConfigError, nearest_name


class Mlp(nn.Module):
    """A multilayer perceptron on (B, F) features, with embedded categories.

    Parameters
    ----------
    n_features : F.
    n_outputs : K.
    categories : column → number of categories; each becomes a vector of its own.
    hidden : widths of the hidden layers.
    dropout : probability after each of them.
    activation : name of a class of `torch.nn`.
    """

    _continuous: Tensor

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        categories: Mapping[int, int] | None = None,
        hidden: Sequence[int] = (256, 256),
        dropout: float = 0.0,
        activation: str = "ReLU",
    ) -> None:
        super().__init__()
        kind = getattr(nn, activation, None)
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            raise ConfigError(
                f"torch.nn has no '{activation}'",
                where="model_param.network.activation",
                nearest=nearest_name(activation, dir(nn)),
                remedy="Use the name of a class of torch.nn, such as ReLU, GELU or SiLU.",
            )
        categories = dict(categories or {})
        self._categorical = sorted(categories)
        continuous = [i for i in range(n_features) if i not in categories]
        # On the device beforehand: a list of columns would be copied there in every step.
        self.register_buffer("_continuous", torch.tensor(continuous, dtype=torch.long), persistent=False)
        widths = {column: min(16, 1 + categories[column]) for column in self._categorical}
        self.embeddings = nn.ModuleList(nn.Embedding(categories[c] + 1, widths[c]) for c in self._categorical)
        width = len(continuous) + sum(widths.values())
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), kind()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, n_outputs))

    def forward(self, features_BF: Tensor) -> Tensor:
        """(B, F) → (B, K), without a final activation. A category that was not trained on is one of its own."""
        if not self._categorical:
            return self.layers(features_BF)
        parts = [features_BF.index_select(1, self._continuous)]
        for column, embedding in zip(self._categorical, self.embeddings, strict=True):
            code_B = features_BF[:, column].long() + 1
            unknown_B = (code_B < 1) | (code_B >= embedding.num_embeddings)
            parts.append(embedding(torch.where(unknown_B, 0, code_B)))
        return self.layers(torch.cat(parts, dim=1))


class JaggedArrayLinear(nn.Linear):
    """A linear layer that ignores masked inputs, as MLaaS4HEP's: they count as zero, whatever stands there.

    Parameters
    ----------
    in_features, out_features, bias : as for `torch.nn.Linear`.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)

    def forward(self, features: Tensor | Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """(…, F) → (…, K).

        Parameters
        ----------
        features : (…, F), or the pair (features, mask).
        mask : (…, F), True for what is ignored; or numbers, where NaN is ignored, as MLaaS4HEP writes them. Without
            one, NaN among the features is ignored.
        """
        values, given = (features, mask) if isinstance(features, Tensor) else (features[0], features[1])
        hidden = torch.isnan(values) if given is None else given if given.dtype == torch.bool else torch.isnan(given)
        return super().forward(torch.where(hidden, torch.zeros_like(values), values))

"""Networks to begin with, and layers that users of MLaaS4HEP bring in their files.

Shape suffixes: B events of a batch, F features, K outputs.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


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
        categories = dict(categories or {})
        self._categorical = sorted(categories)
        self._continuous = [i for i in range(n_features) if i not in categories]
        widths = {column: min(16, 1 + categories[column]) for column in self._categorical}
        self.embeddings = nn.ModuleList(nn.Embedding(categories[c] + 1, widths[c]) for c in self._categorical)
        width = len(self._continuous) + sum(widths.values())
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), getattr(nn, activation)()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, n_outputs))

    def forward(self, features_BF: Tensor) -> Tensor:
        """(B, F) → (B, K), without a final activation. A category that was not trained on is one of its own."""
        if not self._categorical:
            return self.layers(features_BF)
        parts = [features_BF[:, self._continuous]]
        for column, embedding in zip(self._categorical, self.embeddings, strict=True):
            code_B = features_BF[:, column].long() + 1
            unknown_B = (code_B < 1) | (code_B >= embedding.num_embeddings)
            parts.append(embedding(torch.where(unknown_B, 0, code_B)))
        return self.layers(torch.cat(parts, dim=1))

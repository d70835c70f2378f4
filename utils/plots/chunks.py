"""A training in chunks: AUC and loss over all its epochs, and where a chunk ends. Shape: R rounds."""

from collections.abc import Mapping, Sequence

import numpy as np

from utils.plots.classes import palette
from utils.plots.description import Axis, Dash, Figure, FloatArray, Layer, Line

_GREY = "#bbbbbb"
_KINDS: tuple[tuple[str, Dash, bool], ...] = (("train", "dash", False), ("valid", "solid", True))


def chunks_figure(curves: Mapping[str, FloatArray], chunk_ends: Sequence[int], where: str) -> Figure:
    """AUC and loss, of the events trained on (dashed) and watched (solid); named `chunks`.

    Parameters
    ----------
    curves : `train-auc`, `valid-auc`, `train-loss`, `valid-loss` → (R,) after every epoch; any may be missing.
    chunk_ends : numbers of the epochs, from 1, after which another chunk comes.
    where : what it is a training of, for the title.
    """
    present = [metric for metric in ("auc", "loss") if f"valid-{metric}" in curves]
    n_rounds = max((len(values) for values in curves.values()), default=0)
    top = max((float(np.nanmax(values)) for values in curves.values() if len(values)), default=1.0)
    layers: list[Layer] = [
        Line(np.array([end + 0.5, end + 0.5]), np.array([0.0, top]), _GREY, None, "dot")
        for end in chunk_ends
        if 0 < end < n_rounds
    ]
    for metric, color in zip(present, palette(len(present)), strict=True):
        label = {"auc": "AUC", "loss": "Loss"}[metric]
        for kind, dash, shown in _KINDS:
            values = curves.get(f"{kind}-{metric}", np.empty(0))
            rounds = np.arange(1, len(values) + 1, dtype=np.float64)
            if len(values):
                layers.append(Line(rounds, values, color, label if shown else None, dash, group=metric))
    return Figure(
        name="chunks",
        title=f"AUC and loss over chunks and epochs: {where}",
        x_axis=Axis("Epoch, chunk after chunk", (0.0, 1.02 * max(n_rounds, 1))),
        y_axis=Axis("AUC, loss", (0.0, 1.1 * top)),
        layers=tuple(layers),
        legend="lower right",
        caption="Solid: watched events. Dashed: events of the chunk that is trained on. Dotted: the next chunk.",
        message=None if present else "Nothing was watched",
    )

"""The loss of an autoencoder: its distribution by class, and how well it tells other classes from the first."""

from collections.abc import Sequence

from utils.metrics import Histogram, RocCurve
from utils.plots.classes import ClassInfo
from utils.plots.curves import roc_figure
from utils.plots.description import Axis, Figure, Steps


def loss_figure(shares: Sequence[Histogram | None], classes: Sequence[ClassInfo], dataset: str = "") -> Figure:
    """Share of each class's events per bin of the loss, the bins logarithmic; named `loss`.

    `shares` are None for classes without events, or with weights that sum to zero or less.
    """
    layers = tuple(
        Steps(share.edges, share.values, info.color, share.errors, 0.0, info.name)
        for share, info in zip(shares, classes, strict=True)
        if share is not None
    )
    missing = [info.name for share, info in zip(shares, classes, strict=True) if share is None]
    limits = (float(layers[0].edges[0]), float(layers[0].edges[-1])) if layers else None
    return Figure(
        name="loss",
        title="Loss of the autoencoder" + (f" ({dataset})" if dataset else ""),
        x_axis=Axis("Reconstruction loss", limits, log=limits is not None),
        y_axis=Axis("Share of the class per bin"),
        layers=layers,
        legend="upper left",
        caption="Each class sums to one. Errors: √Σw²." + (f" Not drawn: {', '.join(missing)}." if missing else ""),
        message=None if layers else "No events",
        headroom=0.2,
    )


def anomaly_roc_figure(curves: Sequence[RocCurve], classes: Sequence[ClassInfo], dataset: str = "") -> Figure:
    """The loss as a score for each class above 0 against class 0; named `roc_curve`."""
    title = f"ROC curve of the loss, each class against {classes[0].name}"
    return roc_figure(curves, classes[1:], dataset, title)

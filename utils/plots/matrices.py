"""Confusion matrices as figures."""

from collections.abc import Sequence

from utils.metrics import ConfusionMatrix
from utils.plots.classes import ClassInfo
from utils.plots.description import Axis, Figure, Heatmap


def confusion_figure(matrix: ConfusionMatrix, classes: Sequence[ClassInfo], dataset: str = "") -> Figure:
    """A confusion matrix, rows true and columns predicted; named `confusion_matrix_{true|pred}`."""
    names = tuple(info.name for info in classes)
    by_true = matrix.normalise == "true"
    what = "Efficiency" if by_true else "Purity"
    whole = "rows" if by_true else "columns"
    caption = f"{whole.capitalize()} sum to one; in each cell the share and one standard deviation."
    if matrix.reasons:
        caption += " Empty: " + "; ".join(f"{names[k]}: {reason}" for k, reason in matrix.reasons.items()) + "."
    return Figure(
        name=f"confusion_matrix_{matrix.normalise}",
        title=f"Confusion matrix, {whole} sum to one" + (f" ({dataset})" if dataset else ""),
        x_axis=Axis("Predicted class"),
        y_axis=Axis("True class"),
        layers=(Heatmap(names, names, matrix.values, matrix.errors, f"{what} ({whole} sum to one)"),),
        caption=caption,
    )

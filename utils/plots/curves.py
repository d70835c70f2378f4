"""ROC, background rejection and precision-recall of all classes in one figure each. Shapes: T points."""

from collections.abc import Sequence

import numpy as np

from utils.metrics import PrCurve, RocCurve
from utils.plots.classes import ClassInfo
from utils.plots.description import Axis, Band, Figure, FloatArray, Layer, Line
from utils.plots.numbers import plus_minus

_BAND_CAPTION = "Bands: one standard deviation from the effective number of events."


def roc_figure(
    curves: Sequence[RocCurve],
    classes: Sequence[ClassInfo],
    dataset: str = "",
    title: str = "ROC curve, each class against all others",
) -> Figure:
    """Signal against background efficiency, each class against all others, with areas; named `roc_curve`."""
    diagonal = np.array([0.0, 1.0])
    layers: list[Layer] = []
    for curve, info in zip(curves, classes, strict=True):
        layers += _with_band(
            info,
            f"{info.name}: {plus_minus(curve.auc, curve.auc_error)}",
            (curve.background_efficiency, curve.signal_efficiency),
            (curve.background_error, curve.signal_error),
            ("score ≥", curve.thresholds.astype(np.float64)),
        )
    layers.append(Line(diagonal, diagonal, "#9a9a9a", "random" if len(classes) < 6 else None, "dot", 0.7))
    return Figure(
        name="roc_curve",
        title=_title(title, dataset),
        x_axis=Axis("Background efficiency", (0.0, 1.0)),
        y_axis=Axis("Signal efficiency", _limits([curve.signal_efficiency for curve in curves])),
        layers=() if _message(curves) else tuple(layers),
        legend="lower right",
        legend_title="AUC",
        caption=_caption(_BAND_CAPTION, curves, classes),
        message=_message(curves),
    )


def rejection_figure(curves: Sequence[RocCurve], classes: Sequence[ClassInfo], dataset: str = "") -> Figure:
    """Background rejection, 1 / background efficiency, on a logarithmic axis; named `background_rejection`.

    Points with less than one effective background event left are not drawn: they are noise.
    """
    layers: list[Layer] = []
    highest = 10.0
    for curve, info in zip(curves, classes, strict=True):
        efficiency, error = curve.background_efficiency, curve.background_error
        least = 1.0 / max(curve.n_effective_background, 1.0)
        drawn = np.isfinite(efficiency) & (efficiency >= least) & (curve.signal_efficiency >= 0)
        if not np.any(drawn):
            continue
        rejection = 1.0 / efficiency[drawn]
        highest = max(highest, float(np.max(rejection)))
        upper = np.clip(efficiency[drawn] - error[drawn], least / 3, None)
        signal = curve.signal_efficiency[drawn]
        layers += [
            Band(signal, 1.0 / (efficiency[drawn] + error[drawn]), signal, 1.0 / upper, info.color, group=info.name),
            Line(
                signal,
                rejection,
                info.color,
                info.name,
                group=info.name,
                extra=("score ≥", curve.thresholds[drawn].astype(np.float64)),
            ),
        ]
    return Figure(
        name="background_rejection",
        title=_title("Background rejection, each class against all others", dataset),
        x_axis=Axis("Signal efficiency", (0.0, 1.0)),
        y_axis=Axis("Background rejection, 1 / efficiency", (1.0, 2.0 * highest), log=True),
        layers=() if _message(curves) else tuple(layers),
        caption=_caption(
            _BAND_CAPTION + " Cuts that leave less than one effective background event are not drawn.", curves, classes
        ),
        message=_message(curves),
    )


def pr_figure(curves: Sequence[PrCurve], classes: Sequence[ClassInfo], dataset: str = "") -> Figure:
    """Purity against signal efficiency, each class against all others, with average precisions; named `pr_curve`."""
    layers: list[Layer] = []
    for curve, info in zip(curves, classes, strict=True):
        layers += _with_band(
            info,
            f"{info.name}: {plus_minus(curve.average_precision, curve.average_precision_error)}",
            (curve.recall, curve.precision),
            (curve.recall_error, curve.precision_error),
            ("score ≥", curve.thresholds.astype(np.float64)),
        )
    return Figure(
        name="pr_curve",
        title=_title("Precision and recall, each class against all others", dataset),
        x_axis=Axis("Recall (signal efficiency)", (0.0, 1.0)),
        y_axis=Axis("Precision (purity)", (0.0, 1.05)),
        layers=() if _message(curves) else tuple(layers),
        legend="lower left",
        legend_title="Average precision",
        caption=_caption(
            _BAND_CAPTION + " Purity is that of the mixture which the chosen weights make.", curves, classes
        ),
        message=_message(curves),
    )


def _with_band(
    info: ClassInfo,
    label: str,
    point: tuple[FloatArray, FloatArray],
    error: tuple[FloatArray, FloatArray],
    extra: tuple[str, FloatArray],
) -> list[Layer]:
    if not np.any(np.isfinite(point[1])):
        return [Line(point[0], point[1], info.color, label, group=info.name)]
    return [
        error_envelope(*point, *error, color=info.color, group=info.name),
        Line(*point, info.color, label, group=info.name, extra=extra),
    ]


def error_envelope(
    x: FloatArray, y: FloatArray, x_error: FloatArray, y_error: FloatArray, color: str, group: str | None = None
) -> Band:
    """The curve moved to either side by one standard deviation, with both coordinates' errors independent.

    Each point moves along the curve's normal to where the tangent of its error ellipse is parallel to the curve. The
    normal is that of the curve over some 1% of its length, since a ROC curve of N events is a staircase.
    """
    usable = np.isfinite(x) & np.isfinite(y) & np.isfinite(x_error) & np.isfinite(y_error)
    x, y, x_error, y_error = x[usable], y[usable], x_error[usable], y_error[usable]
    if x.size < 2:
        return Band(x, y, x, y, color, group=group)
    reach = max(x.size // 100, 1)
    first = np.maximum(np.arange(x.size) - reach, 0)
    last = np.minimum(np.arange(x.size) + reach, x.size - 1)
    along_x, along_y = x[last] - x[first], y[last] - y[first]
    # The normal to the left of the direction of travel, which is up and to the right: towards higher efficiency.
    normal_x, normal_y = -along_y, along_x
    length = np.hypot(normal_x * x_error, normal_y * y_error)
    safe = np.where(length > 0, length, 1.0)
    shift_x, shift_y = x_error**2 * normal_x / safe, y_error**2 * normal_y / safe
    # A few hundred points are plenty for a band, and keep the files small.
    few = np.unique(np.linspace(0, x.size - 1, min(x.size, 400)).astype(np.intp))
    x, y, shift_x, shift_y = x[few], y[few], shift_x[few], shift_y[few]
    return Band(x - shift_x, y - shift_y, x + shift_x, y + shift_y, color, group=group)


def _limits(values: Sequence[FloatArray]) -> tuple[float, float]:
    """0 … 1, wider where signed weights take an efficiency out of it."""
    finite = np.concatenate([v[np.isfinite(v)] for v in values] + [np.array([0.0, 1.0])])
    low, high = float(np.min(finite)), float(np.max(finite))
    return (low - 0.02 if low < -1e-9 else 0.0, high + 0.02 if high > 1 + 1e-9 else 1.0)


def _caption(text: str, curves: Sequence[RocCurve | PrCurve], classes: Sequence[ClassInfo]) -> str:
    missing = [f"{info.name}: {curve.reason}" for curve, info in zip(curves, classes, strict=True) if curve.reason]
    return text + (f" Undefined: {'; '.join(missing)}." if missing else "")


def _message(curves: Sequence[RocCurve | PrCurve]) -> str | None:
    return "No class has a curve" if all(curve.reason for curve in curves) else None


def _title(text: str, dataset: str) -> str:
    return f"{text} ({dataset})" if dataset else text

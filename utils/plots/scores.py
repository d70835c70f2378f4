"""Score densities: in each predicted category, and of training against held-out events."""

from collections.abc import Sequence

import numpy as np

from utils.metrics import Histogram, KsResult
from utils.metrics.distributions import CategoryScores, FoldComparison
from utils.plots.classes import ClassInfo, unique_names
from utils.plots.description import MANY_ENTRIES, Axis, Figure, Layer, Points, Steps
from utils.plots.numbers import p_value

_REST_COLOR = "#5a5a5a"
_REST_BESIDE_GREY = "#1b3a6b"


def density_figure(scores: CategoryScores, classes: Sequence[ClassInfo], dataset: str = "") -> Figure:
    """Probability of the predicted class in one category, unit area per true class; named `density_{class}`."""
    category = classes[scores.category]
    layers: list[Layer] = []
    unusable = []
    for k, (info, density, share) in enumerate(zip(classes, scores.densities, scores.shares, strict=True)):
        if density is not None:
            label = f"{info.name} ({100 * share:.1f}%)" if np.isfinite(share) else info.name
            fill = info.alpha * 0.6 if k == scores.category else 0.0
            layers.append(Steps(density.edges, density.values, info.color, density.errors, fill, label))
        elif scores.n_events[k]:
            unusable.append(f"{info.name} ({scores.n_events[k]} events, weights sum to zero or less)")
    caption = (
        f"Events predicted as {category.name}: its probability by true class, each of unit area; "
        "in brackets the class's share of the category. Errors: √Σw²."
    )
    if unusable:
        caption += f" Not drawn: {'; '.join(unusable)}."
    drawn = [density for density in scores.densities if density is not None]
    lowest = min((float(density.edges[0]) for density in drawn), default=1.0 / len(classes))
    return Figure(
        name=f"density_{unique_names(classes)[scores.category]}",
        title=f"Score of events predicted as {category.name}" + (f" ({dataset})" if dataset else ""),
        x_axis=Axis(f"Probability of {category.name}", (lowest, 1.0)),
        y_axis=Axis("Probability density", _density_limits(drawn)),
        layers=tuple(layers),
        legend="upper center",
        legend_title=f"Predicted as {category.name}; true class:",
        caption=caption,
        message=None if layers else f"No events were predicted as {category.name}",
        headroom=_headroom(len(layers)),
    )


def overtraining_figure(comparison: FoldComparison, classes: Sequence[ClassInfo], dataset: str = "") -> Figure:
    """Training events (filled) against the fold held out (points); named `overtraining_{class}_fold_{i}`."""
    info = classes[comparison.class_index]
    rest_color = _rest_color(info.color)
    layers: list[Layer] = []
    drawn = []
    parts = (
        (info.name, info.color, comparison.class_train, comparison.class_held_out, comparison.class_ks, "circle"),
        ("others", rest_color, comparison.rest_train, comparison.rest_held_out, comparison.rest_ks, "square"),
    )
    for name, color, train, _, _, _ in reversed(parts):
        if train is not None:
            drawn.append(train)
            layers.append(Steps(train.edges, train.values, color, train.errors, 0.3, f"{name}, training"))
    for name, color, _, held_out, ks, symbol in parts:
        if held_out is not None:
            drawn.append(held_out)
            layers.append(_held_out_points(held_out, color, f"{name}, held out ({_ks_text(ks)})", symbol))
    return Figure(
        name=f"overtraining_{unique_names(classes)[comparison.class_index]}_fold_{comparison.fold}",
        title=f"Training and held-out score of {info.name}, fold {comparison.fold}"
        + (f" ({dataset})" if dataset else ""),
        x_axis=Axis(f"Probability of {info.name}", (0.0, 1.0)),
        y_axis=Axis("Probability density", _density_limits(drawn)),
        layers=tuple(layers),
        legend="upper center",
        legend_title=f"Model {comparison.fold}, fold {comparison.fold} held out",
        caption="Each of unit area. KS: weighted Kolmogorov-Smirnov test of training against held-out events, with "
        "effective numbers of events; training events are expected to fare slightly better.",
        message=None if layers else "No events to compare",
        headroom=_headroom(len(layers)),
    )


def _rest_color(color: str) -> str:
    """Grey for the events of all other classes, dark blue where the class itself is grey."""
    channels = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return _REST_BESIDE_GREY if max(channels) - min(channels) < 40 else _REST_COLOR


def _held_out_points(density: Histogram, color: str, label: str, symbol: str) -> Points:
    centres = (density.edges[1:] + density.edges[:-1]) / 2
    filled = density.errors > 0
    return Points(
        centres[filled],
        density.values[filled],
        color,
        x_errors=(np.diff(density.edges) / 2)[filled],
        y_errors=density.errors[filled],
        label=label,
        symbol="circle" if symbol == "circle" else "square",
    )


def _ks_text(ks: KsResult) -> str:
    return f"KS {p_value(ks.p_value)}"


def _density_limits(densities: Sequence[Histogram]) -> tuple[float, float]:
    """From zero, or from the lowest negative bin, to the highest bin with its error.

    The error counts for no more than the bin's height, so that one bin does not flatten the rest.
    """
    if not densities:
        return (0.0, 1.0)
    high = max(float(np.max(d.values + np.minimum(d.errors, np.abs(d.values)))) for d in densities)
    low = min(float(np.min(d.values)) for d in densities)
    return (1.15 * low if low < 0 else 0.0, 1.05 * high if high > 0 else 1.0)


def _headroom(n_entries: int) -> float:
    """Room for the legend's title and entries; many of them stand beside the axes."""
    if n_entries >= MANY_ENTRIES:
        return 0.05
    part = 0.03 + 0.055 * (n_entries + 1)
    return part / (1 - part)

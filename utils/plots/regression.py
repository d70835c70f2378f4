"""Predicted against true values of a regression's target: residuals, response, and both in a plane."""

import numpy as np

from utils.metrics import Histogram, Plane, Residuals, ResponseProfile
from utils.plots.classes import file_name, palette
from utils.plots.description import Axis, Band, Cells, Figure, Line, Points, Steps
from utils.plots.numbers import plus_minus

_GREY = "#5a5a5a"


def residual_figure(target: str, density: Histogram, found: Residuals, dataset: str = "") -> Figure:
    """Predicted − true, of unit area; named `residual_{target}`."""
    color = palette(1)[0]
    outside = density.underflow + density.overflow
    drawable = bool(np.all(np.isfinite(density.values)))
    bias = plus_minus(found.bias, found.bias_error)
    label = f"bias {bias}, resolution {found.resolution:.3g}"
    return Figure(
        name=f"residual_{file_name(target)}",
        title=_title(f"Residuals of {target}", dataset),
        x_axis=Axis(f"{target}: predicted − true", (float(density.edges[0]), float(density.edges[-1]))),
        y_axis=Axis("Probability density"),
        layers=(Steps(density.edges, density.values, color, density.errors, 0.3, label),) if drawable else (),
        legend="upper left",
        caption="Resolution: half the width of the central 68%. Errors: √Σw²."
        + (f" {100 * outside:.2g}% lie outside." if drawable and outside else ""),
        message=None if drawable else f"No residuals: {found.reason}",
        headroom=0.2,
    )


def response_figure(target: str, profile: ResponseProfile, dataset: str = "") -> Figure:
    """Predicted / true in bins of the true value; named `response_{target}`."""
    color = palette(1)[0]
    known = np.isfinite(profile.median)
    low, high = profile.edges[:-1], profile.edges[1:]
    edges = np.stack([low[known], high[known]], axis=1).reshape(-1)
    ends = np.array([profile.edges[0], profile.edges[-1]])
    layers = (
        Band(edges, np.repeat(profile.low[known], 2), edges, np.repeat(profile.high[known], 2), color, 0.25,
             "central 68%"),
        Line(ends, np.ones(2), _GREY, None, "dot", 0.7),
        Points(((low + high) / 2)[known], profile.median[known], color, x_errors=((high - low) / 2)[known],
               y_errors=profile.error[known], label="median"),
    )  # fmt: skip
    caption = (
        "Bins of equally many events; the band is the central 68%, errors of the median follow from its width and the "
        "effective number of events."
    )
    if profile.n_left_out:
        caption += f" {profile.n_left_out:,} events whose true value is zero are left out."
    return Figure(
        name=f"response_{file_name(target)}",
        title=_title(f"Response of {target}", dataset),
        x_axis=Axis(f"True {target}", (float(ends[0]), float(ends[1]))),
        y_axis=Axis(f"{target}: predicted / true"),
        layers=layers if known.any() else (),
        legend="upper right",
        caption=caption,
        message=None if known.any() else "No events whose weights can be used",
        headroom=0.2,
    )


def plane_figure(target: str, plane: Plane, dataset: str = "") -> Figure:
    """Predicted against true values; named `predicted_{target}`."""
    limits = (float(plane.x_edges[0]), float(plane.x_edges[-1]))
    ends = np.array(limits)
    any_events = bool(np.any(np.isfinite(plane.values)))
    return Figure(
        name=f"predicted_{file_name(target)}",
        title=_title(f"Predicted against true {target}", dataset),
        x_axis=Axis(f"True {target}", limits),
        y_axis=Axis(f"Predicted {target}", limits),
        layers=(
            Cells(plane.x_edges, plane.y_edges, plane.values, "Sum of weights per cell"),
            Line(ends, ends, _GREY, None, "dash", 0.7),
        )
        if any_events
        else (),
        caption="Dashed: predicted = true." + (f" {100 * plane.outside:.2g}% lie outside." if plane.outside else ""),
        message=None if any_events else "No events",
    )


def _title(text: str, dataset: str) -> str:
    return f"{text} ({dataset})" if dataset else text

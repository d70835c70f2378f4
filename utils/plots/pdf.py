"""Figures on paper: PDF through matplotlib in an experiment's style. Needs no browser and no display.

Figures are made without pyplot and inside an rc context, so that a notebook's own figures and settings
stay as they are.
"""

from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontProperties
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from utils.plots.description import (
    MANY_ENTRIES,
    Band,
    Bars,
    Cells,
    Dash,
    Figure,
    Heatmap,
    Layer,
    Line,
    Points,
    Steps,
)
from utils.plots.style import PdfStyle

_DASHES: dict[Dash, Literal["-", "--", ":"]] = {"solid": "-", "dash": "--", "dot": ":"}
_MARKERS = {"circle": "o", "square": "s", "star": "*"}
# The sizes the styles are made for: their fonts are absolute.
_SIZES = {"CMS": (10.0, 10.0), "ATLAS": (8.0, 8.0), "LHCb2": (12.0, 10.0), "plain": (7.0, 6.5)}


def to_pdf(figure: Figure, path: Path, style: PdfStyle | None = None) -> Path:
    """Draw the figure into `path`; fonts are embedded, so that its text can be searched.

    The same figure and style give the same bytes: no date is written.
    """
    chosen = style or PdfStyle()
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_rc(chosen)):
        canvas = _draw(figure, chosen)
        canvas.savefig(
            path,
            format="pdf",
            bbox_inches="tight",
            pad_inches=0.2,
            metadata={"Title": figure.title, "Creator": "Crossfold", "CreationDate": None},
        )
    return path


def _rc(style: PdfStyle) -> Any:
    named = {"CMS": mplhep.style.CMS, "ATLAS": mplhep.style.ATLAS, "LHCb2": mplhep.style.LHCb2}
    plain = {"font.size": 14, "axes.linewidth": 1.2, "legend.frameon": False, "lines.linewidth": 2}
    # From matplotlib's own defaults, so that a user's matplotlibrc or notebook does not show through.
    rc: dict[str, Any] = {
        str(key): value for key, value in mpl.rcParamsDefault.items() if key not in ("backend", "backend_fallback")
    }
    rc.update(named.get(style.style, plain))
    family = "serif" if style.style == "LHCb2" else "sans-serif"
    first = {"serif": "Tex Gyre Termes", "sans-serif": "TeX Gyre Heros"}[family]
    # DejaVu, which comes with matplotlib, has the letters that these fonts lack; fonts that are not there make noise.
    fallback = "DejaVu Serif" if family == "serif" else "DejaVu Sans"
    rc[f"font.{family}"] = [fallback] if style.style == "plain" else [first, fallback]
    rc.update(
        {
            "pdf.fonttype": 3,
            "text.parse_math": True,
            "savefig.bbox": None,
            "figure.dpi": 100,
            "axes.ymargin": 0.05,
            "axes.xmargin": 0.05,
            # With less, the two zeros at the origin run into each other.
            "xtick.major.pad": max(9.0, float(rc["xtick.major.pad"])),
            "ytick.major.pad": max(9.0, float(rc["ytick.major.pad"])),
        }
    )
    return rc


def _draw(figure: Figure, style: PdfStyle) -> Canvas:
    canvas = Canvas(figsize=_size(figure, style))
    FigureCanvasPdf(canvas)
    axes = canvas.add_subplot()
    for layer in figure.layers:
        _draw_layer(axes, layer)
    _draw_axes(axes, figure)
    if figure.message is not None:
        axes.text(0.5, 0.5, _literal(figure.message), transform=axes.transAxes, ha="center", va="center", color="0.4")
    _draw_legend(axes, figure)
    _draw_label(axes, style)
    return canvas


def _size(figure: Figure, style: PdfStyle) -> tuple[float, float]:
    width, height = _SIZES[style.style]
    for layer in figure.layers:
        if isinstance(layer, Bars):
            return width, height * max(0.55, min(len(layer.names) / 16, 2.0) + 0.15)
        if isinstance(layer, Heatmap):
            grow = max(1.0, len(layer.column_names) / 6)
            return width * grow * 1.1, height * grow
    return width, height


def _draw_layer(axes: Axes, layer: Layer) -> None:
    match layer:
        case Line():
            axes.plot(
                layer.x,
                layer.y,
                color=layer.color,
                linestyle=_DASHES[layer.dash],
                linewidth=layer.width * _line_width(),
            )
        case Band():
            x = np.concatenate([layer.x_lower, layer.x_upper[::-1]])
            y = np.concatenate([layer.lower, layer.upper[::-1]])
            axes.fill(x, y, color=layer.color, alpha=layer.alpha, linewidth=0)
        case Steps():
            _draw_steps(axes, layer)
        case Points():
            axes.errorbar(
                layer.x,
                layer.y,
                xerr=layer.x_errors,
                yerr=layer.y_errors,
                color=layer.color,
                fmt=_MARKERS[layer.symbol],
                markersize=layer.size * _text_size() / 3.2,
                markeredgecolor="white" if layer.symbol == "star" else layer.color,
                elinewidth=0.7 * _line_width(),
                capsize=0,
                zorder=5,
            )
        case Bars():
            _draw_bars(axes, layer)
        case Heatmap():
            _draw_heatmap(axes, layer)
        case Cells():
            values = np.ma.masked_invalid(layer.values)
            mesh = axes.pcolormesh(layer.x_edges, layer.y_edges, values, cmap="Blues", rasterized=True)
            axes.figure.colorbar(mesh, ax=axes, fraction=0.046, pad=0.03).set_label(_literal(layer.value_label))


def _text_size() -> float:
    """Points of the axis labels: what the styles agree on as their size, unlike `font.size`."""
    return float(FontProperties(size=mpl.rcParams["axes.labelsize"]).get_size_in_points())


def _line_width() -> float:
    return min(float(mpl.rcParams["lines.linewidth"]) * 1.25, 2.5)


def _draw_steps(axes: Axes, layer: Steps) -> None:
    if layer.fill > 0:
        axes.stairs(layer.values, layer.edges, fill=True, color=layer.color, alpha=layer.fill, linewidth=0)
    axes.stairs(layer.values, layer.edges, color=layer.color, linewidth=_line_width())
    if layer.errors is not None and layer.fill == 0:
        centres, seen = (layer.edges[1:] + layer.edges[:-1]) / 2, layer.errors > 0
        axes.errorbar(
            centres[seen],
            layer.values[seen],
            yerr=layer.errors[seen],
            fmt="none",
            ecolor=layer.color,
            elinewidth=0.6 * _line_width(),
        )
    elif layer.errors is not None:
        lower, upper = layer.values - layer.errors, layer.values + layer.errors
        axes.stairs(upper, layer.edges, baseline=lower, fill=True, color=layer.color, alpha=0.35, linewidth=0)


def _draw_bars(axes: Axes, layer: Bars) -> None:
    positions = np.arange(len(layer.names))
    axes.barh(
        positions,
        layer.values,
        color=layer.color,
        height=0.7,
        xerr=layer.errors,
        error_kw={"elinewidth": 0.8 * _line_width(), "ecolor": "#303030", "capsize": 0},
    )
    axes.set_yticks(positions, [_literal(name) for name in layer.names])
    axes.set_ylim(len(layer.names) - 0.4, -0.6)
    axes.tick_params(axis="y", which="both", left=False, right=False)
    for text in axes.get_yticklabels():
        text.set_fontsize(_text_size() * min(1.0, 18 / max(len(layer.names), 1) + 0.25) * 0.8)


def _draw_heatmap(axes: Axes, layer: Heatmap) -> None:
    n_rows, n_columns = layer.values.shape
    colors = mpl.colormaps["Blues"].with_extremes(bad="#e6e6e6")
    image = axes.imshow(layer.values, cmap=colors, vmin=layer.limits[0], vmax=layer.limits[1], aspect="equal")
    size = _text_size()
    cell_size = size * (0.9 if n_columns <= 3 else 0.75 if n_columns <= 4 else 0.65)
    with_errors = layer.errors is not None and n_columns <= 6
    for row in range(n_rows):
        for column in range(n_columns):
            value = layer.values[row, column]
            if not np.isfinite(value):
                continue
            text = f"{value:.2f}"
            if with_errors and layer.errors is not None:
                text = f"{value:.{layer.decimals}f}\n±{layer.errors[row, column]:.{layer.decimals}f}"
            dark = value > layer.limits[0] + 0.6 * (layer.limits[1] - layer.limits[0])
            axes.text(
                column, row, text, ha="center", va="center", fontsize=cell_size, color="white" if dark else "black"
            )
    longest = max(len(name) for name in layer.column_names)
    turned = longest * n_columns > 30
    axes.set_xticks(
        range(n_columns),
        [_literal(name) for name in layer.column_names],
        rotation=40 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )
    axes.set_yticks(range(n_rows), [_literal(name) for name in layer.row_names])
    axes.tick_params(which="both", length=0, pad=8)
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(_literal(layer.value_label))


def _draw_axes(axes: Axes, figure: Figure) -> None:
    axes.set_xlabel(_literal(figure.x_axis.label))
    axes.set_ylabel(_literal(figure.y_axis.label))
    if any(isinstance(layer, Heatmap) for layer in figure.layers):
        return
    has_bars = any(isinstance(layer, Bars) for layer in figure.layers)
    if figure.x_axis.log:
        axes.set_xscale("log")
    if figure.y_axis.log:
        axes.set_yscale("log")
    if figure.x_axis.limits is not None:
        axes.set_xlim(*figure.x_axis.limits)
    elif has_bars:
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    if not has_bars:
        low, high = figure.y_axis.limits if figure.y_axis.limits is not None else axes.get_ylim()
        axes.set_ylim(low, high + figure.headroom * (high - low))
    for axis, spec in ((axes.xaxis, figure.x_axis), (axes.yaxis, figure.y_axis)):
        if not spec.log and not (has_bars and axis is axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))


def _draw_legend(axes: Axes, figure: Figure) -> None:
    handles: list[Any] = []
    labels: list[str] = []
    for layer in figure.layers:
        if not isinstance(layer, Heatmap | Cells) and layer.label is not None:
            handles.append(_handle(layer))
            labels.append(_literal(layer.label))
    if not handles:
        return
    title = None if figure.legend_title is None else _literal(figure.legend_title)
    size = 0.78 * _text_size()
    outside = figure.legend == "outside" or len(labels) >= MANY_ENTRIES
    place: dict[str, Any] = {"loc": figure.legend}
    if outside:
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    legend = axes.legend(
        handles,
        labels,
        title=title,
        fontsize=size,
        title_fontsize=size,
        frameon=False,
        handler_map={tuple: HandlerTuple(ndivide=1)},
        **place,
    )
    legend.set_alignment("left")


def _handle(layer: Layer) -> Any:
    match layer:
        case Line():
            return Line2D([], [], color=layer.color, linestyle=_DASHES[layer.dash], linewidth=_line_width())
        case Steps():
            face = mpl.colors.to_rgba(layer.color, layer.fill)
            return Patch(facecolor=face, edgecolor=layer.color, linewidth=_line_width())
        case Points():
            return Line2D([], [], color=layer.color, marker=_MARKERS[layer.symbol], linestyle="", markersize=9)
        case Band():
            return Patch(facecolor=mpl.colors.to_rgba(layer.color, layer.alpha))
        case Bars() | Heatmap() | Cells():
            return Patch(facecolor=getattr(layer, "color", "none"))


def _draw_label(axes: Axes, style: PdfStyle) -> None:
    size = 0.9 * _text_size() if style.style == "LHCb2" else _text_size()
    italic = "normal" if style.style == "LHCb2" else "italic"
    exp_style = "italic" if style.style == "ATLAS" else "normal"
    mplhep.label.exp_label(
        exp=style.experiment,
        text=_literal(style.label),
        data=True,
        rlabel=_lumi_text(style),
        loc=0,
        fontsize=(size * 1.3, size, size / 1.1, size / 1.3),
        fontstyle=(exp_style, italic, "normal", "normal"),
        # Its adjustment for an axis offset asks pyplot for the current axes, and so leaves an empty figure behind.
        scilocator_adjust=False,
        ax=axes,
    )


def _lumi_text(style: PdfStyle) -> str:
    """`59.8 fb⁻¹ (13 TeV)`, and in ATLAS' order `√s = 13 TeV, 59.8 fb⁻¹`."""
    lumi = "" if style.lumi is None else f"{style.lumi} fb$^{{-1}}$"
    energy = "" if style.com is None else str(style.com)
    if energy and not energy.rstrip().endswith("eV"):
        energy += " TeV"
    if style.style == "ATLAS":
        return ", ".join(part for part in (f"√s = {energy}" if energy else "", lumi) if part)
    return " ".join(part for part in (lumi, f"({energy})" if energy else "") if part)


def _literal(text: str) -> str:
    """Text that mathtext leaves alone."""
    return text.replace("$", r"\$")

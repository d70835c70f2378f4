"""Figures on a screen: interactive HTML through plotly, each file complete in itself.

A viewer that shows one file at a time, such as MLflow's, finds plotly.js inside it, and nothing is ever loaded from the
network. The script is embedded compressed (1.9 MB instead of 4.8) and unpacked by the browser.
"""

import base64
import functools
import gzip
import html
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from utils.plots.description import (
    MANY_ENTRIES,
    Axis,
    Band,
    Bars,
    Cells,
    Figure,
    FloatArray,
    Heatmap,
    Layer,
    Line,
    Points,
    Steps,
)
from utils.plots.stylesheet import BASE_STYLE

_DASHES = {"solid": "solid", "dash": "dash", "dot": "dot"}
_SYMBOLS = {"circle": "circle", "square": "square", "star": "star"}
_FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"


def to_plotly(figure: Figure) -> go.Figure:
    """The figure as plotly shows it, in a notebook for instance."""
    drawn = go.Figure()
    for index, layer in enumerate(figure.layers):
        for trace in _traces(layer, f"layer{index}"):
            drawn.add_trace(trace)
    is_matrix = any(isinstance(layer, Heatmap) for layer in figure.layers)
    bars = [layer for layer in figure.layers if isinstance(layer, Bars)]
    drawn.update_layout(
        template="simple_white",
        font={"family": _FONT, "size": 14, "color": "#1a1a1a"},
        title={"text": html.escape(figure.title), "x": 0.02, "xanchor": "left", "font": {"size": 17}},
        legend=_legend(figure),
        margin={"l": 70, "r": 25, "t": 60, "b": 60},
        hovermode="closest",
        # Plotly's own server is offered a figure at one click otherwise: an analysis' scores are nobody's business.
        modebar={"remove": ["sendChartToCloud", "lasso2d", "select2d"]},
        bargap=0.3,
        paper_bgcolor="white",
        plot_bgcolor="white",
        xaxis=_axis(figure.x_axis),
        yaxis=_axis(figure.y_axis),
        autosize=True,
    )
    if is_matrix:
        # The background shows through cells without a value.
        drawn.update_layout(plot_bgcolor="#e6e6e6")
        drawn.update_xaxes(ticks="", mirror=True, constrain="domain", type="category")
        drawn.update_yaxes(
            ticks="", mirror=True, autorange="reversed", scaleanchor="x", constrain="domain", type="category"
        )
    if bars:
        drawn.update_yaxes(ticks="", type="category", autorange="reversed", automargin=True, title=None, dtick=1)
        drawn.update_xaxes(rangemode="tozero")
        drawn.update_layout(height=max(420, 24 * max(len(layer.names) for layer in bars) + 150))
    if figure.message is not None:
        drawn.add_annotation(
            text=html.escape(figure.message), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False,
            font={"size": 17, "color": "#707070"},
        )  # fmt: skip
    return drawn


def to_html(figure: Figure) -> str:
    """A whole HTML page with the figure and its caption, that opens anywhere without a network."""
    head = f"<title>{html.escape(figure.title)}</title>"
    body = f'<main class="single">{figure_block(figure, heading=False)}</main>'
    return page(head, body)


def write_html(figure: Figure, path: Path) -> Path:
    """Write `to_html` to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_html(figure), encoding="utf-8")
    return path


def figure_block(figure: Figure, heading: bool = True) -> str:
    """The part of a page that shows one figure; `page` brings what draws it."""
    drawn = to_plotly(figure)
    if heading:
        drawn.update_layout(title=None, margin={"t": 34})
    # Plotly writes `<` as an escape, so that no text in a figure can close the script element.
    described = str(drawn.to_json())
    name = html.escape(figure.name)
    many = max([len(figure.labels), *(_columns(layer) for layer in figure.layers)]) >= MANY_ENTRIES
    kind = ' class="wide"' if many else ""
    title = f"<h3>{html.escape(figure.title)}</h3>" if heading else ""
    return (
        f'<figure id="{name}"{kind}>{title}<div class="plot" data-name="{name}"></div>'
        f'<script type="application/json">{described}</script>'
        f"<figcaption>{html.escape(figure.caption)}</figcaption></figure>"
    )


def page(head: str, body: str) -> str:
    """A page that contains plotly.js once and draws every figure block in it."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{head}\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="text/plain" id="plotly">{_compressed_plotly()}</script>\n'
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


@functools.cache
def _compressed_plotly() -> str:
    # mtime 0: the same figure gives the same bytes.
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _columns(layer: Layer) -> int:
    return len(layer.column_names) if isinstance(layer, Heatmap) else 0


def _legend(figure: Figure) -> dict[str, Any]:
    title = {"text": html.escape(figure.legend_title or ""), "side": "top", "font": {"size": 13}}
    if len(figure.labels) >= MANY_ENTRIES:
        return {"title": title, "x": 1.02, "xanchor": "left", "y": 1, "yanchor": "top"}
    return {"title": title, "orientation": "h", "x": 0, "xanchor": "left", "y": -0.2, "yanchor": "top"}


def _axis(axis: Axis) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "title": {"text": html.escape(axis.label), "standoff": 12},
        "mirror": "ticks",
        "ticks": "inside",
        "showline": True,
        "linewidth": 1.2,
        "zeroline": False,
        "showgrid": False,
        "automargin": True,
    }
    if axis.log:
        shown.update({"type": "log", "exponentformat": "power", "dtick": 1, "minor": {"ticks": "inside"}})
    if axis.limits is not None:
        shown["range"] = [float(np.log10(limit)) for limit in axis.limits] if axis.log else list(axis.limits)
    return shown


def _traces(layer: Layer, group: str) -> list[Any]:
    match layer:
        case Line():
            return [_line(layer)]
        case Band():
            return [
                _polygon(layer.x_lower, layer.lower, layer.x_upper, layer.upper, layer.color, layer.alpha, layer.group)
            ]
        case Steps():
            return _steps(layer, group)
        case Points():
            return [_points(layer)]
        case Bars():
            return [_bars(layer)]
        case Heatmap():
            return [_heatmap(layer)]
        case Cells():
            return [_cells(layer)]


def _name(label: str | None, group: str | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"showlegend": label is not None}
    if label is not None:
        shown["name"] = html.escape(label)
    if group is not None:
        shown["legendgroup"] = group
    return shown


def _line(layer: Line) -> Any:
    hover = "%{x:.4g}, %{y:.4g}"
    trace = go.Scatter(
        x=layer.x,
        y=layer.y,
        mode="lines",
        line={"color": layer.color, "width": 2.2 * layer.width, "dash": _DASHES[layer.dash]},
        **_name(layer.label, layer.group),
    )
    if layer.extra is not None:
        name, values = layer.extra
        trace.customdata = np.where(np.isfinite(values), values, np.nan)
        hover += f"<br>{html.escape(name)} %{{customdata:.4g}}"
    trace.hovertemplate = hover
    if layer.label is None:
        trace.hoverinfo, trace.hovertemplate = "skip", None
    return trace


def _polygon(
    x_lower: FloatArray,
    lower: FloatArray,
    x_upper: FloatArray,
    upper: FloatArray,
    color: str,
    alpha: float,
    group: str | None,
) -> Any:
    return go.Scatter(
        x=np.concatenate([x_lower, x_upper[::-1]]),
        y=np.concatenate([lower, upper[::-1]]),
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=_rgba(color, alpha),
        hoverinfo="skip",
        **_name(None, group),
    )


def _steps(layer: Steps, group: str) -> list[Any]:
    edges = np.repeat(layer.edges, 2)[1:-1]
    values = np.repeat(layer.values, 2)
    errors = layer.errors if layer.errors is not None else np.zeros_like(layer.values)
    closed_edges = np.concatenate([edges[:1], edges, edges[-1:]])
    closed_values = np.concatenate([[0.0], values, [0.0]])
    traces = [
        go.Scatter(
            x=closed_edges,
            y=closed_values,
            mode="lines",
            line={"color": layer.color, "width": 1.8},
            fill="tozeroy" if layer.fill > 0 else None,
            fillcolor=_rgba(layer.color, layer.fill),
            hovertemplate="%{x:.4g}: %{y:.4g} ± %{customdata:.2g}",
            customdata=np.concatenate([[0.0], np.repeat(errors, 2), [0.0]]),
            **_name(layer.label, group),
        )
    ]
    if layer.errors is not None and layer.fill == 0:
        centres, seen = (layer.edges[1:] + layer.edges[:-1]) / 2, errors > 0
        bars = {"type": "data", "array": errors[seen], "color": layer.color, "thickness": 1.2, "width": 0}
        traces.append(
            go.Scatter(
                x=centres[seen],
                y=layer.values[seen],
                mode="markers",
                marker={"size": 0.1, "color": layer.color},
                error_y=bars,
                hoverinfo="skip",
                **_name(None, group),
            )
        )
    elif layer.errors is not None:
        wide = np.repeat(errors, 2)
        traces.insert(0, _polygon(edges, values - wide, edges, values + wide, layer.color, 0.3, group))
    return traces


def _points(layer: Points) -> Any:
    bar = {"type": "data", "color": layer.color, "thickness": 1.4, "width": 0}
    return go.Scatter(
        x=layer.x,
        y=layer.y,
        mode="markers",
        marker={"color": layer.color, "size": 7 * layer.size, "symbol": _SYMBOLS[layer.symbol]},
        error_x=None if layer.x_errors is None else {**bar, "array": layer.x_errors},
        error_y=None if layer.y_errors is None else {**bar, "array": layer.y_errors},
        hovertemplate="%{x:.4g}, %{y:.4g}",
        **_name(layer.label, layer.group),
    )


def _bars(layer: Bars) -> Any:
    return go.Bar(
        x=layer.values,
        y=[html.escape(name) for name in layer.names],
        orientation="h",
        marker={"color": layer.color},
        error_x=None if layer.errors is None else {"type": "data", "array": layer.errors, "thickness": 1.3, "width": 0},
        hovertemplate="%{y}: %{x:.4g}",
        **_name(layer.label, None),
    )


def _heatmap(layer: Heatmap) -> Any:
    errors = layer.errors if layer.errors is not None else np.full_like(layer.values, np.nan)
    many = layer.values.shape[1] > 6
    text = [
        [
            "" if not np.isfinite(v) else f"{v:.2f}" if many else f"{v:.{layer.decimals}f}<br>±{e:.{layer.decimals}f}"
            for v, e in zip(row, row_e, strict=True)
        ]
        for row, row_e in zip(layer.values, errors, strict=True)
    ]
    return go.Heatmap(
        x=[html.escape(name) for name in layer.column_names],
        y=[html.escape(name) for name in layer.row_names],
        z=layer.values,
        customdata=errors,
        text=text,
        texttemplate="%{text}",
        textfont={"size": 11 if many else 13},
        colorscale="Blues",
        zmin=layer.limits[0],
        zmax=layer.limits[1],
        colorbar={"thickness": 14},
        hovertemplate="true %{y}, predicted %{x}: %{z:.4f} ± %{customdata:.4f}<extra></extra>",
        hoverongaps=False,
    )


def _cells(layer: Cells) -> Any:
    return go.Heatmap(
        x=layer.x_edges,
        y=layer.y_edges,
        z=layer.values,
        colorscale="Blues",
        colorbar={"thickness": 14, "title": {"text": html.escape(layer.value_label), "side": "right"}},
        hovertemplate="%{x:.4g}, %{y:.4g}: %{z:.4g}<extra></extra>",
        hoverongaps=False,
    )


def _rgba(color: str, alpha: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:.3g})"


_STYLE = (
    BASE_STYLE
    + """
main.single { max-width: 1000px; padding-top: 12px; }
nav { position: sticky; top: 0; z-index: 2; background: #fff; border-bottom: 1px solid #d8d8d8; padding: 8px 24px; }
nav a { margin-right: 18px; color: #1f5fa8; text-decoration: none; white-space: nowrap; }
nav a:hover { text-decoration: underline; }
section { scroll-margin-top: 44px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); gap: 20px; }
.grid:has(.wide) { grid-template-columns: repeat(auto-fill, minmax(min(100%, 640px), 1fr)); }
figure { margin: 0; padding: 14px; border: 1px solid #e2e2e2; border-radius: 6px; min-width: 0; }
main.single figure { border: 0; padding: 0; }
.plot { min-height: 520px; width: 100%; } main.single .plot { min-height: 640px; }
figcaption { font-size: 13px; color: #555; margin-top: 6px; }
@media print {
  nav { display: none; } header, main { max-width: none; padding: 0; }
  .grid { display: flex; flex-wrap: wrap; gap: 8px; } h2 { break-after: avoid; } .modebar-container { display: none; }
  figure { break-inside: avoid; padding: 6px; width: calc(0.64 * var(--drawn) + 14px); }
  .plot { zoom: 0.64; width: var(--drawn); } .scroll { overflow: visible; }
}
"""
)

# Figures are drawn one by one as soon as plotly is unpacked, also those out of sight, so that a print shows them all.
_SCRIPT = """
(async () => {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.appendChild(script);
  const config = { responsive: true, displaylogo: false, plotlyServerURL: "" };
  for (const figure of document.querySelectorAll("figure")) {
    const shown = JSON.parse(figure.querySelector("script").textContent);
    const plot = figure.querySelector(".plot");
    const name = plot.dataset.name;
    config.toImageButtonOptions = { format: "svg", filename: name };
    await Plotly.newPlot(plot, shown.data, shown.layout, { ...config });
  }
  // A print is laid out anew, but its figures are those of the screen: it scales them by their width there.
  const remember = () => document.querySelectorAll("figure").forEach(figure =>
    figure.style.setProperty("--drawn", figure.querySelector(".plot").offsetWidth + "px"));
  remember();
  addEventListener("resize", remember);
  document.documentElement.dataset.drawn = "yes";
})().catch(error => {
  const message = document.createElement("p");
  message.textContent = "The figures need a browser from 2023 or later (" + error + "); the PDFs show the same.";
  document.body.prepend(message);
});
"""

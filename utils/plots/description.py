"""What a figure shows, without saying how it is drawn.

Both backends draw every layer, in order, the first at the bottom. Text is literal: `<`, `&`, `$` and `_` mean
themselves.
Colours are `#rrggbb`; opacities are separate, as the backends disagree on everything else.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Dash = Literal["solid", "dash", "dot"]
Symbol = Literal["circle", "square", "star"]


@dataclass(frozen=True)
class Axis:
    """One axis: `limits` None follows the data; `log` needs positive limits; `label` carries the unit in brackets."""

    label: str
    limits: tuple[float, float] | None = None
    log: bool = False


@dataclass(frozen=True, eq=False)
class Line:
    """A curve through (x, y); NaN interrupts it. `label` None keeps it out of the legend.

    Layers of one `group` are shown and hidden together on a screen; `extra` is one more number that a reader sees when
    pointing at the curve, such as the threshold.
    """

    x: FloatArray
    y: FloatArray
    color: str
    label: str | None = None
    dash: Dash = "solid"
    width: float = 1.0
    group: str | None = None
    extra: tuple[str, FloatArray] | None = None


@dataclass(frozen=True, eq=False)
class Band:
    """The area between two outlines, which need not share their x."""

    x_lower: FloatArray
    lower: FloatArray
    x_upper: FloatArray
    upper: FloatArray
    color: str
    alpha: float = 0.25
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True, eq=False)
class Steps:
    """A binned distribution: B values over B+1 edges, filled to zero with opacity `fill`.

    Errors are a band where it is filled, bars where it is not, so that several can lie over each other.
    """

    edges: FloatArray
    values: FloatArray
    color: str
    errors: FloatArray | None = None
    fill: float = 0.0
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Points:
    """Markers with error bars."""

    x: FloatArray
    y: FloatArray
    color: str
    x_errors: FloatArray | None = None
    y_errors: FloatArray | None = None
    label: str | None = None
    symbol: Symbol = "circle"
    size: float = 1.0
    group: str | None = None


@dataclass(frozen=True, eq=False)
class Bars:
    """One horizontal bar for each name, the first at the top."""

    names: tuple[str, ...]
    values: FloatArray
    color: str
    errors: FloatArray | None = None
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Heatmap:
    """A matrix of cells with their values written in: rows from the top, NaN cells empty and grey."""

    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    values: FloatArray
    errors: FloatArray | None
    value_label: str
    limits: tuple[float, float] = (0.0, 1.0)

    @property
    def decimals(self) -> int:
        """The same in every cell, and so many that no error is written as zero where three show it."""
        known = np.zeros(0) if self.errors is None else self.errors[self.errors > 0]
        return 3 if known.size and float(np.min(known)) < 0.005 else 2


@dataclass(frozen=True, eq=False)
class Cells:
    """A two-dimensional distribution: (Y, X) values over X+1 and Y+1 edges, NaN cells empty."""

    x_edges: FloatArray
    y_edges: FloatArray
    values: FloatArray
    value_label: str


# With so many entries or more, a printed legend stands beside the axes.
MANY_ENTRIES = 7

Layer = Line | Band | Steps | Points | Bars | Heatmap | Cells
Corner = Literal["upper right", "upper left", "lower right", "lower left", "lower center", "upper center", "outside"]


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure with one pair of axes.

    Attributes
    ----------
    name : file name without ending.
    title : one line for a reader who sees the figure alone.
    layers : drawn in order.
    legend : where a printed figure has room for it; on a screen it stands beside the axes. `MANY_ENTRIES` or
        more, and `outside`, go beside the axes on paper as well.
    legend_title : what the printed figure says instead of a title.
    caption : how to read it, one or two sentences.
    message : what to write into empty axes.
    headroom : share of the printed height added above the data, for a legend inside the axes.
    """

    name: str
    title: str
    x_axis: Axis
    y_axis: Axis
    layers: tuple[Layer, ...]
    legend: Corner = "upper right"
    legend_title: str | None = None
    caption: str = ""
    message: str | None = None
    headroom: float = 0.0

    @property
    def labels(self) -> tuple[str, ...]:
        """The entries of the legend, in order."""
        named = (layer.label for layer in self.layers if not isinstance(layer, Heatmap | Cells))
        return tuple(label for label in named if label is not None)

"""A page with every branch of a data set: to search, sort and filter, offline, with a small histogram each.

The histograms are drawn by the page itself, from counts: 1,500 of them take less room than one plotly.js.
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utils.plots.branch_script import SCRIPT, STYLE
from utils.plots.dashboard import Table, table_html
from utils.plots.stylesheet import BASE_STYLE


@dataclass(frozen=True)
class Histogram:
    """Counts of bins of one width, or of one factor.

    Parameters
    ----------
    scale : `linear`, `log` (edges are 2^(first + i·step)) or `value` (one bin per integer).
    first, step : lower edge of the first bin, and width.
    counts : of every bin.
    below, above : values outside.
    """

    scale: str
    first: float
    step: float
    counts: Sequence[int]
    below: int = 0
    above: int = 0


@dataclass(frozen=True)
class BranchRow:
    """One line of the table.

    Parameters
    ----------
    group : collection that it belongs to, for the list of collections.
    kind : `flat`, `jagged`, `fixed`, `text` or `unreadable`.
    minimum, maximum : as text, because JSON knows no 64-bit integers; sorted as numbers.
    length : most values in one event; None for a flat branch.
    marks : words to filter by: `nan`, `inf`, `constant`, `differs`.
    facts : further pairs of name and text, shown beside the histogram.
    texts : the most frequent texts and how often they occur.
    """

    name: str
    group: str
    kind: str
    type: str
    shape: str
    minimum: str = ""
    maximum: str = ""
    length: int | None = None
    n_values: int = 0
    n_nan: int = 0
    n_infinite: int = 0
    n_zero: int = 0
    n_stored: int | None = None
    ratio: float | None = None
    marks: tuple[str, ...] = ()
    reason: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    histogram: Histogram | None = None
    texts: tuple[tuple[str, int], ...] = ()


def branch_page(
    title: str,
    rows: Sequence[BranchRow],
    meta: Mapping[str, str],
    notes: Sequence[str] = (),
    tables: Mapping[str, Table] | None = None,
    noun: str = "branch",
) -> str:
    """The page as text.

    Parameters
    ----------
    title : heading of the page.
    rows : in the order of the file.
    meta : what the page is about, as pairs of name and value.
    notes : what a reader must know before using the data.
    tables : further tables by their headings, below that of the branches, folded.
    noun : what the format's users call a column.
    """
    pairs = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in meta.items())
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    below = "".join(
        f"<details><summary>{html.escape(heading)}</summary>{table_html(table)}</details>"
        for heading, table in (tables or {}).items()
    )
    embedded = _embedded({"noun": noun, "rows": [_lean(row) for row in rows]})
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{BASE_STYLE}{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{html.escape(title)}</h1><dl>{pairs}</dl>"
        + (f'<ul class="notes">{listed}</ul>' if listed else "")
        + f'{below}</header>\n<main>\n<div id="tools"></div>\n'
        '<table id="branches"><thead></thead><tbody></tbody></table>\n'
        '<p id="none" hidden>Nothing matches.</p>\n</main>\n'
        f'<script type="application/json" id="data">{embedded}</script>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _lean(row: BranchRow) -> dict[str, Any]:
    """What differs from the defaults: most branches have no NaN."""
    content = {name: value for name, value in vars(row).items() if value != _BLANK[name] or name == "name"}
    if row.histogram is not None:
        content["histogram"] = vars(row.histogram)
    return content


_BLANK = vars(BranchRow("", "", "", "", ""))


def _embedded(content: Any) -> str:
    """JSON that no text in it can end the script element of."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")

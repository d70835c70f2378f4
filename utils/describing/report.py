"""A description as tables for the terminal, a page, and files for machines."""

import json
from math import log2
from pathlib import Path
from typing import Any

import numpy as np

from utils.describing.binning import Binned, binned
from utils.describing.description import Branch, Description, counted
from utils.describing.global_specs import FILE_NAME, GlobalSpecs
from utils.describing.statistics import MAX_TEXTS
from utils.describing.tables import (
    COLLECTION_HEADER,
    DIFFERENCE_HEADER,
    FILE_HEADER,
    collection_lines,
    difference_lines,
    file_lines,
    number,
    overview,
    ratio,
    shortened,
)
from utils.logs import size
from utils.plots.branch_page import BranchRow, Histogram, branch_page
from utils.plots.dashboard import Table
from utils.writers.atomic import atomic_output

PAGE, STATISTICS = "index.html", "description.json"
_TEXTS_SHOWN = 12
_QUANTILES = {"16%": 0.1587, "median": 0.5, "84%": 0.8413}


def write_description(description: Description, folder: Path, title: str, peak_bytes: int) -> dict[str, Path]:
    """Write the page, the statistics and MLaaS4HEP's specs, whatever was there before.

    Returns
    -------
    What each file is → its path.
    """
    contents = {
        PAGE: page(description, title, peak_bytes),
        STATISTICS: json.dumps(to_dict(description), allow_nan=False) + "\n",
        FILE_NAME: json.dumps(GlobalSpecs.of(description).to_dict(), indent=1, allow_nan=False) + "\n",
    }
    for name, text in contents.items():
        with atomic_output(folder / name, overwrite=True) as part:
            part.write_text(text, encoding="utf-8")
    return {"page": folder / PAGE, "statistics": folder / STATISTICS, "specs": folder / FILE_NAME}


def page(description: Description, title: str, peak_bytes: int) -> str:
    """The HTML page."""
    differing = {difference.name for difference in description.differences()}
    groups = {name: prefix for prefix, names in description.collections().items() for name in names}
    rows = [_row(name, branch, groups[name], name in differing) for name, branch in description.branches.items()]
    tables = {}
    if differing:
        heading = f"Where the files differ: {counted(len(differing), description.noun)}"
        tables[heading] = _table(DIFFERENCE_HEADER, difference_lines(description))
    if len(description.files) > 1:
        tables[f"{len(description.files):,} files"] = _table(FILE_HEADER, file_lines(description))
    if len(groups) > 1:
        tables["Collections"] = _table(COLLECTION_HEADER, collection_lines(description))
    about = {"files": ""} | overview(description, peak_bytes)
    if len(description.files) == 1:
        about["files"] = f"{description.files[0].where} ({size(description.n_stored)})"
    return branch_page(title, rows, about, description.notes(), tables, description.noun)


def _table(header: tuple[str, ...], lines: list[list[str]]) -> Table:
    return Table(header, tuple(tuple(line) for line in lines))


def _row(name: str, branch: Branch, group: str, differs: bool) -> BranchRow:
    s = branch.statistics
    marks = [word for word, holds in (("constant", branch.is_constant), ("differs", differs)) if holds]
    common: dict[str, Any] = {
        "name": name, "group": group, "kind": branch.kind, "type": shortened(branch.item_type, 120),
        "shape": branch.shape, "n_stored": branch.n_stored or None, "ratio": ratio(branch), "marks": tuple(marks),
        "reason": branch.unreadable or "",
    }  # fmt: skip
    if s is None:
        return BranchRow(**common, facts=_facts(branch))
    return BranchRow(
        **common,
        minimum=number(s.minimum),
        maximum=number(s.maximum),
        length=s.max_values if s.lengths else None,
        n_values=s.n_values,
        n_nan=s.n_nan,
        n_infinite=s.n_infinite,
        n_zero=s.n_zero,
        facts=_facts(branch),
        histogram=_histogram(branch),
        texts=tuple(s.texts.most_common(_TEXTS_SHOWN)) if s.texts else (),
    )


def _histogram(branch: Branch) -> Histogram | None:
    shown = shown_histogram(branch)
    if shown is None:
        return None
    edges = [float(edge) for edge in shown.edges[:2]]
    if shown.scale == "log":
        edges = [log2(edge) for edge in edges]
    counts = [int(n) for n in shown.counts]
    return Histogram(shown.scale, edges[0], edges[1] - edges[0], counts, shown.below, shown.above)


def shown_histogram(branch: Branch) -> Binned | None:
    """The histogram that is drawn of a branch; None where it has no numbers, or none was asked for."""
    s = branch.statistics
    if s is None or s.minimum is None or s.maximum is None or not s.with_histogram:
        return None
    if branch.item_type == "bool":
        return Binned(np.array([0.0, 1.0, 2.0]), np.array([s.n_zero, s.n_values - s.n_zero]), 0, 0, "value")
    is_integer = isinstance(s.minimum, int) and isinstance(s.maximum, int)
    return binned(s.histogram, s.minimum, s.maximum, is_integer)


def _facts(branch: Branch) -> tuple[tuple[str, str], ...]:
    """What stands beside the histogram."""
    s = branch.statistics
    facts = {"Type": branch.info.type, "Cannot be read": branch.unreadable or ""}
    if s is not None:
        facts |= {"Events": f"{s.n_events:,}"}
        if s.lengths:
            facts["Values"] = f"{s.n_values:,}"
            facts["Max length"] = " × ".join(f"{n:,}" for n in s.lengths)
            facts["Mean length"] = f"{s.n_values / s.n_events:.3g}" if s.n_events else ""
        if branch.kind == "text":
            facts["Different texts"] = f"{len(s.texts):,}" if s.texts is not None else f"more than {MAX_TEXTS:,}"
            facts["Longest"] = f"{s.longest:,} characters"
        else:
            facts["Range"] = "no finite value" if s.minimum is None else f"{number(s.minimum)} … {number(s.maximum)}"
            if s.with_histogram and len(s.histogram.bins):
                values = s.histogram.quantiles(tuple(_QUANTILES.values()))
                shown = (f"{name} {number(value)}" for name, value in zip(_QUANTILES, values, strict=True))
                facts["Quantiles (≈)"] = ", ".join(shown)
            facts["Zeros"] = f"{s.n_zero:,}" if s.n_zero else ""
            facts["NaN"] = f"{s.n_nan:,}" if s.n_nan else ""
            facts["Infinities"] = f"{s.n_infinite:,}" if s.n_infinite else ""
    if branch.n_stored:
        how = f" ({branch.info.compression})" if branch.info.compression else ""
        memory = f", {size(branch.n_bytes)} uncompressed" if branch.n_bytes is not None else ""
        facts["On disk"] = f"{size(branch.n_stored)}{how}{memory}"
    return tuple((name, text) for name, text in facts.items() if text)


def to_dict(description: Description) -> dict[str, Any]:
    """Everything that was found, for machines."""
    return {
        "format": "crossfold description 1",
        "n_events": description.n_events,
        "n_read": description.n_read,
        "files": [
            {
                "path": file.path,
                "where": file.where,
                "size": file.fingerprint.size,
                "n_entries": file.n_entries,
                "n_read": file.n_read,
                "uuid": file.fingerprint.uuid,
            }
            for file in description.files
        ],
        "branches": {name: _as_dict(branch) for name, branch in description.branches.items()},
        "differences": {
            d.name: {what: list(paths) for what, paths in d.found.items()} for d in description.differences()
        },
        "notes": description.notes(),
    }


def _as_dict(branch: Branch) -> dict[str, Any]:
    s = branch.statistics
    content: dict[str, Any] = {
        "type": branch.info.type,
        "kind": branch.kind,
        "n_files": branch.n_files,
        "n_bytes": branch.n_bytes,
        "n_stored": branch.n_stored,
        "compression": branch.info.compression,
        "unreadable": branch.unreadable,
    }
    if s is None:
        return content
    content |= {
        "n_events": s.n_events, "n_values": s.n_values, "n_nan": s.n_nan, "n_infinite": s.n_infinite,
        "n_zero": s.n_zero, "min": s.minimum, "max": s.maximum, "lengths": list(s.lengths), "max_values": s.max_values,
    }  # fmt: skip
    if branch.kind == "text":
        content |= {"texts": None if s.texts is None else dict(sorted(s.texts.items())), "longest": s.longest}
    shown = shown_histogram(branch)
    if shown is not None:
        content["histogram"] = {
            "edges": [float(edge) for edge in shown.edges],
            "counts": [int(n) for n in shown.counts],
            "below": shown.below,
            "above": shown.above,
        }
    return content

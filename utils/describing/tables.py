"""A description as lines of tables, for the terminal and the page."""

from collections.abc import Sequence
from pathlib import Path

from utils.describing.description import Branch, Description, Difference, counted, listed
from utils.describing.statistics import Number
from utils.logs import duration, size

# Files that a line names.
_NAMED = 3
BRANCH_HEADER = ("branch", "type", "shape", "min", "max", "max length", "NaN", "inf", "zeros", "on disk", "packed")
COLLECTION_HEADER = (
    "collection", "flat", "jagged", "other", "max length", "NaN", "inf", "constant", "on disk", "share",
)  # fmt: skip
UNREADABLE_HEADER = ("branch", "type", "why")
DIFFERENCE_HEADER = ("branch", "found")
FILE_HEADER = ("file", "events", "branches", "size")
# Columns of text; all others are numbers.
_LEFT = {"branch", "collection", "type", "shape", "why", "found", "file"}


def overview(description: Description, peak_bytes: int) -> dict[str, str]:
    """What a physicist asks first."""
    d = description
    kinds = {kind: len(d.of_kind(kind)) for kind in ("flat", "jagged", "fixed", "text", "unreadable")}
    read = "" if d.n_read == d.n_events else f", {d.n_read:,} of them read"
    seconds = max(d.seconds, 1e-9)
    khz = float(f"{d.n_read / seconds / 1000:.3g}")
    return {
        "events": f"{d.n_events:,}{read}",
        "files": f"{len(d.files):,} ({size(d.n_stored)})",
        f"{counted(2, d.noun).partition(' ')[2]}": f"{len(d.branches):,}: "
        + ", ".join(f"{n:,} {kind}" for kind, n in kinds.items() if n),
        "reading": f"{khz:,g} kHz, {size(d.n_bytes / seconds)}/s in memory, {duration(d.seconds)}",
        "peak memory": size(peak_bytes),
    }


def aligned(lines: list[list[str]], header: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Lines and header for the terminal: numbers to the right."""
    widths = [max(len(line[i]) for line in (list(header), *lines)) for i in range(len(header))]

    def padded(line: Sequence[str]) -> list[str]:
        return [
            cell if name in _LEFT else cell.rjust(width) for cell, name, width in zip(line, header, widths, strict=True)
        ]

    return [padded(line) for line in lines], padded(header)


def branch_lines(description: Description) -> list[list[str]]:
    """A line of every branch, under `BRANCH_HEADER`."""
    return [_line(name, branch) for name, branch in description.branches.items() if branch.statistics is not None]


def _line(name: str, branch: Branch) -> list[str]:
    s = branch.known
    return [
        name,
        branch.item_type,
        branch.shape,
        number(s.minimum) if branch.kind != "text" else "",
        number(s.maximum) if branch.kind != "text" else f"{s.longest} characters",
        f"{s.max_values:,}" if s.lengths else "",
        f"{s.n_nan:,}" if s.n_nan else "",
        f"{s.n_infinite:,}" if s.n_infinite else "",
        percent(s.n_zero, s.n_values),
        size(branch.n_stored) if branch.n_stored else "",
        "" if ratio(branch) is None else f"{ratio(branch):.1f}",
    ]


def collection_lines(description: Description) -> list[list[str]]:
    """A line of every collection, the largest on disk first, under `COLLECTION_HEADER`."""
    all_stored = sum(branch.n_stored or 0 for branch in description.branches.values()) or 1
    lines = []
    for prefix, names in description.collections().items():
        branches = [description.branches[name] for name in names]
        known = [branch.statistics for branch in branches if branch.statistics is not None]
        kinds = [branch.kind for branch in branches]
        stored = sum(branch.n_stored or 0 for branch in branches)
        n_other = len(kinds) - kinds.count("flat") - kinds.count("jagged")
        cells = [
            kinds.count("flat"), kinds.count("jagged"), n_other,
            max([s.max_values for s in known if s.lengths], default=0),
            sum(s.n_nan > 0 for s in known), sum(s.n_infinite > 0 for s in known), sum(b.is_constant for b in branches),
        ]  # fmt: skip
        line = [prefix or "(others)", *(f"{n:,}" if n else "" for n in cells), size(stored)]
        lines.append((stored, [*line, percent(stored, all_stored)]))
    return [line for _, line in sorted(lines, key=lambda pair: -pair[0])]


def unreadable_lines(description: Description) -> list[list[str]]:
    """Branches that cannot be read: name, type, reason."""
    return [
        [name, shortened(branch.info.type, 40), shortened(branch.unreadable, 110)]
        for name, branch in description.branches.items()
        if branch.unreadable is not None
    ]


def difference_lines(description: Description) -> list[list[str]]:
    """Branches that files do not agree about: name, and what is where."""
    n_files = len(description.files)
    return [[difference.name, _found(difference, n_files)] for difference in description.differences()]


def difference_groups(description: Description) -> list[list[str]]:
    """The same for the terminal: branches of which the same can be said, in one line."""
    n_files = len(description.files)
    names: dict[str, list[str]] = {}
    for difference in description.differences():
        kinds = [what for what in difference.found if what != "missing"]
        # Where its type is the same in all files that have it, only those that lack it are of interest.
        found = {"missing": difference.found["missing"]} if len(kinds) == 1 else difference.found
        names.setdefault(_found(Difference(difference.name, found), n_files), []).append(difference.name)
    return [
        [listed(group) if len(group) == 1 else f"{counted(len(group), description.noun)}: {listed(group)}", found]
        for found, group in names.items()
    ]


def file_lines(description: Description) -> list[list[str]]:
    """File, events, branches and size, of every file."""
    return [
        [file.where, f"{file.n_entries:,}", f"{file.n_columns:,}", size(file.fingerprint.size)]
        for file in description.files
    ]


def _found(difference: Difference, n_files: int) -> str:
    parts = []
    for what, paths in sorted(difference.found.items(), key=lambda item: (len(item[1]), item[0])):
        named = ", ".join(Path(path).name for path in paths[:_NAMED])
        more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
        parts.append(f"{what} in {len(paths):,} of {n_files:,} ({named}{more})")
    return "; ".join(parts)


def number(value: Number | None) -> str:
    """A value of a branch: integers in full, others to six digits."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def ratio(branch: Branch) -> float | None:
    return branch.n_bytes / branch.n_stored if branch.n_bytes and branch.n_stored else None


def percent(part: int, whole: int) -> str:
    if not part or not whole:
        return ""
    share = 100 * part / whole
    return f"{share:.0f}%" if share == 100 else "<0.1%" if share < 0.1 else f"{min(share, 99.9):.1f}%"


def shortened(text: str | None, most: int) -> str:
    text = text or ""
    return text if len(text) <= most else f"{text[: most - 1]}…"

"""Where and why a text is not what JSON lines should be: slow, line by line, for blocks that are suspicious."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from utils.readers.text.json_types import ITEM, BigIntegers, Node, Path

_KINDS = {
    "number": "a number",
    "text": "text",
    "bool": "true or false",
    "list": "a list",
    "record": "a record",
    "": "null",
}


@dataclass
class Seen:
    """What the first value at a place was, and in which line."""

    kind: str = ""
    line: int = 0
    below: dict[str, "Seen"] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Node) -> "Seen":
        """What is known of a place, but for the line."""
        return cls(node.kind, 0, {name: cls.of(below) for name, below in node.below.items()})


@dataclass(frozen=True)
class Fault:
    """What is wrong, and what to do about it.

    Parameters
    ----------
    path : the place that other lines disagree about; None: the line is wrong by itself.
    """

    what: str
    remedy: str = "Mend the line, or produce the file again."
    path: Path | None = None


class _TwiceError(ValueError):
    """A key that stands twice in one record."""


def find_fault(pieces: Iterable[tuple[bytes, int]], seen: Seen) -> Fault | None:
    """The first line that is no record, or does not fit to a line before it.

    Parameters
    ----------
    pieces : blocks of lines, each with the number of its first line.
    seen : what lines before them had; it is added to.
    """
    for data, first in pieces:
        for line, text in lines(data, first):
            try:
                record = json.loads(text, object_pairs_hook=_record)
            except UnicodeDecodeError as error:
                return Fault(f"line {line:,} is not UTF-8 (byte {error.object[error.start]:#x})")
            except _TwiceError as error:
                return Fault(f"line {line:,} has the key {str(error)!r} twice in one record")
            except RecursionError:
                return Fault(f"line {line:,} is nested too deeply")
            except json.JSONDecodeError as error:
                return _not_json(text, line, error)
            if not isinstance(record, dict):
                return Fault(f"line {line:,} is {_KINDS[_kind(record)]}, not a record", "Write one {…} per line.")
            fault = _compare(record, seen, (), line)
            if fault is not None:
                return fault
    return None


def look_at(data: bytes, first: int, path: Path) -> BigIntegers:
    """What is at one place of a block whose numbers pyarrow rounds."""
    found = BigIntegers()
    for line, text in lines(data, first):
        for value in _values(json.loads(text), path):
            found.add(value, line)
    return found


def describe(path: Path) -> str:
    """A place as the name of a column: `muon.pt`."""
    return ".".join(name for name in path if name != ITEM)


def lines(data: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, each with its number."""
    for line, text in enumerate(data.split(b"\n"), start=first):
        if text.strip():
            yield line, text


def _values(value: Any, path: Path) -> Iterator[Any]:
    if value is None:
        return
    if not path:
        yield value
    elif path[0] == ITEM:
        for item in value:
            yield from _values(item, path[1:])
    else:
        yield from _values(value[path[0]], path[1:])


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise _TwiceError(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return record


def _not_json(text: bytes, line: int, error: json.JSONDecodeError) -> Fault:
    if error.msg == "Extra data":
        what = f"line {line:,} goes on after its record ends, at column {error.colno}"
    elif error.pos >= len(text.decode(errors="replace").rstrip()):
        what = f"line {line:,} ends within a record"
    else:
        what = f"line {line:,} is no JSON, at column {error.colno} ({error.msg})"
    return Fault(what, "Write one whole record per line, for example: jq -c . OLD > NEW.")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if value is None:
        return ""
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else "record"


def _compare(value: Any, seen: Seen, path: Path, line: int) -> Fault | None:
    """Compare a value with the first one that was at its place; if it is the first, keep it."""
    if value is None:
        return None
    kind = _kind(value)
    is_first = not seen.kind
    if is_first:
        seen.kind, seen.line = kind, line
    if kind != seen.kind:
        return Fault(
            f"'{describe(path)}' is {_KINDS[kind]} in line {line:,}, and {_KINDS[seen.kind]} in line {seen.line:,}",
            "Write the same kind of value in every line, null where there is none.",
            path,
        )
    if isinstance(value, list):
        inner = seen.below.setdefault(ITEM, Seen())
        return next((fault for item in value if (fault := _compare(item, inner, (*path, ITEM), line))), None)
    if isinstance(value, dict):
        if is_first:
            seen.below = {name: Seen() for name in value}
        if value.keys() != seen.below.keys():
            return _other_keys(value, seen, path, line)
        below = seen.below
        return next((f for name in value if (f := _compare(value[name], below[name], (*path, name), line))), None)
    return None


def _other_keys(value: dict[str, Any], seen: Seen, path: Path, line: int) -> Fault:
    record = f"'{describe(path)}' in line {line:,}" if path else f"line {line:,}"
    parts = []
    missing = [f"'{name}'" for name in seen.below if name not in value]
    extra = [f"'{name}'" for name in value if name not in seen.below]
    if missing:
        parts.append(f"lacks {', '.join(missing)}, which line {seen.line:,} has")
    if extra:
        parts.append(f"has {', '.join(extra)}, which line {seen.line:,} lacks")
    return Fault(
        f"{record} {', and '.join(parts)}",
        "Write every key in every record, null where there is no value.",
        path,
    )

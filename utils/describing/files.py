"""One file, or a range of its events, read once: the statistics of every branch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil
from time import perf_counter

from utils.describing.statistics import ColumnStatistics
from utils.errors import DataError, InputFileError
from utils.logs import get_logger
from utils.readers.columns import ColumnInfo
from utils.readers.formats import open_reader
from utils.readers.reader import Fingerprint, Reader
from utils.readers.spec import Access, ChunkSize

logger = get_logger(__name__)

USUAL_TREES = ("Events", "events")


@dataclass(frozen=True)
class FilePart:
    """What is read in one piece of work.

    Parameters
    ----------
    index, path : of the file.
    tree : object in it; None: the only one.
    start, stop : entries [start, stop).
    """

    index: int
    path: str
    tree: str | None
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Reading:
    """How everything is read, and what is kept.

    Parameters
    ----------
    hists : whether histograms are kept.
    """

    access: Access = Access()
    chunk_size: ChunkSize = ChunkSize()
    hists: bool = True


@dataclass
class PartResult:
    """What was found in a part of a file.

    Parameters
    ----------
    where : `file:tree`.
    noun : what the format's users call a column.
    columns : every column of the file, in its order.
    statistics : of those that could be read.
    unreadable : column → reason, of the others.
    n_read : events.
    n_bytes : of all columns in memory [bytes].
    seconds : of reading and counting [s].
    """

    part: FilePart
    where: str
    noun: str
    fingerprint: Fingerprint
    columns: dict[str, ColumnInfo]
    statistics: dict[str, ColumnStatistics] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    n_read: int = 0
    n_bytes: int = 0
    seconds: float = 0.0


def describe_part(part: FilePart, reading: Reading, on_columns: Callable[[int], object] | None = None) -> PartResult:
    """Read every column of the part once.

    Columns are read in groups that fit into memory for as many events as possible: with 1,500 branches, a chunk of all
    of them would hold few events, and the work per branch and chunk would take longer than reading.

    Parameters
    ----------
    on_columns : called with a number of columns when these are done.

    Raises
    ------
    InputFileError : the file is missing or damaged, or nothing in it can be read.
    """
    began = perf_counter()
    with open_part(part, reading.access) as reader:
        columns = dict(reader.columns)
        stop = reader.n_entries if part.stop is None else min(part.stop, reader.n_entries)
        result = PartResult(part, reader.where, reader.noun, reader.fingerprint, columns)
        result.n_read = max(stop - part.start, 0)
        result.unreadable.update({c.name: c.unreadable for c in columns.values() if c.unreadable is not None})
        readable = [name for name in columns if name not in result.unreadable]
        failures: list[InputFileError] = []
        for names in _groups(reader, readable, result.n_read, reading.chunk_size):
            _read_group(reader, names, stop, result, reading, failures)
            if on_columns is not None:
                on_columns(len(names))
    if readable and len(failures) == len(readable):
        raise failures[0]
    result.seconds = perf_counter() - began
    return result


def open_part(part: FilePart, access: Access) -> Reader:
    """The reader of the file. Where no tree is named and there are several, it is the one that NanoAOD calls Events.

    Raises
    ------
    InputFileError : the file is missing or damaged, or it holds several trees and none of that name.
    """
    try:
        return open_reader(part.path, part.tree, file_index=part.index, access=access)
    except InputFileError as error:
        if part.tree is not None:
            raise
        for name in USUAL_TREES:
            with suppress(InputFileError):
                found = open_reader(part.path, name, file_index=part.index, access=access)
                logger.info("%s: %s; this is about %s. Another one: tree=NAME", part.path, error.what, name)
                return found
        raise


def divided(parts: Sequence[FilePart], reading: Reading, n_wanted: int) -> list[FilePart]:
    """As many parts as are wanted, about: ranges of the files where there are fewer files than that.

    A range ends where the stored pieces of all columns do, so that nothing is decompressed twice.
    """
    n_each = ceil(n_wanted / len(parts))
    if n_each == 1:
        return list(parts)
    found: list[FilePart] = []
    for part in parts:
        with open_part(part, reading.access) as reader:
            stop = reader.n_entries if part.stop is None else min(part.stop, reader.n_entries)
            borders = reader.borders(reader.branches, max(ceil(stop / n_each), 1), 0, stop)
        found += [replace(part, start=first, stop=last) for first, last in pairwise(borders)]
    return found


def _groups(reader: Reader, names: Sequence[str], n_events: int, chunk_size: ChunkSize) -> Iterator[list[str]]:
    """Columns to read together: as many as fit into a chunk with all events, but all where rows are stored as rows."""
    if _is_by_rows(reader, names):
        yield list(names)
        return
    group: list[str] = []
    n_bytes = 0.0
    wanted = min(n_events, chunk_size.n_events or n_events)
    for few in _stored_together(reader, names):
        more = reader.bytes_per_event(few) * wanted
        if group and n_bytes + more > ChunkSize().n_bytes:
            yield group
            group, n_bytes = [], 0.0
        group += few
        n_bytes += more
    if group:
        yield group


def _stored_together(reader: Reader, names: Sequence[str]) -> list[list[str]]:
    """The columns by what they are stored in, such as the fields of one branch of records."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(reader.stored_in(name), []).append(name)
    return list(found.values())


def _read_group(
    reader: Reader,
    names: Sequence[str],
    stop: int,
    result: PartResult,
    reading: Reading,
    failures: list[InputFileError],
) -> None:
    """Statistics of some columns; where that fails, what is stored apart is tried apart."""
    statistics = {name: ColumnStatistics(reading.hists) for name in names}
    n_bytes = 0
    try:
        for chunk in reader.chunks(names, reading.chunk_size, result.part.start, stop):
            for name in names:
                column = chunk.columns[name]
                n_bytes += int(column.nbytes)
                if name not in result.unreadable:
                    _count(statistics[name], name, column, result)
    except InputFileError as error:
        if not _concerns_columns(error, reader, names):
            raise
        together = _stored_together(reader, names)
        if len(together) == 1:
            result.unreadable.update(dict.fromkeys(names, error.what))
            failures += [error] * len(names)
            return
        for few in together:
            for name in few:
                result.unreadable.pop(name, None)
            _read_group(reader, few, stop, result, reading, failures)
        return
    result.n_bytes += n_bytes
    result.statistics.update({name: found for name, found in statistics.items() if name not in result.unreadable})


def _concerns_columns(error: InputFileError, reader: Reader, names: Sequence[str]) -> bool:
    """Whether single columns are the trouble. Others would meet it too where it is the way to the file, or a row."""
    by_library = error.__cause__ is not None and not isinstance(error.__cause__, OSError)
    is_here = reader.source.local_path is not None and not isinstance(error.__cause__, OSError)
    return (by_library or is_here) and not _is_by_rows(reader, names)


def _is_by_rows(reader: Reader, names: Sequence[str]) -> bool:
    """Whether rows are stored as rows, so that reading one column costs as much as reading all."""
    return any(reader.columns[name].n_stored is None for name in names)


def _count(statistics: ColumnStatistics, name: str, column: object, result: PartResult) -> None:
    try:
        statistics.add(column)
    except DataError as error:
        result.unreadable[name] = error.what

"""What the readers of all formats share: columns of events, in chunks, read ahead, nothing decompressed twice.

A format provides five things: `columns`, `n_entries`, `_offsets`, `_load` and `_identifier` (and `close`). Names,
chunks, messages and measuring are here, once.
"""

import fnmatch
import hashlib
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from utils.errors import CrossfoldError, InputFileError, MissingColumnError, nearest_name
from utils.events import Chunk, Column
from utils.readers.columns import ColumnInfo, LazyColumns, filled, fits, matches
from utils.readers.pieces import Meter, Pieces, next_border
from utils.readers.places.storage import Source
from utils.readers.spec import Access, ChunkSize
from utils.readers.threads import thread_pool

ENTRY_COLUMN = "entry"
# What a value takes where a format does not say [bytes].
UNKNOWN_BYTES = 8.0
# What a text takes in memory beside its characters: a Python object and the pointer to it [bytes].
TEXT_BYTES = 64.0
_TAIL_BYTES = 65_536


@dataclass(frozen=True)
class Fingerprint:
    """What tells whether a file is still the one that was read: size [bytes], entries, and an identifier.

    The identifier is ROOT's own UUID, or a hash of the beginning and the end of a file of another format.
    """

    path: str
    size: int
    n_entries: int
    uuid: str


class Reader(ABC):
    """The events of one file, opened once.

    Parameters
    ----------
    source : the file.
    object_name : what is read of it, where a file can hold several (a tree, an HDF5 group); None: the only one.
    file_index : what its chunks carry as `file_index`.

    Raises
    ------
    InputFileError : the file or the object is missing, is of another format, is truncated, or cannot be read.
    """

    # In the words of the format's users, for messages.
    noun: ClassVar[str] = "column"
    # Whether `_load` may run in several threads at once.
    loads_in_parallel: ClassVar[bool] = False

    def __init__(
        self,
        source: Source | str,
        object_name: str | None = None,
        *,
        file_index: int = 0,
        access: Access = Access(),
    ) -> None:
        self.source = source if isinstance(source, Source) else Source(source, access)
        self.access = self.source.access
        self.object_name = object_name
        self.file_index = file_index
        self._fills: dict[str, tuple[str, Any]] = {}

    # --- what a format provides ---

    @property
    @abstractmethod
    def n_entries(self) -> int:
        """Number of events."""

    @property
    @abstractmethod
    def _columns(self) -> Mapping[str, ColumnInfo]:
        """Every column of the file, in its order."""

    @abstractmethod
    def _offsets(self, name: str) -> Sequence[int]:
        """Entries, ascending from 0 to `n_entries`, between which the column is stored in one piece."""

    @abstractmethod
    def _load(self, names: Sequence[str], start: int, stop: int, threads: Executor | None) -> dict[str, Column]:
        """Columns of the entries in [start, stop): NumPy for flat ones, Awkward for all others.

        Whatever goes wrong surfaces as any exception; `_read` makes the message. `threads` may decompress. None of the
        names is that of a column which is known to be unreadable.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def stored_in(self, name: str) -> str:
        """What a column is stored in, together with others that are read, or cannot be read, along with it."""
        return name

    def _is_record(self, name: str) -> bool:
        """Whether `name` is a record, or a list of records, whose fields are columns: not listed, but can be read."""
        return False

    def _identifier(self) -> str:
        """What tells this file from any other, beside its size."""
        hashed = hashlib.blake2b(digest_size=16)
        with self.source.open() as file:
            hashed.update(file.read(_TAIL_BYTES))
            if self.source.size > _TAIL_BYTES:
                file.seek(max(_TAIL_BYTES, self.source.size - _TAIL_BYTES))
                hashed.update(file.read(_TAIL_BYTES))
        return hashed.hexdigest()

    # --- what all share ---

    @property
    def path(self) -> str:
        """The file, as the user named it."""
        return self.source.path

    @property
    def where(self) -> str:
        """`file:tree`, for messages."""
        return self.path if self.object_name is None else f"{self.path}:{self.object_name}"

    @cached_property
    def columns(self) -> Mapping[str, ColumnInfo]:
        """The columns that the config lets us see, by name."""
        selected, excluded = self.access.selected, self.access.excluded
        if selected is None and not excluded:
            return self._columns
        for pattern in selected or ():
            if not fnmatch.filter(self._columns, pattern) and not self._is_record(pattern):
                raise self._missing(pattern, "Correct selected_branches.", self._columns)
        return LazyColumns([name for name in self._columns if self._is_visible(name)], self._columns.__getitem__)

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.columns)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Size, entries and identifier of the file."""
        return Fingerprint(self.path, self.source.size, self.n_entries, self._identifier())

    def require(self, names: Iterable[str]) -> list[str]:
        """The names that are columns here, sorted; `entry` need not be one, any other is a MissingColumnError."""
        present = []
        for name in sorted(set(names)):
            if self._is_known(name):
                present.append(name)
            elif name != ENTRY_COLUMN:
                raise self._missing(name, "Mend the name where the config uses it.", self.columns)
        return present

    def _is_known(self, name: str) -> bool:
        """Whether there is something to read under this name."""
        return name in self.columns or name in self._fills or (self._is_record(name) and self._is_visible(name))

    def _is_visible(self, name: str) -> bool:
        """Whether selected_branches and exclude_branches let a name pass."""
        selected, excluded = self.access.selected, self.access.excluded
        return (selected is None or matches(name, selected)) and not matches(name, excluded)

    def _missing(self, name: str, remedy: str, known: Iterable[str]) -> MissingColumnError:
        if name in self._columns:
            remedy = "selected_branches or exclude_branches hide it; change them."
        return MissingColumnError(
            f"no {self.noun} '{name}'", where=self.where, nearest=nearest_name(name, known), remedy=remedy
        )

    def fill(self, name: str, type_text: str, value: Any = None) -> None:
        """Let a column that the file lacks be read as if it were there.

        Parameters
        ----------
        name : of the column.
        type_text : its type in other files, as in :class:`ColumnInfo`.
        value : what every event gets; None: NaN for floating point numbers, no values for a jagged column, False.

        Raises
        ------
        MissingColumnError : the type has no natural value, and none was given.
        """
        number = type_text.rpartition("* ")[2]
        if value is None and "var *" not in type_text:
            if number not in ("float32", "float64", "bool"):
                raise MissingColumnError(
                    f"no {self.noun} '{name}', and nothing to fill in for a {type_text}",
                    where=self.where,
                    remedy=f"Set missing_branches to {{{name}: VALUE}}.",
                )
            value = False if number == "bool" else math.nan
        if number.lstrip("u").startswith("int") and "var *" not in type_text and not fits(value, np.dtype(number)):
            raise MissingColumnError(
                f"no {self.noun} '{name}', and {value} is no {number}",
                where=self.where,
                remedy=f"Set missing_branches to {{{name}: VALUE}} with a value that fits.",
            )
        self._fills[name] = (type_text, value)

    def is_flat(self, name: str) -> bool:
        """Whether the column holds one number, bool or text per event."""
        if name in self._fills:
            return "*" not in self._fills[name][0]
        return name in self.columns and self.columns[name].is_flat

    def bytes_per_event(self, names: Iterable[str]) -> float:
        """Memory of one event with these columns [bytes], on average."""
        total = 0.0
        for name in names:
            infos = [self.columns[name]] if name in self.columns else self._fields_of(name)
            for info in infos:
                total += UNKNOWN_BYTES if info.n_bytes is None else info.n_bytes / max(self.n_entries, 1)
                total += TEXT_BYTES if info.is_text else 0.0
            total += 0.0 if infos else UNKNOWN_BYTES
        return total

    def _fields_of(self, record: str) -> list[ColumnInfo]:
        """The columns that the fields of a record are."""
        return [info for name, info in self.columns.items() if name.startswith(f"{record}.")]

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Column]:
        """The named columns of the entries in [start, stop)."""
        return self._read(self.require(names), start, stop, None)

    def chunks(
        self,
        names: Iterable[str],
        chunk_size: ChunkSize | int = ChunkSize(),
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[Chunk]:
        """Chunks of the named columns, in order, for the entries in [start, stop); `entry` may be among the names.

        The next chunk is read while the caller works on this one. Borders fall where the stored pieces of all columns
        end, where such a place is near; what was decompressed beyond a border is kept for the next one. A file without
        entries gives one chunk without rows, so that its types are known.
        """
        wanted = set(names)
        present = self.require(wanted)
        stop = self.n_entries if stop is None else min(stop, self.n_entries)
        borders = self._borders(present, ChunkSize.of(chunk_size).events(self.bytes_per_event(present)), start, stop)
        meter = Meter(self.where)
        n_threads = self.access.n_threads
        # Without threads of our own, only waiting for a remote file is worth one.
        n_ahead = 1 if n_threads or self.source.local_path is None else 0
        with thread_pool(n_threads) as threads, thread_pool(n_ahead) as ahead:
            pieces = Pieces(
                lambda some, first, last: self._read(some, first, last, threads),
                present,
                {name: self._ends(name) for name in present if name not in self._fills},
                self.access.n_threads if self.loads_in_parallel else 1,
                meter,
                stop,
            )
            waiting: deque[tuple[int, int, Future[dict[str, Column]]]] = deque()
            ranges = pairwise(borders)
            try:
                while True:
                    for first, last in islice(ranges, 1 + n_ahead - len(waiting)):
                        waiting.append((first, last, ahead.submit(pieces.next, first, last)))
                    if not waiting:
                        break
                    first, last = waiting[0][:2]
                    # Nothing here may hold on to the columns: the caller decides how long they live.
                    yield self._chunk(waiting.popleft()[2].result(), first, last, wanted)
            finally:
                for _, _, future in waiting:
                    future.cancel()
                meter.finish()

    def _chunk(self, columns: dict[str, Column], start: int, stop: int, wanted: set[str]) -> Chunk:
        chunk = Chunk(columns, self.file_index, start, stop - start)
        if ENTRY_COLUMN in wanted and ENTRY_COLUMN not in columns:
            columns[ENTRY_COLUMN] = chunk.entry
        return chunk

    def borders(self, names: Iterable[str], n_events: int, start: int, stop: int) -> list[int]:
        """Entries start … stop, about `n_events` apart, at which reading these columns is divided best."""
        return list(self._borders(self.require(names), n_events, start, stop))

    def _borders(self, present: Sequence[str], n_chunk: int, start: int, stop: int) -> Iterator[int]:
        """Entries start … stop, about `n_chunk` apart, where the stored pieces of all columns end if that is near."""
        if stop <= start:
            yield from (start, start)
            return
        stored = [name for name in present if name not in self._fills]
        common = self._common_offsets(stored) if stored else []
        ends = [*(offset for offset in common if start < offset < stop), stop]
        yield start
        while start < stop:
            start = next_border(ends, start, n_chunk)
            yield start

    def _common_offsets(self, names: Sequence[str]) -> list[int]:
        """Entries at which the stored pieces of all columns begin or end."""
        common: set[int] | None = None
        for offsets in {tuple(self._ends(name)) for name in names}:
            common = set(offsets) if common is None else common & set(offsets)
        return sorted(common or ())

    def _ends(self, name: str) -> list[int]:
        """What `_offsets` says, if it makes sense: numbers of a damaged file could keep us busy for ever."""
        try:
            offsets = [int(offset) for offset in self._offsets(name)]
        except CrossfoldError:
            raise
        except Exception as error:
            raise self._damaged(f"{self.noun} '{name}' cannot be read ({short_text(error)})") from error
        if offsets[:1] != [0] or offsets[-1] != self.n_entries or any(a > b for a, b in pairwise(offsets)):
            raise self._damaged(
                f"the stored pieces of {self.noun} '{name}' do not add up to {self.n_entries:,} entries"
            )
        return offsets

    def _damaged(self, what: str) -> InputFileError:
        return InputFileError(what, where=self.where, remedy="The file is damaged; copy or produce it again.")

    def _read(self, names: Sequence[str], start: int, stop: int, threads: Executor | None) -> dict[str, Column]:
        stored = [name for name in names if name not in self._fills]
        for name in stored:
            info = self._columns.get(name)
            if info is not None and info.unreadable is not None:
                raise InputFileError(
                    f"{self.noun} '{name}' ({info.type}) cannot be read ({info.unreadable})",
                    where=self.where,
                    remedy=f"Leave the {self.noun} out, or produce the file with a type that can be read.",
                )
        try:
            columns = self._load(stored, start, stop, threads) if stored else {}
        except CrossfoldError:
            raise
        except Exception as error:  # a truncated or corrupt file surfaces as almost any exception
            raise InputFileError(
                f"entries {start} to {stop} of {self._unreadable(stored, start, stop)} cannot be read "
                f"({short_text(error)})",
                where=self.where,
                remedy=f"The file is damaged (copy or produce it again), or the {self.noun} has an unsupported type.",
            ) from error
        for name, values in columns.items():
            if len(values) != stop - start:
                raise self._damaged(f"{self.noun} '{name}' has {len(values)} values for entries {start} to {stop}")
        columns.update({name: filled(*self._fills[name], stop - start) for name in names if name in self._fills})
        return columns

    def _unreadable(self, names: Sequence[str], start: int, stop: int) -> str:
        """The column at which reading fails, for the message."""
        first: dict[str, str] = {}
        for name in names:
            first.setdefault(self.stored_in(name), name)
        for name in first.values():
            try:
                self._load([name], start, stop, None)
            except Exception:  # noqa: BLE001 (the error itself is already on its way to the user)
                return f"{self.noun} '{name}'"
        return f"the {self.noun}s"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def short_text(error: BaseException) -> str:
    """The kind and the first line of an error of a library; the one that says what was expected, where uproot begins
    with a long story."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    line = next((line for line in lines if line.startswith("expected ")), lines[0])
    return f"{type(error).__name__}: {line[:160]}"

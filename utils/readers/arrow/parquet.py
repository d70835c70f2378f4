"""Parquet: the row groups of a file, decoded by Arrow; only the wanted columns, fields of records included."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from utils.errors import InputFileError
from utils.readers.arrow.table import ArrowTable, Cursor, Leaf, arrow_file
from utils.readers.places.storage import Source
from utils.readers.reader import short_text
from utils.readers.spec import Access

# Row groups of more than twice that are decoded in pieces of it: a row group may be a whole file. [rows]
PIECE_ROWS = 65_536
# Read from a column at a time, while it is decoded [bytes].
_BUFFER_BYTES = 2**20


class ParquetTable(ArrowTable):
    """One Parquet file, opened once.

    Row groups are read whole, or, where they are large, forward in pieces: memory is bounded by 131,072 rows or the
    chunk, whichever is more. Partitions in folder names (`year=2018/…`) are not columns.

    Parameters
    ----------
    source : the file.
    object_name : ignored: a file holds one table.
    """

    def __init__(
        self,
        source: Source | str,
        object_name: str | None = None,
        *,
        file_index: int = 0,
        access: Access = Access(),
    ) -> None:
        super().__init__(source, None, file_index=file_index, access=access)
        self._cursor: Cursor | None = None
        self._lock = Lock()
        is_local = self.source.local_path is not None
        try:
            self._file = pq.ParquetFile(
                arrow_file(self.source),
                pre_buffer=not is_local,  # one request for a row group, instead of one for each of its columns
                buffer_size=_BUFFER_BYTES if is_local else 0,
                page_checksum_verification=True,
            )
            self._schema = self._file.schema_arrow
        except (OSError, pa.ArrowException) as error:
            raise InputFileError(
                f"'{self.path}' cannot be opened as a Parquet file ({short_text(error)})",
                remedy="Copy or produce the file again.",
            ) from error
        sizes = [self._group(i).num_rows for i in range(self._file.metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def _group(self, i: int) -> Any:
        return self._file.metadata.row_group(i)

    @property
    def n_entries(self) -> int:
        """Number of rows."""
        return int(self._starts[-1])

    @cached_property
    def _pieces(self) -> list[int]:
        pieces = [0]
        for first, last in pairwise(self._starts.tolist()):
            if _is_large(last - first):
                pieces.extend(range(first + PIECE_ROWS, last - PIECE_ROWS, PIECE_ROWS))
            if last > first:
                pieces.append(last)
        return pieces

    def _offsets(self, name: str) -> Sequence[int]:
        return self._pieces

    def _n_missing(self, leaf: Leaf) -> int | None:
        n_missing = 0
        for i in range(self._file.metadata.num_row_groups):
            for position in leaf.positions:
                statistics = self._group(i).column(position).statistics
                if statistics is None or not statistics.has_null_count:
                    return None
                n_missing += statistics.null_count
        return n_missing

    def _describe_storage(self, leaf: Leaf) -> tuple[int | None, int | None, str]:
        n_bytes = n_stored = 0
        compressions = set()
        itemsize = None if leaf.unreadable or leaf.value_type == "string" else np.dtype(leaf.value_type).itemsize
        for i in range(self._file.metadata.num_row_groups):
            for position in leaf.positions:
                column = self._group(i).column(position)
                # What is repeated is stored once: the values say what reading takes.
                in_memory = 0 if itemsize is None else column.num_values * itemsize
                n_bytes += max(int(column.total_uncompressed_size), in_memory)
                n_stored += int(column.total_compressed_size)
                compressions.add(column.compression.lower())
        return n_bytes, n_stored, "+".join(sorted(compressions - {"uncompressed"}))

    def _table(self, wanted: Sequence[Leaf], start: int, stop: int) -> Any:
        columns = self._paths({i for leaf in wanted for i in leaf.positions})
        parts: list[Any] = []
        whole: list[int] = []
        for i in range(max(bisect_right(self._starts, start) - 1, 0), len(self._starts) - 1):
            begin, end = int(self._starts[i]), int(self._starts[i + 1])
            if begin >= stop or start >= stop:
                break
            first, last = max(start, begin) - begin, min(stop, end) - begin
            if (first, last) == (0, end - begin) and not _is_large(end - begin):
                whole.append(i)
                continue
            parts.append(self._file.read_row_groups(whole, columns, **self._options))
            whole = []
            parts.append(self._part(i, columns, first, last))
        parts.append(self._file.read_row_groups(whole, columns, **self._options))
        return pa.concat_tables(parts)

    def _part(self, group: int, columns: Sequence[str], first: int, last: int) -> Any:
        """Rows [first, last) of a row group."""
        if not _is_large(self._group(group).num_rows):
            return self._file.read_row_group(group, columns, **self._options).slice(first, last - first)
        with self._lock:
            if self._cursor is None or not self._cursor.can_read((group, *columns), first):
                batches = self._file.iter_batches(PIECE_ROWS, [group], columns, **self._options)
                self._cursor = Cursor((group, *columns), batches)
            return self._cursor.read(first, last)

    @property
    def _options(self) -> dict[str, bool]:
        return {"use_threads": self.access.n_threads > 1}

    def _paths(self, positions: set[int]) -> list[str]:
        """What Parquet calls its columns."""
        return [self._file.schema.column(i).path for i in sorted(positions)]

    def close(self) -> None:
        """Close the file."""
        self._cursor = None
        self._file.close(force=True)


def _is_large(n_rows: int) -> bool:
    return n_rows > 2 * PIECE_ROWS

"""Arrow IPC: files (`.arrow`, Feather version 2) and streams, record batch by record batch."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from utils.errors import InputFileError
from utils.readers.arrow.table import ArrowTable, Cursor, Leaf, arrow_file
from utils.readers.places.storage import Source
from utils.readers.reader import short_text
from utils.readers.spec import Access

_FILE_MAGIC = b"ARROW1"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class ArrowFile(ArrowTable):
    """One Arrow file or stream, opened once.

    A stream has no table of contents: it is read through once to find its record batches, and read forward from then
    on; going back begins at its start.

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
        self._lock = Lock()
        # Of a stream and of a file: where reading stands, and for which columns.
        self._cursor: Cursor | None = None
        self._reader: tuple[Sequence[int], Any] | None = None
        with self.source.open() as raw:
            self._is_stream = raw.read(len(_FILE_MAGIC)) != _FILE_MAGIC
            raw.seek(-min(len(_END_OF_STREAM), self.source.size), 2)
            tail = raw.read()
        self._file = arrow_file(self.source)
        try:
            self._schema = self._open(()).schema
            sizes = self._batch_sizes()
        except (OSError, pa.ArrowException) as error:
            self._file.close()
            raise InputFileError(
                f"'{self.path}' cannot be read as an Arrow {'stream' if self._is_stream else 'file'} "
                f"({short_text(error)})",
                remedy="Copy or produce the file again.",
            ) from error
        if self._is_stream and (tail != _END_OF_STREAM or self._file.tell() != self.source.size):
            self._file.close()
            raise InputFileError(
                f"'{self.path}' does not end where its Arrow stream ends: it is truncated, or holds several",
                remedy="Copy or produce the file again.",
            )
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def _open(self, fields: Sequence[int]) -> Any:
        """A reader of Arrow's for these columns of the file; none means all."""
        options = pa.ipc.IpcReadOptions(included_fields=list(fields), use_threads=self.access.n_threads > 1)
        self._file.seek(0)
        return (pa.ipc.open_stream if self._is_stream else pa.ipc.open_file)(self._file, options=options)

    def _batch_sizes(self) -> list[int]:
        """Rows of each record batch, counted in the column that is the least to read."""
        widths = [_width(field.type) for field in self._schema]
        reader = self._open([int(np.argmin(widths))] if widths else [])
        if self._is_stream:
            return [batch.num_rows for batch in reader]
        return [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]

    @property
    def n_entries(self) -> int:
        """Number of rows."""
        return int(self._starts[-1])

    def bytes_per_event(self, names: Iterable[str]) -> float:
        """Memory of one event with these columns [bytes], on average, from the first record batch."""
        wanted = [leaf for name in names if name in self._leaves or self._is_record(name) for leaf in self._below(name)]
        n_rows = next((int(i) for i in self._starts if i > 0), 0)
        if not wanted or n_rows == 0:
            return super().bytes_per_event(names)
        try:
            return float(self._table(wanted, 0, n_rows).nbytes / n_rows)
        except (OSError, pa.ArrowException):  # whoever reads the damaged entries is told so
            return super().bytes_per_event(names)

    def _offsets(self, name: str) -> Sequence[int]:
        return sorted(set(self._starts.tolist()))

    def _table(self, wanted: Sequence[Leaf], start: int, stop: int) -> Any:
        fields = sorted({self._schema.get_field_index(leaf.field) for leaf in wanted})
        with self._lock:
            if not self._is_stream:
                return self._random(fields, start, stop)
            if self._cursor is None or not self._cursor.can_read(tuple(fields), start):
                reader = self._open(fields)
                self._cursor = Cursor(tuple(fields), iter(reader), reader.schema)
            return self._cursor.read(start, stop)

    def _random(self, fields: Sequence[int], start: int, stop: int) -> Any:
        if self._reader is None or self._reader[0] != fields:
            self._reader = (fields, self._open(fields))
        reader = self._reader[1]
        parts = []
        for i in range(max(bisect_right(self._starts, start) - 1, 0), reader.num_record_batches):
            begin = int(self._starts[i])
            if begin >= stop:
                break
            first = max(start - begin, 0)
            parts.append(reader.get_batch(i).slice(first, stop - begin - first))
        return pa.Table.from_batches(parts, reader.schema)

    def close(self) -> None:
        """Close the file."""
        self._cursor = self._reader = None
        self._file.close()


def _width(kind: Any) -> float:
    """Bits of one value, where all have the same."""
    try:
        return float(kind.bit_width)
    except ValueError:
        return np.inf

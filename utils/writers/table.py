"""Predictions as tables: CSV or Parquet by the file's suffix, in batches, whole or not at all.

Shape suffixes: N events.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from utils.errors import OutputError
from utils.writers.atomic import atomic_output

TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_BATCH_ROWS = 250_000  # a Parquet row group; small ones are slow to read


class TableWriter:
    """Write a table in batches of rows; used as a context manager.

    Numbers in CSV are the shortest decimals that read back as the same value in the column's type (float32 has up to
    nine digits); NaN is ``nan``, booleans are ``true`` and ``false``, strings are quoted.

    Parameters
    ----------
    path : the table; ``.csv``, ``.csv.gz`` or ``.parquet`` decides the format.
    columns : name → NumPy dtype of each column, in the order of the file; ``str`` for text.
    overwrite : whether an existing file may be replaced.

    Raises
    ------
    OutputError
        The suffix is unknown, a column cannot be held in a table, or the file cannot be put in place.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "test.csv"
    >>> with TableWriter(target, {"evt": "uint64", "group_name": str}, overwrite=False) as writer:
    ...     writer.write({"evt": np.array([7, 8]), "group_name": np.array(["H_sig", "Fakes"])})
    >>> print(target.read_text(), end="")
    evt,group_name
    7,"H_sig"
    8,"Fakes"
    """

    def __init__(self, path: str | os.PathLike[str], columns: Mapping[str, Any], *, overwrite: bool) -> None:
        self._path = Path(path)
        self._overwrite = overwrite
        self._format = table_format(self._path)
        self._schema = pa.schema([(name, _arrow_type(name, dtype, self._path)) for name, dtype in columns.items()])
        self._pending: list[Any] = []
        self._n_pending = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        # Left in reverse: last batch, close the file, give it its name.
        with contextlib.ExitStack() as stack:
            part = stack.enter_context(atomic_output(self._path, overwrite=self._overwrite))
            # Opened here, because Arrow would find its format and compression by the suffix, which is `.part`.
            raw = stack.enter_context(part.open("wb"))
            if self._format == ".parquet":
                writer = pa_parquet.ParquetWriter(raw, self._schema, compression="zstd")
            else:
                sink = raw
                if self._format == ".csv.gz":
                    sink = stack.enter_context(pa.CompressedOutputStream(raw, "gzip"))
                sink.write((",".join(map(_csv_name, self._schema.names)) + "\n").encode())
                options = pa_csv.WriteOptions(include_header=False, batch_size=16_384)
                writer = pa_csv.CSVWriter(sink, self._schema, write_options=options)
            self._writer = stack.enter_context(writer)
            stack.push(self._flush_if_complete)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows.

        Parameters
        ----------
        columns : (N,) array of each column; the order of the names does not matter.

        Raises
        ------
        OutputError
            Integers that overflow the column's type, or values that are no numbers where numbers are due.
        """
        assert set(columns) == set(self._schema.names), "the columns are fixed when the writer is created"
        arrays = [_as_column(field, columns[field.name], self._path) for field in self._schema]
        assert len({len(array) for array in arrays}) <= 1, "columns of different lengths"
        batch = pa.record_batch(arrays, schema=self._schema)
        self._pending.append(batch)
        self._n_pending += batch.num_rows
        if self._n_pending >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._n_pending:
            self._writer.write_table(pa.Table.from_batches(self._pending).combine_chunks())
        self._pending = []
        self._n_pending = 0

    def _flush_if_complete(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()


def table_format(path: str | os.PathLike[str]) -> str:
    """The one of `TABLE_SUFFIXES` that `path` ends in; OutputError where it ends in none."""
    name = Path(path).name
    for suffix in TABLE_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    raise OutputError(
        f"a table cannot be written as '{Path(path).suffix}'",
        where=str(path),
        remedy=f"Let the name end in {', '.join(TABLE_SUFFIXES[:-1])} or {TABLE_SUFFIXES[-1]}.",
    )


def _arrow_type(name: str, dtype: Any, path: Path) -> Any:
    with contextlib.suppress(TypeError):  # what NumPy does not know, such as jagged types, ends below
        dtype = np.dtype(dtype)
        if dtype.kind == "U":
            return pa.string()
        if dtype.kind in "biuf" and not dtype.shape:
            return pa.from_numpy_dtype(dtype.newbyteorder("="))
    raise OutputError(
        f"column '{name}' is of type {dtype}, which a table cannot hold",
        where=str(path),
        remedy="Remove it from misc_features.",
    )


def _as_column(field: Any, values: Any, path: Path) -> Any:
    array = np.asarray(values)
    try:
        if pa.types.is_string(field.type):
            return pa.array(array.astype(object), type=field.type)
        # Arrow knows native byte order only; `safe` refuses what would overflow, lose digits or be cut off.
        return pa.array(array.astype(array.dtype.newbyteorder("="), copy=False)).cast(field.type, safe=True)
    except pa.ArrowInvalid as error:
        raise OutputError(
            f"column '{field.name}' does not fit its type {field.type}: {error}", where=str(path)
        ) from error


def _csv_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(character in name for character in ',"\r\n') else name

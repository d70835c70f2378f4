"""HDF5: our skims, what pandas stores, and plain datasets, as columns."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import cached_property
from itertools import groupby
from typing import Any

import awkward as ak
import h5py
import hdf5plugin  # noqa: F401 (registers its filters with HDF5)
import numpy as np
from numpy.typing import NDArray

from utils.errors import CrossfoldError, InputFileError
from utils.events import Column
from utils.readers.columns import ColumnInfo, LazyColumns
from utils.readers.hdf5.layout import Place, compression, find_columns
from utils.readers.jagged import JaggedGroup
from utils.readers.places.storage import Source
from utils.readers.reader import Reader, short_text
from utils.readers.spec import Access

# Pieces of what is stored in one piece, or in very small ones [rows].
PIECE_ROWS = 65_536
_FEWEST_ROWS = 4096
# Rows of many columns that are in memory while one of them is picked [bytes].
_BLOCK_BYTES = 2**24
_SAMPLE_ROWS = 32


class Hdf5Table(Reader):
    """One table of one HDF5 file, opened once.

    A table is a skim, a DataFrame of pandas, or datasets of the same length: of one axis or more, of compound types
    (a column per field), bools, texts, arrays of variable length.

    Parameters
    ----------
    source : the file.
    object_name : group or dataset; None: all of a skim, the datasets at the top, or the only group that holds any.
    """

    def __init__(
        self,
        source: Source | str,
        object_name: str | None = None,
        *,
        file_index: int = 0,
        access: Access = Access(),
    ) -> None:
        super().__init__(source, object_name, file_index=file_index, access=access)
        local = self.source.local_path
        try:
            self._file = h5py.File(self.source.open() if local is None else local, "r")
        except OSError as error:
            raise InputFileError(
                f"'{self.path}' cannot be opened as an HDF5 file ({short_text(error)})",
                remedy="Copy or produce the file again.",
            ) from error
        try:
            self.object_name, places = self._find(object_name)
            self._places = {place.name: place for place in places}
            if len(self._places) < len(places):
                names = [place.name for place in places]
                twice = next(name for name in names if names.count(name) > 1)
                raise InputFileError(f"two columns are named '{twice}'", where=self.where, remedy="Rename one of them.")
            self._n_entries = self._common_length()
        except BaseException:
            self.close()
            raise

    def _find(self, object_name: str | None) -> tuple[str | None, list[Place]]:
        try:
            return find_columns(self._file, self.path, object_name)
        except CrossfoldError:
            raise
        except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:  # a damaged file
            raise InputFileError(
                f"the list of columns cannot be read ({short_text(error)})",
                where=self.where,
                remedy="Copy or produce the file again.",
            ) from error

    def _common_length(self) -> int:
        """Rows, which all columns that may be seen must agree on."""
        lengths: dict[int, list[str]] = {}
        for name in self.columns:
            lengths.setdefault(self._places[name].n_rows, []).append(name)
        if len(lengths) > 1:
            said = ", ".join(f"{', '.join(names[:3])}: {n:,}" for n, names in sorted(lengths.items()))
            raise InputFileError(
                f"columns of different lengths ({said})",
                where=self.where,
                remedy="Name one dataset with input_tree_name, or leave columns out with exclude_branches.",
            )
        return next(iter(lengths), 0)

    @property
    def n_entries(self) -> int:
        """Number of rows."""
        return self._n_entries

    @cached_property
    def _columns(self) -> Mapping[str, ColumnInfo]:
        return LazyColumns(list(self._places), self._describe)

    def _describe(self, name: str) -> ColumnInfo:
        place = self._places[name]
        n_bytes, n_stored = _sizes(place) if place.unreadable is None else (None, None)
        return ColumnInfo(name, place.type, n_bytes, n_stored, compression(place.dataset), place.unreadable)

    def _offsets(self, name: str) -> Sequence[int]:
        # All columns of a record lie in one dataset, or in lists, which may be cut anywhere.
        first = name if name in self._places else self._fields_of(name)[0].name
        n_piece = self._piece_rows(self._places[first]) or self._largest_piece
        return [*range(0, self.n_entries, n_piece), self.n_entries] if self.n_entries else [0]

    def _piece_rows(self, place: Place) -> int:
        """Rows of an HDF5 chunk, or of several small ones; 0 where it may be cut anywhere."""
        if place.dataset.chunks is None or place.lists is not None:
            return 0
        n_chunk = int(place.dataset.chunks[0])
        return n_chunk * -(-_FEWEST_ROWS // n_chunk)

    @cached_property
    def _largest_piece(self) -> int:
        return max((self._piece_rows(place) for place in self._places.values()), default=0) or PIECE_ROWS

    def _is_record(self, name: str) -> bool:
        return any(place.fields and place.name.startswith(f"{name}.") for place in self._places.values())

    def _load(self, names: Sequence[str], start: int, stop: int, threads: Executor | None) -> dict[str, Column]:
        records = {name: self._fields_of(name) for name in names if name not in self._places}
        single = [name for name in names if name in self._places]
        wanted = {
            name: self._places[name] for name in [*single, *(i.name for infos in records.values() for i in infos)]
        }
        columns = {name: _read_lists(place, start, stop) for name, place in wanted.items() if place.lists}
        others = [place for place in wanted.values() if place.lists is None]
        in_order = sorted(others, key=lambda place: str(place.dataset.name))
        for _, places in groupby(in_order, key=lambda place: place.dataset.name):
            columns.update(_read(list(places), start, stop))
        found = {name: columns[name] for name in single}
        for name, infos in records.items():
            fields = {info.name.removeprefix(f"{name}."): columns[info.name] for info in infos}
            is_list = all(self._places[info.name].lists for info in infos)
            found[name] = ak.zip(fields, depth_limit=None if is_list else 1)
        return found

    def _identifier(self) -> str:
        """A hash of the file's ends, which may be structure only, and of the first and last rows of every dataset."""
        hashed = hashlib.blake2b(super()._identifier().encode(), digest_size=16)
        datasets = {place.dataset.name: place.dataset for place in self._places.values() if place.unreadable is None}
        for name in sorted(datasets):
            for rows in (slice(0, _SAMPLE_ROWS), slice(-_SAMPLE_ROWS, None)):
                values = datasets[name][rows] if len(datasets[name]) else np.empty(0)
                hashed.update(repr(values.tolist()).encode())
        return hashed.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _sizes(place: Place) -> tuple[int | None, int | None]:
    """Size in memory and in the file [bytes], as far as HDF5 tells; columns of one dataset share what it takes."""
    stored = place.dataset
    n_stored = int(stored.id.get_storage_size())
    if isinstance(place.lists, JaggedGroup):
        return int(stored.size) * stored.dtype.itemsize + 8 * place.n_rows, n_stored
    if place.kind == "jagged" or (place.kind == "text" and stored.dtype.kind != "S"):
        return None, None
    value = stored.dtype.itemsize if place.kind == "text" else np.dtype(place.value).itemsize
    in_row = value * int(np.prod(place.shape, dtype=int))
    row_bytes = stored.dtype.itemsize * int(np.prod(stored.shape[1:], dtype=int))
    is_elsewhere = place.lists is not None and stored.shape[1:] != place.shape  # sparse images
    return in_row * place.n_rows, None if is_elsewhere else int(n_stored * min(in_row / max(row_bytes, 1), 1.0))


def _read_lists(place: Place, start: int, stop: int) -> Column:
    """A column of a skim's jagged groups, or its images."""
    if isinstance(place.lists, JaggedGroup):
        return place.lists.read(place.fields, start, stop)[place.fields[0]]
    assert place.lists is not None
    return ak.from_numpy(place.lists.read(start, stop), regulararray=True)


def _read(places: Sequence[Place], start: int, stop: int) -> dict[str, Column]:
    """Columns of one dataset for the rows in [start, stop), which pass through memory block by block."""
    dataset = places[0].dataset
    fields = sorted({place.fields[0] for place in places if place.fields})
    row_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=int))
    n_block = max(_BLOCK_BYTES // max(row_bytes, 1), _FEWEST_ROWS)
    if len(places) == 1 and not fields and places[0].column is None:
        n_block = max(stop - start, 1)
    parts: dict[str, list[Any]] = {place.name: [] for place in places}
    for first in range(start, max(stop, start + 1), n_block):
        last = min(first + n_block, stop)
        rows = dataset.fields(fields)[first:last] if fields else dataset[first:last]
        for place in places:
            parts[place.name].append(_pick(rows, place))
    return {place.name: _converted(place, _joined(parts[place.name])) for place in places}


def _pick(rows: NDArray[Any], place: Place) -> NDArray[Any]:
    values = rows
    for field in place.fields:
        values = values[field]
    # A copy, so that the block can go.
    return values if place.column is None and not place.fields else np.array(_column(values, place.column))


def _column(values: NDArray[Any], column: int | None) -> NDArray[Any]:
    return values if column is None else values[:, column]


def _joined(parts: list[Any]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _converted(place: Place, values: NDArray[Any]) -> Column:
    if place.categories is not None:
        return place.categories[values]  # the code of a missing one is −1, the last
    if place.kind == "text":
        return _texts(values, place.missing)
    if place.kind == "jagged":
        counts = np.fromiter((len(item) for item in values), np.int64, len(values))
        content = np.concatenate([*values, np.empty(0, place.value)]).astype(place.value, copy=False)
        return ak.unflatten(content, counts)
    values = values.astype(place.value, copy=False)
    return ak.from_numpy(values, regulararray=True) if place.shape else values


def _texts(values: NDArray[Any], missing: str | None) -> NDArray[Any]:
    if values.dtype.kind == "S":
        texts = np.char.decode(values, "utf-8").astype(object)
    else:
        texts = np.array([item.decode() if isinstance(item, bytes) else item for item in values], dtype=object)
    if missing is not None:
        texts[texts == missing] = ""
    return texts

"""HDF5 skims, appended to row by row in bounded memory, that open with plain `pandas.read_hdf(file, key=GROUP)`.

pandas itself writes a one-row template of every group in memory; the layout and the attributes of its own format are
taken from there, and the values are appended with h5py. `targets` holds text (`group_name`), which pandas' fixed format
can only store as a pickle, so that group alone has pandas' table format. Reading a skim never unpickles anything.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import hdf5plugin
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from utils.writers.atomic import atomic_output
from utils.writers.jagged import CHUNK_BYTES, DenseImages, ImageLayout, JaggedGroup, extendable, image_group

METADATA_KEY = "metadata"
TEXT_GROUPS = ("targets",)
CACHE_BYTES = CHUNK_BYTES  # per dataset; rows come in order, so only the last chunk is ever written twice

Dtypes = Mapping[str, np.dtype[Any]]


@dataclass(frozen=True)
class SkimSchema:
    """The columns of every group, in order, with their types.

    Parameters
    ----------
    groups : group → column → dtype (text as `S<length>`), a value per event.
    jagged : group → column → dtype; the columns of a group have as many values per event.
    images : name → layout.
    """

    groups: Mapping[str, Dtypes]
    jagged: Mapping[str, Dtypes] = field(default_factory=dict)
    images: Mapping[str, ImageLayout] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [name for columns in self.groups.values() for name in columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        assert not twice, f"columns in two groups: {twice}"


@contextmanager
def _written(part: Path) -> Iterator[h5py.File]:
    """The file to write, closed at the end whatever happens.

    HDF5 writes out what it still holds when it closes; where that fails, as on a full disk, the process crashes later
    on. After an error it therefore writes to memory, a few megabytes, instead of the file, which is not to be kept.
    """
    file = h5py.File(part, "w", rdcc_nbytes=CACHE_BYTES, rdcc_nslots=10_007)
    try:
        yield file
        file.flush()
    except BaseException:
        discarded = os.memfd_create(part.name)
        os.ftruncate(discarded, part.stat().st_size)
        os.dup2(discarded, file.id.get_vfd_handle())
        os.close(discarded)
        raise
    finally:
        file.close()


def _filters(compression: str) -> dict[str, Any]:
    if compression == "none":
        return {}
    codec: Any = compression.removeprefix("blosc:")
    return dict(hdf5plugin.Blosc(cname=codec, clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE))


def _template(schema: SkimSchema) -> h5py.File:
    """A file in memory with one row in every group, written by pandas."""
    described = tuple(
        (group, tuple((name, dtype.str) for name, dtype in dtypes.items())) for group, dtypes in schema.groups.items()
    )
    return h5py.File(io.BytesIO(_template_image(described)), "r")


@lru_cache(maxsize=4)
def _template_image(described: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]) -> bytes:
    """The bytes of that file, for groups of (column, type): a worker makes many skims of the same schema."""
    store = pd.HDFStore("template.h5", mode="w", driver="H5FD_CORE", driver_core_backing_store=0)
    try:
        for group, columns_of_group in described:
            dtypes = {name: np.dtype(text) for name, text in columns_of_group}
            columns = {name: ["x"] if dtype.kind == "S" else np.zeros(1, dtype) for name, dtype in dtypes.items()}
            frame = pd.DataFrame(columns)
            if group in TEXT_GROUPS:
                sizes = {name: dtype.itemsize for name, dtype in dtypes.items() if dtype.kind == "S"}
                store.append(group, frame, format="table", min_itemsize=sizes, index=False, data_columns=True)
            else:
                store.put(group, frame, format="fixed", track_times=False)
        handle: Any = store._handle
        image: bytes = handle.get_file_image()
    finally:
        store.close()
    return image


def _extendable(group: h5py.Group, name: str, template: h5py.Dataset, filters: dict[str, Any]) -> h5py.Dataset:
    """An empty dataset with the type, columns and attributes of the template's, growing along its first axis."""
    dataset = extendable(group, name, template.dtype, template.shape[1:], filters)
    _copy_attributes(template, dataset)
    return dataset


def _copy_attributes(source: h5py.HLObject, target: h5py.HLObject) -> None:
    """Copy attributes with their exact HDF5 type: PyTables tells text from bytes by the character set."""
    for key in source.attrs:
        name = key.encode()
        original = h5py.h5a.open(source.id, name)
        kind, space = original.get_type(), original.get_space()
        copy = h5py.h5a.create(target.id, name, kind, space)
        if space.get_simple_extent_type() != h5py.h5s.NULL:
            value = np.empty(original.shape, original.dtype)
            original.read(value, mtype=kind)
            copy.write(value, mtype=kind)


class _FixedGroup:
    """A group in pandas' fixed format: one (N, columns) dataset per dtype."""

    def __init__(self, group: h5py.Group, template: h5py.Group, filters: dict[str, Any]) -> None:
        self._blocks: list[tuple[h5py.Dataset, list[str]]] = []
        group.create_dataset("axis0", data=template["axis0"])
        _copy_attributes(template["axis0"], group["axis0"])
        for i in range(int(template.attrs["nblocks"])):
            items = template[f"block{i}_items"]
            _copy_attributes(items, group.create_dataset(items.name.rsplit("/")[-1], data=items))
            values = _extendable(group, f"block{i}_values", template[f"block{i}_values"], filters)
            self._blocks.append((values, [item.decode() for item in items[()]]))

    def append(self, start: int, stop: int, columns: Mapping[str, NDArray[Any]] | NDArray[Any]) -> None:
        for dataset, items in self._blocks:
            dataset.resize(stop, axis=0)
            if isinstance(columns, np.ndarray):
                dataset[start:stop] = columns
                continue
            block = np.empty((stop - start, len(items)), dataset.dtype)
            for j, name in enumerate(items):
                block[:, j] = columns[name]
            dataset[start:stop] = block

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        dataset, items = next((dataset, items) for dataset, items in self._blocks if name in items)
        return np.asarray(dataset[start:stop, items.index(name)])

    def read_matrix(self, start: int, stop: int) -> NDArray[Any]:
        ((dataset, _),) = self._blocks
        return np.asarray(dataset[start:stop])

    def fill(self, name: str, start: int, values: NDArray[Any]) -> None:
        for dataset, items in self._blocks:
            if name in items:
                dataset[start : start + len(values), items.index(name)] = values


class _TableGroup:
    """A group in pandas' table format: one dataset of records, text included."""

    def __init__(self, group: h5py.Group, template: h5py.Group, filters: dict[str, Any]) -> None:
        self._table = _extendable(group, "table", template["table"], filters)

    def append(self, start: int, stop: int, columns: Mapping[str, NDArray[Any]]) -> None:
        records = np.zeros(stop - start, self._table.dtype)
        records["index"] = np.arange(start, stop)
        for name, values in columns.items():
            records[name] = values
        self._table.resize(stop, axis=0)
        self._table[start:stop] = records

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        return np.asarray(self._table.fields(name)[start:stop])

    def finish(self, n_rows: int) -> None:
        self._table.attrs["NROWS"] = np.int64(n_rows)


class SkimWriter:
    """Write one skim; use as a context manager. The file appears under `path` when the block ends well.

    Parameters
    ----------
    path : the skim's file; `path` + ".part" until it is whole.
    schema : the columns of every group.
    compression : `none`, `blosc:lz4` or `blosc:zstd`.
    overwrite : whether an existing file may be replaced.
    durable : as for :func:`atomic_output`.
    """

    def __init__(
        self,
        path: str | Path,
        schema: SkimSchema,
        *,
        compression: str = "none",
        overwrite: bool = False,
        durable: bool = True,
    ) -> None:
        self.path = Path(path)
        groups = {group: columns for group, columns in schema.groups.items() if columns}
        self.schema = SkimSchema(groups, schema.jagged, schema.images)
        self.n_rows = 0
        self._compression = compression
        self._overwrite = overwrite
        self._durable = durable
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            part = stack.enter_context(atomic_output(self.path, overwrite=self._overwrite, durable=self._durable))
            self._file = stack.enter_context(_written(part))
            self._create_groups()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, value, trace)

    def close(self) -> None:
        """Put the file in place before the block ends."""
        self._stack.close()

    def _create_groups(self) -> None:
        filters = _filters(self._compression)
        self._groups: dict[str, _FixedGroup | _TableGroup] = {}
        with _template(self.schema) as template:
            shared_index = _extendable(self._file, "index", _first_fixed(template)["axis1"], filters)
            for name in self.schema.groups:
                group = self._file.create_group(name)
                _copy_attributes(template[name], group)
                if name in TEXT_GROUPS:
                    self._groups[name] = _TableGroup(group, template[name], filters)
                else:
                    self._groups[name] = _FixedGroup(group, template[name], filters)
                    group["axis1"] = shared_index  # a hard link: one index on disk for all groups
            self._index = shared_index
            del self._file["index"]
        self._lists: dict[str, JaggedGroup | DenseImages] = {}
        for name, dtypes in self.schema.jagged.items():
            key = f"jagged/{name}"
            self._lists[key] = JaggedGroup(self._file.create_group(key), dtypes, filters)
        for name, layout in self.schema.images.items():
            self._lists[f"images/{name}"] = image_group(self._file.require_group("images"), name, layout, filters)

    def append(self, groups: Mapping[str, Mapping[str, Any] | NDArray[Any]]) -> None:
        """Append rows.

        Parameters
        ----------
        groups : group → its columns, or one (N, columns) matrix for a group of a single dtype; `jagged/GROUP` → its
            columns, Awkward; `images/NAME` → an (N, C, H, W) array, or, sparse, columns as in `ImageLayout.columns`.
        """
        first = next(iter(groups.values()))
        n_new = len(first) if isinstance(first, np.ndarray) else len(next(iter(first.values())))
        start, stop = self.n_rows, self.n_rows + n_new
        for name, group in self._groups.items():
            group.append(start, stop, groups[name])  # type: ignore[arg-type]
        for name, lists in self._lists.items():
            lists.append(start, stop, groups[name])  # type: ignore[arg-type]
        self._index.resize(stop, axis=0)
        self._index[start:stop] = np.arange(start, stop)
        self.n_rows = stop

    def fill(self, group: str, name: str, start: int, values: NDArray[Any]) -> None:
        """Overwrite rows `start …` of one column of a fixed-format group, for what is only known at the end."""
        target = self._groups[group]
        assert isinstance(target, _FixedGroup)
        target.fill(name, start, values)

    def read(self, group: str, name: str, start: int, stop: int) -> NDArray[Any]:
        """(N,) one column of rows that are already written."""
        return self._groups[group].read(name, start, min(stop, self.n_rows))

    def read_matrix(self, group: str, start: int, stop: int) -> NDArray[Any]:
        """(N, columns) of a fixed-format group of a single dtype."""
        target = self._groups[group]
        assert isinstance(target, _FixedGroup)
        return target.read_matrix(start, min(stop, self.n_rows))

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Store the metadata as JSON; the last call before the block ends."""
        for group in self._groups.values():
            if isinstance(group, _TableGroup):
                group.finish(self.n_rows)
        text = json.dumps(metadata, indent=1)
        self._file.create_dataset(METADATA_KEY, data=np.frombuffer(text.encode(), np.uint8))


def _first_fixed(template: h5py.File) -> h5py.Group:
    return next(group for name, group in template.items() if name not in TEXT_GROUPS)

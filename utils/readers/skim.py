"""Skims as columns: any range of rows, any columns, in bounded memory. Reading one never executes anything it holds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import awkward as ak
import h5py
import hdf5plugin  # noqa: F401 (registers the blosc filter with HDF5)
import numpy as np
from numpy.typing import DTypeLike, NDArray

from utils.errors import MissingColumnError, SkimError, nearest_name
from utils.readers.jagged import JaggedGroup, StoredImages

METADATA_KEY = "metadata"
TABLE_INDEX = "index"
LISTS = ("jagged", "images")


class SkimFile:
    """One skim, open for reading; use as a context manager or call `close`.

    Raises
    ------
    SkimError : the file is missing, unfinished (`.part`), or not a skim.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix == ".part":
            raise SkimError("an unfinished skim", where=str(path), remedy="Run preprocess.py again.")
        if not self.path.is_file():
            siblings = [p.name for p in self.path.parent.glob("*.h5")] if self.path.parent.is_dir() else []
            raise SkimError(
                "no such skim",
                where=str(path),
                nearest=nearest_name(self.path.name, siblings),
                remedy="Run preprocess.py first.",
            )
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise SkimError(
                f"not a readable HDF5 file ({error})", where=str(path), remedy="Run preprocess.py again."
            ) from error
        if METADATA_KEY not in self._file:
            self._file.close()
            raise SkimError("HDF5, but not a skim of ours", where=str(path), remedy="Make it with preprocess.py.")
        self._location: dict[str, tuple[h5py.Dataset, int | str]] = {}
        self.groups: dict[str, tuple[str, ...]] = {}
        self._jagged: dict[str, JaggedGroup] = {}
        self._images: dict[str, StoredImages] = {}
        try:
            self.metadata: dict[str, Any] = json.loads(self._file[METADATA_KEY][()].tobytes())
            for name, group in self._file.items():
                if isinstance(group, h5py.Group) and name not in LISTS:
                    self.groups[name] = tuple(self._locate(group))
            self._locate_lists()
        except SkimError:
            self._file.close()
            raise
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:  # anything may be in the file
            self._file.close()
            raise SkimError(
                f"a damaged skim ({type(error).__name__}: {error})", where=str(path), remedy="Run preprocess.py again."
            ) from error

    def _locate(self, group: h5py.Group) -> list[str]:
        """Note where every column of a group lies: (dataset, column number) or (table, field name)."""
        if "table" in group:
            fields = [field for field in group["table"].dtype.names if field != TABLE_INDEX]
            self._location.update({field: (group["table"], field) for field in fields})
            return fields
        names: list[str] = [item.decode() for item in group["axis0"][()]]
        i = 0
        while f"block{i}_items" in group:
            for j, item in enumerate(group[f"block{i}_items"][()]):
                self._location[item.decode()] = (group[f"block{i}_values"], j)
            i += 1
        return names

    def _locate_lists(self) -> None:
        """Note the groups with several values per event."""
        for name, group in self._file.get("jagged", {}).items():
            self._jagged[name] = JaggedGroup(group, self.n_rows, f"{self.path}:jagged/{name}")
        for name, item in self._file.get("images", {}).items():
            self._images[name] = StoredImages.open(item, self.n_rows, f"{self.path}:images/{name}")

    @property
    def jagged_columns(self) -> dict[str, dict[str, np.dtype[Any]]]:
        """Jagged group → its columns and their types."""
        return {name: group.dtypes for name, group in self._jagged.items()}

    @property
    def image_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Image → (channels, rows, columns)."""
        return {name: image.shape for name, image in self._images.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of all flat groups."""
        return tuple(self._location)

    @property
    def n_rows(self) -> int:
        """Number of events."""
        dataset, _ = next(iter(self._location.values()))
        return int(dataset.shape[0])

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of one column; text is `object` (str)."""
        dataset, key = self._find(name)
        if isinstance(key, int):
            return np.dtype(str(dataset.dtype))
        field = dataset.dtype[key]
        return np.dtype(object) if field.kind == "S" else field.base

    def require(self, names: Sequence[str], use: str) -> None:
        """MissingColumnError unless every name is a column."""
        for name in names:
            if name not in self._location:
                raise MissingColumnError(
                    f"no column '{name}' ({use})",
                    where=str(self.path),
                    nearest=nearest_name(name, self.columns),
                    remedy="Add it to the features of the preprocess config and make the skim again.",
                )

    def _find(self, name: str) -> tuple[h5py.Dataset, int | str]:
        self.require([name], "asked for")
        return self._location[name]

    def read(self, names: Sequence[str], start: int = 0, stop: int | None = None) -> dict[str, NDArray[Any]]:
        """Columns of the rows in [start, stop), each (N,); text comes as an array of str."""
        stop = self.n_rows if stop is None else min(stop, self.n_rows)
        blocks: dict[str, NDArray[Any]] = {}
        columns: dict[str, NDArray[Any]] = {}
        for name in names:
            dataset, key = self._find(name)
            if dataset.name not in blocks:
                blocks[dataset.name] = dataset[start:stop]
            block = blocks[dataset.name]
            values = block[:, key] if isinstance(key, int) else block[key].reshape(len(block))
            columns[name] = np.char.decode(values, "utf-8").astype(object) if values.dtype.kind == "S" else values
        return columns

    def matrix(
        self, names: Sequence[str], start: int = 0, stop: int | None = None, dtype: DTypeLike = np.float32
    ) -> NDArray[Any]:
        """(N, len(names)) of `dtype` for the rows in [start, stop), C-contiguous."""
        stop = self.n_rows if stop is None else min(stop, self.n_rows)
        located = [self._find(name) for name in names]
        datasets = {dataset.name for dataset, _ in located}
        if len(datasets) == 1 and [key for _, key in located] == list(range(located[0][0].shape[1])):
            return np.ascontiguousarray(located[0][0][start:stop], dtype=dtype)
        columns = self.read(names, start, stop)
        matrix = np.empty((max(stop - start, 0), len(names)), dtype)
        for j, name in enumerate(names):
            matrix[:, j] = columns[name]
        return matrix

    def jagged(
        self, group: str, names: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> dict[str, ak.Array]:
        """Columns of a jagged group for the rows in [start, stop), Awkward (N, objects); None: all of them."""
        if group not in self._jagged:
            raise self._missing("jagged group", group, self._jagged, "jagged_features")
        found = self._jagged[group]
        stop = self.n_rows if stop is None else min(stop, self.n_rows)
        return found.read(list(found.dtypes) if names is None else names, start, stop)

    def images(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """(N, C, H, W) float32 images for the rows in [start, stop), whichever way they are stored."""
        if name not in self._images:
            raise self._missing("image", name, self._images, "images")
        return self._images[name].read(start, self.n_rows if stop is None else min(stop, self.n_rows))

    def _missing(self, what: str, name: str, known: Mapping[str, object], key: str) -> MissingColumnError:
        return MissingColumnError(
            f"no {what} '{name}'",
            where=str(self.path),
            nearest=nearest_name(name, known),
            remedy=f"Add it to {key} of the preprocess config and make the skim again.",
        )

    def block(self, start: int, stop: int) -> dict[str, Any]:
        """The rows in [start, stop) of all groups, as `SkimWriter.append` takes them.

        A group of one dtype is an (N, columns) matrix, any other maps its columns to (N,) values; text stays bytes.
        Jagged groups and images are under `jagged/GROUP` and `images/NAME`.
        """
        stop = min(stop, self.n_rows)
        rows: dict[str, Any] = {}
        for name, columns in self.groups.items():
            datasets = {self._location[column][0].name for column in columns}
            location, key = self._location[columns[0]]
            if len(datasets) == 1 and isinstance(key, int):
                rows[name] = location[start:stop]
                continue
            blocks: dict[str, NDArray[Any]] = {}
            rows[name] = {}
            for column in columns:
                location, key = self._location[column]
                if location.name not in blocks:
                    blocks[location.name] = location[start:stop]
                block = blocks[location.name]
                rows[name][column] = block[:, key] if isinstance(key, int) else block[key].reshape(len(block))
        rows.update(
            {f"jagged/{name}": group.read(list(group.dtypes), start, stop) for name, group in self._jagged.items()}
        )
        rows.update({f"images/{name}": images.stored(start, stop) for name, images in self._images.items()})
        return rows

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

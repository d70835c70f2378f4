"""Skims as columns: any range of rows, any columns, in bounded memory. Reading one never executes anything it holds."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import hdf5plugin  # noqa: F401 (registers the blosc filter with HDF5)
import numpy as np
from numpy.typing import DTypeLike, NDArray

from utils.errors import MissingColumnError, SkimError, nearest_name

METADATA_KEY = "metadata"
TABLE_INDEX = "index"


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
        try:
            self.metadata: dict[str, Any] = json.loads(self._file[METADATA_KEY][()].tobytes())
            for name, group in self._file.items():
                if isinstance(group, h5py.Group):
                    self.groups[name] = tuple(self._locate(group))
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

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of all groups."""
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

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""A user's `preprocessing(record)`: called for every event with a dictionary of its values, as MLaaS4HEP calls it.

A function that is declared `preprocessing.vectorised = True` (or whose config says so) is called once per chunk
instead, with a dictionary of arrays, which is many times faster. The file was named by its user, and is executed.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from utils.errors import ConfigError, DataError
from utils.events import Chunk, Column
from utils.factory import Factory
from utils.readers.records import leaves, pick

FUNCTION = "preprocessing"
NUMBER, TEXT = "float64", "string"

Function = Callable[[Any], Any]


class RecordPreprocessing:
    """Calls a user's function; see :class:`~utils.preprocessing.transform.ChunkTransform`.

    Numbers become float64; text stays text.

    Parameters
    ----------
    file : the user's Python file.
    uses : columns that records hold; a record's own name (`data` for `data.pt`) makes a dictionary of it.
    types : column → type of one event's value, for every column that the function gives; None: look at what it gives,
        which is only right where every event is looked at together.
    vectorised : whether the function takes a chunk's arrays; it may also say so itself.
    digest : of the file's content, which must still be the same; None: whatever it is.
    """

    def __init__(
        self,
        file: str,
        uses: Sequence[str],
        types: Mapping[str, str] | None = None,
        vectorised: bool = False,
        digest: str | None = None,
    ) -> None:
        if digest is not None and digest != file_digest(file):
            raise ConfigError(
                "the file changed since this config was made from it",
                where=file,
                remedy="Start again from MLaaS4HEP's files, or take the digest out of chunk_transform.",
            )
        self.file = file
        self.uses = tuple(uses)
        self.types = types
        self.produces = tuple(types or ())
        self._declared = vectorised

    @cached_property
    def _function(self) -> Function:
        return load_function(self.file)

    @property
    def is_vectorised(self) -> bool:
        """Whether the function takes arrays."""
        return self._declared or bool(getattr(self._function, "vectorised", False))

    def __call__(self, chunk: Chunk, where: str) -> dict[str, Column]:
        """The columns that the function makes of a chunk.

        Raises
        ------
        DataError : records with other columns or kinds of values than those before, with the record's number.
        """
        given = {name: chunk.columns[name] for name in self.uses}
        if self.is_vectorised:
            return self._checked(self._vectorised(given, chunk, where), where)
        results = self._records(given, chunk, where)
        if not results:
            return {name: _typed(ak.Array([]), kind) for name, kind in (self.types or {}).items()}
        columns: dict[str, Column] = {}
        table = {name: [record[name] for record in results] for name in results[0]}
        for name, values in table.items():
            columns.update(self._columns(name, values, chunk, where))
        return self._checked(columns, where)

    def _records(self, given: Mapping[str, Column], chunk: Chunk, where: str) -> list[Mapping[str, Any]]:
        lists = [_to_list(values) for values in given.values()]
        results: list[Mapping[str, Any]] = []
        for number, values in enumerate(zip(*lists, strict=True), chunk.first_entry):
            with _at_record(number, self.file, where):
                result = self._function(dict(zip(given, values, strict=True)))
            if not isinstance(result, Mapping):
                raise DataError(
                    f"{FUNCTION} gives {type(result).__name__} for record {number:,}, not a dictionary",
                    where=f"{self.file}, with {where}",
                    remedy="Return the record.",
                )
            if results and result.keys() != results[0].keys():
                raise self._other_keys(number, result.keys(), results[0].keys(), where)
            results.append(result)
        return results

    def _other_keys(self, number: int, now: Any, before: Any, where: str) -> DataError:
        return DataError(
            f"{FUNCTION} gives other columns for record {number:,} than before: {_difference(now, before)}",
            where=f"{self.file}, with {where}",
            remedy="Give every record the same keys, NaN or an empty list where there is nothing.",
        )

    def _columns(self, name: str, values: list[Any], chunk: Chunk, where: str) -> Iterator[tuple[str, Column]]:
        """The column, or the columns that a dictionary holds, of the values of all records."""
        try:
            array = ak.from_iter(iter(values))  # Awkward would look at every item of a list, for its messages
            for leaf, kind, path in leaves(name, ak.type(array).content):
                wanted = self._wanted(leaf, kind)
                yield leaf, _typed(pick(array, path), wanted)
        except (TypeError, ValueError) as error:
            wanted_text = (self.types or {}).get(name, "of one kind")
            number = next(
                (n for n, value in enumerate(values, chunk.first_entry) if not _fits(value, wanted_text)), None
            )
            which = "some records" if number is None else f"record {number:,}"
            raise DataError(
                f"'{name}' of {which} is not {wanted_text}, as in the records before",
                where=f"{self.file}, with {where}",
                remedy="Give every record values of one kind: numbers, text, or lists of them.",
            ) from error

    def _wanted(self, name: str, found: str) -> str:
        if self.types is not None and name in self.types:
            return self.types[name]
        return column_type(found)

    def _vectorised(self, given: Mapping[str, Column], chunk: Chunk, where: str) -> dict[str, Column]:
        with _at_record(None, self.file, where):
            result = self._function(dict(given))
        if not isinstance(result, Mapping):
            raise DataError(
                f"{FUNCTION} gives {type(result).__name__}, not a dictionary of arrays",
                where=f"{self.file}, with {where}",
                remedy="Return the arrays by their names.",
            )
        columns: dict[str, Column] = {}
        for name, values in result.items():
            array = values if isinstance(values, np.ndarray | ak.Array) else np.asarray(values)
            if array.ndim == 0 or len(array) != chunk.n_events:
                n_values = 1 if array.ndim == 0 else len(array)
                raise DataError(
                    f"'{name}' has {n_values:,} values for {chunk.n_events:,} events",
                    where=f"{self.file}, with {where}",
                    remedy=f"{FUNCTION} must give an array with a value, or a list, for every event.",
                )
            columns[str(name)] = array
        return columns

    def _checked(self, columns: dict[str, Column], where: str) -> dict[str, Column]:
        if self.types is not None and columns.keys() != self.types.keys():
            raise DataError(
                f"{FUNCTION} gives other columns than before: {_difference(columns.keys(), self.types.keys())}",
                where=f"{self.file}, with {where}",
                remedy="Give every record the same keys.",
            )
        return columns


def file_digest(file: str) -> str | None:
    """What changes with the file's content; None where there is no file."""
    path = Path(file)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None


def load_function(file: str) -> Function:
    """`preprocessing` of a user's file.

    Raises
    ------
    ConfigError : there is no such file, or no such function in it.
    """
    return Factory.from_config(f"{file}:{FUNCTION}", "preproc").load()


def column_type(found: str) -> str:
    """The type that a column gets whose values are seen to be `found`: all numbers are float64."""
    lists, _, value = found.replace("?", "").rpartition("* ")
    return f"{lists}* {_value_type(value)}" if lists else _value_type(value)


def _value_type(value: str) -> str:
    return TEXT if value == TEXT else NUMBER


def column_types(columns: Mapping[str, Column]) -> dict[str, str]:
    """Column → type of one event's value."""
    types = {}
    for name, values in columns.items():
        if isinstance(values, np.ndarray) and values.dtype.kind in "OUS":
            types[name] = TEXT
        elif isinstance(values, np.ndarray):
            types[name] = " * ".join([*map(str, values.shape[1:]), str(values.dtype)])
        else:
            types[name] = str(ak.type(values).content)
    return types


def _to_list(values: Column) -> list[Any]:
    """One Python value per event; lists of numbers by slicing, which is several times faster than Awkward."""
    if isinstance(values, np.ndarray):
        plain: list[Any] = values.tolist()
        return plain
    if not re.fullmatch(r"var \* (bool|u?int\d+|float\d+)", str(values.type.content)):
        return ak.to_list(values)  # type: ignore[no-any-return]
    flat = ak.to_numpy(ak.flatten(values)).tolist()
    edges = np.cumsum(ak.to_numpy(ak.num(values))).tolist()
    return [flat[start:stop] for start, stop in pairwise([0, *edges])]


def _typed(values: Any, kind: str) -> Column:
    """Values as a column: (N,) float64 or str, or Awkward lists of numbers."""
    if kind == TEXT:
        return np.array(ak.to_list(values), object)
    array = ak.fill_none(ak.values_astype(ak.Array(values), np.float64), np.nan, axis=-1)
    column = ak.enforce_type(array, kind)
    return ak.to_numpy(column) if kind == NUMBER else column


def _fits(value: Any, kind: str) -> bool:
    try:
        _typed(ak.from_iter([value]), kind)
    except (TypeError, ValueError):
        return False
    return True


def _difference(now: Any, before: Any) -> str:
    parts = [f"without {', '.join(sorted(set(before) - set(now)))}"] if set(before) - set(now) else []
    parts += [f"with {', '.join(sorted(set(now) - set(before)))}"] if set(now) - set(before) else []
    return " and ".join(parts)


class _at_record:  # noqa: N801 (used like a function)
    """Says at which record a user's function failed."""

    def __init__(self, number: int | None, file: str, where: str) -> None:
        self._number = number
        self._file = file
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, Exception):
            return
        last = trace
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        line = (
            f", line {last.tb_lineno}"
            if last is not None and last.tb_frame.f_code.co_filename.endswith(Path(self._file).name)
            else ""
        )
        at = "" if self._number is None else f" at record {self._number:,}"
        raise ConfigError(
            f"{FUNCTION} fails{at} with {type(error).__name__}: {error}",
            where=f"{self._file}{line}, with {self._where}",
            remedy="Mend the function.",
        ) from error

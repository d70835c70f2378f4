"""Which events of a chunk enter which process, and the columns they carry."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError
from utils.events import Chunk, Column, hash_identity, hash_text
from utils.events.identity import as_integers
from utils.expressions import DerivedVariables, Expression
from utils.preprocessing.padding import Kept, fill_matrix
from utils.preprocessing.row_lists import JaggedColumns, lists_of, used_by_lists
from utils.preprocessing.spec import CLASS_WEIGHT_COLUMNS, PreprocessSpec, Sample
from utils.preprocessing.transform import ChunkTransform
from utils.readers.spec import ChunkSize

IDENTITY_NAMES = (
    ("run", "runNumber", "RunNumber", "run_number"),
    ("lumi", "luminosityBlock", "lumiBlock", "LumiBlock", "lumi_block", "ls"),
    ("evt", "event", "eventNumber", "EventNumber", "event_number"),
)


def find_identity(branches: Sequence[str], wanted: tuple[str, ...] | str) -> tuple[str, ...]:
    """The branches that identify an event, empty where (file, entry) does.

    `auto` looks for run, lumi and event under their usual names; without an event number the rest says nothing.
    """
    if wanted == "entry":
        return ()
    if not isinstance(wanted, str):
        return wanted
    known = set(branches)
    found = [next((name for name in names if name in known), None) for names in IDENTITY_NAMES]
    return tuple(name for name in found if name is not None) if found[-1] is not None else ()


@dataclass(frozen=True)
class Rows:
    """The selected rows of one chunk, in the order (entry, process).

    Parameters
    ----------
    process_R : (R,) index of the process within the sample.
    entry_R : (R,) entry numbers.
    identity_R : (R,) hashed identities.
    cont_RF : (R, F) float32 continuous features, raw: derived and clipped, in physical units.
    columns : categorical and misc columns, (R,) each.
    weight_R : (R,) signed event weights, float64.
    dropped_R : (R,) True where a categorical feature or a value of an object is NaN or infinite and the policy is to
        drop such events; None where there are none.
    jagged : group → column → (R, objects) values.
    images : name → columns of the occupied cells.
    tallies : what is reported at the end, by name; only of rows as they were selected.
    """

    process_R: NDArray[np.intp]
    entry_R: NDArray[np.int64]
    identity_R: NDArray[np.uint64]
    cont_RF: NDArray[np.float32]
    columns: Mapping[str, NDArray[Any]]
    weight_R: NDArray[np.float64]
    dropped_R: NDArray[np.bool_] | None = None
    jagged: JaggedColumns = field(default_factory=dict)
    images: JaggedColumns = field(default_factory=dict)
    tallies: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entry_R)

    def take(self, keep: NDArray[np.bool_]) -> "Rows":
        """The rows where `keep` is True."""
        if keep.all():
            return self
        rows = np.flatnonzero(keep)  # taking by number is several times faster than by mask
        return Rows(
            self.process_R.take(rows),
            self.entry_R.take(rows),
            self.identity_R.take(rows),
            self.cont_RF.take(rows, axis=0),
            {name: values.take(rows) for name, values in self.columns.items()},
            self.weight_R.take(rows),
            None if self.dropped_R is None else self.dropped_R.take(rows),
            _taken(self.jagged, rows),
            _taken(self.images, rows),
        )


@dataclass(frozen=True)
class Selector:
    """Turns the chunks of one sample into rows.

    Parameters
    ----------
    spec : the config.
    sample : whose processes to select.
    identity : branches that identify an event; empty for (file, entry).
    """

    spec: PreprocessSpec
    sample: Sample
    identity: tuple[str, ...]

    @cached_property
    def _derived(self) -> DerivedVariables:
        return DerivedVariables(self.spec.new_variables)

    @cached_property
    def _cuts(self) -> tuple[Expression | None, ...]:
        where = f"input_samples.{self.sample.name}"
        return tuple(
            None if process.cut is None else Expression.parse(process.cut, where=f"{where}.{process.name}.cut")
            for process in self.sample.processes
        )

    @cached_property
    def _cut_names(self) -> frozenset[str]:
        return frozenset().union(*(cut.uses for cut in self._cuts if cut is not None))

    @cached_property
    def stored_misc(self) -> tuple[str, ...]:
        """The misc features that come from the input, not from preprocessing itself."""
        return tuple(name for name in self.spec.misc_columns if name not in CLASS_WEIGHT_COLUMNS)

    @cached_property
    def _row_names(self) -> tuple[str, ...]:
        spec = self.spec
        names = [*spec.cont_features, *(spec.cat_features or ()), *used_by_lists(spec), *self.stored_misc]
        if self.spec.weight_name is not None:
            names.append(self.spec.weight_name)
        return tuple(dict.fromkeys(names))

    @cached_property
    def branches(self) -> frozenset[str]:
        """All that has to be read."""
        needed = self._derived.needs({*self._row_names, *self._cut_names})
        if self._transform is not None:
            needed = (needed - set(self._transform.produces)) | set(self._transform.uses)
        return needed | set(self.identity)

    @cached_property
    def _transform(self) -> ChunkTransform | None:
        return None if self.spec.chunk_transform is None else self.spec.chunk_transform()

    def transformed(self, chunk: Chunk, where: str) -> Chunk:
        """The chunk with what `chunk_transform` makes of its columns; an event stays the event that was read."""
        if self._transform is None:
            return chunk
        read = {name: chunk.columns[name] for name in self.identity}
        return replace(chunk, columns={**chunk.columns, **self._transform(chunk, where), **read})

    def chunk_size(self, bytes_per_event: Callable[[Iterable[str]], float]) -> ChunkSize:
        """How much to read at a time: rows that are larger than what they are made from count as what they are.

        `bytes_per_event` is the reader's.
        """
        size = ChunkSize.of(self.spec.chunk_size)
        n_values = len(self.spec.padded_columns)
        n_values += sum(math.prod(image.shape) for image in self.spec.images.values() if image.storage == "dense")
        if size.n_events or not n_values:
            return size
        return ChunkSize(size.events(bytes_per_event(self.branches) + 4 * n_values))

    def weights(self, chunk: Chunk, where: str) -> NDArray[np.float64]:
        """(N,) signed weights of all events of a chunk; ones without `weight_name`. `where` names the file."""
        name = self.spec.weight_name
        if name is None:
            return np.ones(chunk.n_events)
        values = self._compute(frozenset({name}), chunk.columns, chunk.n_events)
        return _flat(values[name], name, where).astype(np.float64)

    def select(self, chunk: Chunk, relative_path: str, where: str) -> Rows:
        """The rows of one chunk. `relative_path` and `where` name its file: for the identity, and for messages."""
        early = self._compute(self._cut_names, chunk.columns, chunk.n_events)
        masks = [
            np.ones(chunk.n_events, bool) if cut is None else cut.evaluate_mask(early, chunk.n_events)
            for cut in self._cuts
        ]
        event_R, process_R = _rows_of(masks)
        columns: Mapping[str, Column] = chunk.columns
        pick: slice | NDArray[np.intp] = slice(None)
        if not np.array_equal(event_R, np.arange(chunk.n_events)):
            pick = event_R
            columns = {name: values[pick] for name, values in columns.items() if name in self._late_branches}
        late = self._compute(frozenset(self._row_names), columns, len(event_R))
        entry_R = chunk.entry[pick]
        identity = [_flat(chunk.columns[name], name, where)[pick] for name in self.identity]
        if identity:
            identity_R = hash_identity([as_integers(v, n, where) for v, n in zip(identity, self.identity, strict=True)])
        else:
            identity_R = hash_identity([entry_R], salt=hash_text(relative_path))
        weight = self.spec.weight_name
        stored, no_category_R = self._columns(late, where)
        lists = lists_of(self.spec, late, entry_R, where)
        return Rows(
            process_R,
            entry_R,
            identity_R,
            self._matrix(late, lists.padded, len(event_R), where),
            stored,
            np.ones(len(event_R)) if weight is None else _flat(late[weight], weight, where).astype(np.float64),
            _either(no_category_R, lists.dropped_R),
            lists.jagged,
            lists.images,
            lists.tallies,
        )

    @cached_property
    def _late_branches(self) -> frozenset[str]:
        return self._derived.needs(self._row_names)

    def _compute(self, names: frozenset[str], columns: Mapping[str, Column], n_events: int) -> dict[str, Column]:
        values = self._derived.compute(names, columns)
        return {
            name: np.full(n_events, value) if isinstance(value, int | float | bool | np.generic) else value
            for name, value in values.items()
        }

    def _matrix(
        self, values: Mapping[str, Column], padded: Sequence[Kept], n_rows: int, where: str
    ) -> NDArray[np.float32]:
        matrix = np.empty((n_rows, len(self.spec.cont_columns)), np.float32)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and the policy for infinities applies
            flat = [self._clipped(name, _flat(values[name], name, where)) for name in self.spec.cont_features]
            fill_matrix(matrix, flat, padded)
        return matrix

    def _columns(
        self, values: Mapping[str, Column], where: str
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_] | None]:
        """Categorical and misc columns, and where a category is missing in an event that is to be dropped."""
        columns: dict[str, NDArray[Any]] = {}
        missing_R: NDArray[np.bool_] | None = None
        policy = self.spec.non_finite
        for name in self.spec.cat_features or ():
            categories = self._clipped(name, _flat(values[name], name, where))
            if policy.policy != "error" and not np.isfinite(categories).all():
                bad_R = ~np.isfinite(categories)
                categories = np.where(bad_R, 0.0 if policy.value is None else policy.value, categories)
                if policy.policy == "drop":
                    missing_R = bad_R if missing_R is None else missing_R | bad_R
            integers = as_integers(categories, name, where)
            columns[name] = integers.astype(np.int32)
            if (columns[name] != integers).any():
                raise DataError(
                    f"'{name}' holds categories beyond ±2³¹, the first {integers[columns[name] != integers][0]}",
                    where=where,
                    remedy="Make it a continuous feature, or clip it.",
                )
        for name in self.stored_misc:
            flat = _flat(values[name], name, where)
            columns[name] = flat.astype(np.uint8) if flat.dtype.kind == "b" else flat
        return columns, missing_R

    def _clipped(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        limits = self.spec.clip.get(name)
        return values if limits is None else np.clip(values, limits[0], limits[1])


def _taken(groups: JaggedColumns, rows: NDArray[np.intp]) -> JaggedColumns:
    return {group: {name: values[rows] for name, values in columns.items()} for group, columns in groups.items()}


def _either(first: NDArray[np.bool_] | None, second: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    return second if first is None else first if second is None else first | second


def _rows_of(masks: Sequence[NDArray[np.bool_]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(R,) positions in the chunk and (R,) process indices, ordered by entry, then by process."""
    if len(masks) == 1:
        events = np.flatnonzero(masks[0])
        return events, np.zeros(len(events), np.intp)
    events, processes = np.nonzero(np.stack(masks, axis=1))
    return events, processes


def _flat(values: Column, name: str, where: str) -> NDArray[Any]:
    """(N,) numbers; text and jagged values are a DataError."""
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        raise DataError(
            f"'{name}' has several values per event",
            where=where,
            remedy="Reduce it in new_variables, for example nth(…, 0, default=-10) or max(…), or list it under "
            "padded_features.",
        )
    if values.dtype.kind not in "iufb":
        raise DataError(
            f"'{name}' is {'text' if values.dtype.kind in 'OUS' else values.dtype}, not a number",
            where=where,
            remedy="Leave it out of features, identity and weights.",
        )
    return values

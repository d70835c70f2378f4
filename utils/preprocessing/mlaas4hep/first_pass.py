"""The first pass over the events: specs of what will be features, and which labels there are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from utils.describing.global_specs import GlobalSpecs, collect_specs
from utils.describing.statistics import ColumnStatistics
from utils.errors import DataError, MissingColumnError, nearest_name
from utils.events import Column
from utils.expressions import DerivedVariables, Expression
from utils.logs import progress
from utils.preprocessing.mlaas4hep.inputs import Listed
from utils.preprocessing.transform import ChunkTransform
from utils.readers.spec import ChunkSize

MAX_LABELS = 1000


@dataclass(frozen=True)
class Work:
    """What is done to the events before they are features.

    Parameters
    ----------
    listed : the files.
    drawn : how many of its first events each of them gives.
    transform : a user's function; None without.
    new_variables : name → definition.
    cut : on events; None: all.
    chunk_size : events read at a time.
    """

    listed: Listed
    drawn: tuple[int, ...]
    transform: ChunkTransform | None
    new_variables: Mapping[str, str]
    cut: str | None
    chunk_size: ChunkSize

    @property
    def is_plain(self) -> bool:
        """Whether features are the files' own columns, of all events."""
        return self.transform is None and not self.new_variables and self.cut is None

    def selected(self, names: Sequence[str], n_most: int | None = None) -> Iterator[dict[str, Column]]:
        """The named columns of the events that remain, chunk by chunk.

        Parameters
        ----------
        n_most : events of every file; None: all that it gives.
        """
        derived = DerivedVariables(self.new_variables)
        cut = None if self.cut is None else Expression.parse(self.cut)
        wanted = {*names, *(cut.uses if cut is not None else ())}
        branches = set(self.transform.uses) if self.transform is not None else derived.needs(wanted)
        total = sum(n if n_most is None else min(n, n_most) for n in self.drawn)
        with progress(total, "first pass") as bar:
            for file, n_drawn in zip(self.listed.files, self.drawn, strict=True):
                stop = n_drawn if n_most is None else min(n_drawn, n_most)
                with self.listed.open(file) as reader:
                    for chunk in reader.chunks(branches, self.chunk_size, 0, stop):
                        columns = chunk.columns if self.transform is None else self.transform(chunk, reader.where)
                        values = derived.compute(wanted, columns, chunk.n_events)
                        if cut is not None:
                            mask = cut.evaluate_mask(values, chunk.n_events)
                            values = {name: column[mask] for name, column in values.items()}
                        yield {name: values[name] for name in names}
                        bar.update(chunk.n_events)


def first_pass(
    work: Work, flat: Sequence[str], jagged: Sequence[str], label: str | None, *, with_specs: bool
) -> tuple[GlobalSpecs | None, tuple[Any, ...]]:
    """Specs of the features, and the distinct labels, ascending; one reading where both are wanted."""
    if work.is_plain:
        specs = _specs_of_files(work, [*flat, *jagged]) if with_specs else None
        found: set[Any] = set()
        for columns in work.selected([label]) if label is not None else ():
            _add_labels(found, columns[str(label)], str(label))
        return specs, _ascending(found)
    names = [*flat, *jagged] if with_specs else []
    statistics = {name: ColumnStatistics(with_histogram=False) for name in names}
    found = set()
    for columns in work.selected([*names, *([label] if label is not None else [])]):
        for name, statistic in statistics.items():
            statistic.add(columns[name])
        if label is not None:
            _add_labels(found, columns[label], label)
    return (_specs_of(work, statistics, flat, jagged) if with_specs else None), _ascending(found)


def _specs_of_files(work: Work, names: Sequence[str]) -> GlobalSpecs:
    access = replace(work.listed.access, selected=tuple(names), excluded=())
    everything = work.drawn == tuple(file.n_entries for file in work.listed.files)
    nevts = -1 if everything else max(work.drawn)
    return collect_specs(
        work.listed.paths, work.listed.object_name, access=access, nevts=nevts, chunk_size=work.chunk_size
    )


def _specs_of(
    work: Work, statistics: Mapping[str, ColumnStatistics], flat: Sequence[str], jagged: Sequence[str]
) -> GlobalSpecs:
    extremes = {name: (0 if s.minimum is None else s.minimum, s.maximum or 0) for name, s in statistics.items()}
    return GlobalSpecs(
        jdim={name: statistics[name].max_values for name in jagged},
        minv={name: float(low) for name, (low, _) in extremes.items()},
        maxv={name: float(high) for name, (_, high) in extremes.items()},
        fkeys=tuple(flat),
        jkeys=tuple(jagged),
        nans={name: s.n_nan for name, s in statistics.items() if s.n_nan},
        events={file.path: file.n_entries for file in work.listed.files},
        inputs={
            file.path: {
                "size": file.fingerprint.size,
                "n_entries": file.n_entries,
                "uuid": file.fingerprint.uuid,
                "n_read": n_drawn,
            }
            for file, n_drawn in zip(work.listed.files, work.drawn, strict=True)
        },
    )


def _add_labels(found: set[Any], values: Column, name: str) -> None:
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        raise DataError(f"label '{name}' has several values per event", where="labels", remedy="Name a flat column.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"label '{name}' is NaN or infinite for some events", where="labels", remedy="Cut them away.")
    found.update(np.unique(values).tolist())
    if len(found) > MAX_LABELS:
        raise DataError(
            f"'{name}' has more than {MAX_LABELS:,} different values",
            where="labels",
            remedy="Name the column that holds the labels.",
        )


def _ascending(found: set[Any]) -> tuple[Any, ...]:
    return tuple(sorted(found))


def require_label(name: str, known: Sequence[str], noun: str) -> None:
    """MissingColumnError unless the label is a column."""
    if name not in known:
        raise MissingColumnError(
            f"no {noun} '{name}'",
            where="labels",
            nearest=nearest_name(name, known),
            remedy="Name the column that holds the labels, or a file with a label per file.",
        )

"""From the entries of a file to the rows of the output nodes, with everything that is counted on the way."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, Self

import numpy as np

from utils.errors import DataError
from utils.events import in_training_split
from utils.preprocessing.duplicates import DuplicateAudit
from utils.preprocessing.inputs import InputFile, Inputs
from utils.preprocessing.nodes import OutputNodes
from utils.preprocessing.selection import Rows, Selector
from utils.preprocessing.spec import PreprocessSpec, Sample
from utils.preprocessing.tallies import Tallies
from utils.readers.threads import thread_pool

MAX_BEHIND = 2


class Filler:
    """Reads, selects, splits and writes; a context manager, which waits for the work that is under way.

    Parameters
    ----------
    spec : the config.
    inputs : all files, and what is known of them.
    nodes : where rows go.
    tallies : what is counted.
    audit : what looks for duplicates; None: somebody else does.

    With `n_threads` of 0, nothing happens in threads of our own.
    """

    def __init__(
        self,
        spec: PreprocessSpec,
        inputs: Inputs,
        nodes: OutputNodes,
        tallies: Tallies,
        audit: DuplicateAudit | None,
    ) -> None:
        self.spec = spec
        self.inputs = inputs
        self.nodes = nodes
        self.tallies = tallies
        self.audit = audit
        n_helpers = 1 if spec.access.n_threads else 0
        self._writing = _InOrder(n_helpers)
        self._counting = _InOrder(n_helpers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: object) -> None:
        for helper in (self._counting, self._writing):
            helper.shutdown(kind is None)
        for helper in (self._counting, self._writing):
            if kind is None:
                helper.check()

    def fill(self, sample: Sample, file: InputFile, start: int, stop: int) -> Iterator[int]:
        """Take the entries in [start, stop) of a file; gives the number of events chunk by chunk."""
        selector = Selector(self.spec, sample, self.inputs.identity)
        spec = self.spec
        with self.inputs.open(file, spec) as tree:
            for chunk in tree.chunks(selector.branches, selector.chunk_size(tree.bytes_per_event), start, stop):
                chunk = selector.transformed(chunk, tree.where)
                entry_N, weight_N = chunk.entry, selector.weights(chunk, tree.where)
                self._count(sample, file, "read", entry_N, None, weight_N)
                rows = selector.select(chunk, file.relative_path, tree.where)
                n_events = chunk.n_events
                del chunk  # its memory is wanted for the next one
                self._store(sample, file, rows)
                yield n_events

    def _store(self, sample: Sample, file: InputFile, rows: Rows) -> None:
        self._count_rows(sample, file, "cut", rows)
        self.tallies.lists.update(rows.tallies)
        rows = self._finite(rows, file)
        self.nodes.prepare(rows, file.path)
        if self.audit is not None:
            self._counting.submit(partial(audit_rows, self.audit, sample, rows))
        names = self.nodes.names
        if not self.spec.for_training:
            self._writing.submit(partial(self.nodes.append, names[0], file.index, sample, rows))
            return
        train_R = in_training_split(rows.identity_R, self.spec.train_size, self.spec.seed)
        train, test = rows.take(train_R), rows.take(~train_R)
        self._counting.submit(partial(self.tallies.moments.add, file.index, train.entry_R, train.cont_RF))
        for node, part in zip(names, (train, test), strict=True):
            self._count_rows(sample, file, node, part)
            self._writing.submit(partial(self.nodes.append, node, file.index, sample, part))

    def _count_rows(self, sample: Sample, file: InputFile, step: str, rows: Rows) -> None:
        self._count(sample, file, step, rows.entry_R, rows.process_R, rows.weight_R)

    def _count(self, sample: Sample, file: InputFile, step: str, entry_N: Any, process_N: Any, weight_N: Any) -> None:
        self._counting.submit(partial(self.tallies.count, sample, file.index, step, entry_N, process_N, weight_N))

    def _finite(self, rows: Rows, file: InputFile) -> Rows:
        """Apply the policy for NaN and infinities among the features; weights must always be finite."""
        if not np.isfinite(rows.weight_R).all():
            raise DataError(
                f"weight '{self.spec.weight_name}' is NaN or infinite for "
                f"{int((~np.isfinite(rows.weight_R)).sum())} selected events",
                where=file.path,
                remedy="Cut these events away, or repair the weight in new_variables.",
            )
        flat_RF = rows.cont_RF[:, : len(self.spec.cont_features)]  # padded features are NaN where there is no object
        finite_RF = np.isfinite(flat_RF)
        if finite_RF.all() and rows.dropped_R is None:
            return rows
        policy = self.spec.non_finite
        if policy.policy == "fill":
            flat_RF[~finite_RF] = policy.value
            return rows
        if policy.policy == "drop":
            keep_R = np.asarray(finite_RF.all(axis=1))
            if rows.dropped_R is not None:
                keep_R &= ~rows.dropped_R
            self.tallies.n_dropped += int((~keep_R).sum())
            return rows.take(keep_R)
        counts = (~finite_RF).sum(axis=0)
        bad = {name: int(n) for name, n in zip(self.spec.cont_features, counts, strict=True) if n}
        listed = ", ".join(f"'{name}' ({n:,})" for name, n in bad.items())
        raise DataError(
            f"NaN or infinite features among entries {rows.entry_R[0]:,} to {rows.entry_R[-1]:,}: {listed}",
            where=file.path,
            remedy="Cut these events away, or set non_finite to drop or to {fill: VALUE}.",
        )


def audit_rows(audit: DuplicateAudit, sample: Sample, rows: Rows) -> None:
    """An event that feeds several processes is no duplicate of itself."""
    audit.add(sample.name, rows.identity_R[first_of_event(rows.entry_R)])


def first_of_event(entry_R: Any, before: int = -1) -> Any:
    """(R,) True for the first row of every event; `before` is the entry of the row before the first one."""
    new_event = np.ones(len(entry_R), bool)
    new_event[1:] = entry_R[1:] != entry_R[:-1]
    new_event[:1] = entry_R[:1] != before
    return new_event


class _InOrder:
    """Work in a thread of its own, in order, at most a few pieces behind; an error in it surfaces at the next call.

    Parameters
    ----------
    n_threads : 1, or 0 for the calling thread.
    """

    def __init__(self, n_threads: int) -> None:
        self._executor = thread_pool(n_threads)
        self._pending: deque[Future[None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        """Queue a piece of work; waits while too much is queued, which bounds the memory."""
        while len(self._pending) >= MAX_BEHIND:
            self._pending.popleft().result()
        self._pending.append(self._executor.submit(work))

    def shutdown(self, finish: bool) -> None:
        """Wait for what is under way, so that no write runs while the output is removed; with `finish`, for all."""
        self._executor.shutdown(wait=True, cancel_futures=not finish)

    def check(self) -> None:
        """Raise what went wrong in the rest of the work."""
        for future in self._pending:
            future.result()

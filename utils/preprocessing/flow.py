"""The skim dataflow: one pass over the input, chunk by chunk, into one HDF5 file per output node."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from utils.errors import DataError, SkimError
from utils.events import in_training_split
from utils.logs import duration, get_logger, progress, rate
from utils.preprocessing.cutflow import Cutflow, CutflowStep, as_records
from utils.preprocessing.duplicates import DuplicateAudit, DuplicateReport
from utils.preprocessing.inputs import InputFile, Inputs, open_inputs
from utils.preprocessing.moments import MomentsAccumulator
from utils.preprocessing.nodes import OutputNodes, output_file
from utils.preprocessing.pipe import FittedPipe, Scaler, Step, configured_steps, fit_pipe
from utils.preprocessing.selection import Rows, Selector
from utils.preprocessing.spec import PreprocessSpec, Sample
from utils.readers.formats import open_reader
from utils.writers.atomic import atomic_output, check_output

logger = get_logger(__name__)

SKIM_FORMAT = "crossfold-skim-1"
MAX_BEHIND = 2


@dataclass(frozen=True)
class PreprocessResult:
    """What was written, and the numbers to look at.

    Parameters
    ----------
    outputs : node → skim file.
    n_rows : node → events in it.
    class_names : of the classes 0, 1, …; empty outside training.
    class_counts : node → events of each class.
    cutflow : lines per sample and process.
    duplicates : surplus identities among the selected events.
    pipe : the input pipe, fitted or checked; None where there is none.
    n_read, n_bytes, seconds : events read, size of the files [bytes], and the time it took [s].
    """

    outputs: Mapping[str, Path]
    n_rows: Mapping[str, int]
    class_names: tuple[str, ...]
    class_counts: Mapping[str, Sequence[int]]
    cutflow: tuple[CutflowStep, ...]
    duplicates: DuplicateReport
    pipe: FittedPipe | None
    n_read: int
    n_bytes: int
    seconds: float


def run_preprocessing(spec: PreprocessSpec, config: Mapping[str, Any] | None = None) -> PreprocessResult:
    """Write the skims that `spec` describes and, in training, the fitted input pipe beside them.

    Parameters
    ----------
    spec : the checked config.
    config : the same as plain values, to be stored in the skims.

    Raises
    ------
    CrossfoldError : for any bad input; the skims it concerns do not appear then.
    """
    started = time.perf_counter()
    inputs = open_inputs(spec)
    for node in spec.output_samples if spec.for_training else [sample.name for sample in spec.input_samples]:
        check_output(output_file(spec, node), spec.overwrite is True)
    with DuplicateAudit() as audit:
        if spec.for_training:
            done = [_Pass(spec, inputs, spec.output_samples, spec.input_samples, audit).run(config or {})]
        else:
            done = [_Pass(spec, inputs, (s.name,), (s,), audit).run(config or {}) for s in spec.input_samples]
        # Samples to predict are passes of their own: their duplicates are known when all are done.
        duplicates = done[0].duplicates if spec.for_training else audit.report()
    assert duplicates is not None
    files = inputs.files
    result = PreprocessResult(
        outputs={node: path for one in done for node, path in one.outputs.items()},
        n_rows={node: n for one in done for node, n in one.n_rows.items()},
        class_names=spec.class_names,
        class_counts={node: counts for one in done for node, counts in one.class_counts.items()},
        cutflow=tuple(step for one in done for step in one.cutflow),
        duplicates=duplicates,
        pipe=done[0].pipe,
        n_read=sum(file.fingerprint.n_entries for file in files),
        n_bytes=sum(file.fingerprint.size for file in files),
        seconds=time.perf_counter() - started,
    )
    logger.info(
        "read %s events in %s (%s), kept %s",
        f"{result.n_read:,}",
        duration(result.seconds),
        rate(result.n_read, result.seconds),
        f"{sum(result.n_rows.values()):,}",
    )
    return result


@dataclass(frozen=True)
class _PassResult:
    outputs: Mapping[str, Path]
    n_rows: Mapping[str, int]
    class_counts: Mapping[str, Sequence[int]]
    cutflow: tuple[CutflowStep, ...]
    pipe: FittedPipe | None
    duplicates: DuplicateReport | None


class _Pass:
    """One pass over the files of `samples` into the nodes `nodes`."""

    def __init__(
        self,
        spec: PreprocessSpec,
        inputs: Inputs,
        nodes: tuple[str, ...],
        samples: tuple[Sample, ...],
        audit: DuplicateAudit,
    ) -> None:
        self.spec = spec
        self.inputs = inputs
        self.samples = samples
        self.node_names = nodes
        self.audit = audit
        self.cutflow = Cutflow()
        self.n_dropped = 0
        self.steps = configured_steps(spec) if spec.for_training else ()
        self.moments = MomentsAccumulator(len(spec.cont_features), with_covariance=_needs_covariance(self.steps))

    def run(self, config: Mapping[str, Any]) -> _PassResult:
        """Read, select, split and write; then finish what needs the whole sample."""
        pipe_path = Path(self.spec.output_path) / f"{self.spec.pipe_name}.json"
        if self.spec.for_training:
            check_output(pipe_path, self.spec.overwrite is True)
        given = None if self.spec.for_training else self._given_pipe()
        with ExitStack() as outputs:
            nodes = OutputNodes(self.spec, self.node_names, outputs)
            self._fill(nodes)
            cutflow = self.cutflow.steps()
            self._check_classes(cutflow, nodes)
            if self.spec.for_training:
                nodes.fill_class_weights(self._class_sums(cutflow))
            pipe = self._fitted_pipe(nodes) if self.spec.for_training else given
            duplicates = self.audit.report() if self.spec.for_training else None
            nodes.finish(self._metadata(config, cutflow, pipe, duplicates))
            if self.spec.for_training and pipe is not None:
                part = outputs.enter_context(atomic_output(pipe_path, overwrite=self.spec.overwrite is True))
                part.write_text(json.dumps(pipe.to_dict(), indent=1) + "\n")
            counts = {node: counts.tolist() for node, counts in nodes.class_counts.items()}
            return _PassResult(nodes.paths, nodes.n_rows, counts, cutflow, pipe, duplicates)

    def _fill(self, nodes: OutputNodes) -> None:
        total = sum(file.fingerprint.n_entries for sample in self.samples for file in self.inputs.of(sample.name))
        title = f"skim {', '.join(self.node_names)}"
        with progress(total, title, "events") as bar, _InOrder() as writing, _InOrder() as counting:
            for sample in self.samples:
                for file in self.inputs.of(sample.name):
                    for n_events, rows in self._selected(sample, file, counting):
                        self._store(sample, file, rows, nodes, writing, counting)
                        bar.update(n_events)

    def _selected(self, sample: Sample, file: InputFile, counting: "_InOrder") -> Iterator[tuple[int, Rows]]:
        selector = Selector(self.spec, sample, self.inputs.identity)
        spec = self.spec
        with open_reader(file.path, spec.input_tree_name, file_index=file.index, access=spec.access) as tree:
            for chunk in tree.chunks(selector.branches, spec.chunk_size):
                entry_N, weight_N = chunk.entry, selector.weights(chunk, tree.where)
                counting.submit(partial(self._count, sample, file, "read", entry_N, None, weight_N))
                rows = selector.select(chunk, file.relative_path, tree.where)
                n_events = chunk.n_events
                del chunk  # its memory is wanted for the next one
                yield n_events, rows

    def _store(
        self,
        sample: Sample,
        file: InputFile,
        rows: Rows,
        nodes: OutputNodes,
        writing: "_InOrder",
        counting: "_InOrder",
    ) -> None:
        counting.submit(partial(self._count_rows, sample, file, "cut", rows))
        rows = self._finite(rows, file)
        nodes.prepare(rows, file.path)
        counting.submit(partial(self._audit, sample, rows))
        if not self.spec.for_training:
            writing.submit(partial(nodes.append, self.node_names[0], file.index, sample, rows))
            return
        train_R = in_training_split(rows.identity_R, self.spec.train_size, self.spec.seed)
        train, test = rows.take(train_R), rows.take(~train_R)
        counting.submit(partial(self.moments.add, file.index, train.entry_R, train.cont_RF))
        for node, part in zip(self.node_names, (train, test), strict=True):
            counting.submit(partial(self._count_rows, sample, file, node, part))
            writing.submit(partial(nodes.append, node, file.index, sample, part))

    def _audit(self, sample: Sample, rows: Rows) -> None:
        """An event that feeds several processes is no duplicate of itself."""
        new_event = np.ones(len(rows), bool)
        new_event[1:] = rows.entry_R[1:] != rows.entry_R[:-1]
        self.audit.add(sample.name, rows.identity_R[new_event])

    def _count_rows(self, sample: Sample, file: InputFile, step: str, rows: Rows) -> None:
        self._count(sample, file, step, rows.entry_R, rows.process_R, rows.weight_R)

    def _count(self, sample: Sample, file: InputFile, step: str, entry_N: Any, process_N: Any, weight_N: Any) -> None:
        names = [process.name for process in sample.processes]
        self.cutflow.add(sample.name, names, step, file.index, entry_N, process_N, weight_N)

    def _finite(self, rows: Rows, file: InputFile) -> Rows:
        """Apply the policy for NaN and infinities among the features; weights must always be finite."""
        if not np.isfinite(rows.weight_R).all():
            raise DataError(
                f"weight '{self.spec.weight_name}' is NaN or infinite for "
                f"{int((~np.isfinite(rows.weight_R)).sum())} selected events",
                where=file.path,
                remedy="Cut these events away, or repair the weight in new_variables.",
            )
        finite_RF = np.isfinite(rows.cont_RF)
        if finite_RF.all() and rows.no_category_R is None:
            return rows
        policy = self.spec.non_finite
        if policy.policy == "fill":
            rows.cont_RF[~finite_RF] = policy.value
            return rows
        if policy.policy == "drop":
            keep_R = np.asarray(finite_RF.all(axis=1))
            if rows.no_category_R is not None:
                keep_R &= ~rows.no_category_R
            self.n_dropped += int((~keep_R).sum())
            return rows.take(keep_R)
        counts = (~finite_RF).sum(axis=0)
        bad = {name: int(n) for name, n in zip(self.spec.cont_features, counts, strict=True) if n}
        listed = ", ".join(f"'{name}' ({n:,})" for name, n in bad.items())
        raise DataError(
            f"NaN or infinite features among entries {rows.entry_R[0]:,} to {rows.entry_R[-1]:,}: {listed}",
            where=file.path,
            remedy="Cut these events away, or set non_finite to drop or to {fill: VALUE}.",
        )

    def _check_classes(self, cutflow: tuple[CutflowStep, ...], nodes: OutputNodes) -> None:
        for step in cutflow:
            if step.step == "cut" and step.n_events == 0:
                logger.warning("process %s of sample %s loses all its events to its cut", step.process, step.sample)
        if self.n_dropped:
            logger.warning("dropped %s events with NaN or infinite features", f"{self.n_dropped:,}")
        for node, counts in nodes.class_counts.items():
            missing = ", ".join(f"{i} ({self.spec.class_names[i]})" for i in np.flatnonzero(counts == 0))
            if missing and node == self.node_names[0]:
                raise DataError(
                    f"class {missing} has no events in '{node}'",
                    where="input_samples",
                    remedy="Loosen its cuts, or take it out.",
                )
            if missing:
                logger.warning("class %s has no events in '%s'", missing, node)

    def _class_sums(self, cutflow: tuple[CutflowStep, ...]) -> Any:
        targets = {(s.name, p.name): p.target for s in self.samples for p in s.processes}
        sums = np.zeros(self.spec.n_classes)
        for step in cutflow:
            if step.step in self.node_names:
                sums[targets[step.sample, step.process]] += step.sum_w
        return sums

    def _fitted_pipe(self, nodes: OutputNodes) -> FittedPipe:
        """The pipe, fitted on the first node."""
        moments = self.moments.result()
        return fit_pipe(self.spec.cont_features, self.steps, moments, lambda: nodes.stored(self.node_names[0]))

    def _given_pipe(self) -> FittedPipe | None:
        """The pipe that a prediction config names, if any, checked before anything is read."""
        spec = self.spec
        if spec.input_pipe_file is None:
            return None
        user_steps = {factory.target: type(factory()) for factory in spec.steps}
        pipe = FittedPipe.load(spec.input_pipe_file, user_steps)
        if pipe.inputs != spec.cont_features:
            raise SkimError(
                f"the input pipe was fitted on other continuous features: {list(pipe.inputs)}",
                where=spec.input_pipe_file,
                remedy="Use the pipe of the training that these features belong to.",
            )
        return pipe

    def _metadata(
        self,
        config: Mapping[str, Any],
        cutflow: tuple[CutflowStep, ...],
        pipe: FittedPipe | None,
        duplicates: DuplicateReport | None,
    ) -> dict[str, Any]:
        spec = self.spec
        own = [file for sample in self.samples for file in self.inputs.of(sample.name)]
        metadata = {
            "format": SKIM_FORMAT,
            "for_training": spec.for_training,
            "config": dict(config),
            "inputs": [asdict(file) for file in own],
            "input_tree_name": spec.input_tree_name,
            "identity": list(self.inputs.identity),
            "cont_features": list(spec.cont_features),
            "cat_features": list(spec.cat_features or ()),
            "class_names": list(spec.class_names),
            "train_size": spec.train_size,
            "seed": spec.seed,
            "cutflow": as_records(cutflow),
            "input_pipe": None if pipe is None else pipe.to_dict(),
        }
        if duplicates is not None:
            across = [[*pair, count] for pair, count in duplicates.across.items()]
            metadata["duplicates"] = {"n_events": duplicates.n_events, "within": duplicates.within, "across": across}
        return metadata


def _needs_covariance(steps: Sequence[tuple[str, Step]]) -> bool:
    """Whether a step looks at more than means and variances: all but the scaler may."""
    return any(not isinstance(step, Scaler) for _, step in steps)


class _InOrder:
    """Work in a thread of its own, in order, at most a few pieces behind; an error in it surfaces at the next call.

    Left with an error, it waits for what is under way, so that no write runs while the output is being removed.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        """Queue a piece of work; waits while too much is queued, which bounds the memory."""
        while len(self._pending) >= MAX_BEHIND:
            self._pending.popleft().result()
        self._pending.append(self._executor.submit(work))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for future in self._pending:
                future.result()

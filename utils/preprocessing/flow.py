"""The skim dataflow: one pass over the input, chunk by chunk, into one HDF5 file per output node.

With the serial executor, rows go straight from the input to the outputs. Any other one has the same done in parts by
workers (`parts`), which are put together in order while the next ones are made.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import DataError, SkimError
from utils.executors.run import Finished, run_tasks
from utils.logs import duration, get_logger, progress, rate
from utils.preprocessing.cutflow import CutflowStep, as_records
from utils.preprocessing.duplicates import DuplicateAudit, DuplicateReport
from utils.preprocessing.filling import Filler, first_of_event
from utils.preprocessing.fitting import configured_steps, fit_pipe, moments_for
from utils.preprocessing.inputs import InputFile, Inputs, open_inputs
from utils.preprocessing.mlaas4hep.build import completed
from utils.preprocessing.nodes import OutputNodes, output_file
from utils.preprocessing.ordering import row_order
from utils.preprocessing.parts import PUT_IN_PLACE, TALLIES, Parts, blocks, parts_base, remove_parts, write_part
from utils.preprocessing.pipe import FittedPipe
from utils.preprocessing.row_lists import report_lists
from utils.preprocessing.selection import Rows, Selector
from utils.preprocessing.spec import PreprocessSpec, Sample
from utils.preprocessing.tallies import Tallies
from utils.writers.atomic import atomic_output, check_output, exclusive

logger = get_logger(__name__)

SKIM_FORMAT = "crossfold-skim-1"


@dataclass(frozen=True)
class FileSummary:
    """What one input file cost.

    Parameters
    ----------
    path : of the file.
    n_read : events read.
    seconds : of work [s]; those of several workers added.
    worker : who did it; `several`, or `done before`.
    """

    path: str
    n_read: int
    seconds: float
    worker: str


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
    files : every input file in order.
    peak_bytes : worker → its largest memory [bytes]; empty for the serial executor.
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
    files: tuple[FileSummary, ...]
    peak_bytes: Mapping[str, int]


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
    if spec.mlaas4hep is not None:
        spec, config = completed(spec, config or {})
    with closing(open_inputs(spec)) as inputs, DuplicateAudit() as audit:
        if spec.for_training:
            passes = [_Pass(spec, inputs, spec.output_samples, spec.input_samples, audit)]
        else:
            passes = [_Pass(spec, inputs, (sample.name,), (sample,), audit) for sample in spec.input_samples]
        done = _in_parts(spec, passes, config or {}) if _needs_parts(spec) else _streamed(passes, config or {})
        # Samples to predict are passes of their own: their duplicates are known when all are done.
        duplicates = done[0].duplicates if spec.for_training else audit.report()
    assert duplicates is not None
    files = tuple(file for one_pass in passes for file in one_pass.files.values())
    result = PreprocessResult(
        outputs={node: path for one in done for node, path in one.outputs.items()},
        n_rows={node: n for one in done for node, n in one.n_rows.items()},
        class_names=spec.class_names,
        class_counts={node: counts for one in done for node, counts in one.class_counts.items()},
        cutflow=tuple(step for one in done for step in one.cutflow),
        duplicates=duplicates,
        pipe=done[0].pipe,
        n_read=sum(file.n_read for file in files),
        n_bytes=sum(file.fingerprint.size for file in inputs.files),
        seconds=time.perf_counter() - started,
        files=files,
        peak_bytes={name: n for one_pass in passes for name, n in one_pass.peak_bytes.items()},
    )
    logger.info(
        "read %s events in %s (%s), kept %s",
        f"{result.n_read:,}",
        duration(result.seconds),
        rate(result.n_read, result.seconds),
        f"{sum(result.n_rows.values()):,}",
    )
    return result


def _needs_parts(spec: PreprocessSpec) -> bool:
    return spec.executor != "serial"


def _streamed(passes: Sequence["_Pass"], config: Mapping[str, Any]) -> list["_PassResult"]:
    """Rows go from the input to the outputs, in this process."""
    for one_pass in passes:
        one_pass.check_outputs(may_replace=False)
    done = []
    for one_pass in passes:
        done.append(one_pass.run(config, one_pass.stream))
        remove_parts(one_pass.parts_base)
    return done


def _in_parts(spec: PreprocessSpec, passes: Sequence["_Pass"], config: Mapping[str, Any]) -> list["_PassResult"]:
    """Workers make parts, of all passes one after the other; this process puts them together as they come."""
    with ExitStack() as locks:
        tasks, merging = [], []
        for one_pass in passes:
            parts = Parts(spec, one_pass.inputs, one_pass.node_names, one_pass.samples)
            locks.enter_context(exclusive(parts.base))
            one_pass.check_outputs(may_replace=parts.may_replace_outputs)
            parts.prepare()
            merging.append((one_pass, parts, one_pass.prototype()))
        for one_pass, parts, prototype in merging:
            tasks.append(parts.tasks(prototype, one_pass.moments))
        everything = [task for of_pass in tasks for task in of_pass]
        title = f"skim {', '.join(node for one_pass in passes for node in one_pass.node_names)}"
        done = []
        with closing(run_tasks(write_part, everything, spec.executor_spec, title=title)) as finished:
            for (one_pass, parts, prototype), of_pass in zip(merging, tasks, strict=True):
                own = islice(finished, len(of_pass))
                done.append(one_pass.run(config, partial(one_pass.merge, parts, prototype, own)))
        # Only now: until all passes are done, any of them may be put together again.
        for _, parts, _ in merging:
            parts.remove()
        return done


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
        self.steps = configured_steps(spec) if spec.for_training else ()
        self.moments = moments_for(spec, self.steps)
        self.tallies = Tallies(self.moments)
        self.ranges = [(s, *entries) for s in samples for entries in inputs.ranges(s.name, spec.nevts)]
        self.files: dict[int, FileSummary] = {}
        self.peak_bytes: dict[str, int] = {}
        self.parts_base = parts_base(spec, nodes)
        self._pipe_path = Path(spec.output_path) / f"{spec.pipe_name}.json"

    def check_outputs(self, *, may_replace: bool) -> None:
        """Refuse outputs that exist, unless they may be replaced."""
        if may_replace:
            self.spec = replace(self.spec, overwrite=True)
        for node in self.node_names:
            check_output(output_file(self.spec, node), self.spec.overwrite is True)
        if self.spec.for_training:
            check_output(self._pipe_path, self.spec.overwrite is True)

    def run(self, config: Mapping[str, Any], fill: Callable[[OutputNodes], None]) -> _PassResult:
        """Let `fill` fill the nodes; then finish what needs the whole sample."""
        given = None if self.spec.for_training else self._given_pipe()
        with ExitStack() as outputs:
            order = row_order(self.spec.order, self.inputs.mixing(self.spec.mixing_chunk), self.spec.seed)
            nodes = OutputNodes(self.spec, self.node_names, outputs, order=order)
            fill(nodes)
            cutflow = self.tallies.cutflow.steps()
            self._check_classes(cutflow, nodes)
            if self.spec.for_training:
                nodes.fill_class_weights(self._class_sums(cutflow))
            pipe = self._fitted_pipe(nodes) if self.spec.for_training else given
            duplicates = self.audit.report() if self.spec.for_training else None
            nodes.finish(self._metadata(config, cutflow, pipe, duplicates))
            if self.spec.for_training and pipe is not None:
                part = outputs.enter_context(atomic_output(self._pipe_path, overwrite=self.spec.overwrite is True))
                part.write_text(json.dumps(pipe.to_dict(), indent=1) + "\n")
            counts = {node: counts.tolist() for node, counts in nodes.class_counts.items()}
            return _PassResult(nodes.paths, nodes.n_rows, counts, cutflow, pipe, duplicates)

    def stream(self, nodes: OutputNodes) -> None:
        """Fill the nodes from the input files."""
        total = sum(stop - start for _, _, start, stop in self.ranges)
        title = f"skim {', '.join(self.node_names)}"
        with (
            progress(total, title, "events") as bar,
            Filler(self.spec, self.inputs, nodes, self.tallies, self.audit) as filler,
        ):
            for sample, file, start, stop in self.ranges:
                started = time.perf_counter()
                for n_events in filler.fill(sample, file, start, stop):
                    bar.update(n_events)
                self._note(file, stop - start, time.perf_counter() - started, "this process")

    def prototype(self) -> Rows:
        """No rows of the first file: what decides about the types of the outputs."""
        sample, file, start, stop = self.ranges[0]
        selector = Selector(self.spec, sample, self.inputs.identity)
        with self.inputs.open(file, self.spec) as tree:
            (rows,) = (
                selector.select(selector.transformed(chunk, tree.where), file.relative_path, tree.where)
                for chunk in tree.chunks(selector.branches, 1, start, min(start + 1, stop))
            )
        return rows.take(np.zeros(len(rows), bool))

    def merge(self, parts: Parts, prototype: Rows, finished: Iterator[Finished], nodes: OutputNodes) -> None:
        """Fill the nodes from parts, in order, each as soon as it is there."""
        nodes.prepare(prototype, self.ranges[0][1].path)
        samples = {sample.name: sample for sample in self.samples}
        for one in finished:
            job = one.task.argument
            self.tallies.add_saved(one.task.result / TALLIES, samples)
            for i, node in enumerate(self.node_names):
                self._merge_node(nodes, node, job.sample, blocks(one.task.result, i))
            self._note(job.file, job.stop - job.start, one.seconds, one.worker or "done before")
            if one.worker:
                self.peak_bytes[one.worker] = max(one.peak_bytes, self.peak_bytes.get(one.worker, 0))
        (parts.folder / PUT_IN_PLACE).touch()

    def _merge_node(self, nodes: OutputNodes, node: str, sample: Sample, rows: Iterator[Mapping[str, Any]]) -> None:
        before = -1
        for block in rows:
            nodes.append_block(node, block)
            entry_R, identity_R = block["origin"]["entry"], block["origin"]["identity"]
            self.audit.add(sample.name, identity_R[first_of_event(entry_R, before)])
            before = int(entry_R[-1])

    def _note(self, file: InputFile, n_read: int, seconds: float, worker: str) -> None:
        known = self.files.get(file.index, FileSummary(file.path, 0, 0.0, worker))
        who = worker if known.worker == worker else "several"
        self.files[file.index] = FileSummary(known.path, known.n_read + n_read, known.seconds + seconds, who)

    def _check_classes(self, cutflow: tuple[CutflowStep, ...], nodes: OutputNodes) -> None:
        for step in cutflow:
            if step.step == "cut" and step.n_events == 0:
                logger.warning("process %s of sample %s loses all its events to its cut", step.process, step.sample)
        report_lists(self.spec, self.tallies.lists)
        if self.tallies.n_dropped:
            logger.warning("dropped %s events with NaN or infinite features", f"{self.tallies.n_dropped:,}")
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
        moments = self.tallies.moments.result()
        return fit_pipe(self.spec.cont_columns, self.steps, moments, lambda: nodes.stored(self.node_names[0]))

    def _given_pipe(self) -> FittedPipe | None:
        """The pipe that a prediction config names, if any, checked before anything is read."""
        spec = self.spec
        if spec.input_pipe_file is None:
            return None
        user_steps = {factory.target: type(factory()) for factory in spec.steps}
        pipe = FittedPipe.load(spec.input_pipe_file, user_steps)
        if pipe.inputs != spec.cont_columns:
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
            "cont_features": list(spec.cont_columns),
            "cat_features": list(spec.cat_features or ()),
            "padded_features": dict(spec.padded_features),
            "jagged_features": {group: list(columns) for group, columns in spec.jagged_features.items()},
            "images": {name: asdict(image) for name, image in spec.images.items()},
            "lists": dict(self.tallies.lists),
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

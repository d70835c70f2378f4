"""Scores of skims from workers, in the order of their rows.

A worker loads the models once and scores ranges of rows. What it has scored is kept until the whole prediction is done,
so that an interrupted one goes on where it was.
"""

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from utils.executors.call import code_hash, versions
from utils.executors.run import Finished, Task, run_tasks
from utils.executors.spec import ExecutorSpec
from utils.inference.scoring import (
    ScoredBlock,
    TrainingInputs,
    check_skim,
    rows_of_block,
    rows_to_score,
    score,
    scored_blocks,
)
from utils.models.ensemble import RoutedEnsemble
from utils.readers.skim import SkimFile
from utils.readers.spec import ReadingKeys
from utils.writers.atomic import exclusive

# Rows of one task, as far as blocks divide them.
TASK_ROWS = 200_000


@dataclass(frozen=True)
class ScoringJob:
    """What a worker has to do: the rows in [start, stop) of a skim, `step` at a time.

    Parameters
    ----------
    skim, models : paths of the skim and of the folder with the ensemble.
    training : what the models may have seen.
    result : the file with the scores.
    """

    skim: str
    models: Path
    training: TrainingInputs
    start: int
    stop: int
    step: int
    result: Path


def score_range(job: ScoringJob) -> None:
    """Score the rows of a job; the scores appear all at once."""
    ensemble = _loaded(job.models)
    with SkimFile(job.skim) as skim:
        blocks = [
            score(skim, ensemble, job.training, start, min(start + job.step, job.stop))
            for start in range(job.start, job.stop, job.step)
        ]
    # Under a name of its own: where a worker is only thought to be dead, two do the same at once.
    part = job.result.with_name(f"{job.result.name}.{uuid.uuid4().hex[:8]}.part")
    with part.open("wb") as file:
        np.savez(
            file,
            scores=np.concatenate([block.scores_NK for block in blocks]),
            fold=np.concatenate([block.fold_N for block in blocks]),
        )
        file.flush()
        os.fsync(file.fileno())
    part.replace(job.result)


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> RoutedEnsemble:
    """The models, once per worker."""
    return RoutedEnsemble.load(folder)


class Scorer:
    """Scores skims one after the other; a context manager, at whose good end what was kept for resuming is removed.

    Parameters
    ----------
    ensemble, training : the models, and what they may have seen.
    reading : how many rows are scored, and how many at a time.
    skims : paths, in the order in which `blocks` will be asked for them.
    executor : who does the work; the serial one does it in `blocks`, and keeps nothing.
    folder : for the models and the scores that are kept.
    """

    def __init__(
        self,
        ensemble: RoutedEnsemble,
        training: TrainingInputs,
        reading: ReadingKeys,
        skims: Sequence[str],
        executor: ExecutorSpec,
        folder: Path,
    ) -> None:
        self.ensemble = ensemble
        self.training = training
        self.reading = reading
        self.skims = list(skims)
        self.executor = executor
        self.folder = folder.absolute()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self.executor.kind == "serial":
            return self
        self._parent_existed = self.folder.parent.is_dir()
        with ExitStack() as stack:
            stack.enter_context(exclusive(self.folder))
            models = self.folder / "models"
            if not models.is_dir():
                self._save(models)
            self._tasks = {Path(skim): self._tasks_of(skim, i, models) for i, skim in enumerate(self.skims)}
            everything = [task for tasks in self._tasks.values() for task in tasks]
            running = run_tasks(score_range, everything, self.executor, title="score", unit="rows")
            stack.callback(running.close)
            self._finished: Iterator[Finished] = running
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.executor.kind == "serial":
            return
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._stack.close()
        if kind is None and not self._parent_existed:
            with contextlib.suppress(OSError):  # other outputs are in it
                self.folder.parent.rmdir()

    def blocks(self, skim: SkimFile) -> Iterator[ScoredBlock]:
        """The rows of the next skim in order, scored."""
        if self.executor.kind == "serial":
            yield from scored_blocks(skim, self.ensemble, self.training, self.reading)
            return
        for done in islice(self._finished, len(self._tasks[skim.path])):
            job: ScoringJob = done.task.argument
            with np.load(job.result, allow_pickle=False) as saved:
                scores_NK, fold_N = saved["scores"], saved["fold"]
            for start in range(job.start, job.stop, job.step):
                stop = min(start + job.step, job.stop)
                rows = slice(start - job.start, stop - job.start)
                origin = skim.read(["file_index", "entry", "identity"], start, stop)
                yield ScoredBlock(start, stop, scores_NK[rows], fold_N[rows], origin)

    def _save(self, models: Path) -> None:
        unfinished = models.with_name(f"{models.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        self.ensemble.save(unfinished)
        unfinished.rename(models)

    def _tasks_of(self, path: str, number: int, models: Path) -> list[Task]:
        """A task per range of rows. Its name changes with everything that decides about the scores."""
        with SkimFile(path) as skim:
            check_skim(skim, self.ensemble)
            n_rows = rows_to_score(skim, self.reading)
        step = rows_of_block(self.ensemble, self.reading)
        status = Path(path).stat()
        seen = (path, status.st_size, status.st_mtime_ns, self.training.train_size, self.training.seed)
        uuids = sorted(self.training.uuids)
        name = hashlib.blake2b(repr((seen, uuids, step, code_hash(), versions())).encode(), digest_size=8).hexdigest()
        folder = self.folder / f"{number:04d}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        tasks = []
        rows = step * max(1, TASK_ROWS // step)
        for start in range(0, n_rows, rows):
            stop = min(start + rows, n_rows)
            result = folder / f"{start}-{stop}.npz"
            job = ScoringJob(path, models, self.training, start, stop, step, result)
            tasks.append(Task(f"{path}, rows {start:,} to {stop:,}", job, result, stop - start))
        return tasks

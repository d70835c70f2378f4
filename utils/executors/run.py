"""Tasks, done by whoever a config names, and handed back in order.

A task is done when the path that it promises exists: whatever is there already is not done again. Executors know
nothing of what a task writes.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from utils.errors import ExecutorError
from utils.executors.call import InWorker, Outcome, peak_bytes
from utils.executors.spec import ExecutorSpec
from utils.logs import duration, get_logger, progress, rate

logger = get_logger(__name__)

MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Parameters
    ----------
    name : for messages: the file, and what of it.
    argument : what the function gets; it is pickled.
    result : the path that exists when the task is done, all at once.
    size : of the work, such as a number of events; for the progress bar.
    """

    name: str
    argument: Any
    result: Path
    size: int = 1


@dataclass(frozen=True)
class Finished:
    """A task that is done.

    Parameters
    ----------
    task : which.
    seconds : it took [s]; 0 where it was done before.
    worker : who did it; empty where it was done before.
    peak_bytes : largest memory of that worker so far [bytes].
    """

    task: Task
    seconds: float = 0.0
    worker: str = ""
    peak_bytes: int = 0


Function = Callable[[Any], None]
Outcomes = Generator[tuple[Task, Outcome], None, None]


class Workers(Protocol):
    """Whoever does tasks: gives every task with its outcome, in any order, and starts lost ones again."""

    def outcomes(self, function: Function, tasks: Sequence[Task]) -> Outcomes: ...


def run_tasks(
    function: Function, tasks: Sequence[Task], spec: ExecutorSpec, *, title: str, unit: str = "events"
) -> Generator[Finished, None, None]:
    """Do the tasks whose result is not there yet; give all in order, each as soon as it and those before it are done.

    Parameters
    ----------
    function : does one task from its argument; a module's own, so that it can be found in another process.
    tasks : what to do.
    spec : who does it.
    title, unit : of the progress bar.

    Raises
    ------
    ExecutorError : workers died over a task again and again, or cannot be reached.
    Exception : what the function raised. The tasks that were finished until then stay done.
    """
    done = {i: Finished(task) for i, task in enumerate(tasks) if task.result.exists()}
    waiting = [task for i, task in enumerate(tasks) if i not in done]
    if done:
        logger.info("%s of %s tasks were already done", f"{len(done):,}", f"{len(tasks):,}")
    position = {id(task): i for i, task in enumerate(tasks)}
    n_given = 0
    with progress(sum(task.size for task in waiting), title, unit) as bar:
        while n_given in done:
            yield done.pop(n_given)
            n_given += 1
        if not waiting:
            return
        n_finished = len(tasks) - len(waiting)
        try:
            with closing(_workers(spec).outcomes(function, waiting)) as outcomes:
                for task, outcome in outcomes:
                    _log(task, outcome)
                    done[position[id(task)]] = Finished(task, outcome.seconds, outcome.worker, outcome.peak_bytes)
                    n_finished += 1
                    bar.update(task.size)
                    while n_given in done:
                        yield done.pop(n_given)
                        n_given += 1
        finally:
            if 0 < n_finished < len(tasks):
                logger.info("%s of %s tasks are done and kept", f"{n_finished:,}", f"{len(tasks):,}")


def _workers(spec: ExecutorSpec) -> Workers:
    if spec.kind == "processes":
        from utils.executors.pool import ProcessWorkers

        return ProcessWorkers(spec.workers)
    if spec.kind == "dask":
        from utils.executors.dask import DaskWorkers

        return DaskWorkers(spec)
    return _Here()


class _Here:
    """This process does the work, one task after the other."""

    def outcomes(self, function: Function, tasks: Sequence[Task]) -> Outcomes:
        for task in tasks:
            started = time.perf_counter()
            function(task.argument)
            yield task, Outcome(time.perf_counter() - started, "this process", peak_bytes())


def _log(task: Task, outcome: Outcome) -> None:
    """Repeat what the worker logged, and raise what it raised."""
    for name, level, message in outcome.records:
        repeating = get_logger().manager.getLogger(name)
        repeating.log(level, "%s", message)
    if outcome.error is not None:
        outcome.error.add_note(f"while working on {task.name}")
        raise outcome.error from InWorker(outcome.trace)
    logger.debug(
        "%s: %s in %s (%s) by %s",
        task.name,
        f"{task.size:,}",
        duration(outcome.seconds),
        rate(task.size, outcome.seconds),
        outcome.worker,
    )


def lost_too_often(task: Task, how: str) -> ExecutorError:
    """The error for a task that takes its workers with it."""
    return ExecutorError(
        f"{MAX_ATTEMPTS} workers died over the same task ({how})",
        where=task.name,
        remedy="If memory ran out, set a smaller chunk_size or fewer workers. The tasks that are done are kept.",
    )

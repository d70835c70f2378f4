"""Tasks in processes of this machine. A worker that is killed costs its task, which is done again, and nothing else."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from pebble import ProcessExpired, ProcessPool

from utils.errors import ExecutorError
from utils.executors.call import Outcome, begin_worker, call
from utils.executors.run import MAX_ATTEMPTS, Function, Outcomes, Task, lost_too_often
from utils.logs import get_logger

logger = get_logger(__name__)

# Every worker has one core to itself; libraries read these when they are loaded.
SINGLE_THREADED = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"), "1")


class ProcessWorkers:
    """A pool of fresh processes.

    Parameters
    ----------
    n_workers : processes.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers

    def outcomes(self, function: Function, tasks: Sequence[Task]) -> Outcomes:
        """Every task with its outcome, as they come; see :class:`~utils.executors.run.Workers`."""
        finished: SimpleQueue[tuple[Task, Any]] = SimpleQueue()
        attempts: Counter[int] = Counter()

        def start(task: Task) -> None:
            attempts[id(task)] += 1
            future = pool.schedule(call, args=(function, task.argument))
            future.add_done_callback(lambda done: finished.put((task, done)))

        with _environment(SINGLE_THREADED):
            pool = ProcessPool(
                max_workers=min(self.n_workers, len(tasks)),
                initializer=begin_worker,
                initargs=(os.getpid(),),
                context=multiprocessing.get_context("spawn"),
            )
            try:
                for task in tasks:
                    start(task)
                for _ in tasks:
                    yield self._next(finished, attempts, start)
            finally:
                pool.stop()  # type: ignore[no-untyped-call]
                pool.join()

    def _next(
        self, finished: "SimpleQueue[tuple[Task, Any]]", attempts: Counter[int], start: Any
    ) -> tuple[Task, Outcome]:
        while True:
            task, future = finished.get()
            try:
                return task, future.result()
            except ProcessExpired as error:
                how = f"exit code {error.exitcode}"
                if attempts[id(task)] == MAX_ATTEMPTS:
                    raise lost_too_often(task, how) from error
                logger.warning("a worker died (%s) over %s, which is started again", how, task.name)
                start(task)
            except (BrokenProcessPool, RuntimeError) as error:
                raise ExecutorError(
                    f"the worker processes do not start ({error})",
                    where="executor",
                    remedy="In a script of your own, put what it does under: if __name__ == '__main__'.",
                ) from error


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

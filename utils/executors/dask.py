"""Tasks in a Dask cluster: on this machine, behind a scheduler that runs somewhere, or in a batch system."""

import logging
import pickle
import tempfile
import uuid
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, as_completed
from distributed.diagnostics.plugin import UploadFile
from distributed.scheduler import KilledWorker

from utils.errors import ExecutorError
from utils.executors.call import Environment, call, code_hash, environment, sources
from utils.executors.run import MAX_ATTEMPTS, Function, Outcomes, Task, lost_too_often
from utils.executors.spec import ExecutorSpec
from utils.factory import Factory
from utils.logs import get_logger

logger = get_logger(__name__)

# A scheduler that does not answer for so long is not there [s].
CONNECT_TIMEOUT = 10
# Batch jobs may wait in their queue for hours; the user hears of it this often [s].
WAITING_INTERVAL = 60

_SETTINGS = {
    # A task is given up when more workers than this died over it.
    "distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1,
    # What happens to data in the memory of workers: ours keep none.
    "distributed.worker.memory.spill": False,
    "distributed.comm.timeouts.connect": CONNECT_TIMEOUT,
    "distributed.admin.low-level-log-length": 100,
}


class DaskWorkers:
    """The workers of a cluster.

    Parameters
    ----------
    spec : says which.
    """

    def __init__(self, spec: ExecutorSpec) -> None:
        self.spec = spec

    def outcomes(self, function: Function, tasks: Sequence[Task]) -> Outcomes:
        """Every task with its outcome, as they come; see :class:`~utils.executors.run.Workers`."""
        with ExitStack() as stack:
            stack.enter_context(dask.config.set(_SETTINGS))
            stack.enter_context(_quiet())
            client = self._client(stack, len(tasks))
            expected = None if self.spec.cluster is None else environment()
            job = uuid.uuid4().hex[:8]
            by_key = {f"crossfold-{job}-{i}": task for i, task in enumerate(tasks)}
            futures = [
                client.submit(pickle.loads, _Work(function, task.argument, expected).pickled(), key=key, pure=False)
                for key, task in by_key.items()
            ]
            stack.callback(_forget, client, futures)
            for future in as_completed(futures):  # type: ignore[no-untyped-call]
                yield by_key[future.key], self._result(future, by_key[future.key])

    def _result(self, future: Any, task: Task) -> Any:
        try:
            return future.result()
        except KilledWorker as error:
            raise lost_too_often(task, f"the last one was {error.last_worker.address}") from error
        except ImportError as error:
            raise ExecutorError(
                f"a worker cannot import what the task needs ({error})",
                where=task.name,
                remedy="Start the workers in an environment with the packages of requirements.txt.",
            ) from error

    def _client(self, stack: ExitStack, n_tasks: int) -> Any:
        """A client of the cluster, with workers that know our code."""
        named = self.spec.cluster
        if isinstance(named, str):
            return self._ready(stack, stack.enter_context(_connected(named)))
        if named is None:
            cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=min(self.spec.workers, n_tasks),
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            )
            return stack.enter_context(Client(stack.enter_context(cluster)))  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about a port of the dashboard that is taken
            cluster = stack.enter_context(_made(named))
        cluster.scale(self.spec.workers)
        return self._ready(stack, stack.enter_context(Client(cluster, timeout=CONNECT_TIMEOUT)))  # type: ignore[no-untyped-call]

    def _ready(self, stack: ExitStack, client: Any) -> Any:
        """Ship our code to the workers that there are and that will come, and wait for the first of them."""
        archive = _archive(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crossfold-"))))
        client.register_plugin(UploadFile(str(archive)), name=archive.name)
        waited = 0
        while not client.scheduler_info(n_workers=-1)["workers"]:
            if waited % WAITING_INTERVAL == 0:
                logger.info("waiting for the first worker of %s", client.scheduler.address)
            _wait(client)
            waited += 1
        return client


@dataclass(frozen=True)
class _Work:
    """A call that is made where it is unpickled, which is in a worker: schedulers know nothing of our modules, and look
    into what is given to them.
    """

    function: Function
    argument: Any
    expected: Environment | None

    def __reduce__(self) -> tuple[Any, ...]:
        return call, (self.function, self.argument, self.expected)

    def pickled(self) -> bytes:
        return pickle.dumps(self)


def _wait(client: Any) -> None:
    """A second, or less where a worker comes."""
    try:
        client.wait_for_workers(1, timeout=1)
    except TimeoutError:
        return


def _forget(client: Any, futures: Sequence[Any]) -> None:
    """Take back what has not begun; of no use where the scheduler is gone."""
    if client.status == "running":
        client.cancel(list(futures), force=True)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        client = Client(address, timeout=CONNECT_TIMEOUT)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ExecutorError(
            f"no Dask scheduler answers ({type(error).__name__}: {error})",
            where=f"cluster {address}",
            remedy="Start one with 'dask scheduler', or correct the address.",
        ) from error
    with client:
        yield client


def _made(factory: Factory) -> Any:
    """The cluster that a config describes."""
    try:
        return factory()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, ExecutorError):
            raise
        raise ExecutorError(
            f"the cluster cannot be made ({type(error).__name__}: {error})",
            where=f"cluster {factory.target}",
            remedy="See the documentation of dask-jobqueue, or leave cluster out to work on this machine.",
        ) from error


def _archive(folder: Path) -> Path:
    """Our package as a ZIP file, from which Python can import it."""
    path = folder / f"crossfold-{code_hash()}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sources().items():
            archive.writestr(name, content)
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own log below errors is kept off the terminal; that a worker died goes to ours."""
    chatty = [logging.getLogger(name) for name in ("distributed", "distributed.nanny", "tornado", "asyncio")]
    levels = [one.level for one in chatty]
    for one in chatty:
        one.setLevel(logging.CRITICAL)
    nanny = _Deaths()
    chatty[1].setLevel(logging.WARNING)
    chatty[1].addHandler(nanny)
    chatty[1].propagate = False
    try:
        yield
    finally:
        chatty[1].removeHandler(nanny)
        chatty[1].propagate = True
        for one, level in zip(chatty, levels, strict=True):
            one.setLevel(level)


class _Deaths(logging.Handler):
    """Tells the user that a worker died; the task is started again by itself."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "Restarting worker" in message:
            logger.warning("a worker died; its task is started again")

"""One task as a worker does it: what happens there is brought back as a value, whatever it is."""

import hashlib
import importlib.metadata
import logging
import os
import pickle
import platform
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from utils.errors import ExecutorError
from utils.logs import get_logger, quiet_third_party

PACKAGE = Path(__file__).parents[1]
# Whose versions may show in a result.
_LIBRARIES = ("numpy", "awkward", "uproot", "pandas", "h5py", "pyarrow")
# How often a worker looks whether the job still lives [s].
WATCH_INTERVAL = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a task went.

    Parameters
    ----------
    seconds : it took [s].
    worker : who did it.
    peak_bytes : largest memory of that process so far [bytes].
    records : (logger, level, message) of what it logged.
    error : what it raised; None where it is done.
    trace : where, as text: an error's own traceback does not travel.
    """

    seconds: float
    worker: str
    peak_bytes: int
    records: tuple[tuple[str, int, str], ...] = ()
    error: Exception | None = None
    trace: str = ""


@dataclass(frozen=True)
class Environment:
    """What must be the same for job and workers: a hash of our code, versions of libraries, the working folder."""

    code: str
    versions: Mapping[str, str]
    folder: str

    def enter(self, worker: str) -> None:
        """Go to the folder, where there is such; ExecutorError unless the process we are in has the same code."""
        here = versions()
        different = [
            f"{name} {version} in the job, {here[name]} in the worker"
            for name, version in self.versions.items()
            if here[name] != version
        ]
        if code_hash() != self.code:
            different.insert(0, "the code of Crossfold itself")
        if different:
            raise ExecutorError(
                f"the worker has other versions: {'; '.join(different)}",
                where=worker,
                remedy="Start the workers anew, in the environment of the job.",
            )
        if Path(self.folder).is_dir():  # else only absolute paths are found, or URLs
            os.chdir(self.folder)


def environment() -> Environment:
    """Of this process."""
    return Environment(code_hash(), versions(), str(Path.cwd()))


@cache
def versions() -> Mapping[str, str]:
    """Of Python and of the libraries that we read and compute with."""
    found = {"Python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


@cache
def code_hash() -> str:
    """A hash of all our modules."""
    hashed = hashlib.blake2b(digest_size=8)
    for name, content in sorted(sources().items()):
        hashed.update(f"{name}\0{len(content)}\0".encode() + content)
    return hashed.hexdigest()


@cache
def sources() -> Mapping[str, bytes]:
    """Name and content of all our modules, also where they come from a ZIP file."""
    if PACKAGE.is_dir():
        return {path.relative_to(PACKAGE.parent).as_posix(): path.read_bytes() for path in PACKAGE.rglob("*.py")}
    import zipfile

    with zipfile.ZipFile(PACKAGE.parent) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def begin_worker(parent: int) -> None:
    """What a process that was started from another one does first: be quiet, and end when that one is gone."""
    quiet_third_party()
    threading.Thread(target=partial(_watch, parent), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_INTERVAL)
    os._exit(1)  # nobody would take its results


def call(function: Callable[[Any], None], argument: Any, expected: Environment | None = None) -> Outcome:
    """Run `function(argument)`, keep its log lines, and catch what it raises.

    Parameters
    ----------
    expected : of the driver; None where this process was made from it.
    """
    worker = f"{socket.gethostname()}:{os.getpid()}"
    started = time.perf_counter()
    records: list[tuple[str, int, str]] = []
    error, trace = None, ""
    handler = _Keep(records)
    logger = get_logger()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        if expected is not None:
            expected.enter(worker)
        function(argument)
    except Exception as raised:  # noqa: BLE001 (it is raised again, in the driver)
        error, trace = portable(raised), traceback.format_exc()
    finally:
        logger.removeHandler(handler)
    return Outcome(time.perf_counter() - started, worker, peak_bytes(), tuple(records), error, trace)


def peak_bytes() -> int:
    """Largest memory of this process so far [bytes]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def portable(error: Exception) -> Exception:
    """The error, or another one with its text where it cannot be sent."""
    try:
        sent: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 (what was pickled one call before)
    except Exception:  # noqa: BLE001 (an exception may refuse in any way)
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    return sent


class InWorker(Exception):  # noqa: N818
    """Shows the traceback of a worker's error."""

    def __str__(self) -> str:
        return f"in the worker:\n{self.args[0]}"


class _Keep(logging.Handler):
    def __init__(self, records: list[tuple[str, int, str]]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append((record.name, record.levelno, record.getMessage()))

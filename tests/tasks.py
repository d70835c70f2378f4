"""Tasks for the executors' tests; a module of its own, so that other processes can import it."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from utils.errors import MissingColumnError
from utils.logs import get_logger

logger = get_logger("tests.tasks")


def write(argument: dict[str, Any]) -> None:
    """Write the process ID to `path`, after what else is asked for; every attempt leaves a mark in `attempts`."""
    path = Path(argument["path"])
    attempts = Path(argument["attempts"]) / path.name
    attempts.mkdir(parents=True, exist_ok=True)
    n_before = len(list(attempts.iterdir()))
    (attempts / f"{n_before}").write_text(str(os.getpid()))
    if n_before < argument.get("deaths", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if "error" in argument:
        raise MissingColumnError("no branch 'ptt'", where=str(path), nearest="pt", remedy="Mend it.")
    if "bug" in argument:
        raise UnpicklableError(lambda: 1)
    time.sleep(argument.get("seconds", 0.0))
    if "warning" in argument:
        logger.warning("%s", argument["warning"])
    if "environment" in argument:
        path.write_text(repr({name: os.environ.get(name) for name in argument["environment"]}))
        return
    if "nothing" not in argument:
        path.write_text(str(os.getpid()))


class UnpicklableError(Exception):
    """An error that cannot be sent."""

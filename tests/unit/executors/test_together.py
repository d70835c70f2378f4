"""Processes that do one thing together: what they say, and that none is left when one of them fails."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.tasks import UnpicklableError
from utils.errors import DataError, ExecutorError
from utils.executors.together import Line, together
from utils.logs import captured_log, get_logger

ROOT = Path(__file__).parents[3]


def work(argument: dict[str, Any], line: Line) -> None:
    """Says its process ID, then does what it is asked for."""
    line.ask(("pid", os.getpid()))
    if "log" in argument:
        get_logger("tests").log(argument["log"], "said by %s", argument["name"])
    if "error" in argument:
        raise DataError("the values are bad", where="there", remedy="Mend them.")
    if "bug" in argument:
        raise UnpicklableError(lambda: 1)
    if "dies" in argument:
        os.kill(os.getpid(), signal.SIGKILL)
    if "complains" in argument:  # as one that waits for another process, which is gone
        while not line.ask(("waiting", None)):
            time.sleep(0.05)
        raise RuntimeError("connection closed by peer")
    time.sleep(argument.get("seconds", 0.0))
    line.ask(("answer", line.ask(("question", argument.get("name")))))


class Job:
    """Answers, and remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, Any]] = []

    def __call__(self, number: int, message: tuple[str, Any]) -> Any:
        self.heard.append((number, message))
        kind, content = message
        if kind == "waiting":
            return any(is_gone(pid) for pid in self.of("pid"))
        return f"yes, {content}" if kind == "question" else None

    def run(self, *arguments: dict[str, Any]) -> None:
        together(work, arguments, self, "process")

    def of(self, kind: str) -> list[Any]:
        return [content for _, (said, content) in sorted(self.heard) if said == kind]


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_each_has_its_argument_and_gets_its_answers() -> None:
    job = Job()
    job.run({"name": "a"}, {"name": "b"}, {"name": "c"})
    assert job.of("answer") == ["yes, a", "yes, b", "yes, c"]
    pids = job.of("pid")
    assert len({*pids, os.getpid()}) == 4
    assert all(is_gone(pid) for pid in pids)


def test_the_first_is_heard_of_the_others_warnings_once() -> None:
    arguments: list[dict[str, Any]] = [{"log": logging.INFO, "name": i} for i in range(2)]
    arguments += [{"log": logging.WARNING, "name": "others"} for _ in range(2)]
    with captured_log() as messages:
        Job().run(*arguments)
    assert sorted(messages) == ["said by 0", "said by others"]


def test_an_error_in_one_ends_all() -> None:
    job = Job()
    with pytest.raises(DataError, match="the values are bad, in there. Mend them") as caught:
        job.run({"seconds": 100}, {"error": True}, {"seconds": 100})
    assert caught.value.where == "there"
    assert "process 2 of 3" in caught.value.__notes__[0]
    assert "in work" in str(caught.value.__cause__), "the traceback of the process"
    assert all(is_gone(pid) for pid in job.of("pid"))


def test_an_error_that_cannot_be_sent_keeps_its_text() -> None:
    with pytest.raises(RuntimeError, match="UnpicklableError"):
        Job().run({"bug": True})


def test_one_that_dies_is_named_and_no_complaint_of_another() -> None:
    job = Job()
    with pytest.raises(ExecutorError, match=r"process 2 of 2 died \(SIGKILL\).*fewer processes"):
        job.run({"complains": True}, {"dies": True})
    assert all(is_gone(pid) for pid in job.of("pid"))


def test_what_goes_wrong_in_the_job_ends_all() -> None:
    pids: list[int] = []

    def receive(_: int, message: tuple[str, Any]) -> None:
        pids.append(message[1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        together(work, [{"seconds": 100}, {"seconds": 100}], receive, "process")
    assert is_gone(pids[0])


KILLED = """
import sys
from tests.unit.executors.test_together import Job
class Telling(Job):
    def __call__(self, number, message):
        print(message[1], flush=True)
if __name__ == "__main__":
    Telling().run({"seconds": 100}, {"seconds": 100})
"""


def test_a_job_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(KILLED.replace("from tests.unit.executors.test_together", "from test_together"))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}
    job = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    assert job.stdout is not None
    pids = [int(job.stdout.readline()) for _ in range(2)]
    job.kill()
    job.wait()
    deadline = time.monotonic() + 20
    while not all(is_gone(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)

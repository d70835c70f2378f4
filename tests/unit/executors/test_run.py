"""Tasks in every executor that needs nothing but this machine: order, resuming, deaths, errors, log lines."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import utils.errors
from tests.tasks import write
from utils.errors import CrossfoldError, ExecutorError, MissingColumnError
from utils.executors.run import Finished, Task, run_tasks
from utils.executors.spec import ExecutorSpec
from utils.logs import captured_log

ROOT = Path(__file__).parents[3]
KINDS = ("serial", "processes")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Task]:
    """A task by its number; keys are what it does."""

    def task(i: int, /, **what: Any) -> Task:
        path = tmp_path / "results" / f"{i}"
        path.parent.mkdir(exist_ok=True)
        argument = {"path": str(path), "attempts": str(tmp_path / "attempts"), **what}
        return Task(f"file_{i}.root", argument, path, 10)

    return task


def attempts(task: Task) -> int:
    """How often a task was begun."""
    folder = Path(task.argument["attempts"]) / task.result.name
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def run(tasks: list[Task], kind: str, workers: int = 2) -> list[Finished]:
    return list(run_tasks(write, tasks, ExecutorSpec(kind, workers), title="testing"))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_all_are_done_once_and_given_in_order(make: Callable[..., Task], kind: str) -> None:
    tasks = [make(i, seconds=0.3 if i == 0 else 0.0) for i in range(5)]
    finished = run(tasks, kind)
    assert [one.task for one in finished] == tasks
    assert [attempts(task) for task in tasks] == [1] * 5
    pids = {int(task.result.read_text()) for task in tasks}
    assert (os.getpid() in pids) == (kind == "serial")
    assert all(one.seconds >= 0 and one.worker and one.peak_bytes > 0 for one in finished)


def test_the_first_is_given_while_others_are_at_work(make: Callable[..., Task]) -> None:
    tasks = [make(0), make(1, seconds=60)]
    with closing(run_tasks(write, tasks, ExecutorSpec("processes", 2), title="testing")) as finished:
        assert next(finished).task is tasks[0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_is_not_done_again(make: Callable[..., Task], kind: str) -> None:
    tasks = [make(i) for i in range(3)]
    tasks[1].result.write_text("before")
    with captured_log() as messages:
        finished = run(tasks, kind)
    assert "1 of 3 tasks were already done" in messages
    assert [one.worker == "" for one in finished] == [False, True, False]
    assert tasks[1].result.read_text() == "before"
    with captured_log() as messages:
        run(tasks, kind)
    assert "3 of 3 tasks were already done" in messages
    assert [attempts(task) for task in tasks] == [1, 0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_no_tasks(kind: str) -> None:
    assert run([], kind) == []


def test_a_worker_that_is_killed_costs_its_task_alone(make: Callable[..., Task]) -> None:
    tasks = [make(0), make(1, deaths=2), *(make(i) for i in range(2, 8))]
    with captured_log() as messages:
        finished = run(tasks, "processes")
    assert [one.task for one in finished] == tasks
    assert [attempts(task) for task in tasks] == [1, 3, 1, 1, 1, 1, 1, 1]
    assert sum("worker died" in message and "file_1.root" in message for message in messages) == 2


def test_a_task_that_kills_every_worker_is_named(make: Callable[..., Task]) -> None:
    tasks = [make(0), make(1, deaths=99), make(2)]
    with pytest.raises(ExecutorError, match="3 workers died.*file_1.root") as caught:
        run(tasks, "processes")
    assert caught.value.where == "file_1.root"
    assert attempts(tasks[1]) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_as_it_was_raised(make: Callable[..., Task], kind: str) -> None:
    tasks = [make(0), make(1, error=True), make(2, seconds=0.1)]
    with pytest.raises(MissingColumnError) as caught:
        run(tasks, kind, workers=1)
    error = caught.value
    assert (error.what, error.nearest, error.remedy) == ("no branch 'ptt'", "pt", "Mend it.")
    assert error.where == tasks[1].argument["path"]
    assert tasks[0].result.exists() and not tasks[1].result.exists()
    if kind == "processes":
        assert "tests/tasks.py" in str(error.__cause__)
        assert error.__notes__ == ["while working on file_1.root"]


def test_an_error_that_cannot_be_sent_comes_as_text(make: Callable[..., Task]) -> None:
    with pytest.raises(RuntimeError, match="UnpicklableError: <function"):
        run([make(0, bug=True)], "processes")


def test_what_was_finished_before_an_error_is_kept(make: Callable[..., Task]) -> None:
    tasks = [make(0), make(1, error=True)]
    with captured_log() as messages, pytest.raises(MissingColumnError):
        run(tasks, "processes", workers=1)
    assert "1 of 2 tasks are done and kept" in messages


@pytest.mark.parametrize("kind", KINDS)
def test_log_lines_reach_the_user(make: Callable[..., Task], kind: str) -> None:
    with captured_log() as messages:
        run([make(0, warning="seven events are odd")], kind)
    assert messages.count("seven events are odd") == 1


def test_workers_have_one_thread_and_leave_no_trace_here(make: Callable[..., Task], monkeypatch: Any) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    task = make(0, environment=["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
    run([task], "processes")
    assert task.result.read_text() == repr({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_job(tmp_path: Path, how: signal.Signals) -> None:
    """A job that is killed, or interrupted in the way of a terminal, leaves no process behind."""
    code = f"""
from pathlib import Path
from tests.tasks import write
from utils.executors.run import Task, run_tasks
from utils.executors.spec import ExecutorSpec

if __name__ == "__main__":
    folder = Path({str(tmp_path)!r})
    tasks = [
        Task(str(i), dict(path=str(folder / str(i)), attempts=str(folder / "attempts"), seconds=60), folder / str(i))
        for i in range(2)
    ]
    list(run_tasks(write, tasks, ExecutorSpec("processes", 2), title="testing"))
"""
    (tmp_path / "job.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    job = subprocess.Popen(
        [sys.executable, tmp_path / "job.py"], env=environment, start_new_session=True, stderr=subprocess.PIPE
    )
    marks = [tmp_path / "attempts" / name / "0" for name in ("0", "1")]
    _wait_for(lambda: all(mark.exists() and mark.read_text() for mark in marks))
    pids = [int(mark.read_text()) for mark in marks]
    if how == signal.SIGKILL:
        job.kill()
    else:
        os.killpg(job.pid, how)  # Ctrl-C reaches the workers as well
    _, errors = job.communicate(timeout=30)
    assert errors.count(b"Traceback") == (1 if how == signal.SIGINT else 0), errors.decode()
    _wait_for(lambda: not any(_lives(pid) for pid in pids))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(utils.errors).values() if isinstance(kind, type) and issubclass(kind, CrossfoldError)],
)
def test_every_error_of_ours_can_be_sent(kind: type[CrossfoldError]) -> None:
    error = kind("no branch 'ptt'", where="a.root", nearest="pt", remedy="Mend it.")
    sent = pickle.loads(pickle.dumps(error))
    assert type(sent) is kind
    assert str(sent) == str(error)
    assert vars(sent) == vars(error)

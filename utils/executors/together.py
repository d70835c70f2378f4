"""Processes of this machine that do one thing together: all begin at once, and one that fails ends all of them."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

from utils.errors import CrossfoldError, ExecutorError
from utils.executors.call import InWorker, begin_worker, portable
from utils.logs import get_logger

# How long a process may take to end [s].
_PATIENCE = 5.0


class Line:
    """How a process speaks with the job that has started it."""

    def __init__(self, pipe: connection.Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def ask(self, message: Any) -> Any:
        """What `receive` of the job gives for the message, which is waited for."""
        with self._lock:
            self._pipe.send(("message", message))
            return self._pipe.recv()

    def tell(self, kind: str, content: Any) -> None:
        """No answer is waited for."""
        with self._lock:
            self._pipe.send((kind, content))

    def hold(self) -> None:
        """Wait until the job ends this process."""
        self._pipe.poll(None)


def together(
    function: Callable[[Any, Line], None], arguments: Sequence[Any], receive: Callable[[int, Any], Any], what: str
) -> None:
    """Call `function(argument, line)` in a fresh process for each argument, all at the same time.

    What the first process logs is logged here, of the others warnings alone.

    Parameters
    ----------
    function : a module's own, so that it can be found in another process.
    arguments : one for each process; they are pickled.
    receive : number of a process and its message → the answer; both are pickled.
    what : the processes are, for messages.

    Raises
    ------
    ExecutorError : one of them died.
    Exception : what the function raised in one of them. All others are ended.
    """
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in arguments]
    processes = [
        context.Process(target=_work, args=(function, argument, theirs, os.getpid()))
        for argument, (_, theirs) in zip(arguments, pipes, strict=True)
    ]
    try:
        for process, (_, theirs) in zip(processes, pipes, strict=True):
            process.start()
            theirs.close()
        _Job(processes, [ours for ours, _ in pipes], receive, what).run()
        for process in processes:
            process.join(_PATIENCE)
    finally:
        for process in processes:
            _end(process)
        for ours, _ in pipes:
            ours.close()


class _Job:
    """The side that has started the processes."""

    def __init__(self, processes: Sequence[Any], pipes: Sequence[Any], receive: Any, what: str) -> None:
        self._processes, self._receive, self._what = processes, receive, what
        self._working = dict(zip(pipes, range(len(pipes)), strict=True))
        self._warned: set[str] = set()

    def run(self) -> None:
        """Until all are done."""
        while self._working:
            for pipe in connection.wait(list(self._working)):
                self._hear(pipe, self._working[pipe])

    def _hear(self, pipe: Any, number: int) -> None:
        try:
            kind, content = pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self._processes[number].join(_PATIENCE)
            raise self._dead(number) from error
        if kind == "message":
            answer = self._receive(number, content)
            with contextlib.suppress(BrokenPipeError):  # it has died meanwhile, which is heard next
                pipe.send(answer)
        elif kind == "log":
            self._log(number, *content)
        elif kind == "done":
            del self._working[pipe]
        else:
            self._raise(number, *content)

    def _log(self, number: int, name: str, level: int, message: str) -> None:
        if number == 0 or (level >= logging.WARNING and message not in self._warned):
            logging.getLogger(name).log(level, "%s", message)
        if level >= logging.WARNING:
            self._warned.add(message)

    def _raise(self, number: int, error: Exception, trace: str) -> None:
        """What went wrong in a process, unless it is that another one has died."""
        if not isinstance(error, CrossfoldError):
            others: dict[Any, int] = {self._processes[i].sentinel: i for i in self._working.values() if i != number}
            for sentinel in connection.wait(list(others), 1.0):
                self._processes[others[sentinel]].join(_PATIENCE)
                raise self._dead(others[sentinel]) from error
        error.add_note(f"This came from {self._what} {number + 1} of {len(self._processes)}.")
        raise error from InWorker(trace)

    def _dead(self, number: int) -> ExecutorError:
        code = self._processes[number].exitcode
        how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
        return ExecutorError(
            f"{self._what} {number + 1} of {len(self._processes)} died ({how})",
            remedy="If memory ran out, use fewer processes or a smaller buffer. In a script of your own, put what it "
            "does under: if __name__ == '__main__'.",
        )


def _work(function: Callable[[Any, Line], None], argument: Any, pipe: Any, parent: int) -> None:
    """What a process does."""
    begin_worker(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever interrupts the job: it ends its processes
    line = Line(pipe)
    logger = get_logger()
    logger.addHandler(_Sent(line))
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        function(argument, line)
        line.tell("done", None)
    except Exception as error:  # noqa: BLE001 (it is raised again, in the job)
        line.tell("error", (portable(error), traceback.format_exc()))
        line.hold()  # were it gone now, the others would complain of that, perhaps sooner


def _end(process: Any) -> None:
    for stop in (process.terminate, process.kill):
        if process.is_alive():
            stop()
            process.join(_PATIENCE)


class _Sent(logging.Handler):
    """Log lines for the job."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        self._line.tell("log", (record.name, record.levelno, record.getMessage()))

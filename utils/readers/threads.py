"""Threads for reading, or none: a worker that has one core to itself gains nothing from them."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


class CallingThread(Executor):
    """Does at once, in the calling thread, what it is given."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The finished future of `function(*args, **kwargs)`."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (raised by `result`, as from any other executor)
            future.set_exception(error)
        return future


def thread_pool(n_threads: int) -> Executor:
    """So many threads; 0: the calling one."""
    return ThreadPoolExecutor(n_threads) if n_threads else CallingThread()

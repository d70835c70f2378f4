"""How uproot reads a remote file: many small pieces gathered into few requests, with our retries and time limit."""

import queue
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, ClassVar

import uproot.source.chunk
from uproot.source.coalesce import CoalesceConfig, coalesce_requests
from uproot.source.futures import TrivialFuture

from utils.readers.places.remote import ByteRange, Remote

# A tree's header, and the beginning of its description, come in pieces of a few hundred bytes: these are read together.
_AHEAD_BYTES = 64 * 1024
_GATHERING = CoalesceConfig(max_range_gap=64 * 1024, max_request_ranges=1024, max_request_bytes=8 * 2**20)


class RemoteSource(uproot.source.chunk.Source):  # type: ignore[misc]
    """What uproot reads from; a class of its own for every file, because uproot wants a class."""

    remote: ClassVar[Remote]
    n_bytes: ClassVar[int]

    def __init__(self, file_path: str, **_: Any) -> None:
        super().__init__()
        self._file_path = file_path
        self._closed = False
        self._ahead: tuple[int, bytes] = (0, b"")

    @property
    def num_bytes(self) -> int:
        """Size of the file [bytes]."""
        return self.n_bytes

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def __enter__(self) -> "RemoteSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self.remote.close()

    def chunk(self, start: int, stop: int) -> Any:
        """One piece, at once."""
        self._count([(start, stop)])
        stop_inside = min(stop, self.n_bytes)
        first, data = self._ahead
        if not first <= start <= stop_inside <= first + len(data):
            ahead = (start, min(self.n_bytes, max(stop, start + _AHEAD_BYTES)))
            first, data = self._ahead = (start, self.remote.fetch([ahead])[0] if ahead[1] > start else b"")
        return uproot.source.chunk.Chunk(self, start, stop, TrivialFuture(data[start - first : stop_inside - first]))

    def chunks(self, ranges: list[ByteRange], notifications: "queue.Queue[Any]") -> list[Any]:
        """Pieces that put themselves on the queue when they are there."""
        self._count(ranges)
        chunks: list[Any] = coalesce_requests(ranges, self._submit, self, notifications, config=_GATHERING)
        return chunks

    def _submit(self, ranges: Sequence[ByteRange]) -> "Future[list[bytes]]":
        return self.remote.start_fetch(ranges)

    def _count(self, ranges: Sequence[ByteRange]) -> None:
        self._num_requests += 1
        self._num_requested_chunks += len(ranges)
        self._num_requested_bytes += sum(stop - start for start, stop in ranges)


def uproot_handler(remote: Remote, n_bytes: int) -> type[RemoteSource]:
    """The class for `uproot.open(…, handler=…)` that reads this file."""
    return type("RemoteFile", (RemoteSource,), {"remote": remote, "n_bytes": n_bytes})

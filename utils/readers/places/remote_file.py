"""A remote file as Python's files are: seekable; small reads are kept, and what follows them is fetched ahead."""

import io
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any, BinaryIO, cast

from utils.readers.places.remote import ByteRange, Remote

# What is kept for small reads, and how much of it is fetched at once when a file is read from block to block.
_BLOCK_BYTES = 256 * 1024
_KEPT_BLOCKS = 96
_WINDOW_BLOCKS = 16


class _RemoteFile(io.RawIOBase):
    """A remote file as Python's files are.

    Small reads come from blocks that are kept. Reading on from block to block fetches more and more of them at once,
    and the next ones in the background.
    """

    def __init__(self, remote: Remote, size: int) -> None:
        self._remote = remote
        self._size = size
        self._position = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._last = -1
        self._window = 1
        self._ahead: tuple[range, Future[list[bytes]]] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        start, stop = self._position, min(self._size, self._position + len(buffer))
        if stop <= start:
            return 0
        if stop - start > _WINDOW_BLOCKS * _BLOCK_BYTES:
            data = self._remote.fetch([(start, stop)])[0]
        else:
            first, last = start // _BLOCK_BYTES, (stop - 1) // _BLOCK_BYTES
            blocks = b"".join([self._block(i) for i in range(first, last + 1)])
            data = blocks[start - first * _BLOCK_BYTES : stop - first * _BLOCK_BYTES]
        buffer[: len(data)] = data
        self._position = stop
        return len(data)

    def _block(self, i: int) -> bytes:
        if i not in self._kept:
            blocks = range(i, i + 1)
            follows = i == self._last + 1 and i > 0
            self._window = min(_WINDOW_BLOCKS, 2 * self._window) if follows else 1
            if self._ahead is not None and i in self._ahead[0]:
                blocks, coming = self._ahead
                self._ahead = None
                came = coming.result()
            else:
                blocks = range(i, i + self._window)
                came = self._remote.fetch([self._bytes(blocks)])
            self._keep(blocks, came[0])
            if follows:
                self._read_ahead(range(blocks.stop, blocks.stop + self._window))
        self._last = i
        self._kept.move_to_end(i)
        return self._kept[i]

    def _bytes(self, blocks: range) -> ByteRange:
        return blocks.start * _BLOCK_BYTES, min(self._size, blocks.stop * _BLOCK_BYTES)

    def _keep(self, blocks: range, data: bytes) -> None:
        for j, block in enumerate(blocks):
            self._kept[block] = data[j * _BLOCK_BYTES : (j + 1) * _BLOCK_BYTES]
        while len(self._kept) > _KEPT_BLOCKS:
            self._kept.popitem(last=False)

    def _read_ahead(self, blocks: range) -> None:
        self._forget_ahead()
        if blocks.start * _BLOCK_BYTES < self._size:
            self._ahead = (blocks, self._remote.start_fetch([self._bytes(blocks)]))

    def _forget_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead[1].cancel()
            self._ahead = None

    def close(self) -> None:
        if not self.closed:
            self._forget_ahead()
            self._remote.close()
        super().close()


def open_remote(remote: Remote, size: int) -> BinaryIO:
    """The bytes of a remote file, seekable."""
    return cast("BinaryIO", io.BufferedReader(_RemoteFile(remote, size)))

"""XRootD: files behind `root://`, several pieces of them in one request."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

from utils.errors import CrossfoldError, InputFileError
from utils.readers.places.remote import ByteRange, Entry, Remote, Status
from utils.readers.spec import Access

# What the protocol's error numbers mean (XProtocol.hh); the client's own are in XrdClStatus.hh.
_NOT_AUTHORIZED, _NOT_FOUND, _AUTH_FAILED = 3010, 3011, 3030
_CLIENT_LOGIN_FAILED, _CLIENT_AUTH_FAILED, _CLIENT_EXPIRED = 203, 204, 206


def import_client() -> Any:
    """The XRootD client, imported when it is needed.

    Raises
    ------
    CrossfoldError : tensorflow was imported before it: the process would crash.
    """
    if "tensorflow" in sys.modules and "XRootD.client" not in sys.modules:
        raise CrossfoldError(
            "root:// cannot be read in a process that imported tensorflow first: it would crash",
            remedy="Put 'import XRootD.client' before the import of tensorflow.",
        )
    from XRootD import client

    return client


def _configured_client(timeout: float) -> Any:
    """The client; where the environment (XRD_…) says nothing, its own patience fits to ours."""
    client = import_client()
    # By default it looks at its clock every 15 s, and refuses a server for half an hour after it failed once.
    seconds = max(1, int(timeout))
    for name, value in {
        "TimeoutResolution": 1,
        "StreamErrorWindow": 0,
        "ConnectionWindow": max(1, seconds // 2),
        "ConnectionRetry": 1,
    }.items():
        client.EnvPutInt(name, value)
    return client


class XrootdRemote(Remote):
    """A file or folder of an XRootD server, or of whatever a redirector sends us to."""

    credentials = (
        "Get a grid proxy (voms-proxy-init --voms VO) or a token (BEARER_TOKEN); the path has two slashes after HOST."
    )
    # What every server takes in a vector read.
    piece_bytes = 2_097_136
    request_pieces = 1024

    def __init__(self, url: str, access: Access) -> None:
        super().__init__(url, access)
        self._client = _configured_client(access.timeout)
        parsed = self._client.URL(url)
        if not parsed.is_valid():
            raise InputFileError("not a valid URL", where=url, remedy="Write root://HOST//PATH.")
        self._path = parsed.path_with_params or "/"
        self._server = f"{parsed.protocol}://{parsed.hostid}"
        self._file: Any = None
        self._opening = asyncio.Lock()
        self._one_by_one = False

    async def status(self) -> Status:
        """Size and modification time."""
        found = await self._ask(self._client.FileSystem(self._server).stat, self._path)
        is_folder = bool(found.flags & _flags().StatInfoFlags.IS_DIR)
        return Status(int(found.size), str(found.modtime), is_folder)

    async def read(self, pieces: Sequence[ByteRange]) -> list[bytes]:
        """The pieces by one vector read; one by one after a server failed at that."""
        file = await self._open()
        if len(pieces) > 1 and not self._one_by_one:
            self._one_by_one = True
            found = await self._ask(file.vector_read, [(start, stop - start) for start, stop in pieces])
            self._one_by_one = False
            by_place = {(part.offset, part.length): part.buffer for part in found.chunks}
            return [by_place.get((start, stop - start), b"") for start, stop in pieces]
        return [await self._ask(file.read, start, stop - start) for start, stop in pieces]

    async def entries(self) -> list[Entry]:
        """What lies in the folder."""
        flags = _flags()
        listing = await self._ask(self._client.FileSystem(self._server).dirlist, self._path, flags.DirListFlags.STAT)
        return [
            Entry(entry.name, bool(entry.statinfo and entry.statinfo.flags & flags.StatInfoFlags.IS_DIR))
            for entry in listing
        ]

    async def reset(self) -> None:
        """The next attempt opens the file again, which may lead to another server."""
        self.close()

    def close(self) -> None:
        """Close the file, without waiting for the server."""
        file, self._file = self._file, None
        if file is not None and file.is_open():
            file.close(timeout=self._seconds, callback=lambda *_: None)

    @property
    def _seconds(self) -> int:
        return max(1, int(self.access.timeout))

    async def _open(self) -> Any:
        async with self._opening:
            if self._file is None:
                file = self._client.File()
                await self._ask(file.open, self.url, _flags().OpenFlags.READ)
                self._file = file
            return self._file

    async def _ask(self, request: Callable[..., Any], *arguments: Any) -> Any:
        """The answer to a request of the client, whose own thread delivers it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Any, Any]] = loop.create_future()

        def deliver(status: Any, content: Any) -> None:
            if not answer.done():
                answer.set_result((status, content))

        def callback(status: Any, content: Any, _: Any) -> None:
            loop.call_soon_threadsafe(deliver, status, content)

        try:
            submitted = request(*arguments, timeout=self._seconds, callback=callback)
        except ValueError as error:  # closed meanwhile by a failed attempt beside this one
            raise OSError(str(error)) from error
        status, content = (submitted, None) if not submitted.ok else await answer
        if not status.ok:
            raise _error(status)
        return content


def _flags() -> Any:
    from XRootD.client import flags

    return flags


def _error(status: Any) -> OSError:
    """A status as the kind of error it is."""
    message = status.message.strip().partition("] ")[2] or status.message.strip()
    message = message.removeprefix("Server responded with an error: ")
    if status.errno == _NOT_FOUND:
        return FileNotFoundError(message)
    if status.errno in (_NOT_AUTHORIZED, _AUTH_FAILED) or status.code in (_CLIENT_LOGIN_FAILED, _CLIENT_AUTH_FAILED):
        return PermissionError(message)
    if status.code == _CLIENT_EXPIRED or message == "Socket timeout":
        return TimeoutError(message)
    return OSError(message)

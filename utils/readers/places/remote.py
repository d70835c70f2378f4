"""Bytes of files on other machines: asked for again when they do not come, never waited for without an end.

A protocol provides three single attempts (`status`, `read`, `entries`) in `protocols.py` and `xrootd.py`. They raise
FileNotFoundError and PermissionError for what another attempt would not change, OSError for what it may. Time limit,
retries, lengths and messages are here, once.
"""

import asyncio
import errno
import importlib
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, TypeVar
from urllib.parse import urlsplit

import fsspec.asyn

from utils.errors import CrossfoldError, InputFileError, nearest_name
from utils.logs import duration, get_logger
from utils.readers.spec import Access

logger = get_logger(__name__)

T = TypeVar("T")
# (start, stop) of bytes in a file.
ByteRange = tuple[int, int]

_FIRST_PAUSE = 0.5  # before the second attempt [s]; doubled for every further one
# What only writing on this machine raises: no server's fault.
_LOCAL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_IN_FLIGHT = 8  # requests of one file at a time


@dataclass(frozen=True)
class Status:
    """What a server says about a file or a folder.

    Parameters
    ----------
    size : of the file [bytes]; None: it does not say.
    version : its modification time or whatever else changes with its content; empty: it does not say.
    is_folder : whether it is none.
    has_parts : whether parts of it can be read.
    """

    size: int | None
    version: str = ""
    is_folder: bool = False
    has_parts: bool = True


@dataclass(frozen=True)
class Entry:
    """One entry of a folder: its name there, and whether it is a folder."""

    name: str
    is_folder: bool


class Remote(ABC):
    """One file or folder on another machine; its connection is made when it is needed.

    Parameters
    ----------
    url : of it.
    access : retries and time limit.
    """

    # What to do where the server does not let us in.
    credentials: ClassVar[str] = ""
    # Most bytes of one piece, pieces and bytes of one request.
    piece_bytes: ClassVar[int] = 4 * 2**20
    request_pieces: ClassVar[int] = 1
    request_bytes: ClassVar[int] = 8 * 2**20

    def __init__(self, url: str, access: Access) -> None:
        self.url = url
        self.access = access
        self.size: int | None = None  # as its status said
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT)

    # --- single attempts: what a protocol provides ---

    @abstractmethod
    async def status(self) -> Status:
        """Size and version."""

    @abstractmethod
    async def read(self, pieces: Sequence[ByteRange]) -> list[bytes]:
        """The pieces, in one request; a piece may be shorter than asked for where the file ends."""

    @abstractmethod
    async def entries(self) -> list[Entry]:
        """What lies in the folder."""

    async def copy(self, target: BinaryIO) -> None:
        """The whole file in one go, where a server cannot give parts; the time limit holds for every step of it."""
        raise NotImplementedError

    async def reset(self) -> None:  # noqa: B027 (not all keep a connection)
        """Forget a connection after an attempt that failed."""

    def close(self) -> None:  # noqa: B027
        """Give the connection up."""

    # --- what all share ---

    def sibling(self, url: str) -> "Remote":
        """Another file or folder of the same protocol."""
        return type(self)(url, self.access)

    def now(self, work: Coroutine[Any, Any, T]) -> T:
        """Run in the loop of the connections, and wait for the result."""
        return self._start(work).result()

    def _start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, fsspec.asyn.get_loop())

    def find_status(self) -> Status:
        """Size and version.

        Raises
        ------
        InputFileError : it does not exist, is not for us, or the server does not answer.
        """
        status = self.now(self.insist(self.status))
        self.size = status.size
        return status

    def find_entries(self) -> list[Entry]:
        """What lies in the folder, sorted by name; errors as for `find_status`."""
        return sorted(self.now(self.insist(self.entries)), key=lambda entry: entry.name)

    def fetch(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Exactly these bytes; InputFileError where they do not come, or the file ends before."""
        return self.now(self._fetch(ranges))

    def fetch_whole(self, target: BinaryIO) -> None:
        """The whole file in one go, from a server that cannot give parts; errors as for `fetch`."""
        self.now(self.insist(lambda: self.copy(target), limited=False))

    def start_fetch(self, ranges: Sequence[ByteRange]) -> "Future[list[bytes]]":
        """`fetch` in the background."""
        return self._start(self._fetch(ranges))

    async def insist(self, attempt: Callable[[], Awaitable[T]], *, limited: bool = True) -> T:
        """Attempt until it succeeds, as often and as long as the config allows (`limited`: each as a whole)."""
        allowed = self.access.retries + 1
        for n in range(1, allowed + 1):
            try:
                async with asyncio.timeout(self.access.timeout if limited else None):
                    return await attempt()
            except FileNotFoundError as error:
                raise await self._missing() from error
            except PermissionError as error:
                raise InputFileError(
                    f"the server refuses access ({_reason(error)})", where=self.url, remedy=self.credentials
                ) from error
            except TimeoutError:
                reason = f"no answer within {duration(self.access.timeout)}"
            except OSError as error:
                if error.errno in _LOCAL_ERRNOS:
                    raise
                reason = _reason(error)
            await self.reset()
            if n < allowed:
                logger.warning("%s: %s; trying again (%s of %s)", self.url, reason, n, self.access.retries)
                pause = min(_FIRST_PAUSE * 2 ** (n - 1), self.access.timeout)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # not all jobs of a batch at once
        raise InputFileError(
            f"the server does not deliver ({reason}; {allowed} attempt{'s' if allowed > 1 else ''})",
            where=self.url,
            remedy="Try again later, raise retries or timeout, or set copy_inputs=true where the file is read often.",
        )

    async def _missing(self) -> InputFileError:
        """The error for a file that is not there, with the nearest name in its folder where the server tells."""
        folder, _, name = self.url.rstrip("/").rpartition("/")
        nearest = None
        try:
            async with asyncio.timeout(self.access.timeout):
                nearest = nearest_name(name, (entry.name for entry in await self.sibling(folder).entries()))
        except (OSError, CrossfoldError) as error:
            logger.debug("%s: no listing (%s)", folder, error)
        return InputFileError(
            f"no such file: '{self.url}'",
            nearest=nearest,
            remedy="Check the path (input_path, input_filename_template, redirector).",
        )

    async def _fetch(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        pieces = [piece for wanted in ranges for piece in _cut(wanted, self.piece_bytes)]
        requests = self._requests(pieces)
        tasks = [asyncio.ensure_future(self._request(request)) for request in requests]
        try:
            answers = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        came = iter([data for answer in answers for data in answer])
        result = []
        for wanted in ranges:
            parts = [next(came) for _ in _cut(wanted, self.piece_bytes)]
            result.append(parts[0] if len(parts) == 1 else b"".join(parts))
        return result

    def _requests(self, pieces: Sequence[ByteRange]) -> list[list[ByteRange]]:
        """Pieces that are asked for together."""
        requests: list[list[ByteRange]] = []
        n_bytes = 0
        for start, stop in pieces:
            full = (
                not requests or len(requests[-1]) == self.request_pieces or n_bytes + stop - start > self.request_bytes
            )
            if full:
                requests.append([])
                n_bytes = 0
            requests[-1].append((start, stop))
            n_bytes += stop - start
        return requests

    async def _request(self, pieces: list[ByteRange]) -> list[bytes]:
        async def attempt() -> list[bytes]:
            came = await self.read(pieces)
            for (start, stop), data in zip(pieces, came, strict=True):
                if len(data) != stop - start:
                    raise EarlyEndError(
                        f"it ends early: {len(data):,} of {stop - start:,} bytes from byte {start:,} on"
                    )
            return came

        async with self._in_flight:
            return await self.insist(attempt)


class EarlyEndError(OSError):
    """Fewer bytes came than the file has."""


def _cut(wanted: ByteRange, n_bytes: int) -> list[ByteRange]:
    start, stop = wanted
    return [(first, min(stop, first + n_bytes)) for first in range(start, stop, n_bytes)]


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def scheme_of(path: str) -> str | None:
    """`root` of `root://host//file`; None for a path of this machine."""
    scheme, mark, _ = path.partition("://")
    return scheme.lower() if mark and scheme.isalnum() and scheme.lower() != "file" else None


PROTOCOLS = {
    "root": "utils.readers.places.xrootd:XrootdRemote",
    "roots": "utils.readers.places.xrootd:XrootdRemote",
    "xroot": "utils.readers.places.xrootd:XrootdRemote",
    "http": "utils.readers.places.protocols:HttpRemote",
    "https": "utils.readers.places.protocols:HttpRemote",
    "webhdfs": "utils.readers.places.protocols:HdfsRemote",
    "hdfs": "utils.readers.places.protocols:HdfsRemote",
    "s3": "utils.readers.places.protocols:S3Remote",
}


def check_url(url: str) -> str:
    """The scheme of a URL.

    Raises
    ------
    InputFileError : a protocol that is not known, or a URL without a host.
    """
    scheme = scheme_of(url) or ""
    if scheme not in PROTOCOLS:
        raise InputFileError(
            f"unknown protocol '{scheme}://'",
            where=url,
            nearest=nearest_name(scheme, PROTOCOLS),
            remedy=f"Use a local path or {', '.join(f'{name}://' for name in PROTOCOLS)}.",
        )
    if not urlsplit(url).netloc and scheme != "hdfs":
        raise InputFileError("a URL without a host", where=url, remedy=f"Write {scheme}://HOST/PATH.")
    return scheme


def open_connection(url: str, access: Access) -> Remote:
    """The file or folder that a URL names; nothing is asked of its server yet. Errors as for `check_url`."""
    module, _, name = PROTOCOLS[check_url(url)].partition(":")
    remote: Remote = getattr(importlib.import_module(module), name)(url, access)
    return remote

"""HTTP, WebHDFS and S3 through fsspec, whose own configuration (FSSPEC_…) and credentials hold."""

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
import fsspec

from utils.errors import InputFileError
from utils.readers.places.remote import ByteRange, EarlyEndError, Entry, Remote, Status
from utils.readers.spec import Access

T = TypeVar("T")

_STREAM_BYTES = 2**20
# The port on which a name node speaks HTTP.
_WEBHDFS_PORT = 9870


async def _new_session(loop: Any, **options: Any) -> aiohttp.ClientSession:
    """A session with the proxies and the .netrc of the environment; time limits are set around every attempt."""
    options = {"trust_env": True, "timeout": aiohttp.ClientTimeout(total=None), **options}
    return aiohttp.ClientSession(loop=loop, **options)


class HttpRemote(Remote):
    """A file or a listed folder of an HTTP server."""

    credentials = "Put user and password into ~/.netrc, or a token into FSSPEC_HTTPS (see fsspec's configuration)."

    def __init__(self, url: str, access: Access) -> None:
        super().__init__(url, access)
        self._system = fsspec.filesystem(urlsplit(url).scheme, get_client=_new_session)

    async def status(self) -> Status:
        """Size and version, from a request for the first byte, which also tells whether parts can be had."""
        async with await self._get("bytes=0-0") as answer:
            headers = answer.headers
            version = headers.get("ETag") or headers.get("Last-Modified") or ""
            total = headers.get("Content-Range", "").rpartition("/")[2]
            if answer.status in (206, 416) and total.isdigit():
                return Status(int(total), version)
            encoded = headers.get("Content-Encoding", "identity") != "identity"
            length = None if encoded else headers.get("Content-Length")
            return Status(None if length is None else int(length), version, has_parts=False)

    async def read(self, pieces: Sequence[ByteRange]) -> list[bytes]:
        """One piece."""
        ((start, stop),) = pieces
        async with await self._get(f"bytes={start}-{stop - 1}") as answer:
            if answer.status != 206:  # the whole file would follow
                raise EarlyEndError(f"no bytes from {start:,} on (status {answer.status})")
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if self.size is not None and total.isdigit() and int(total) != self.size:
                raise InputFileError(
                    f"the file changed while it was read: {self.size:,} bytes before, {int(total):,} now",
                    where=self.url,
                    remedy="Run again when it is whole.",
                )
            try:
                return [await answer.read()]
            except aiohttp.ClientError as error:
                raise OSError(str(error)) from error

    async def copy(self, target: BinaryIO) -> None:
        """The whole file, in one go, into a file of this machine; for servers that give no parts."""
        target.seek(0)
        target.truncate()
        async with await self._get(None) as answer:
            try:
                while True:
                    async with asyncio.timeout(self.access.timeout):
                        data = await answer.content.read(_STREAM_BYTES)
                    if not data:
                        return
                    target.write(data)
            except aiohttp.ClientError as error:
                raise OSError(str(error)) from error

    async def entries(self) -> list[Entry]:
        """The links of a page that lie directly below it."""
        base = self.url.rstrip("/") + "/"
        try:
            links = [str(link["name"]) for link in await self._system._ls(base, detail=True)]
        except aiohttp.ClientResponseError as error:
            raise _status_error(error.status, error.message, self.url) from error
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error
        below = {link.removeprefix(base) for link in links if link.startswith(base)}
        names = {
            unquote(link) for link in below if link.rstrip("/") and "/" not in link.rstrip("/") and link[0] not in "?#"
        }
        return [Entry(name.rstrip("/"), name.endswith("/")) for name in names]

    async def _get(self, bytes_: str | None) -> aiohttp.ClientResponse:
        session = await self._system.set_session()
        headers = {**self._system.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
        if bytes_ is not None:
            headers["Range"] = bytes_
        try:
            answer: aiohttp.ClientResponse = await session.get(
                self._system.encode_url(self.url), **{**self._system.kwargs, "headers": headers}
            )
        except aiohttp.InvalidURL as error:
            raise InputFileError("not a valid URL", where=self.url) from error
        except aiohttp.ClientError as error:
            raise OSError(str(error) or type(error).__name__) from error
        if answer.status >= 400 and answer.status != 416:
            answer.release()
            raise _status_error(answer.status, str(answer.reason), self.url)
        return answer


def _status_error(status: int, reason: str, url: str) -> Exception:
    """A status of HTTP as the kind of error it is."""
    message = f"{status} {reason}"
    if status in (404, 410):
        return FileNotFoundError(message)
    if status in (401, 403, 407):
        return PermissionError(message)
    if status in (408, 425, 429) or status >= 500:
        return OSError(message)
    return InputFileError(f"the server refuses the request ({message})", where=url, remedy="Check the URL.")


class HdfsRemote(Remote):
    """A file or folder of HDFS, through the REST interface of its name node."""

    credentials = "Set HADOOP_USER_NAME, or FSSPEC_WEBHDFS_KERBEROS=true and get a Kerberos ticket (kinit)."

    def __init__(self, url: str, access: Access) -> None:
        super().__init__(url, access)
        parsed = urlsplit(url)
        node = (access.namenode or parsed.netloc) if parsed.scheme == "hdfs" else parsed.netloc
        if not node:
            raise InputFileError(
                "hdfs:/// names no name node", where=url, remedy="Set namenode to HOST:PORT of its WebHDFS."
            )
        host, _, port = node.rpartition("@")[2].partition(":")
        if port and not port.isdigit():
            raise InputFileError(f"'{node}' is no name node", where=url, remedy="Write HOST:PORT.")
        user = node.rpartition("@")[0] or os.environ.get("HADOOP_USER_NAME")
        self._path = unquote(parsed.path)
        self._system = fsspec.filesystem(
            "webhdfs", host=host, port=int(port or _WEBHDFS_PORT), **({"user": user} if user else {})
        )
        request = self._system.session.request
        if not isinstance(request, functools.partial):  # requests waits for ever if it is not told otherwise
            self._system.session.request = functools.partial(request, timeout=access.timeout)

    async def status(self) -> Status:
        """Size and modification time."""
        found = await self._ask(self._system.info, self._path)
        return Status(int(found["size"]), str(found.get("modificationTime", "")), found["type"] == "directory")

    async def read(self, pieces: Sequence[ByteRange]) -> list[bytes]:
        """One piece."""
        ((start, stop),) = pieces
        # Nothing is read ahead here: whoever asks for bytes knows what it wants.
        return [await self._ask(self._system.cat_file, self._path, start, stop, block_size=1)]

    async def entries(self) -> list[Entry]:
        """What lies in the folder."""
        listing = await self._ask(self._system.ls, self._path, detail=True)
        return [Entry(str(entry["pathSuffix"]), entry["type"] == "directory") for entry in listing]

    async def _ask(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        try:
            return await _in_thread(functools.partial(function, *arguments, **options))
        except ValueError as error:
            raise InputFileError(f"the name node refuses the request ({error})", where=self.url) from error
        except RuntimeError as error:  # any other exception of the name node, such as that it is the one in stand-by
            raise OSError(str(error)) from error


async def _in_thread(function: Callable[[], T]) -> T:
    """Run in a thread that nobody waits for once it is given up."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(result)  # type: ignore[arg-type]
        else:
            answer.set_exception(error)

    def run() -> None:
        try:
            result, error = function(), None
        except Exception as raised:  # noqa: BLE001 (handed over to whoever waits)
            result, error = None, raised
        loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await answer


class S3Remote(Remote):
    """An object or a prefix of an S3 store; AWS_ENDPOINT_URL names one that is not Amazon's."""

    credentials = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile in ~/.aws; or FSSPEC_S3_ANON=true."

    def __init__(self, url: str, access: Access) -> None:
        super().__init__(url, access)
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._system = fsspec.filesystem(
            "s3", use_listings_cache=False, **({"endpoint_url": endpoint} if endpoint else {})
        )
        self._path = self._system._strip_protocol(url)

    async def status(self) -> Status:
        """Size and version."""
        found = await self._ask(self._system._info(self._path, refresh=True))
        return Status(
            int(found["size"] or 0),
            str(found.get("ETag") or found.get("LastModified") or ""),
            found["type"] == "directory",
        )

    async def read(self, pieces: Sequence[ByteRange]) -> list[bytes]:
        """One piece."""
        ((start, stop),) = pieces
        return [await self._ask(self._system._cat_file(self._path, start=start, end=stop))]

    async def entries(self) -> list[Entry]:
        """What lies below the prefix."""
        listing = await self._ask(self._system._ls(self._path, detail=True, refresh=True))
        return [
            Entry(str(entry["name"]).rstrip("/").rpartition("/")[2], entry["type"] == "directory") for entry in listing
        ]

    async def _ask(self, work: Any) -> Any:
        from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

        try:
            return await work
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise PermissionError(str(error)) from error
        except (BotoCoreError, aiohttp.ClientError) as error:
            raise OSError(str(error)) from error

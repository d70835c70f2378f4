"""Servers of files on this machine: XRootD, HTTP, WebHDFS and S3, and what can go wrong with one.

The XRootD server is Debian's. The other three speak as much of their protocol as a reader of files needs.
"""

import contextlib
import email.utils
import getpass
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import pytest

PATIENCE = 30.0
# What a server does with a request in place of answering it: close the connection, send half of it and close, send half
# of it and never the rest, say nothing at all, claim to be whole with half of it, or refuse with a status.
Fault = Literal["hang up", "die", "stop", "stall", "short", "500", "403"]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    """A server of `folder`, and what was asked of it.

    Parameters
    ----------
    address : with the port, and without a path: `root://127.0.0.1:1094`.
    ranges : whether it serves parts of files.
    fault : of a request for the content of a file, by its number from 0 on.
    requests : `METHOD PATH RANGE` of every request.
    """

    address: str
    folder: Path
    ranges: bool = True
    fault: Callable[[int], Fault | None] = lambda _: None
    requests: list[str] = field(default_factory=list)
    n_contents: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    lock: Any = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        """`HOST:PORT`."""
        return self.address.partition("://")[2]


# --- XRootD ---


def _as_user() -> list[str]:
    """XRootD refuses to run as root."""
    return ["-R", "nobody"] if getpass.getuser() == "root" else []


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """A folder for files that an XRootD server is to read, who is another user; pytest's own are for one only."""
    with tempfile.TemporaryDirectory(prefix="crossfold-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def xrootd_server(folder: Path) -> Iterator[Served]:
    """Debian's XRootD server for the files below a `public_folder`."""
    port = free_port()
    with running_xrootd(folder, port):
        yield Served(f"root://127.0.0.1:{port}", folder)


@contextlib.contextmanager
def running_xrootd(folder: Path, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    """The process of an XRootD server; the block may stop, continue or kill it."""
    if shutil.which("xrootd") is None:
        pytest.skip("no XRootD server here (Debian: apt-get install xrootd-server)")
    with public_folder() as scratch:
        scratch.chmod(0o777)
        yield from _run_xrootd(folder, scratch, port)


def _run_xrootd(folder: Path, scratch: Path, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    config = scratch / "xrootd.cfg"
    config.write_text(
        f"all.export /\noss.localroot {folder}\nxrd.port {port}\nall.adminpath {scratch}\nall.pidpath {scratch}\n"
    )
    for _ in range(3):  # it may crash at its start, where the machine is busy
        with (scratch / "output").open("wb") as output:
            server = subprocess.Popen(
                ["xrootd", "-c", str(config), "-l", str(scratch / "log"), *_as_user()],
                cwd=scratch, stdout=output, stderr=output,
            )  # fmt: skip
        if _answers(port, server):
            break
    else:
        raise AssertionError(f"the XRootD server ended at once: {(scratch / 'output').read_text()}")
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.send_signal(signal.SIGCONT)
            server.kill()
        server.wait()


def _answers(port: int, server: "subprocess.Popen[bytes]") -> bool:
    """Whether it listens; False where it has ended instead."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            return False
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on port {port}")


# --- HTTP, WebHDFS, S3 ---


class _Handler(BaseHTTPRequestHandler):
    """Files below a folder, whole or in parts."""

    protocol_version = "HTTP/1.1"
    served: Served

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.served.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        url = urllib.parse.urlsplit(self.path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query, keep_blank_values=True).items()}
        self.answer(urllib.parse.unquote(url.path), query)

    def answer(self, path: str, query: dict[str, str]) -> None:
        """Answer one request."""
        local = self.served.folder / path.lstrip("/")
        if local.is_dir():
            names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in local.iterdir())
            links = "".join(f'<a href="{name}">{name}</a>' for name in names)
            self.send_text(200, f"<html><body>{links}</body></html>", "text/html")
        elif local.is_file():
            self.send_file(local)
        else:
            self.send_text(404, "no such file")

    def send_text(self, status: int, text: str, kind: str = "text/plain", **headers: str) -> None:
        """A short answer."""
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, local: Path, start: int = 0, length: int | None = None) -> None:
        """A file, or the part of it that `Range` or the arguments ask for; or a fault in place of it."""
        size = local.stat().st_size
        stop = size if length is None else min(size, start + length)
        status = 200
        asked = self.headers.get("Range")
        headers = {
            "Content-Type": "application/octet-stream",
            "Last-Modified": email.utils.formatdate(local.stat().st_mtime, usegmt=True),
            "ETag": f'"{local.stat().st_mtime_ns}-{size}"',
        }
        if self.served.ranges and asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(size, int(last) + 1 if last else size)
            if start >= size:
                self.send_text(416, "", **{"Content-Range": f"bytes */{size}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        fault = self._fault()
        if fault in ("hang up", "stall"):
            self._silence(fault)
            return
        if fault in ("500", "403"):
            self.send_text(int(fault), "a fault")
            return
        body = b"" if self.command == "HEAD" else _piece(local, start, stop)
        sent = body[: len(body) // 2] if fault else body
        self.send_response(status)
        headers["Content-Length"] = str(len(sent) if fault == "short" else stop - start)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)
        if fault in ("die", "stop"):
            self._silence(fault)

    def _fault(self) -> Fault | None:
        if self.command == "HEAD":
            return None
        with self.served.lock:
            n = self.served.n_contents
            self.served.n_contents += 1
        return self.served.fault(n)

    def _silence(self, fault: Fault) -> None:
        """The end of the connection, at once or when the server ends."""
        self.wfile.flush()
        if fault in ("stall", "stop"):
            self.served.ended.wait(PATIENCE)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests look at `requests`."""


def _piece(local: Path, start: int, stop: int) -> bytes:
    with local.open("rb") as file:
        file.seek(start)
        return file.read(stop - start)


class _WebHdfs(_Handler):
    """The REST interface of a name node that is its own data node."""

    def answer(self, path: str, query: dict[str, str]) -> None:
        """Status, listing, and the redirection to the content."""
        local = self.served.folder / path.removeprefix("/webhdfs/v1").lstrip("/")
        operation = query.get("op", "").upper()
        if not local.exists():
            self._json(404, {"RemoteException": {"exception": "FileNotFoundException", "message": f"no {path}"}})
        elif operation == "GETFILESTATUS":
            self._json(200, {"FileStatus": _hdfs_status(local, "")})
        elif operation == "LISTSTATUS":
            entries = [_hdfs_status(entry, entry.name) for entry in sorted(local.iterdir())]
            self._json(200, {"FileStatuses": {"FileStatus": entries}})
        elif "datanode" not in query:
            self.send_text(307, "", Location=f"{self.served.address}{self.path}&datanode=true")
        else:
            length = query.get("length")
            self.send_file(local, int(query.get("offset", 0)), None if length is None else int(length))

    def _json(self, status: int, content: Any) -> None:
        import json

        self.send_text(status, json.dumps(content), "application/json")


def _hdfs_status(local: Path, suffix: str) -> dict[str, Any]:
    kind = "DIRECTORY" if local.is_dir() else "FILE"
    status = local.stat()
    return {
        "pathSuffix": suffix, "type": kind, "length": 0 if local.is_dir() else status.st_size,
        "modificationTime": int(status.st_mtime * 1000), "owner": "me", "group": "us", "permission": "644",
    }  # fmt: skip


class _S3(_Handler):
    """Buckets are the folders below the served one; signatures are not checked, keys called `wrong` are."""

    def answer(self, path: str, query: dict[str, str]) -> None:
        """An object, or the listing of a bucket."""
        if "Credential=wrong/" in self.headers.get("Authorization", ""):
            self._error(403, "InvalidAccessKeyId")
            return
        bucket, _, name = path.strip("/").partition("/")
        local = self.served.folder / bucket / name
        if not (self.served.folder / bucket).is_dir():
            self._error(404, "NoSuchBucket")
        elif query.get("list-type") == "2":
            self._list(bucket, query)
        elif local.is_file():
            self.send_file(local)
        else:
            self._error(404, "NoSuchKey")

    def _error(self, status: int, code: str) -> None:
        self.send_text(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", "application/xml")

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        root = self.served.folder / bucket
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        contents, folders = [], set()
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(root).as_posix()
            if not name.startswith(prefix):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(path.stat().st_mtime))
                contents.append(
                    f"<Contents><Key>{escape(name)}</Key><LastModified>{moment}</LastModified>"
                    f'<ETag>"{path.stat().st_mtime_ns}"</ETag><Size>{path.stat().st_size}</Size></Contents>'
                )
        below = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders))
        self.send_text(
            200,
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><IsTruncated>false</IsTruncated>{''.join(contents)}{below}</ListBucketResult>",
            "application/xml",
        )


HANDLERS = {"http": _Handler, "webhdfs": _WebHdfs, "s3": _S3}


@contextlib.contextmanager
def file_server(folder: Path, kind: Literal["http", "webhdfs", "s3"] = "http") -> Iterator[Served]:
    """A server in threads of this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), HANDLERS[kind])
    server.daemon_threads = True
    served = Served(f"http://127.0.0.1:{server.server_address[1]}", folder)
    server.RequestHandlerClass = type("Handler", (HANDLERS[kind],), {"served": served})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """`HOST:PORT` of a server that accepts connections and never says anything."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield f"127.0.0.1:{listening.getsockname()[1]}"

"""Local copies of remote files: whole or absent, renewed when the remote file changes, shared by all jobs here."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from utils.errors import InputFileError
from utils.logs import duration, get_logger, size
from utils.readers.places.remote import Remote, Status
from utils.readers.spec import Access

logger = get_logger(__name__)

_PART_SUFFIX = ".part"
_STEP_BYTES = 32 * 2**20  # fetched before they are written


def cache_folder(access: Access) -> Path:
    """Where the copies lie."""
    if access.cache_path is not None:
        return Path(access.cache_path)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossfold"


def local_copy(remote: Remote, status: Status) -> Path:
    """The copy of a remote file, made now unless there is one of the same size and version.

    A job that wants what another one is copying waits for it. Copies of earlier versions are removed.

    Raises
    ------
    InputFileError : the file does not come whole, or there is no room for it; nothing half-written is left.
    """
    folder = cache_folder(remote.access)
    where = hashlib.blake2b(remote.url.encode(), digest_size=8).hexdigest()
    version = hashlib.blake2b(f"{status.size} {status.version}".encode(), digest_size=6).hexdigest()
    name = unquote(urlsplit(remote.url).path.rstrip("/").rpartition("/")[2])[-100:]
    target = folder / f"{where}-{version}-{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{where}.lock"):
            if not _is_whole(target, status):
                _remove(path for path in folder.glob(f"{where}-*"))
                _copy(remote, status, target)
            return target
    except OSError as error:
        raise InputFileError(
            f"the local copy of '{remote.url}' cannot be written: {error.strerror or error}",
            where=str(folder),
            remedy="Free some space, or set cache_path to a folder with more of it.",
        ) from error


def _is_whole(target: Path, status: Status) -> bool:
    """Whether the copy is there; without a version from the server, nobody can tell whether it is the same."""
    known = bool(status.version) and target.is_file()
    return known and status.size in (None, target.stat().st_size)


def _copy(remote: Remote, status: Status, target: Path) -> None:
    began = time.perf_counter()
    free = shutil.disk_usage(target.parent).free
    if status.size is not None and status.size > free:
        raise OSError(errno.ENOSPC, f"{size(status.size)} are needed, {size(free)} are free")
    part = target.with_name(target.name + _PART_SUFFIX)
    try:
        with part.open("wb") as file:
            _fill(remote, status, file)
            file.flush()
            os.fsync(file.fileno())
        n_bytes = part.stat().st_size
        if status.size is not None and n_bytes != status.size:
            raise InputFileError(
                f"it ends early: {n_bytes:,} of {status.size:,} bytes", where=remote.url, remedy="Copy it again."
            )
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    seconds = max(time.perf_counter() - began, 1e-9)
    logger.info(
        "copied %s (%s in %s, %s/s) to %s",
        remote.url,
        size(n_bytes),
        duration(seconds),
        size(n_bytes / seconds),
        target,
    )


def _fill(remote: Remote, status: Status, file: BinaryIO) -> None:
    if not status.has_parts or status.size is None:
        remote.fetch_whole(file)
        return
    for start in range(0, status.size, _STEP_BYTES):
        file.write(remote.fetch([(start, min(status.size, start + _STEP_BYTES))])[0])


def _remove(paths: Iterator[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """One at a time; the kernel lets go of the lock when a process dies."""
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another job that copies the same file to %s", lock.parent)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

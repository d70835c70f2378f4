"""Outputs that are whole or absent: written as ``NAME.part``, renamed to ``NAME`` when complete.

A job that is killed leaves at most ``.part`` files, which no reader opens and the next run removes.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from utils.errors import OutputError
from utils.logs import get_logger

logger = get_logger(__name__)

PART_SUFFIX = ".part"
# Errors that only writing can raise: seen while an output is written, they are about that output.
_WRITE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_NO_LOCKS_ERRNOS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK})
_FULL_DISK_BYTES = 64 * 1024


def part_path(path: str | os.PathLike[str]) -> Path:
    """The name under which `path` is written until it is whole: ``train.h5`` → ``train.h5.part``."""
    path = Path(path)
    return path.with_name(path.name + PART_SUFFIX)


def check_output(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuse an output that could not be put in place, before any work is spent on it.

    Parameters
    ----------
    path : the output file.
    overwrite : whether an existing file may be replaced.

    Raises
    ------
    OutputError
        `path` exists and `overwrite` is False, `path` is a directory, or its folder cannot be created or written.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError("the output is a directory, not a file", where=str(path), remedy="Give a file name.")
    if path.exists() and not overwrite:
        raise OutputError(
            "the output exists already", where=str(path), remedy="Remove it or set overwrite=true to replace it."
        )
    _make_parent(path)


@contextlib.contextmanager
def atomic_output(path: str | os.PathLike[str], *, overwrite: bool, durable: bool = True) -> Iterator[Path]:
    """Yield the path to write to; put it in place when the block ends well, delete it when the block raises.

    The block creates the yielded file and closes it again. A ``.part`` of an earlier, killed job is removed first.
    Whoever writes the same output at the same time is refused.

    Parameters
    ----------
    path : the output file; folders above it are created.
    overwrite : whether an existing file may be replaced. It stays untouched until the new one is whole.
    durable : wait until the disk has it, so that it is whole even after the machine itself was interrupted.

    Yields
    ------
    pathlib.Path
        ``NAME.part`` in the folder of `path`.

    Raises
    ------
    OutputError
        As :func:`check_output`; also where another process writes `path`, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "scores.txt"
    >>> with atomic_output(target, overwrite=False) as part:
    ...     _ = part.write_text("0.7")
    >>> target.read_text(), part.exists()
    ('0.7', False)
    """
    path = Path(path)
    part = part_path(path)
    check_output(path, overwrite)
    with exclusive(path):
        check_output(path, overwrite)  # another process may have finished it while we waited for the lock
        _remove(part)
        try:
            yield part
            assert part.exists(), f"the block never wrote {part}"
            if durable:
                _sync(part)
            part.replace(path)
        except BaseException as error:
            full = _disk_is_full(part)
            _remove(part)
            reason = _write_failure(error, full)
            if reason is not None:
                raise OutputError(
                    f"writing failed: {reason}",
                    where=str(path),
                    remedy="Free some space or choose another output_path.",
                ) from error
            raise
        if durable:
            _sync(path.parent)


def _write_failure(error: BaseException, disk_is_full: bool) -> str | None:
    """Why the output could not be written, or None where `error` is about something else."""
    if isinstance(error, OSError) and error.errno in _WRITE_ERRNOS:
        return os.strerror(error.errno)
    # HDF5 and Arrow report a full disk as errors of their own, without errno.
    if disk_is_full and isinstance(error, Exception) and not isinstance(error, OutputError):
        return f"{os.strerror(errno.ENOSPC)} ({error})"
    return None


def _disk_is_full(part: Path) -> bool:
    try:
        status = os.statvfs(part.parent)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < _FULL_DISK_BYTES


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the one lock on `path`; the kernel releases it when the process dies.

    The lock is on a file beside the ``.part`` and not on the ``.part`` itself, because HDF5 locks what it opens and
    would find its own file taken. Its name ends in ``.part`` too, so that the same rules clean it up.
    """
    _make_parent(path)
    lock = path.with_name(f".{path.name}.lock{PART_SUFFIX}")
    descriptor = _lock(lock, path)
    try:
        yield
    finally:
        # Unlinked while still held: whoever opened it meanwhile sees that the name is gone and starts anew.
        _remove(lock)
        os.close(descriptor)


def _lock(lock: Path, path: Path) -> int:
    while True:
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise OutputError(
                "another process is writing this output",
                where=str(path),
                remedy="Wait for it to finish or choose another output_path.",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS_ERRNOS:
                os.close(descriptor)
                raise _unwritable(path, error) from error
            logger.warning("%s lies on a file system without locks: make sure that only one job writes it", path)
            return descriptor
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        os.close(descriptor)


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise _unwritable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"the output cannot be written: {reason}", where=str(path), remedy="Choose another output_path.")


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

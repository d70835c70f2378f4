"""The plain bytes of a text file: as they lie on this machine, or copied and decompressed, once, into a temporary file.

The temporary file has no name, so that it is gone when it is closed, and when the process dies.
"""

import errno
import os
import re
import tempfile
from typing import BinaryIO

import pyarrow as pa

from utils.errors import InputFileError, OutputError
from utils.logs import progress, size
from utils.readers.places.storage import Source
from utils.readers.reader import short_text

_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),  # a text may well begin with BZh
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
MAGIC_BYTES = 10  # that tell a compression
_COPY_BYTES = 1 << 20
# Full disk, full quota, and the limit on a file's size.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def compression_of(head: bytes) -> str:
    """`gzip`, `bz2` or `zstd`, by the first bytes of a file; empty: none of them."""
    return next((name for name, magic in _MAGIC.items() if magic.match(head)), "")


def open_plain(source: Source) -> tuple[BinaryIO, str]:
    """The decompressed content, seekable and on this machine, and the name of the compression (empty: none).

    Raises
    ------
    InputFileError : the compressed data end early or are damaged.
    OutputError : no room for the decompressed copy.
    """
    with source.open() as file:
        compression = compression_of(file.read(MAGIC_BYTES))
        if not compression and source.local_path is not None:
            return open(source.local_path, "rb"), ""  # noqa: PTH123 (the caller closes it)
        file.seek(0)
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        try:
            _copy(source, file, compression, copy)
        except BaseException:
            copy.close()
            raise
    return copy, compression


def _copy(source: Source, file: BinaryIO, compression: str, copy: BinaryIO) -> None:
    raw = pa.PythonFile(file, mode="r")
    stream = pa.CompressedInputStream(raw, compression) if compression else raw
    with progress(source.size, f"unpacking {os.path.basename(source.path)}", "B") as bar:  # noqa: PTH119 (may be a URL)
        while piece := _read(stream, source, file, compression, copy):
            try:
                copy.write(piece)
                copy.flush()
            except OSError as error:
                raise _no_room(error, source, copy, compression) from error
            bar.update(file.tell() - bar.n)


def _read(stream: pa.NativeFile, source: Source, file: BinaryIO, compression: str, copy: BinaryIO) -> bytes:
    try:
        return bytes(stream.read(_COPY_BYTES))
    except OSError as error:
        if not compression:
            raise
        raise InputFileError(
            f"the {compression} data end early or are damaged after {size(copy.tell())} of content, "
            f"at {size(file.tell())} of {size(source.size)} ({short_text(error)})",
            where=source.path,
            remedy="Copy or produce the file again.",
        ) from error


def _no_room(error: OSError, source: Source, copy: BinaryIO, compression: str) -> OSError | OutputError:
    if error.errno not in _NO_ROOM:
        return error
    kind = f"decompressed copy ({compression})" if compression else "local copy"
    # The file position is unreliable after a failed write.
    return OutputError(
        f"no room for the {kind} of '{source.path}' after {size(os.fstat(copy.fileno()).st_size)}: {error.strerror}",
        where=tempfile.gettempdir(),
        remedy="Make room there, or set TMPDIR to a folder on a larger disk.",
    )

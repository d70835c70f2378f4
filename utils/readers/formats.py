"""Which reader a file needs, told by its first bytes rather than by its name."""

import importlib
from collections.abc import Mapping

from utils.errors import InputFileError
from utils.readers.reader import Reader
from utils.readers.spec import Access
from utils.readers.storage import Source

# A format's name in the configs, and its reader. Imported when a file needs it.
READERS: Mapping[str, str] = {
    "root": "utils.readers.root:open_root",
}
HEAD_BYTES = 4096


def open_reader(path: str, object_name: str | None = None, *, file_index: int = 0, access: Access = Access()) -> Reader:
    """The reader for one file.

    Parameters
    ----------
    path : local or remote.
    object_name : tree, RNTuple or HDF5 group; formats with one table per file ignore it, None means the only one.
    file_index : what its chunks carry.
    access : how to reach the file, and what to see of it.

    Raises
    ------
    InputFileError : the file is missing, damaged, or of no known format.
    """
    source = Source(path, access)
    name = access.format if access.format != "auto" else detect_format(source)
    module, _, function = READERS[name].partition(":")
    reader: Reader = getattr(importlib.import_module(module), function)(source, object_name, file_index=file_index)
    return reader


def detect_format(source: Source) -> str:
    """The format of a file by its content."""
    with source.open() as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"root"):
        return "root"
    raise InputFileError("a file of no known format", where=source.path, remedy="Set format.")

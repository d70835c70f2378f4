"""Which reader a file needs, told by its first bytes rather than by its name."""

import importlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from utils.errors import InputFileError
from utils.readers.places.storage import Source
from utils.readers.reader import Reader, short_text
from utils.readers.spec import Access
from utils.readers.text.plain import compression_of

# A format's name in the configs, and its reader. Imported when a file needs it.
READERS: Mapping[str, str] = {
    "root": "utils.readers.root.tree:open_root",
    "parquet": "utils.readers.arrow.parquet:ParquetTable",
    "arrow": "utils.readers.arrow.ipc:ArrowFile",
    "csv": "utils.readers.text.csv_file:CsvFile",
    "json": "utils.readers.text.json_lines:JsonLines",
    "hdf5": "utils.readers.hdf5.table:Hdf5Table",
}
HEAD_BYTES = 4096

_MAGIC = {
    b"root\0": "root",
    b"PAR1": "parquet",
    b"ARROW1\0\0": "arrow",
    b"\xff\xff\xff\xff": "arrow",  # a stream: what introduces its first message
}
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# HDF5 may begin behind a block of its user's, at 512 bytes or any doubling of that. None of a megabyte was ever seen.
_HDF5_PLACES = (0, *(512 * 2**i for i in range(11)))
# What is no input, and what to do about it.
_OTHERS = {
    b"FEA1": ("a Feather file of version 1", "Convert it: pyarrow.feather.write_feather(read_table(OLD), NEW)."),
    b"PARE": ("an encrypted Parquet file", "Decrypt it first."),
    b"ORC": ("an ORC file", "Convert it to Parquet."),
    b"Obj\x01": ("an Avro file", "Convert it to Parquet."),
    b"\x93NUMPY": ("a NumPy array", "Store it in HDF5 or Parquet, with a name for every column."),
    b"PK\x03\x04": ("a ZIP archive (.zip, .npz, .xlsx)", "Unpack it, or store its content as Parquet or CSV."),
    b"\xfd7zXZ": ("compressed with xz", "Decompress it, or use gzip, bz2 or zstd."),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "Decompress it, or use gzip, bz2 or zstd."),
    b"\xff\xfe": ("text in UTF-16", "Save it as UTF-8."),
    b"\xfe\xff": ("text in UTF-16", "Save it as UTF-8."),
}
_LFS_POINTER = b"version https://git-lfs"
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_MARKUP = re.compile(rb"<(!doctype|html|head|\?xml|error)", re.IGNORECASE)
_TITLE = re.compile(rb"<(?:title|code|h1)>\s*([^<]{1,80})", re.IGNORECASE)
_UTF8_MARK = b"\xef\xbb\xbf"


class _Content(NamedTuple):
    """What the first bytes say: a format, or what the file is instead and what to do about that."""

    format: str | None
    what: str = ""
    remedy: str = ""


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
    InputFileError : the file is missing, damaged, of no known format, or not of the format that the config states.
    """
    source = Source(path, access)
    module, _, name = READERS[_stated_or_found(source)].partition(":")
    opened: Any = getattr(importlib.import_module(module), name)
    reader: Reader = opened(source, object_name, file_index=file_index)
    return reader


def detect_format(source: Source) -> str:
    """The format of a file by its content; its name serves the messages only.

    Raises
    ------
    InputFileError : the file is empty, is compressed and damaged, or is none that a reader exists for.
    """
    content = _look(source)
    if content.format is None:
        raise _refusal(source, content)
    return content.format


def _stated_or_found(source: Source) -> str:
    stated = source.access.format
    if stated == "auto":
        return detect_format(source)
    content = _look(source)
    if content.format not in (None, stated):
        raise InputFileError(
            f"format is '{stated}', but the file's content is {content.format}",
            where=source.path,
            remedy=f"Set format to auto or to {content.format}, or correct the path.",
        )
    if content.format is None and content.what:
        raise _refusal(source, content)
    return stated  # whose reader knows best what is wrong with these bytes


def _refusal(source: Source, content: _Content) -> InputFileError:
    if content.what:
        return InputFileError(f"this is {content.what}", where=source.path, remedy=content.remedy)
    with source.open() as file:
        head = file.read(16)
    expected = _by_suffix(source.path)
    hint = f"Its name says {expected}: the file is damaged, or" if expected else "If it is one of these,"
    return InputFileError(
        f"a file of no known format (it begins with {head!r}; known are {', '.join(READERS)})",
        where=source.path,
        remedy=f"{hint} set format: {expected or 'NAME'}.",
    )


def _by_suffix(path: str) -> str | None:
    """The format that a file's name promises."""
    suffixes = {
        ".root": "root",
        ".parquet": "parquet",
        ".pq": "parquet",
        ".arrow": "arrow",
        ".feather": "arrow",
        ".csv": "csv",
        ".json": "json",
        ".jsonl": "json",
        ".ndjson": "json",
        ".h5": "hdf5",
        ".hdf5": "hdf5",
        ".hdf": "hdf5",
    }
    return next((suffixes[suffix] for suffix in PurePosixPath(path).suffixes if suffix in suffixes), None)


def _look(source: Source) -> _Content:
    """What a file is, by its first bytes, decompressed where they are compressed."""
    size = source.size
    if size == 0:
        return _Content(None, "an empty file (0 bytes)", "Copy or produce it again.")
    with source.open() as file:
        head = file.read(HEAD_BYTES)
        codec = compression_of(head)
        if codec:
            return _inside(source, codec)
        if _is_text(head):  # whose first column may well be named PAR1
            return _text(head)
        content = _binary(head)
        if content is not None:
            return content
        for place in _HDF5_PLACES:
            if place + len(_HDF5_MAGIC) > size:
                break
            file.seek(place)
            if file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC:
                return _Content("hdf5")
    return _Content(None)


def _binary(head: bytes) -> _Content | None:
    """The content by its magic number, if it has one."""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return _Content(name)
    for magic, (what, remedy) in _OTHERS.items():
        if head.startswith(magic):
            return _Content(None, what, remedy)
    if _PICKLE.match(head):
        return _Content(
            None,
            "a pickle, which could run any program when it is loaded",
            "Let whoever made it store Parquet or HDF5 instead.",
        )
    return None


def _inside(source: Source, codec: str) -> _Content:
    """The content of a compressed file; only text is read through a decompressor."""
    import pyarrow as pa

    try:
        with source.open() as file, pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec) as stream:
            head = stream.read(HEAD_BYTES)
    except (OSError, pa.ArrowException) as error:
        return _Content(
            None, f"a {codec} file that cannot be decompressed ({short_text(error)})", "Copy or produce it again."
        )
    if not head:
        return _Content(None, f"an empty file, compressed with {codec}", "Copy or produce it again.")
    if _is_text(head):
        return _text(head)
    inner = _Content("hdf5") if head.startswith(_HDF5_MAGIC) else _binary(head)
    if inner is not None and inner.format is not None:
        return _Content(
            None,
            f"{inner.format} inside {codec}, which cannot be read piece by piece",
            "Decompress it; the format compresses its columns itself.",
        )
    return inner or _Content(None)


def _text(head: bytes) -> _Content:
    """What a text holds."""
    text = head.removeprefix(_UTF8_MARK).lstrip()
    if not text:
        return _Content(None, "a file of blanks only", "Copy or produce it again.")
    if _MARKUP.match(text):
        title = _TITLE.search(text)
        says = f" ('{title[1].decode(errors='replace').strip()}')" if title else ""
        return _Content(
            None,
            f"a web page{says}, not data: an error or a log-in page was saved under this name",
            "Look at it in an editor, and download the file again.",
        )
    if text.startswith(_LFS_POINTER):
        return _Content(None, "a Git LFS pointer, not the data", "Run git lfs pull.")
    if text.startswith(b"{"):
        return _Content("json")
    if text.startswith(b"["):
        return _Content(
            None, "one JSON array, which has to be read as a whole", "Write one object per line: jq -c '.[]' OLD > NEW."
        )
    return _Content("csv")


def _is_text(head: bytes) -> bool:
    """Whether bytes are text, in whatever encoding: none of them is a control character."""
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)

"""Several files as one: in this process, without writing anything."""

from collections.abc import Sequence

from utils.describing.description import Description
from utils.describing.files import FilePart, Reading, describe_part
from utils.errors import InputFileError
from utils.logs import progress
from utils.readers.spec import Access, ChunkSize


def describe_files(
    paths: Sequence[str],
    tree: str | None = None,
    *,
    access: Access = Access(),
    nevts: int = -1,
    chunk_size: ChunkSize | int = ChunkSize(),
    hists: bool = True,
) -> Description:
    """What files hold, without writing anything.

    Parameters
    ----------
    tree : in every file; None: the only one.
    nevts : events of every file, the first ones; -1: all.
    """
    reading = Reading(access, chunk_size if isinstance(chunk_size, ChunkSize) else ChunkSize(chunk_size), hists)
    description = Description()
    for part in progress(file_parts(paths, tree, nevts), "describing", unit="files"):
        description.add(describe_part(part, reading))
    return description


def file_parts(paths: Sequence[str], tree: str | None, nevts: int) -> list[FilePart]:
    """Every file once."""
    if not paths:
        raise InputFileError("no files", where="input", remedy="Name a file: input=ntuple.root")
    stop = None if nevts < 0 else nevts
    return [FilePart(i, path, tree, 0, stop) for i, path in enumerate(dict.fromkeys(paths))]

"""What a config names – a path, a glob, a folder, a list – as the files that are meant."""

import glob
from pathlib import Path

from utils.errors import InputFileError
from utils.readers.storage import missing_file


def expand_paths(pattern: str) -> list[str]:
    """The files that a path or a glob names, sorted; none is an InputFileError with the nearest name in the folder."""
    path = Path(pattern)
    if path.is_dir():
        raise InputFileError(
            f"'{pattern}' is a directory, not a file", remedy="Name the files, or use a glob such as *.root."
        )
    if path.is_file():
        return [pattern]
    if glob.has_magic(pattern):
        found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if found:
            return found
        raise InputFileError(f"no file matches '{pattern}'", remedy="Check input_path and input_filename_template.")
    raise missing_file(path)

"""Where the bytes of a file come from: this machine, or another one."""

from pathlib import Path
from typing import BinaryIO

from utils.errors import InputFileError, nearest_name
from utils.readers.spec import Access


class Source:
    """One file, wherever it lies.

    Parameters
    ----------
    path : as the user names it; kept for messages and records.
    access : how remote files are reached.

    Raises
    ------
    InputFileError : there is no such file, or it is a directory.
    """

    def __init__(self, path: str, access: Access = Access()) -> None:
        self.path = path
        self.access = access
        if Path(path).is_dir():
            raise InputFileError(
                f"'{path}' is a directory, not a file", remedy="Name the files, or use a glob such as *.root."
            )
        if not Path(path).is_file():
            raise missing_file(Path(path))

    @property
    def local_path(self) -> str | None:
        """The file on this machine; None where there is none."""
        return self.path

    @property
    def size(self) -> int:
        """Size of the file [bytes]."""
        return Path(self.path).stat().st_size

    def open(self) -> BinaryIO:
        """The bytes, seekable."""
        return Path(self.path).open("rb")


def missing_file(path: Path) -> InputFileError:
    """The error for a local file that does not exist, with the nearest name in its folder."""
    if not path.parent.is_dir():
        return InputFileError(f"no such folder: '{path.parent}'", where=str(path), remedy="Check input_path.")
    return InputFileError(
        f"no such file: '{path}'",
        nearest=nearest_name(path.name, (sibling.name for sibling in path.parent.iterdir())),
        remedy="Check input_path and input_filename_template.",
    )

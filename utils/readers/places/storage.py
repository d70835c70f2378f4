"""Where the bytes of a file come from: this machine, a copy on it, or another one."""

from pathlib import Path
from typing import Any, BinaryIO

from utils.errors import InputFileError, nearest_name
from utils.readers.places.remote import Remote, Status, open_connection, scheme_of
from utils.readers.places.remote_file import open_remote
from utils.readers.spec import Access


class Source:
    """One file, wherever it lies.

    Parameters
    ----------
    path : as the user names it, a path or a URL; kept for messages and records.
    access : how remote files are reached.

    Raises
    ------
    InputFileError : there is no such file, it is a directory, or its server does not let us have it.
    """

    def __init__(self, path: str, access: Access = Access()) -> None:
        self.path = path
        self.access = access
        self._local: Path | None = None
        self._status = Status(None)
        if scheme_of(path) is None:
            self._local = _local_file(path.removeprefix("file://"))
        else:
            self._find(open_connection(path, access))

    def _find(self, remote: Remote) -> None:
        """Ask the server once; copy the file where that is wanted, or where the server cannot give parts of it."""
        try:
            self._status = remote.find_status()
            if self._status.is_folder:
                raise InputFileError(
                    f"'{self.path}' is a folder, not a file", remedy="Name the files, or use a glob such as *.root."
                )
            if self.access.copy_inputs or not self._status.has_parts or self._status.size is None:
                from utils.readers.places.cache import local_copy

                self._local = local_copy(remote, self._status)
        finally:
            remote.close()

    @property
    def local_path(self) -> str | None:
        """The file, or its copy, on this machine; None where there is none."""
        return None if self._local is None else str(self._local)

    @property
    def size(self) -> int:
        """Size of the file [bytes]."""
        if self._local is not None:
            return self._local.stat().st_size
        assert self._status.size is not None
        return self._status.size

    def open(self) -> BinaryIO:
        """The bytes, seekable. What does not come is an InputFileError, never a short read."""
        return self._local.open("rb") if self._local is not None else open_remote(self._connection(), self.size)

    def uproot_argument(self) -> tuple[Any, dict[str, Any]]:
        """What `uproot.open` takes: the file, and options."""
        if self._local is not None:
            return {str(self._local): None}, {}
        from utils.readers.places.root_source import uproot_handler

        return {self.path: None}, {"handler": uproot_handler(self._connection(), self.size)}

    def _connection(self) -> Remote:
        """A connection for one use, to be closed on its own."""
        remote = open_connection(self.path, self.access)
        remote.size = self._status.size
        return remote


def _local_file(path: str) -> Path:
    if Path(path).is_dir():
        raise InputFileError(
            f"'{path}' is a directory, not a file", remedy="Name the files, or use a glob such as *.root."
        )
    if not Path(path).is_file():
        raise missing_file(Path(path))
    return Path(path)


def missing_file(path: Path) -> InputFileError:
    """The error for a local file that does not exist, with the nearest name in its folder."""
    if not path.parent.is_dir():
        return InputFileError(f"no such folder: '{path.parent}'", where=str(path), remedy="Check input_path.")
    return InputFileError(
        f"no such file: '{path}'",
        nearest=nearest_name(path.name, (sibling.name for sibling in path.parent.iterdir())),
        remedy="Check input_path and input_filename_template.",
    )

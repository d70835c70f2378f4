"""The files on MLaaS4HEP's list, opened once: what they hold, and how many events."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import MissingColumnError
from utils.preprocessing.mlaas4hep.records import RecordPreprocessing
from utils.readers.columns import ColumnInfo
from utils.readers.formats import open_reader
from utils.readers.places.locations import expand_paths, join
from utils.readers.places.remote import scheme_of
from utils.readers.reader import Fingerprint, Reader
from utils.readers.spec import Access

_DATA_SUFFIX = re.compile(r"(\.(root|parquet|pq|arrow|feather|csv|jsonl?|ndjson|gz|bz2|zst))+$", re.IGNORECASE)


@dataclass(frozen=True)
class ListedFile:
    """One file.

    Parameters
    ----------
    line : as files.txt has it.
    path : as it is opened.
    label : of its line; None without.
    """

    line: str
    path: str
    label: str | None
    fingerprint: Fingerprint

    @property
    def n_entries(self) -> int:
        """Events in the file."""
        return self.fingerprint.n_entries


@dataclass(frozen=True)
class Listed:
    """All files, and the columns of the first one, of which all must have those that are used.

    Parameters
    ----------
    folder : that relative paths of the list count from.
    object_name : the tree.
    columns : by name.
    records : names under which fields of records are read together: `data` for `data.pt`.
    """

    folder: str
    object_name: str
    access: Access
    files: tuple[ListedFile, ...]
    columns: Mapping[str, ColumnInfo]
    records: tuple[str, ...]
    noun: str

    @property
    def paths(self) -> list[str]:
        """Of all files, in their order."""
        return [file.path for file in self.files]

    def open(self, file: ListedFile) -> Reader:
        """The file's reader."""
        return open_reader(file.path, self.object_name, access=self.access)

    def sample_names(self) -> dict[str, list[str]]:
        """A sample per file, named after it → its path."""
        names: dict[str, list[str]] = {}
        for file in self.files:
            name = _DATA_SUFFIX.sub("", file.path.rpartition("/")[2])
            if name in names:
                name = _DATA_SUFFIX.sub("", file.line.rpartition("://")[2]).strip("/").replace("/", "_")
            while name in names:
                name += "_"
            names[name] = [file.path]
        return names


def open_listed(
    lines: Sequence[str], labels: Sequence[str] | None, folder: str, object_name: str, access: Access
) -> Listed:
    """Find and open every file.

    Parameters
    ----------
    lines : of files.txt; a glob or a folder means all its files.
    labels : of the lines.
    folder : of files.txt: a relative path counts from there if it leads somewhere, else from the working directory.

    Raises
    ------
    InputFileError : a file is missing, damaged or of no known format.
    """
    files: list[ListedFile] = []
    columns: Mapping[str, ColumnInfo] = {}
    records: tuple[str, ...] = ()
    noun = "column"
    for i, line in enumerate(lines):
        for path in expand_paths(_located(line, folder), access):
            with open_reader(path, object_name, access=access) as reader:
                if not files:
                    columns, noun = dict(reader.columns), reader.noun
                    records = tuple(name for name in _tops(columns) if _can_read(reader, name))
                files.append(ListedFile(line, path, None if labels is None else labels[i], reader.fingerprint))
    return Listed(folder, object_name, access, tuple(files), columns, records, noun)


def _located(line: str, folder: str) -> str:
    if scheme_of(line) is not None or line.startswith("/"):
        return line
    beside = join(folder, line)
    return beside if folder != "." and Path(beside).exists() else line


def _can_read(reader: Reader, name: str) -> bool:
    try:
        return bool(reader.require([name]))
    except MissingColumnError:
        return False


def _tops(columns: Mapping[str, Any]) -> list[str]:
    """What stands before the first dot of the columns' names."""
    return list(dict.fromkeys(name.partition(".")[0] for name in columns if "." in name))


def record_preprocessing(listed: Listed, file: str, vectorised: bool) -> RecordPreprocessing:
    """The user's function, which is given every column that can be read."""
    names = [info.name for info in listed.columns.values() if info.unreadable is None]
    tops = set(listed.records)
    uses = dict.fromkeys(name.partition(".")[0] if name.partition(".")[0] in tops else name for name in names)
    return RecordPreprocessing(str(Path(file).resolve()), tuple(uses), None, vectorised)

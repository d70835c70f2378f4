"""ROOT files: the branches of a TTree, decompressed in threads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import cached_property
from typing import Any

import awkward as ak
import uproot

from utils.errors import InputFileError, nearest_name
from utils.events import Column
from utils.readers.reader import ColumnInfo, Reader, short_text
from utils.readers.spec import Access
from utils.readers.storage import Source

TREE_CLASSES = ("TTree", "TNtuple", "TNtupleD", "TChain")


class RootTree(Reader):
    """One TTree of one ROOT file, opened once.

    Parameters
    ----------
    source : the file.
    object_name : the tree's name, which may be nested (`folder/events`).
    """

    noun = "branch"

    def __init__(
        self,
        source: Source | str,
        object_name: str | None = None,
        *,
        file_index: int = 0,
        access: Access = Access(),
    ) -> None:
        super().__init__(source, object_name, file_index=file_index, access=access)
        try:
            self._file = uproot.open(self.path, array_cache=None)
        except Exception as error:  # uproot raises many kinds for a damaged header
            raise InputFileError(
                f"'{self.path}' cannot be opened as a ROOT file ({short_text(error)})",
                remedy="Copy or produce the file again.",
            ) from error
        try:
            self._check_length()
            self._tree = self._find_tree()
        except BaseException:
            self.close()
            raise

    def _check_length(self) -> None:
        """A file that lost its end may still open, and even give some of its branches."""
        size, written = self.source.size, int(self._file.file.fEND)
        if size < written:
            raise InputFileError(
                f"'{self.path}' is truncated: {size:,} of {written:,} bytes", remedy="Copy or produce the file again."
            )

    def _find_tree(self) -> Any:
        try:
            classes = self._file.classnames(cycle=False)
        except Exception as error:
            raise InputFileError(
                f"the list of objects cannot be read ({short_text(error)})",
                where=self.path,
                remedy="Copy or produce the file again.",
            ) from error
        trees = [name for name, kind in classes.items() if kind in TREE_CLASSES]
        if self.object_name is None and len(trees) == 1:
            self.object_name = trees[0]
        if self.object_name not in trees:
            is_other = self.object_name in classes
            what = (
                f"'{self.object_name}' is a {classes[self.object_name]}, not a tree"
                if is_other
                else f"no tree '{self.object_name}'"
            )
            raise InputFileError(
                what,
                where=self.path,
                nearest=nearest_name(str(self.object_name), trees),
                remedy=f"Set input_tree_name; the file holds {', '.join(trees) if trees else 'no tree'}.",
            )
        try:
            return self._file[self.object_name]
        except Exception as error:
            raise InputFileError(
                f"tree '{self.object_name}' cannot be read ({short_text(error)})", where=self.path
            ) from error

    @property
    def n_entries(self) -> int:
        """Number of entries of the tree."""
        return int(self._tree.num_entries)

    @cached_property
    def _columns(self) -> Mapping[str, ColumnInfo]:
        return _LazyColumns(self._tree.keys(recursive=True, full_paths=False), self._describe)

    def _describe(self, name: str) -> ColumnInfo:
        branch = self._tree[name]
        try:
            type_text = str(branch.interpretation.awkward_form(branch.file).type)
            unreadable = None
        except Exception as error:  # noqa: BLE001 (whatever it is, the branch cannot be read, and the column says why)
            type_text, unreadable = branch.typename, short_text(error)
        return ColumnInfo(name, type_text, int(branch.uncompressed_bytes), int(branch.compressed_bytes), "", unreadable)

    def _offsets(self, name: str) -> Sequence[int]:
        offsets: list[int] = [int(i) for i in self._tree[name].entry_offsets]
        return offsets if offsets[-1:] == [self.n_entries] else [0, self.n_entries]

    def _load(self, names: Sequence[str], start: int, stop: int, threads: Executor | None) -> dict[str, Column]:
        flat = [name for name in names if self.is_flat(name)]
        others = [name for name in names if name not in set(flat)]
        options = {
            "entry_start": start,
            "entry_stop": stop,
            "decompression_executor": threads,
            "array_cache": None,
        }
        columns: dict[str, Column] = {}
        if flat:
            columns.update(self._tree.arrays(flat, library="np", **options))
        if others:
            arrays = self._tree.arrays(others, library="ak", **options)
            columns.update({name: arrays[name] for name in ak.fields(arrays)})
        return columns

    def _identifier(self) -> str:
        return str(self._file.file.uuid)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_root(source: Source, object_name: str | None, *, file_index: int = 0) -> Reader:
    """The reader for an object of a ROOT file."""
    return RootTree(source, object_name, file_index=file_index)


class _LazyColumns(Mapping[str, ColumnInfo]):
    """Names at once, descriptions when they are asked for: a NanoAOD has 1,500 branches, an analysis reads 40."""

    def __init__(self, names: Sequence[str], describe: Callable[[str], ColumnInfo]) -> None:
        self._known: dict[str, ColumnInfo | None] = dict.fromkeys(names)
        self._describe = describe

    def __getitem__(self, name: str) -> ColumnInfo:
        info = self._known[name]
        if info is None:
            info = self._known[name] = self._describe(name)
        return info

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

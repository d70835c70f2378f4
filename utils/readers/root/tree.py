"""ROOT files: the branches of a TTree, decompressed in threads."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import awkward as ak
from uproot.compression import Compression
from uproot.interpretation.grouped import AsGrouped
from uproot.interpretation.objects import AsStridedObjects

from utils.events import Column
from utils.logs import get_logger
from utils.readers.columns import ColumnInfo, LazyColumns
from utils.readers.places.storage import Source
from utils.readers.reader import Reader, short_text
from utils.readers.records import COMPONENTS, leaves, pick, records
from utils.readers.root.file import NTUPLES, TREES, RootFile
from utils.readers.spec import Access

logger = get_logger(__name__)

# ROOT::Math's vectors, where ROOT splits them: `muon/fCoordinates/fCoordinates.fPt` is muon.pt.
_SPLIT_VECTOR = re.compile(r"(?:.*/)?([^/]+?)\.?/(?:[^/]*\.)?fCoordinates/(?:[^/]*\.)?fCoordinates\.(f\w+)")


@dataclass(frozen=True)
class _Field:
    """A column that is a part of a branch: where it lies, and how many columns share the branch."""

    branch: str
    type: str
    path: tuple[str, ...]
    n_fields: int


class RootTree(Reader):
    """One TTree of one ROOT file, opened once.

    A branch of records – a leaf list, a TLorentzVector, a map – is a column per field (`muonp4.px`); a branch that only
    groups others (`Event`) is none. Both can be read as records by their names.

    Parameters
    ----------
    source : the file.
    object_name : the tree's name, which may be nested (`folder/events`) and have a cycle (`events;2`).
    file : the file, where it is open already.
    """

    noun = "branch"
    loads_in_parallel = True

    def __init__(
        self,
        source: Source | str,
        object_name: str | None = None,
        *,
        file_index: int = 0,
        access: Access = Access(),
        file: RootFile | None = None,
    ) -> None:
        super().__init__(source, object_name, file_index=file_index, access=access)
        self._file = RootFile(self.source) if file is None else file
        try:
            self.object_name = self._file.choose(object_name, TREES)
            self._tree = self._file.get(self.object_name)
            self._check_entries()
        except BaseException:
            self.close()
            raise

    def _check_entries(self) -> None:
        """Each branch has as many entries as its tree; a tree that no branch agrees with is damaged."""
        longest = max((int(branch.num_entries) for branch in self._tree.branches), default=0)
        if not 0 <= self.n_entries <= longest:
            raise self._damaged(f"the tree says {self.n_entries:,} entries, its branches at most {longest:,}")

    @property
    def n_entries(self) -> int:
        """Number of entries of the tree."""
        return int(self._tree.num_entries)

    @cached_property
    def _branches(self) -> Mapping[str, Any]:
        """Every branch by its name; where several have one name, all but the first by their path (`b.px`)."""
        branches: dict[str, Any] = {}
        paths: set[str] = set()
        hidden = []
        for path, branch in self._tree.iteritems(recursive=True, full_paths=True):
            vector = _SPLIT_VECTOR.fullmatch(path)
            name = f"{vector[1]}.{COMPONENTS.get(vector[2], vector[2])}" if vector else branch.name
            free = [name for name in (name, path.replace("/", ".")) if name not in branches]
            if path in paths or not free:
                hidden.append(path)
            else:
                branches[free[0]] = branch
            paths.add(path)
        if hidden:
            logger.warning(
                "%s: %d branches have the names of others and cannot be told apart: %s; the first of each name is read",
                self.where,
                len(hidden),
                ", ".join(hidden[:3]) + (", …" if len(hidden) > 3 else ""),
            )
        return branches

    @cached_property
    def _fields(self) -> Mapping[str, _Field]:
        """The columns that are parts of branches. Only branches of objects, and of several leaves, are looked at."""
        fields: dict[str, _Field] = {}
        for name, branch in self._branches.items():
            if branch.branches or not (branch.has_member("fClassName") or len(branch.member("fLeaves")) > 1):
                continue
            found = [part for part in self._leaves(name) if part[2]]
            for column, kind, path in found:
                if column not in self._branches:
                    fields.setdefault(column, _Field(name, kind, path, len(found)))
        return fields

    @cached_property
    def _groups(self) -> Mapping[str, Mapping[str, str]]:
        """Branches that have no data but only group others: name → field → branch."""
        names = {id(branch): name for name, branch in self._branches.items()}
        return {
            name: {
                part.name.removeprefix(f"{branch.name}."): names[id(part)]
                for part in branch.branches
                if id(part) in names
            }
            for name, branch in self._branches.items()
            if branch.branches and isinstance(branch.interpretation, AsGrouped)
        }

    @cached_property
    def _records(self) -> Mapping[str, _Field]:
        """What can be read beside the columns: branches of records, and the records inside them."""
        found = {}
        for column, field in self._fields.items():
            for name, path in records(field.branch.rstrip("."), column, field.path):
                if name not in self._fields and (not path or name not in self._branches):
                    found[name] = _Field(field.branch, "", path, 1)
        return found

    def _is_record(self, name: str) -> bool:
        return name in self._groups or name in self._records

    @cached_property
    def _columns(self) -> Mapping[str, ColumnInfo]:
        below: dict[str, list[str]] = {}
        for column, field in self._fields.items():
            below.setdefault(field.branch, []).append(column)
        names = (
            column for name in self._branches for column in below.get(name, [] if name in self._groups else [name])
        )
        return LazyColumns(list(names), self._describe)

    def _leaves(self, name: str) -> list[tuple[str, str, tuple[str, ...]]]:
        """What `records.leaves` finds below a branch; nothing where uproot cannot tell its type."""
        branch = self._branches[name]
        try:
            return list(leaves(name.rstrip("."), branch.interpretation.awkward_form(branch.file).type))
        except Exception:  # noqa: BLE001 (it is a column, and its description says why it cannot be read)
            return []

    def _describe(self, name: str) -> ColumnInfo:
        field = self._fields.get(name)
        branch = self._branches[name if field is None else field.branch]
        unreadable = None
        try:
            kind = branch.interpretation.awkward_form(branch.file).type
            type_text = field.type if field is not None else next(leaves(name, kind))[1]
        except Exception as error:  # noqa: BLE001 (whatever it is, the branch cannot be read, and the column says why)
            type_text, unreadable = str(branch.typename), short_text(error)
        n_fields = 1 if field is None else field.n_fields
        return ColumnInfo(
            name,
            type_text,
            int(branch.uncompressed_bytes) // n_fields,
            int(branch.compressed_bytes) // n_fields,
            _compression(branch),
            unreadable,
        )

    def stored_in(self, name: str) -> str:
        """The branch."""
        return self._place(name)[0]

    def _place(self, name: str) -> tuple[str, tuple[str, ...]]:
        """The branch of a column or a record, and the path of fields inside it."""
        field = self._fields.get(name) or self._records.get(name)
        return (name, ()) if field is None else (field.branch, field.path)

    def _stored(self, name: str) -> Iterator[str]:
        """The branches that hold the data of a column or a record."""
        branch, _ = self._place(name)
        if branch not in self._groups:
            yield branch
        for member in self._groups.get(branch, {}).values():
            yield from self._stored(member)

    def _fields_of(self, record: str) -> list[ColumnInfo]:
        branches = set(self._stored(record))
        fields = [column for column, field in self._fields.items() if field.branch in branches]
        return [self._columns[name] for name in (*fields, *branches) if name in self._columns]

    def _offsets(self, name: str) -> Sequence[int]:
        common: set[int] | None = None
        for branch in self._stored(name):
            offsets = {int(i) for i in self._branches[branch].entry_offsets}
            if max(offsets) < self.n_entries:
                raise self._damaged(f"branch '{branch}' has {max(offsets):,} of {self.n_entries:,} entries")
            common = offsets if common is None else common & offsets
        # More than the tree has is what ROOT leaves where nobody filled the tree itself.
        return [*(offset for offset in sorted(common or ()) if offset < self.n_entries), self.n_entries]

    def _load(self, names: Sequence[str], start: int, stop: int, threads: Executor | None) -> dict[str, Column]:
        arrays = self._arrays({branch for name in names for branch in self._stored(name)}, start, stop, threads)
        places = {name: self._place(name) for name in names}
        return {name: pick(self._whole(branch, arrays), path) for name, (branch, path) in places.items()}

    def _whole(self, name: str, arrays: Mapping[str, Any]) -> Any:
        """A branch; a group as a record of what it groups."""
        if name not in self._groups:
            return arrays[name]
        members = {field: self._whole(branch, arrays) for field, branch in self._groups[name].items()}
        return ak.zip(members, depth_limit=1)

    def _arrays(self, names: Iterable[str], start: int, stop: int, threads: Executor | None) -> dict[str, Any]:
        """Whole branches as Awkward arrays, those that uproot finds by their names with one request."""
        options = {
            "entry_start": start,
            "entry_stop": stop,
            "decompression_executor": threads,
            "array_cache": None,
            "library": "ak",
        }
        together = [name for name in names if self._tree.get(name) is self._branches[name]]
        alone = [name for name in names if name not in set(together)]
        if len(together) == 1:  # looking up names costs uproot milliseconds in a tree with many branches
            alone, together = [*alone, *together], []
        arrays: dict[str, Any] = {}
        if together:
            arrays.update(self._tree.arrays({n: self._interpretation(n) for n in together}, how=dict, **options))
        for name in alone:
            arrays[name] = self._branches[name].array(self._interpretation(name), **options)
        return arrays

    def _interpretation(self, name: str) -> Any:
        """How uproot reads a branch."""
        interpretation = self._branches[name].interpretation
        return _mended(interpretation) if isinstance(interpretation, AsStridedObjects) else interpretation

    def _identifier(self) -> str:
        return self._file.uuid

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _mended(interpretation: AsStridedObjects) -> AsStridedObjects:
    """uproot asks for one basket too many where the wanted entries end at the border of a basket: hide that basket."""
    mended = copy(interpretation)

    def final_array(arrays: Any, start: int, stop: int, offsets: Sequence[int], *others: Any) -> Any:
        return interpretation.final_array(arrays, start, stop, offsets[: bisect_left(offsets, stop) + 1], *others)

    mended.final_array = final_array
    return mended


def _compression(branch: Any) -> str:
    """`ZSTD(5)`; `default(1)` where the file says no more than that; nothing without compression."""
    setting = int(branch.member("fCompress"))
    if setting % 100 == 0 and branch.compressed_bytes < branch.uncompressed_bytes:
        setting = int(branch.file.fCompress)  # uproot writes only this one
    level = setting % 100
    try:
        return str(Compression.from_code(setting) or f"default({level})") if level > 0 else ""
    except ValueError:  # reading needs no setting: every basket says how it is compressed
        return f"unknown({setting})"


def open_root(source: Source, object_name: str | None, *, file_index: int = 0) -> Reader:
    """The reader for a tree or an RNTuple of a ROOT file; None: the only one of them."""
    file = RootFile(source)
    try:
        name = file.choose(object_name, (*TREES, *NTUPLES))
        if file.classes[name.partition(";")[0]] in NTUPLES:
            from utils.readers.root.rntuple import RootNTuple

            return RootNTuple(source, name, file_index=file_index, file=file)
        return RootTree(source, name, file_index=file_index, file=file)
    except BaseException:
        file.close()
        raise

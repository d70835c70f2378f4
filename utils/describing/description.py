"""What is known of a set of files: every branch over all of them, and where they differ."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from utils.describing.files import PartResult
from utils.describing.statistics import ColumnStatistics
from utils.readers.columns import ColumnInfo
from utils.readers.reader import Fingerprint


@dataclass
class Branch:
    """One branch over all files that have it.

    Parameters
    ----------
    info : as its first file describes it; sizes are those of all files.
    statistics : None where it cannot be read.
    unreadable : why not; also where only some of the files are concerned.
    n_files : files that have it.
    """

    info: ColumnInfo
    statistics: ColumnStatistics | None
    unreadable: str | None
    n_files: int = 0
    n_bytes: int | None = 0
    n_stored: int | None = 0

    @property
    def known(self) -> ColumnStatistics:
        """The statistics of a branch that can be read."""
        assert self.statistics is not None
        return self.statistics

    @property
    def kind(self) -> str:
        """`flat`, `jagged`, `fixed` (arrays of one length), `text` or `unreadable`."""
        if self.statistics is None:
            return "unreadable"
        if self.info.type.endswith("string"):
            return "text"
        return "jagged" if self.info.is_jagged else "flat" if self.info.is_flat else "fixed"

    @property
    def item_type(self) -> str:
        """The type of one value."""
        return self.info.type.rpartition("* ")[2]

    @property
    def shape(self) -> str:
        """Of one event: empty for one value, else the lengths of its lists: `var`, `3`, `var × var`."""
        return " × ".join(self.info.type.split(" * ")[:-1])

    @property
    def is_constant(self) -> bool:
        """Whether all values, of more than one event, are the same."""
        s = self.statistics
        if s is None or s.n_events < 2 or s.n_values == 0:
            return False
        if self.kind == "text":
            return s.texts is not None and len(s.texts) == 1
        return s.minimum == s.maximum and s.n_nan + s.n_infinite == 0


@dataclass(frozen=True)
class DescribedFile:
    """One file: what tells whether it changed, and the events that were read."""

    path: str
    where: str
    fingerprint: Fingerprint
    n_entries: int
    n_read: int
    n_columns: int


@dataclass(frozen=True)
class Difference:
    """A branch that is not the same in all files: the files that say so, for each thing that is said.

    Parameters
    ----------
    found : type, or `missing`, or `unreadable` → paths.
    """

    name: str
    found: Mapping[str, tuple[str, ...]]


@dataclass
class Description:
    """All files together.

    Parameters
    ----------
    noun : what the format's users call a column.
    n_bytes : of what was read, in memory [bytes].
    seconds : of reading and counting, by the clock [s].
    """

    noun: str = "branch"
    files: list[DescribedFile] = field(default_factory=list)
    branches: dict[str, Branch] = field(default_factory=dict)
    n_bytes: int = 0
    seconds: float = 0.0
    # Files by what they hold: (name, type) of every column, and those that cannot be read.
    _kinds: dict[tuple[tuple[str, str], ...], list[str]] = field(default_factory=dict)

    def add(self, part: PartResult) -> None:
        """Add a part; those of one file follow each other, and the files come in their order."""
        is_new = part.part.start == 0
        if is_new:
            n_entries = part.fingerprint.n_entries
            self.files.append(
                DescribedFile(part.part.path, part.where, part.fingerprint, n_entries, part.n_read, len(part.columns))
            )
            types = tuple(
                (name, "unreadable" if name in part.unreadable else info.type) for name, info in part.columns.items()
            )
            self._kinds.setdefault(types, []).append(part.part.path)
            self.noun = part.noun if len(self.files) == 1 else self.noun if self.noun == part.noun else "column"
        else:
            last = self.files[-1]
            self.files[-1] = DescribedFile(
                last.path, last.where, last.fingerprint, last.n_entries, last.n_read + part.n_read, last.n_columns
            )
        self.n_bytes += part.n_bytes
        self.seconds += part.seconds
        for name, info in part.columns.items():
            self._add_branch(info, part.statistics.get(name), part.unreadable.get(name), is_new)

    def _add_branch(
        self, info: ColumnInfo, statistics: ColumnStatistics | None, unreadable: str | None, is_new: bool
    ) -> None:
        branch = self.branches.setdefault(info.name, Branch(info, None, None))
        if statistics is not None:
            if branch.statistics is None:
                branch.statistics, branch.info = statistics, info
            else:
                branch.statistics.merge(statistics)
        branch.unreadable = branch.unreadable or unreadable
        if is_new:
            branch.n_files += 1
            branch.n_bytes = _sum(branch.n_bytes, info.n_bytes)
            branch.n_stored = _sum(branch.n_stored, info.n_stored)

    @property
    def n_events(self) -> int:
        """In all files, read or not."""
        return sum(file.n_entries for file in self.files)

    @property
    def n_read(self) -> int:
        """Events that were read."""
        return sum(file.n_read for file in self.files)

    @property
    def n_stored(self) -> int:
        """Size of all files [bytes]."""
        return sum(file.fingerprint.size for file in self.files)

    def of_kind(self, kind: str) -> list[str]:
        """Names of the branches of a kind."""
        return [name for name, branch in self.branches.items() if branch.kind == kind]

    def collections(self) -> dict[str, list[str]]:
        """Branches by the part of their name before the first `_` or `.`, where that is shared."""
        by_prefix: dict[str, list[str]] = {}
        for name in self.branches:
            by_prefix.setdefault(prefix_of(name), []).append(name)
        shared = {prefix: names for prefix, names in by_prefix.items() if len(names) > 1}
        single = [names[0] for names in by_prefix.values() if len(names) == 1]
        return {**shared, **({"": single} if single else {})}

    def differences(self) -> list[Difference]:
        """Branches that are missing, or of another type, or unreadable, in some of the files."""
        found: dict[str, dict[str, list[str]]] = {}
        for types, paths in self._kinds.items():
            here = dict(types)
            for name in self.branches:
                found.setdefault(name, {}).setdefault(here.get(name, "missing"), []).extend(paths)
        return [
            Difference(name, {what: tuple(paths) for what, paths in by_what.items()})
            for name, by_what in found.items()
            if len(by_what) > 1
        ]

    def notes(self) -> list[str]:
        """What somebody who is about to use the data should know."""
        readable = {name: b.statistics for name, b in self.branches.items() if b.statistics is not None}
        lines = {
            "that cannot be read": [n for n, b in self.branches.items() if b.unreadable is not None],
            "with NaN": [n for n, s in readable.items() if s.n_nan],
            "with infinities": [n for n, s in readable.items() if s.n_infinite],
            "with one value only": [n for n, b in self.branches.items() if b.is_constant],
            "that are empty in every event": [n for n, s in readable.items() if s.n_values == 0 < s.n_events],
        }
        return [f"{counted(len(names), self.noun)} {what}: {listed(names)}" for what, names in lines.items() if names]


def counted(n: int, noun: str) -> str:
    """`1 branch`, `1,479 branches`, `3 columns`."""
    return f"{n:,} {noun}" + ("" if n == 1 else "es" if noun.endswith("ch") else "s")


def prefix_of(name: str) -> str:
    """The collection that a branch belongs to: `Muon` for `Muon_pt` and `nMuon`."""
    for separator in (".", "_"):
        head, found, _ = name.partition(separator)
        if found and head:
            return head
    if name[:1] == "n" and name[1:2].isupper():
        return name[1:]
    return name


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def listed(names: list[str], most: int = 4) -> str:
    """`a, b, c, d and 12 more`."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")

"""What any stage that reads events lets its config say about reading: one set of keys, the same everywhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from utils.errors import ConfigError
from utils.keys import key

Format = Literal["auto", "root", "parquet", "arrow", "csv", "json", "hdf5"]

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(k|M|G|Ki|Mi|Gi)?B\s*")


@dataclass(frozen=True)
class ChunkSize:
    """How much is read at a time: a number of events, or an amount of memory. No result depends on it.

    Parameters
    ----------
    n_events : events; 0: as many as fit into `n_bytes`.
    n_bytes : memory of the columns of one chunk [bytes].
    """

    n_events: int = 0
    n_bytes: int = 50_000_000

    @classmethod
    def from_config(cls, value: Any, where: str) -> Self:
        """`100000` events, or a text such as `50 MB`."""
        if isinstance(value, Mapping) and set(value) == {"n_events", "n_bytes"}:  # as a resolved config has it
            return cls(int(value["n_events"]), int(value["n_bytes"]))
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return cls(value)
        found = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if found:
            n_bytes = int(float(found[1]) * _UNITS[found[2] or ""])
            if n_bytes > 0:
                return cls(0, n_bytes)
        raise ConfigError(
            f"{where} is {value!r}, which is neither events nor memory",
            where=where,
            remedy="Use a number of events, or memory such as '50 MB'.",
        )

    @classmethod
    def of(cls, value: "ChunkSize | int") -> "ChunkSize":
        """A number of events stands for itself."""
        return cls(value) if isinstance(value, int) else value

    def events(self, bytes_per_event: float) -> int:
        """Events of one chunk, at least one."""
        return self.n_events or max(1, int(self.n_bytes / max(bytes_per_event, 1.0)))


@dataclass(frozen=True)
class MissingBranches:
    """What happens when a file lacks a branch that others have: an error, or values to fill in.

    Parameters
    ----------
    policy : `error`, or `fill`: NaN for a floating point branch, no objects for a jagged one, False for a bool.
    values : branch → value, for what has no natural one, such as integers.
    """

    policy: Literal["error", "fill"] = "error"
    values: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_config(cls, value: Any, where: str) -> Self:
        """`error`, `fill`, or `{BRANCH: VALUE}`, which fills as well."""
        if isinstance(value, Mapping) and set(value) == {"policy", "values"}:  # as a resolved config has it
            return cls(value["policy"], value["values"])
        if value in ("error", "fill"):
            return cls(value)
        if isinstance(value, Mapping) and value and all(isinstance(v, int | float) for v in value.values()):
            return cls("fill", {str(name): v for name, v in value.items()})
        raise ConfigError(f"{value!r} is no policy", where=where, remedy="Use error, fill, or {BRANCH: VALUE}.")


@dataclass(frozen=True)
class Access:
    """How one file is reached and read.

    Parameters
    ----------
    format : of the file; `auto` looks at its content.
    selected, excluded : names or patterns (`Muon_*`) of the branches that may be seen; None: all, and none.
    n_threads : threads that decompress; 0: the calling thread does all, and local files are not read ahead.
    redirector : put before a path that does not exist here, such as `root://xrootd-cms.infn.it/`.
    namenode : `HOST:PORT` of WebHDFS, for `hdfs:///path`.
    retries, timeout : of a remote operation: further attempts, and the time limit of each [s].
    copy_inputs : read remote files from a local copy.
    cache_path : folder of these copies; None: `crossfold` in the user's cache folder.
    """

    format: Format = "auto"
    selected: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    n_threads: int = 2
    redirector: str | None = None
    namenode: str | None = None
    retries: int = 3
    timeout: float = 60.0
    copy_inputs: bool = False
    cache_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReadingKeys:
    """The keys of every stage that reads events."""

    format: Format = key("auto (by content) | root | parquet | arrow | csv | json | hdf5", default="auto")
    nevts: int = key("events to read of every sample, the first ones; -1: all", default=-1)
    chunk_size: ChunkSize | int = key(
        "events read at a time, or memory: '50 MB'; no result depends on it", default=ChunkSize()
    )
    selected_branches: tuple[str, ...] | None = key("branches to see, by name or pattern; null: all", default=None)
    exclude_branches: tuple[str, ...] | None = key("branches not to see, by name or pattern", default=None)
    missing_branches: MissingBranches = key(
        "branches that some files lack: error | fill | {BRANCH: VALUE}", default=MissingBranches()
    )
    redirector: str | None = key("put before paths that do not exist here: root://HOST/", default=None)
    namenode: str | None = key("HOST:PORT of WebHDFS, for hdfs:///path", default=None)
    retries: int = key("further attempts at a remote read that fails", default=3)
    timeout: float = key("time limit of a remote read [s]", default=60.0)
    copy_inputs: bool = key("read remote files from local copies, renewed when they change", default=False)
    cache_path: str | None = key("folder of the local copies; null: in your cache folder", default=None)
    n_threads: int = key("threads that decompress; 0: the one that does everything else", default=2)

    def check_reading(self) -> None:
        """ConfigError for values that make no sense; for the `__post_init__` of the spec."""
        if isinstance(self.chunk_size, int):
            ChunkSize.from_config(self.chunk_size, "chunk_size")
        if self.timeout < 1:
            raise ConfigError(f"timeout is {self.timeout}", where="timeout", remedy="Use 1 or more.")
        for name in ("n_threads", "retries"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", where=name, remedy="Use 0 or more.")
        if self.nevts < -1 or self.nevts == 0:
            raise ConfigError(f"nevts is {self.nevts}", where="nevts", remedy="Use a number of events, or -1 for all.")
        assert self.format in get_args(Format)

    @property
    def access(self) -> Access:
        """The part that concerns single files."""
        return Access(
            format=self.format,
            selected=self.selected_branches,
            excluded=self.exclude_branches or (),
            n_threads=self.n_threads,
            redirector=self.redirector,
            namenode=self.namenode,
            retries=self.retries,
            timeout=self.timeout,
            copy_inputs=self.copy_inputs,
            cache_path=self.cache_path,
        )

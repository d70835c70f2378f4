"""ROOT trees as chunks: only the needed branches, in input order, decompressed in threads and read ahead."""

import glob
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import awkward as ak
import uproot

from utils.errors import InputFileError, MissingColumnError, nearest_name
from utils.events import Chunk, Column

ENTRY_COLUMN = "entry"


@dataclass(frozen=True)
class Fingerprint:
    """What tells whether a file is still the one that was read: size [bytes], entries, and ROOT's own UUID."""

    path: str
    size: int
    n_entries: int
    uuid: str


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
    raise _missing(path)


def _missing(path: Path) -> InputFileError:
    if not path.parent.is_dir():
        return InputFileError(f"no such folder: '{path.parent}'", where=str(path), remedy="Check input_path.")
    return InputFileError(
        f"no such file: '{path}'",
        nearest=nearest_name(path.name, (sibling.name for sibling in path.parent.iterdir())),
        remedy="Check input_path and input_filename_template.",
    )


class RootTree:
    """One tree of one ROOT file, opened once.

    Parameters
    ----------
    path : a local file.
    tree_name : the tree's name, which may be nested (`folder/events`).
    file_index : what its chunks carry as `file_index`.
    n_threads : threads that decompress baskets.

    Raises
    ------
    InputFileError : the file or tree is missing, is no ROOT file, is truncated, or cannot be read.
    """

    def __init__(self, path: str, tree_name: str, *, file_index: int = 0, n_threads: int = 2) -> None:
        self.path = path
        self.tree_name = tree_name
        self.file_index = file_index
        self._n_threads = n_threads
        if Path(path).is_dir():
            raise InputFileError(
                f"'{path}' is a directory, not a file", remedy="Name the files, or use a glob such as *.root."
            )
        if not Path(path).is_file():
            raise _missing(Path(path))
        try:
            self._file = uproot.open(path, array_cache=None)
        except Exception as error:  # uproot raises many kinds for a damaged header
            raise InputFileError(
                f"'{path}' cannot be opened as a ROOT file ({_short(error)})", remedy="Copy or produce the file again."
            ) from error
        try:
            self._check_length()
            self._tree = self._find_tree()
        except BaseException:
            self.close()
            raise

    def _check_length(self) -> None:
        """A file that lost its end may still open, and even give some of its branches."""
        size, written = Path(self.path).stat().st_size, int(self._file.file.fEND)
        if size < written:
            raise InputFileError(
                f"'{self.path}' is truncated: {size:,} of {written:,} bytes", remedy="Copy or produce the file again."
            )

    def _find_tree(self) -> Any:
        try:
            classes = self._file.classnames(cycle=False)
        except Exception as error:
            raise InputFileError(
                f"the list of objects cannot be read ({_short(error)})",
                where=self.path,
                remedy="Copy or produce the file again.",
            ) from error
        trees = [name for name, kind in classes.items() if kind in ("TTree", "TNtuple", "TNtupleD", "TChain")]
        if self.tree_name not in trees:
            is_other = self.tree_name in classes
            what = (
                f"'{self.tree_name}' is a {classes[self.tree_name]}, not a tree"
                if is_other
                else f"no tree '{self.tree_name}'"
            )
            raise InputFileError(
                what,
                where=self.path,
                nearest=nearest_name(self.tree_name, trees),
                remedy=f"Set input_tree_name; the file holds {', '.join(trees) if trees else 'no tree'}.",
            )
        try:
            return self._file[self.tree_name]
        except Exception as error:
            raise InputFileError(
                f"tree '{self.tree_name}' cannot be read ({_short(error)})", where=self.path
            ) from error

    @property
    def where(self) -> str:
        """`file:tree`, for messages."""
        return f"{self.path}:{self.tree_name}"

    @property
    def n_entries(self) -> int:
        """Number of entries of the tree."""
        return int(self._tree.num_entries)

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the branches that can be read."""
        return tuple(self._tree.keys(recursive=True, full_paths=False))

    @property
    def fingerprint(self) -> Fingerprint:
        """Size, entries and UUID of the file."""
        return Fingerprint(self.path, Path(self.path).stat().st_size, self.n_entries, str(self._file.file.uuid))

    def require(self, names: Iterable[str]) -> list[str]:
        """The names that are branches of this tree; `entry` need not be one, any other is a MissingColumnError."""
        known = set(self.branches)
        present = []
        for name in sorted(set(names)):
            if name in known:
                present.append(name)
            elif name != ENTRY_COLUMN:
                raise MissingColumnError(
                    f"no branch '{name}'",
                    where=self.where,
                    nearest=nearest_name(name, known),
                    remedy="Mend the name where the config uses it.",
                )
        return present

    def is_flat(self, name: str) -> bool:
        """Whether the branch holds one number (or string) per event."""
        interpretation = self._tree[name].interpretation
        if isinstance(interpretation, uproot.AsStrings):
            return True
        return isinstance(interpretation, uproot.AsDtype) and interpretation.inner_shape == ()

    def chunks(self, names: Iterable[str], chunk_size: int = 200_000) -> Iterator[Chunk]:
        """Chunks of about `chunk_size` events with the named branches, in order; `entry` may be among the names.

        The next chunk is read while the caller works on this one. Chunk borders fall on basket borders where that is
        possible, so that no basket is decompressed twice. A tree without entries gives one chunk without rows, so that
        its types are known.
        """
        wanted = set(names)
        present = self.require(wanted)
        borders = self._borders(present, chunk_size)
        with ThreadPoolExecutor(self._n_threads) as decompressors, ThreadPoolExecutor(1) as ahead:
            waiting: deque[Future[dict[str, Column]]] = deque()
            ranges = list(pairwise(borders))
            for i, (start, stop) in enumerate(ranges):
                for read in ranges[i : i + 2][len(waiting) :]:
                    waiting.append(ahead.submit(self._read, present, *read, decompressors))
                # Nothing here may hold on to the columns: the caller decides how long they live.
                yield self._chunk(waiting.popleft().result(), start, stop, wanted)

    def _chunk(self, columns: dict[str, Column], start: int, stop: int, wanted: set[str]) -> Chunk:
        chunk = Chunk(columns, self.file_index, start, stop - start)
        if ENTRY_COLUMN in wanted and ENTRY_COLUMN not in columns:
            columns[ENTRY_COLUMN] = chunk.entry
        return chunk

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Column]:
        """The named branches for the entries in [start, stop)."""
        return self._read(self.require(names), start, stop, None)

    def _borders(self, present: Sequence[str], chunk_size: int) -> list[int]:
        """Entry numbers 0 … n_entries, about `chunk_size` apart, on common basket borders where there are any near."""
        n = self.n_entries
        if n == 0:
            return [0, 0]
        try:
            natural = self._tree.common_entry_offsets(filter_name=list(present)) if present else [0, n]
        except Exception as error:
            raise InputFileError(
                f"the baskets of the tree contradict one another ({_short(error)})",
                where=self.where,
                remedy="Copy or produce the file again.",
            ) from error
        borders = [0]
        for offset in [*natural, n]:
            while offset - borders[-1] > 2 * chunk_size:
                borders.append(borders[-1] + chunk_size)
            if offset > borders[-1] and (offset - borders[-1] >= chunk_size or offset == n):
                borders.append(int(offset))
        return borders

    def _read(self, names: Sequence[str], start: int, stop: int, decompressors: Any) -> dict[str, Column]:
        flat = [name for name in names if self.is_flat(name)]
        jagged = [name for name in names if name not in set(flat)]
        options = {
            "entry_start": start,
            "entry_stop": stop,
            "decompression_executor": decompressors,
            "array_cache": None,
        }
        columns: dict[str, Column] = {}
        try:
            if flat:
                columns.update(self._tree.arrays(flat, library="np", **options))
            if jagged:
                arrays = self._tree.arrays(jagged, library="ak", **options)
                columns.update({name: arrays[name] for name in ak.fields(arrays)})
        except Exception as error:  # a truncated or corrupt basket surfaces as almost any exception
            raise InputFileError(
                f"entries {start} to {stop} of {self._unreadable(names, start, stop)} cannot be read ({_short(error)})",
                where=self.where,
                remedy="The file is damaged (copy or produce it again), or the branch has an unsupported type.",
            ) from error
        short = [name for name, values in columns.items() if len(values) != stop - start]
        if short:
            raise InputFileError(
                f"branch '{short[0]}' has {len(columns[short[0]])} values for entries {start} to {stop}",
                where=self.where,
            )
        return columns

    def _unreadable(self, names: Sequence[str], start: int, stop: int) -> str:
        """The branch at which reading fails, for the message."""
        for name in names:
            try:
                self._tree[name].array(entry_start=start, entry_stop=stop, array_cache=None)
            except Exception:  # noqa: BLE001 (the error itself is already on its way to the user)
                return f"branch '{name}'"
        return "the branches"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__

"""The order of a training skim's rows: made when they are written, while files are always read from end to end.

Every row gets a 64-bit key that follows from its event alone, and rows are sorted by it; rows with equal keys keep the
order (file, entry) in which they come. So no order depends on chunks, on workers, or on which file was finished first.
More rows than fit into memory are first spilled into buckets by ranges of keys, which are then sorted one by one.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from utils.events import salted
from utils.preprocessing.mixing import Mixing
from utils.readers.skim import SkimFile
from utils.writers.skim import SkimSchema, SkimWriter

# Memory of the rows that are sorted at a time [bytes]; an eighth of them are moved at a time.
SORTED_BYTES = 100_000_000
_MOVED = 8
# Skims open at a time while rows are spilled.
MAX_BUCKETS = 64
# Rows looked at to learn how much memory one takes.
_SAMPLE_ROWS = 1000

# Group → columns, as a skim's writer takes them: NumPy or Awkward, of equal length.
Block = Mapping[str, Any]


class RowOrder(Protocol):
    """Keys of rows; they are below `n_keys`."""

    n_keys: int

    def keys(self, origin: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
        """(R,) keys from the columns of the group `origin`: file_index, entry, identity."""
        ...


class Mixed:
    """Chunk by chunk as all files fill it in proportion, and within a chunk file after file."""

    def __init__(self, mixing: Mixing) -> None:
        self.n_keys = mixing.n_chunks
        self._boundaries = lru_cache(4)(mixing.boundaries)  # rows of one file come together

    def keys(self, origin: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
        """(R,) numbers of the chunks."""
        file_R, entry_R = origin["file_index"], origin["entry"]
        keys_R = np.empty(len(entry_R), np.uint64)
        for file in np.unique(file_R).tolist():
            of_file = file_R == file
            keys_R[of_file] = np.searchsorted(self._boundaries(file)[1:], entry_R[of_file], side="right")
        return keys_R


class Shuffled:
    """By a hash of the event's identity, another one for every seed, which has nothing to do with split and folds."""

    n_keys = 2**64

    def __init__(self, seed: int) -> None:
        self._salt = f"order {seed}"

    def keys(self, origin: Mapping[str, NDArray[Any]]) -> NDArray[np.uint64]:
        """(R,) hashes."""
        return salted(origin["identity"], self._salt)


def row_order(order: str, mixing: Mixing, seed: int) -> RowOrder | None:
    """What `order` of a config means; None: as the rows come."""
    return {"input": None, "mixed": Mixed(mixing), "shuffled": Shuffled(seed)}[order]


class Rows(Protocol):
    """Rows on disk, such as a skim."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        ...

    def block(self, start: int, stop: int) -> Block:
        """The rows in [start, stop)."""
        ...


def ordered_blocks(
    parts: Sequence[Rows],
    order: RowOrder,
    schema: SkimSchema,
    scratch: Path,
    *,
    n_bytes: int = SORTED_BYTES,
) -> Iterator[Block]:
    """All rows of `parts` in their order, in memory that does not grow with their number.

    Parameters
    ----------
    parts : rows that are in the order (file, entry), within a part and from part to part.
    order : gives the keys.
    schema : the columns of the parts, for what is spilled.
    scratch : folder for what is spilled; nothing is left there.
    n_bytes : memory of the rows that are sorted at a time [bytes].
    """
    per_row = next((_row_bytes(part) for part in parts if part.n_rows), 1.0)
    yield from _sorted(parts, order, (0, order.n_keys), max(1, int(n_bytes / per_row)), schema, scratch)


def _row_bytes(part: Rows) -> float:
    n_rows = min(part.n_rows, _SAMPLE_ROWS)
    return sum(int(values.nbytes) for values in _leaves(part.block(0, n_rows))) / n_rows


def _leaves(block: Any) -> Iterator[Any]:
    if not isinstance(block, Mapping):
        yield block
        return
    for values in block.values():
        yield from _leaves(values)


def _sorted(
    parts: Sequence[Rows], order: RowOrder, keys: tuple[int, int], max_rows: int, schema: SkimSchema, scratch: Path
) -> Iterator[Block]:
    """The rows, all of them with keys in [low, high), in their order."""
    low, high = keys
    n_rows = sum(part.n_rows for part in parts)
    if n_rows == 0:
        return
    if high - low == 1:  # equal keys: they are in their order already
        for part in parts:
            yield from _pieces(part, max_rows)
    elif n_rows <= max_rows:
        whole = _joined([part.block(0, part.n_rows) for part in parts if part.n_rows])
        row_R = np.argsort(order.keys(whole["origin"]), kind="stable")
        few = max(1, max_rows // _MOVED)
        for start in range(0, n_rows, few):
            yield _taken(whole, row_R[start : start + few])
    else:
        # A few more than needed: keys are spread evenly, but not exactly so.
        n_buckets = min(MAX_BUCKETS, high - low, 2 + n_rows * 5 // (max_rows * 4))
        edges = [low + (high - low) * i // n_buckets for i in range(n_buckets + 1)]
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".order-") as folder:
            with _Spill(Path(folder), n_buckets, schema) as spill:
                for part in parts:
                    for block in _pieces(part, max_rows):
                        spill.add(block, order.keys(block["origin"]), edges)
            for path, ends in zip(spill.paths, pairwise(edges), strict=True):
                with SkimFile(path) as bucket:
                    yield from _sorted([bucket], order, ends, max_rows, schema, Path(folder))
                path.unlink()


def _pieces(part: Rows, max_rows: int) -> Iterator[Block]:
    few = max(1, max_rows // _MOVED)
    for start in range(0, part.n_rows, few):
        yield part.block(start, min(start + few, part.n_rows))


class _Spill:
    """Rows on their way into buckets, a skim each."""

    def __init__(self, folder: Path, n_buckets: int, schema: SkimSchema) -> None:
        self.paths = [folder / f"{i}.h5" for i in range(n_buckets)]
        self._schema = schema
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._writers = [
            self._stack.enter_context(SkimWriter(path, self._schema, durable=False)) for path in self.paths
        ]
        return self

    def add(self, block: Block, keys_R: NDArray[np.uint64], edges: Sequence[int]) -> None:
        bucket_R = np.searchsorted(np.array(edges[1:-1], np.uint64), keys_R, side="right")
        row_R = np.argsort(bucket_R, kind="stable")
        ends = np.cumsum(np.bincount(bucket_R, minlength=len(self.paths)))
        for writer, (start, stop) in zip(self._writers, pairwise([0, *ends.tolist()]), strict=True):
            if stop > start:
                writer.append(_taken(block, row_R[start:stop]))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for writer in self._writers:
                writer.finish({})
        self._stack.__exit__(kind, value, trace)


def _mapped(function: Callable[..., Any], *blocks: Any) -> Any:
    """`function` of the columns of equal name of all blocks."""
    if isinstance(blocks[0], Mapping):
        return {name: _mapped(function, *(block[name] for block in blocks)) for name in blocks[0]}
    return function(*blocks)


def _taken(block: Block, row_R: NDArray[np.intp]) -> Block:
    taken: Block = _mapped(lambda values: values[row_R], block)
    return taken


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    joined: Block = _mapped(
        lambda *values: np.concatenate(values) if isinstance(values[0], np.ndarray) else ak.concatenate(values), *blocks
    )
    return joined

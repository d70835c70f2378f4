"""What the readers of text share: rows in blocks, found in one pass over the file, parsed when they are wanted.

Types and the number of rows belong to the whole file, never to a part of it. So opening a file parses it once, block
by block, and keeps what the blocks have in common and where they begin; reading parses the blocks that are needed.
"""

import os
from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from utils.errors import InputFileError
from utils.logs import get_logger, progress, size
from utils.readers.places.storage import Source
from utils.readers.reader import Reader
from utils.readers.spec import Access
from utils.readers.text.plain import open_plain

logger = get_logger(__name__)

BOM = b"\xef\xbb\xbf"
# Must hold the first row.
_HEAD_BYTES = 1 << 20
_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Block:
    """Whole rows that follow each other.

    Parameters
    ----------
    offset, n_bytes : where they lie in the decompressed file [bytes].
    line : number of the first line; the first of the file is 1.
    row, n_rows : number of the first row, from 0, and how many there are.
    """

    offset: int
    n_bytes: int
    line: int
    row: int = 0
    n_rows: int = 0


class TextReader(Reader):
    """A file of text with an event in each row. A format cuts, learns and parses."""

    # Text that is parsed at a time [bytes], and how much longer than that one row may be.
    block_bytes: ClassVar[int] = 16 << 20
    longest_row: ClassVar[int] = 16

    def __init__(
        self,
        source: Source | str,
        object_name: str | None = None,
        *,
        file_index: int = 0,
        access: Access = Access(),
    ) -> None:
        # There is one table in a file of text, and it has no name.
        super().__init__(source, None, file_index=file_index, access=access)
        self._file, self.compression = open_plain(self.source)
        self._n_bytes = os.fstat(self._file.fileno()).st_size
        self._blocks: list[Block] = []
        self._pool = ThreadPoolExecutor(self.access.n_threads)
        try:
            self._index()
        except BaseException:
            self.close()
            raise

    # --- what a format provides ---

    @abstractmethod
    def _begin(self, head: bytes) -> tuple[int, int]:
        """Look at the beginning of the file; the offset at which rows begin, and the number of that line."""

    @abstractmethod
    def _cut(self, data: bytes) -> int:
        """How many bytes of `data`, which begins with a row, are whole rows; 0: the first row is not whole."""

    def _examine(self, data: bytes) -> Any:
        """What `_learn` gets of a block beside its text. Runs in threads, several blocks at once."""
        return None

    @abstractmethod
    def _learn(self, data: bytes, examined: Any, block: Block) -> int:
        """Keep what matters of a block's types, and return its number of rows. Runs block after block.

        Raises InputFileError for a row that does not fit, with its line.
        """

    @abstractmethod
    def _finish(self) -> None:
        """Settle the columns, once all blocks are known."""

    # --- what they share ---

    @property
    def n_entries(self) -> int:
        """Number of rows."""
        return self._blocks[-1].row + self._blocks[-1].n_rows if self._blocks else 0

    def _offsets(self, name: str) -> Sequence[int]:
        return [0, *(block.row + block.n_rows for block in self._blocks)]

    def _rows(self, parse: Callable[[bytes], pa.Table], start: int, stop: int) -> pa.Table:
        """The rows in [start, stop) of what `parse` makes of the blocks they lie in; it is given no bytes for none."""
        first = max(bisect_right(self._blocks, start, key=lambda block: block.row) - 1, 0)
        last = bisect_left(self._blocks, stop, key=lambda block: block.row)

        def part(block: Block) -> pa.Table:
            table = parse(self._bytes(block.offset, block.n_bytes))
            if table.num_rows != block.n_rows:
                raise self._bad("the file has changed since it was opened", remedy="Start again.")
            begin = max(start - block.row, 0)
            return table.slice(begin, min(stop - block.row, block.n_rows) - begin)

        blocks = self._blocks[first:last] if start < stop else []
        return pa.concat_tables(self._pool.map(part, blocks)) if blocks else parse(b"")

    def close(self) -> None:
        """Close the file; a temporary copy is gone then."""
        self._pool.shutdown()
        self._file.close()

    def _index(self) -> None:
        head = self._bytes(0, max(self.block_bytes, _HEAD_BYTES))
        if head.startswith(_OTHER_ENCODINGS):
            raise self._bad("the text is UTF-16", remedy="Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW.")
        offset, line = self._begin(head)
        row = 0
        with progress(self._n_bytes, f"indexing {os.path.basename(self.path)}", "B") as bar:  # noqa: PTH119 (may be a URL)
            for data, examined in self._ahead(self._pieces(offset)):
                n_rows = self._learn(data, examined, Block(offset, len(data), line))
                if n_rows > 0:
                    self._blocks.append(Block(offset, len(data), line, row, n_rows))
                row += n_rows
                offset += len(data)
                line += data.count(b"\n")
                bar.update(len(data))
        self._finish()
        logger.debug("%s: %s rows in %s of text", self.path, f"{row:,}", size(self._n_bytes))

    def _ahead(self, pieces: Iterator[bytes]) -> Iterator[tuple[bytes, Any]]:
        """Every piece and what `_examine` says of it, while it examines the next ones."""
        waiting: deque[tuple[bytes, Future[Any]]] = deque()
        for data in pieces:
            waiting.append((data, self._pool.submit(self._examine, data)))
            if len(waiting) > self.access.n_threads:
                piece, future = waiting.popleft()
                yield piece, future.result()
        for piece, future in waiting:
            yield piece, future.result()

    def _pieces(self, offset: int) -> Iterator[bytes]:
        """The rest of the file from an offset on, in blocks of whole rows."""
        rest = b""
        while True:
            read = self._bytes(offset, self.block_bytes)
            offset += len(read)
            data = rest + read
            if len(read) < self.block_bytes:
                if data:
                    yield data
                return
            end = self._cut(data)
            if end > 0:
                yield data[:end]
            rest = data[end:]
            if len(rest) > self.longest_row * self.block_bytes:
                line = self._line_at(offset - len(rest))
                raise self._bad(f"the row that begins in line {line:,} does not end within {size(len(rest))}")

    def _line_at(self, offset: int) -> int:
        """Number of the line at an offset."""
        places = range(0, offset, self.block_bytes)
        return 1 + sum(self._bytes(i, min(self.block_bytes, offset - i)).count(b"\n") for i in places)

    def _bytes(self, offset: int, n_bytes: int) -> bytes:
        # Several threads may read at once, so none may depend on a position in the file.
        parts = []
        while n_bytes > 0 and (part := os.pread(self._file.fileno(), n_bytes, offset)):
            parts.append(part)
            offset, n_bytes = offset + len(part), n_bytes - len(part)
        return b"".join(parts)

    def _bad(self, what: str, remedy: str = "Mend the file, or produce it again.") -> InputFileError:
        """The error for content that cannot be used."""
        return InputFileError(what, where=self.path, remedy=remedy)


def memory_of(values: pa.Array | pa.ChunkedArray) -> int:
    """What the values take when they are read [bytes]: those that are missing take as much as others."""
    if pa.types.is_boolean(values.type):
        return len(values)
    return int(values.nbytes) if pa.types.is_string(values.type) else 8 * len(values)

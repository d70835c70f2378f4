"""What the readers of all formats share: chunks equal the whole, whatever the layout; nothing is decompressed twice."""

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.ntuples import write_misaligned
from utils.errors import InputFileError, MissingColumnError
from utils.events import Column
from utils.logs import captured_log
from utils.readers import columns as columns_module
from utils.readers.columns import ColumnInfo, LazyColumns
from utils.readers.reader import Reader
from utils.readers.root.tree import RootTree
from utils.readers.spec import Access, ChunkSize

N = 400


def content() -> dict[str, Any]:
    rng = np.random.default_rng(11)
    counts = rng.integers(0, 4, N)
    return {
        "flat": rng.random(N).astype(np.float32),
        "text": np.array([f"event {i}" for i in range(N)], dtype=object),
        "jagged": ak.unflatten(rng.random(counts.sum()), counts),
        "fixed": ak.from_numpy(rng.random((N, 2)), regulararray=True),
        "record": ak.zip({"x": ak.unflatten(rng.random(counts.sum()), counts)}),
    }


CONTENT = content()


class Memory(Reader):
    """Columns in memory, which pretends that they are stored in pieces, and counts what is asked of it."""

    def __init__(self, path: str, pieces: Mapping[str, Sequence[int]], *, parallel: bool = False) -> None:
        super().__init__(path)
        self.pieces = {name: sorted({0, *(o for o in offsets if o < N), N}) for name, offsets in pieces.items()}
        self.loads_in_parallel = parallel  # type: ignore[misc]
        self.decompressed: Counter[tuple[str, int]] = Counter()
        self.loaded: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def n_entries(self) -> int:
        return N

    @cached_property
    def _columns(self) -> Mapping[str, ColumnInfo]:
        types = {"flat": "float32", "text": "string", "jagged": "var * float64", "fixed": "2 * float64"}
        return LazyColumns(list(types), lambda name: ColumnInfo(name, types[name], 8 * N))

    def _is_record(self, name: str) -> bool:
        return name == "record"

    def _offsets(self, name: str) -> Sequence[int]:
        return self.pieces[name]

    def _load(self, names: Sequence[str], start: int, stop: int, threads: Executor | None) -> dict[str, Column]:
        with self._lock:
            for name in names:
                offsets = self.pieces[name]
                touched = range(bisect_right(offsets, start) - 1, bisect_left(offsets, stop))
                self.decompressed.update((name, piece) for piece in touched)
                self.loaded[name] = stop
        return {name: CONTENT[name][start:stop] for name in names}

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("chunks") / "file"
    path.touch()
    return str(path)


PIECES = st.fixed_dictionaries({name: st.lists(st.integers(1, N - 1), max_size=30) for name in CONTENT})


@settings(max_examples=120, deadline=None)
@given(
    pieces=PIECES,
    parallel=st.booleans(),
    chunk_size=st.integers(5, 2 * N),
    names=st.sets(st.sampled_from(sorted(CONTENT)), min_size=1),
    borders=st.tuples(st.integers(0, N), st.integers(0, N)).map(sorted),
)
def test_chunks_equal_the_whole_and_no_piece_is_decompressed_twice(
    path: str, pieces: dict[str, list[int]], parallel: bool, chunk_size: int, names: set[str], borders: list[int]
) -> None:
    start, stop = borders
    read: dict[str, list[Column]] = {name: [] for name in names}
    with Memory(path, pieces, parallel=parallel) as reader:
        longest = {name: max(b - a for a, b in pairwise(o)) for name, o in reader.pieces.items()}
        at = start
        for chunk in reader.chunks(names, chunk_size, start, stop):
            assert chunk.first_entry == at
            at += chunk.n_events
            # What waits in memory: this chunk, the next, and at most one piece of each column.
            assert all(reader.loaded[name] - at <= 1.5 * chunk_size + longest[name] for name in names)
            for name in names:
                read[name].append(chunk.columns[name])
        assert at == stop
        if start < stop:
            assert set(reader.decompressed.values()) == {1}
    for name, parts in read.items():
        assert [value for part in parts for value in ak.to_list(part)] == ak.to_list(CONTENT[name][start:stop])


@settings(max_examples=30, deadline=None)
@given(pieces=PIECES, chunk_size=st.integers(1, N))
def test_the_next_chunk_is_all_that_is_read_ahead(path: str, pieces: dict[str, list[int]], chunk_size: int) -> None:
    with Memory(path, pieces) as reader:
        chunks = reader.chunks(["flat"], chunk_size)
        first = next(chunks)
        chunks.close()
        assert reader.loaded["flat"] <= first.n_events + 1.5 * chunk_size + max(np.diff(reader.pieces["flat"]))


def test_memory_decides_how_large_a_chunk_is(path: str) -> None:
    nowhere = dict.fromkeys(CONTENT, ())
    with Memory(path, nowhere) as reader:
        sizes = [chunk.n_events for chunk in reader.chunks(["flat"], ChunkSize(n_bytes=8 * 100))]
        assert sizes == [100, 100, 100, 100]
        assert reader.bytes_per_event(["flat", "jagged"]) == 16
        assert reader.bytes_per_event(["text"]) > 50  # Python objects
        assert reader.bytes_per_event(["record"]) > 0


class Broken(Memory):
    """Says nonsense about where its pieces end."""

    def _offsets(self, name: str) -> Sequence[int]:
        if name == "jagged":
            raise KeyError(name)
        return {"flat": [0, 10], "text": [0, 300, 200, N], "fixed": []}[name]


@pytest.mark.parametrize("name", ["flat", "text", "fixed", "jagged"])
def test_pieces_that_do_not_add_up_are_an_error(path: str, name: str) -> None:
    with Broken(path, {}) as reader, pytest.raises(InputFileError, match=f"column '{name}'"):
        list(reader.chunks([name], 10))


def test_a_column_that_cannot_be_read_says_why(path: str) -> None:
    with Memory(path, dict.fromkeys(CONTENT, ())) as reader:
        reader._columns = {"flat": ColumnInfo("flat", "TRefArray", unreadable="uproot knows no TRefArray")}  # type: ignore[misc]
        assert not reader.is_flat("flat")
        with pytest.raises(InputFileError, match=r"column 'flat' \(TRefArray\) cannot be read \(uproot knows no TRef"):
            list(reader.chunks(["flat"]))


def test_selected_and_excluded_columns(path: str) -> None:
    def visible(**access: Any) -> tuple[str, ...]:
        reader = Memory(path, dict.fromkeys(CONTENT, ()))
        reader.access = Access(**access)
        return tuple(name for name in (*reader.branches, "record") if reader._is_known(name))

    assert visible(selected=("f*",)) == ("flat", "fixed")
    assert visible(selected=("record", "flat")) == ("flat", "record")
    assert visible(excluded=("f*", "rec*")) == ("text", "jagged")
    with pytest.raises(MissingColumnError, match="no column 'falt'.*did you mean 'flat'.*selected_branches"):
        visible(selected=("falt",))


def test_a_record_hides_and_shows_its_fields() -> None:
    assert columns_module.matches("muon.pt", ["muon"])
    assert columns_module.matches("muon.track.pt", ["muon.tr*"])
    assert not columns_module.matches("muon", ["muon.pt"])
    assert not columns_module.matches("muonp4", ["muon"])


FILLS = [
    ("float32", None, [np.nan] * 3),
    ("float64", -1.0, [-1.0] * 3),
    ("bool", None, [False] * 3),
    ("int32", -999, [-999] * 3),
    ("uint8", 1.0, [1] * 3),
    ("string", "none", ["none"] * 3),
    ("var * float32", None, [[], [], []]),
    ("var * float32", 5.0, [[], [], []]),
    ("var * var * int16", None, [[], [], []]),
    ("var * string", None, [[], [], []]),
    ("2 * float32", None, [[np.nan] * 2] * 3),
    ("2 * 1 * int8", 3, [[[3], [3]]] * 3),
    ("2 * var * bool", None, [[[], []]] * 3),
]


@pytest.mark.parametrize(("kind", "value", "expected"), FILLS)
def test_columns_that_a_file_lacks_are_filled_in(path: str, kind: str, value: Any, expected: list[Any]) -> None:
    with Memory(path, dict.fromkeys(CONTENT, (70,))) as reader:
        reader.fill("absent", kind, value)
        chunks = list(reader.chunks(["absent", "flat"], 3, 0, 7))
        alone = reader.read(["absent"], 0, 3)["absent"]
        assert reader.is_flat("absent") == ("*" not in kind)
    assert [len(chunk.columns["absent"]) for chunk in chunks] == [3, 4]
    for values in (alone, chunks[0].columns["absent"]):
        np.testing.assert_equal(ak.to_list(values), expected)
        if "*" in kind:
            assert str(values.type) == f"3 * {kind}"
        else:
            assert values.dtype == (object if kind == "string" else kind)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("int32", None, "nothing to fill in for a int32"),
        ("string", None, "nothing to fill in for a string"),
        ("3 * int32", None, r"nothing to fill in for a 3 \* int32"),
        ("uint8", -1, "-1 is no uint8"),
        ("int64", 0.5, "0.5 is no int64"),
    ],
)
def test_what_cannot_be_filled_in(path: str, kind: str, value: Any, words: str) -> None:
    with Memory(path, {}) as reader, pytest.raises(MissingColumnError, match=f"no column 'absent', and {words}"):
        reader.fill("absent", kind, value)


def test_reading_is_measured(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = dict.fromkeys(CONTENT, ())
    with captured_log() as messages, Memory(path, nowhere) as reader:
        list(reader.chunks(["flat"], 200))
        lines = [message for message in messages if path in message]
        assert "entries 0 to 200: 200 events in" in lines[0]
        assert f"read {N} events in" in lines[-1] and "B/s" in lines[-1] and "kHz" in lines[-1]
        assert lines[-1].endswith("s a chunk")
        assert len(lines) == 3


# --- real baskets ---

BASKETS = {"flat": 7, "evt": 90, "jagged": 41, "wide": N}


@pytest.fixture(scope="module")
def misaligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    columns = {"flat": CONTENT["flat"], "evt": np.arange(N), "jagged": CONTENT["jagged"], "wide": np.arange(N) * 2.0}
    return write_misaligned(tmp_path_factory.mktemp("misaligned") / "a.root", "events", columns, BASKETS)


@settings(max_examples=30, deadline=None)
@given(
    chunk_size=st.integers(20, N),
    names=st.sets(st.sampled_from(sorted(BASKETS)), min_size=1),
    borders=st.tuples(st.integers(0, N - 1), st.integers(1, N)).filter(lambda b: b[0] < b[1]),
)
def test_no_basket_is_decompressed_twice(
    misaligned: Path, chunk_size: int, names: set[str], borders: tuple[int, int]
) -> None:
    start, stop = borders
    expected = {"flat": CONTENT["flat"], "evt": np.arange(N), "jagged": CONTENT["jagged"], "wide": np.arange(N) * 2.0}
    baskets: Counter[tuple[str, int]] = Counter()
    original = uproot.models.TBasket.Model_TBasket.read

    def counted(chunk: Any, cursor: Any, context: Any, file: Any, selffile: Any, parent: Any) -> Any:
        baskets[parent.name, context["basket_num"]] += 1
        return original(chunk, cursor, context, file, selffile, parent)

    with pytest.MonkeyPatch.context() as patch, RootTree(str(misaligned), "events") as tree:
        assert tree._offsets("evt") == [0, 90, 180, 270, 360, N]
        patch.setattr(uproot.models.TBasket.Model_TBasket, "read", counted)
        chunks = list(tree.chunks(names, chunk_size, start, stop))
    for name in names:
        read = [value for chunk in chunks for value in ak.to_list(chunk.columns[name])]
        assert read == ak.to_list(expected[name][start:stop])
    assert set(baskets.values()) == {1}
    needed = {(name, i // BASKETS[name]) for name in names for i in range(start, stop)}
    assert {key for key in baskets if key[0] in names} == needed

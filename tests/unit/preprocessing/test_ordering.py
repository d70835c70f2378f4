"""Mixing counts, and the order of rows: every event exactly once, whatever the chunks, the parts and the memory."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import ConfigError
from utils.factory import Factory
from utils.preprocessing.jagged_spec import ImageSpec
from utils.preprocessing.mixing import Mixing, drawn_entries
from utils.preprocessing.ordering import Mixed, RowOrder, Shuffled, ordered_blocks
from utils.readers.skim import SkimFile
from utils.writers.skim import SkimSchema, SkimWriter

SIZES = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 3000)), min_size=1, max_size=7)
NEVTS = st.one_of(st.just(-1), st.integers(1, 9000))
CHUNK = st.one_of(st.just(-1), st.integers(1, 20), st.integers(21, 4000))


def per_chunk(mixing: Mixing) -> np.ndarray:
    """(files, chunks) entries."""
    return np.array([np.diff(mixing.boundaries(file)) for file in range(len(mixing.entries))])


# --- counts ---


def test_the_published_example() -> None:
    """MLaaS4HEP reads 4,924/5,076 five times, of which the last 4,924/5,075: 24,620 in all, one event lost."""
    drawn = drawn_entries([476_963, 491_653], 50_000)
    mixing = Mixing(drawn, 10_000)
    assert drawn == (24_621, 25_379)
    assert mixing.per_chunk == (4_924, 5_076)
    np.testing.assert_array_equal(per_chunk(mixing)[0], [4_924, 4_924, 4_924, 4_924, 4_925])
    np.testing.assert_array_equal(per_chunk(mixing)[1], [5_076, 5_076, 5_076, 5_076, 5_075])


def test_shares_are_rounded_to_the_nearest() -> None:
    """The files the other way round: 5,075.8 events a chunk are 5,076, until that is a whole event too many."""
    mixing = Mixing(drawn_entries([491_653, 476_963], 50_000), 10_000)
    np.testing.assert_array_equal(per_chunk(mixing)[0], [5_076, 5_076, 5_076, 5_076, 5_075])


def test_the_published_example_with_all_events() -> None:
    mixing = Mixing(drawn_entries([476_963, 491_653], -1), 10_000)
    counts = per_chunk(mixing)
    assert counts.shape == (2, 97)
    assert (counts[:, :-1].sum(axis=0) == 10_000).all()
    np.testing.assert_array_equal(counts.sum(axis=1), [476_963, 491_653])
    assert set(counts[0, :-1]) == {4_924, 4_925}


def test_shares_follow_the_rule_of_the_older_tool() -> None:
    sizes, nevts, chunk = [1000, 3000, 2500], 3000, 500
    drawn = drawn_entries(sizes, nevts)
    assert drawn[:2] == tuple(round(n / sum(sizes) * nevts) for n in sizes[:2])
    assert Mixing(drawn, chunk).per_chunk[:2] == tuple(round(n / nevts * chunk) for n in drawn[:2])
    assert sum(drawn) == nevts
    assert sum(Mixing(drawn, chunk).per_chunk) == chunk


@given(SIZES, NEVTS)
def test_as_many_are_drawn_as_asked_for(sizes: list[int], nevts: int) -> None:
    drawn = drawn_entries(sizes, nevts)
    assert sum(drawn) == (sum(sizes) if nevts < 0 else min(nevts, sum(sizes)))
    assert all(0 <= n <= size for n, size in zip(drawn, sizes, strict=True))
    if nevts >= sum(1 for size in sizes if size):
        assert all(n for n, size in zip(drawn, sizes, strict=True) if size)


@given(SIZES, NEVTS, CHUNK)
def test_every_entry_is_in_exactly_one_chunk(sizes: list[int], nevts: int, chunk: int) -> None:
    mixing = Mixing(drawn_entries(sizes, nevts), chunk)
    counts = per_chunk(mixing)
    assert counts.shape == (len(sizes), mixing.n_chunks)
    assert (counts >= 0).all()
    np.testing.assert_array_equal(counts.sum(axis=1), mixing.entries)


@given(SIZES, NEVTS, CHUNK)
def test_files_run_out_together(sizes: list[int], nevts: int, chunk: int) -> None:
    """No file but the one that tops up is ever a whole event away from its share."""
    mixing = Mixing(drawn_entries(sizes, nevts), chunk)
    chunk = chunk if chunk > 0 else max(1, mixing.n_events)
    with_entries = [file for file, n in enumerate(mixing.entries) if n]
    for file in with_entries[:-1]:
        exact = np.arange(mixing.n_chunks) * chunk * mixing.entries[file] / mixing.n_events
        assert (np.abs(mixing.boundaries(file)[:-1] - exact) < 1).all()
    filled = per_chunk(mixing).sum(axis=0)[:-1].cumsum() - chunk * np.arange(1, mixing.n_chunks)
    assert (np.abs(filled) < len(sizes)).all()


def test_the_last_file_tops_chunks_up() -> None:
    """Three equal files of 1,000 in chunks of 100: 33, 33, and 34."""
    counts = per_chunk(Mixing((1000, 1000, 1000), 100))
    assert (counts.sum(axis=0) == 100).all()
    np.testing.assert_array_equal(counts[:, 0], [33, 33, 34])


def test_more_events_than_fit_into_64_bits_when_multiplied() -> None:
    sizes = [7_000_000_001, 2_999_999_999]
    mixing = Mixing(drawn_entries(sizes, -1), 100_000_000)
    counts = per_chunk(mixing)
    np.testing.assert_array_equal(counts.sum(axis=1), sizes)
    assert (counts.sum(axis=0) == 100_000_000).all()


# --- rows ---

SCHEMA = SkimSchema(
    {
        "cont_features": {"x": np.dtype(np.float32), "y": np.dtype(np.float32)},
        "misc_features": {"run": np.dtype(np.int64), "w": np.dtype(np.float64)},
        "targets": {"group_name": np.dtype("S4"), "target": np.dtype(np.int64)},
        "origin": {
            "file_index": np.dtype(np.int32),
            "entry": np.dtype(np.int64),
            "identity": np.dtype(np.uint64),
        },
    }
)


def rows(sizes: list[int], copies: int = 1) -> dict[str, np.ndarray]:
    """Rows in the order (file, entry), each event `copies` times."""
    file_R = np.repeat(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes), copies)
    entry_R = np.repeat(np.concatenate([np.arange(n) for n in sizes]), copies) if sum(sizes) else np.empty(0, np.int64)
    identity_R = np.random.default_rng(5).permutation(len(file_R) // copies).astype(np.uint64).repeat(copies)
    identity_R *= np.uint64(2**40)
    return {"file_index": file_R, "entry": entry_R.astype(np.int64), "identity": identity_R}


def write_skim(path: Path, origin: dict[str, np.ndarray], keep: np.ndarray) -> Path:
    """A skim of some rows; every column says which row it is."""
    number = np.arange(len(origin["entry"]))[keep]
    with SkimWriter(path, SCHEMA) as writer:
        writer.append(
            {
                "cont_features": np.stack([number, -number], axis=1).astype(np.float32),
                "misc_features": {"run": number + 1, "w": number / 2},
                "targets": {"group_name": np.array([b"a", b"bb"])[number % 2], "target": number % 2},
                "origin": {name: values[keep] for name, values in origin.items()},
            }
        )
        writer.finish({})
    return path


def ordered(
    tmp_path: Path, origin: dict[str, np.ndarray], order: RowOrder, n_parts: int = 1, n_bytes: int = 10**9
) -> dict[str, np.ndarray]:
    """All columns of the rows, put in order from `n_parts` skims."""
    edges = np.linspace(0, len(origin["entry"]), n_parts + 1).astype(int)
    paths = [
        write_skim(tmp_path / f"part{i}.h5", origin, np.arange(start, stop))
        for i, (start, stop) in enumerate(pairwise(edges))
    ]
    parts = [SkimFile(path) for path in paths]
    with SkimWriter(tmp_path / "ordered.h5", SCHEMA) as writer:
        for block in ordered_blocks(parts, order, SCHEMA, tmp_path, n_bytes=n_bytes):
            writer.append(block)
        writer.finish({})
    for part in parts:
        part.close()
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")) == sorted(
        ["ordered.h5", *(path.name for path in paths)]
    )
    with SkimFile(tmp_path / "ordered.h5") as skim:
        return skim.read(skim.columns)


def orders(sizes: list[int]) -> dict[str, RowOrder]:
    """One of each kind."""
    return {"mixed": Mixed(Mixing(tuple(sizes), 50)), "shuffled": Shuffled(3)}


@pytest.mark.parametrize("name", ["mixed", "shuffled"])
@pytest.mark.parametrize("copies", [1, 2])
def test_rows_are_sorted_by_key_then_file_then_entry(tmp_path: Path, name: str, copies: int) -> None:
    sizes = [300, 0, 41, 500]
    origin = rows(sizes, copies)
    order = orders(sizes)[name]
    found = ordered(tmp_path, origin, order)
    expected = np.lexsort((origin["entry"], origin["file_index"], order.keys(origin)))
    np.testing.assert_array_equal(found["run"], expected + 1)
    np.testing.assert_array_equal(found["x"], expected)
    np.testing.assert_array_equal(found["y"], -expected)
    np.testing.assert_array_equal(found["w"], expected / 2)
    np.testing.assert_array_equal(found["target"], expected % 2)
    assert found["group_name"].tolist() == [("a", "bb")[i % 2] for i in expected]
    for column, values in origin.items():
        np.testing.assert_array_equal(found[column], values[expected])


@pytest.mark.parametrize("name", ["mixed", "shuffled"])
def test_neither_memory_nor_parts_show(tmp_path: Path, name: str) -> None:
    sizes = [600, 17, 500]
    origin = rows(sizes)
    results = []
    for i, (n_parts, n_bytes) in enumerate([(1, 10**9), (3, 25_000), (2, 12_000)]):
        folder = tmp_path / str(i)
        folder.mkdir()
        results.append(ordered(folder, origin, orders(sizes)[name], n_parts, n_bytes))
    for other in results[1:]:
        for column, values in results[0].items():
            assert values.tolist() == other[column].tolist(), column


def test_a_bucket_may_hold_a_single_key(tmp_path: Path) -> None:
    """So little memory that every chunk has a bucket of its own."""
    sizes = [150, 7, 90]
    origin = rows(sizes)
    order = orders(sizes)["mixed"]
    assert order.n_keys == 5
    found = ordered(tmp_path, origin, order, n_parts=2, n_bytes=600)
    expected = np.lexsort((origin["entry"], origin["file_index"], order.keys(origin)))
    np.testing.assert_array_equal(found["run"], expected + 1)


class AllAlike:
    """One key for all rows."""

    n_keys = 8

    def keys(self, origin: Any) -> np.ndarray:
        return np.full(len(origin["entry"]), 5, np.uint64)


def test_equal_keys_need_no_memory(tmp_path: Path) -> None:
    """No range of keys is small enough, and the rows stay as they come."""
    origin = rows([400])
    origin["identity"][:] = 7
    found = ordered(tmp_path, origin, AllAlike(), n_bytes=5_000)
    np.testing.assert_array_equal(found["entry"], np.arange(400))


def test_mixed_rows_fill_chunks_from_all_files(tmp_path: Path) -> None:
    mixing = Mixing((246, 254), 100)
    found = ordered(tmp_path, rows([246, 254]), Mixed(mixing))
    for chunk in range(5):
        files = found["file_index"][100 * chunk : 100 * (chunk + 1)]
        assert (np.diff(files) >= 0).all()
        assert np.count_nonzero(files == 0) == per_chunk(mixing)[0, chunk]


def test_a_seed_is_an_order_of_its_own(tmp_path: Path) -> None:
    origin = rows([2000])
    one, same, other = (ordered_entries(tmp_path / str(i), origin, seed) for i, seed in enumerate((1, 1, 2)))
    assert one == same
    assert one != other
    assert sorted(one) == sorted(other)
    # Nothing of the input's order is left: the mean distance of neighbours is that of a random permutation, N/3.
    assert np.abs(np.diff(one)).mean() == pytest.approx(2000 / 3, rel=0.1)


def ordered_entries(folder: Path, origin: dict[str, Any], seed: int) -> list[int]:
    folder.mkdir()
    entries: list[int] = ordered(folder, origin, Shuffled(seed))["entry"].tolist()
    return entries


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=4), st.integers(1, 4), st.integers(2_000, 20_000))
def test_no_row_is_lost(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], n_parts: int, n_bytes: int) -> None:
    origin = rows(sizes)
    for name, order in orders(sizes).items():
        found = ordered(tmp_path_factory.mktemp(name), origin, order, n_parts, n_bytes)
        np.testing.assert_array_equal(np.sort(found["run"]), np.arange(sum(sizes)) + 1)


# --- in preprocess ---


@pytest.mark.parametrize("order", ["mixed", "shuffled"])
def test_chunks_and_workers_do_not_show(
    skims: Callable[..., Any], assert_same: Callable[..., None], steps_file: Path, order: str
) -> None:
    keys = {"order": order, "mixing_chunk": 100, "seed": 4, "steps": (Factory(f"{steps_file}:SignedLog"),)}
    reference = skims(**keys)
    assert_same(reference, skims(**keys, chunk_size=37))
    assert_same(reference, skims(**keys, executor="processes", workers=2))


@pytest.mark.parametrize("order", ["mixed", "shuffled"])
def test_an_order_changes_nothing_else(skims: Callable[..., Any], steps_file: Path, order: str) -> None:
    """The same rows with the same weights, another row after the other; the same pipe."""
    steps = (Factory(f"{steps_file}:SignedLog"),)
    plain = skims(steps=steps, compute_w_CP=True)
    other = skims(steps=steps, compute_w_CP=True, order=order, mixing_chunk=50)
    assert plain.pipe_text == other.pipe_text
    assert plain.result.cutflow == other.result.cutflow
    assert list(other.folder.glob(".*unordered*")) == []
    for node, columns in plain.nodes.items():
        rows = zip(*(columns[name].tolist() for name in sorted(columns)), strict=True)
        found = zip(*(other.nodes[node][name].tolist() for name in sorted(columns)), strict=True)
        rows, found = list(rows), list(found)
        assert rows != found
        assert sorted(map(repr, rows)) == sorted(map(repr, found))


def test_mixed_chunks_hold_all_samples_in_proportion(skims: Callable[..., Any]) -> None:
    made = skims(order="mixed", mixing_chunk=100, train_size=1.0)
    columns = made.nodes["train"]
    mixing = Mixing((400, 250, 330, 9), 100)
    chunk_R = Mixed(mixing).keys(columns)
    order_R = np.lexsort((columns["entry"], columns["file_index"], chunk_R))
    np.testing.assert_array_equal(order_R, np.arange(len(chunk_R)))
    assert chunk_R.max() == 9


@pytest.mark.parametrize("order", ["mixed", "shuffled"])
def test_nevts_are_drawn_from_all_files(skims: Callable[..., Any], order: str) -> None:
    made = skims(order=order, nevts=300, mixing_chunk=100)
    read = {step.sample: step.n_events for step in made.result.cutflow if step.step == "read"}
    assert read == dict(zip(("signal", "fakes", "taus", "rare"), drawn_entries([400, 250, 330, 9], 300), strict=True))
    assert made.result.n_read == 300
    assert made.both("entry")[made.both("file_index") == 1].max() < read["fakes"]


def test_what_is_predicted_keeps_its_order(spec: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="stays in the order of its input"):
        spec(Path("in"), Path("out"), order="shuffled", for_training=False)


def test_a_chunk_has_events(spec: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="mixing_chunk is 0"):
        spec(Path("in"), Path("out"), order="mixed", mixing_chunk=0)


def test_jagged_groups_and_images_move_with_their_events(skims: Callable[..., Any]) -> None:
    jets = {
        "x": "jet_pt",
        "y": "jet_pt",
        "range": ((0.0, 200.0), (0.0, 200.0)),
        "bins": (4, 4),
        "channels": {"n": None},
    }
    keys = {
        "jagged_features": {"jets": ("jet_pt",)},
        "images": {"dense": ImageSpec(**jets), "sparse": ImageSpec(**jets, storage="sparse")},
    }
    content = []
    for order in ("input", "shuffled"):
        made = skims(**keys, order=order)
        with SkimFile(made.result.outputs["train"]) as skim:
            origin = skim.read(["file_index", "entry", "group_name"])
            names = zip(*(values.tolist() for values in origin.values()), strict=True)
            rows = zip(
                skim.jagged("jets")["jet_pt"].tolist(), *(skim.images(n).tolist() for n in keys["images"]), strict=True
            )
            content.append(dict(zip(names, rows, strict=True)))
    assert list(content[0]) != list(content[1])
    assert content[0] == content[1]
    assert len({len(pt) for pt, *_ in content[0].values()}) == 4

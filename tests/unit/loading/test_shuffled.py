"""Shuffled batches: every event once an epoch, whatever the buffer; an order that only seed and epoch decide."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.skims import open_skim, toy_events
from utils.errors import DataError
from utils.loading import Batch, EventSource, SkimData
from utils.loading.shuffled import OrderedBatches, ShuffledBatches, few_events, row_bytes

N = 211


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    with open_skim(tmp_path_factory.mktemp("skim") / "train.h5", toy_events(N, n_classes=3)) as skim:
        yield SkimData.open(skim)


def source_of(data: SkimData, rows: Any = None) -> EventSource:
    """Events whose weights are their row numbers, so that they can be recognised."""
    rows_N = np.arange(N) if rows is None else np.array(sorted(rows), np.int64)
    return EventSource(data, rows_N, rows_N.astype(np.float32))


def rows_of(batches: Any) -> list[int]:
    return [int(row) for batch in batches for row in batch.weight_N]


buffers = st.sampled_from([0.02, 0.1, 0.3, 0.6, 5.0])  # of the source's size


@settings(deadline=None)  # threads
@given(
    rows=st.sets(st.integers(0, N - 1), min_size=1),
    batch_size=st.integers(1, 70),
    buffer=buffers,
    epoch=st.integers(0, 3),
)
def test_every_event_comes_once_with_what_belongs_to_it(
    data: SkimData, rows: set[int], batch_size: int, buffer: float, epoch: int
) -> None:
    source = source_of(data, rows)
    n_bytes = int(buffer * len(rows) * row_bytes(data))
    batches = ShuffledBatches(source, batch_size, 3, n_bytes)
    found = list(batches.epoch(epoch))
    assert len(found) == batches.n_batches == -(-len(rows) // batch_size)
    assert [len(batch.features_NF) for batch in found[:-1]] == [batch_size] * (len(found) - 1)
    assert sorted(rows_of(found)) == sorted(rows)
    everything_NF = data.features(0, N)
    for batch in found:
        rows_B = batch.weight_N.astype(np.int64)
        np.testing.assert_array_equal(batch.features_NF, everything_NF[rows_B])
        np.testing.assert_array_equal(batch.target_N, data.target_N[rows_B])


@settings(deadline=None, max_examples=30)
@given(batch_size=st.integers(1, 70), buffer=buffers)
def test_the_order_is_decided_by_seed_and_epoch(data: SkimData, batch_size: int, buffer: float) -> None:
    n_bytes = int(buffer * N * row_bytes(data))

    def order(epoch: int, seed: int = 1) -> list[int]:
        return rows_of(ShuffledBatches(source_of(data), batch_size, seed, n_bytes).epoch(epoch))

    again = ShuffledBatches(source_of(data), batch_size, 1, n_bytes)
    assert [rows_of(again.epoch(epoch)) for epoch in (0, 1)] == [order(0), order(1)]
    assert order(0) != order(1)
    assert order(0) != order(0, seed=2)
    assert order(0) != sorted(order(0))


def test_any_buffer_that_holds_all_gives_the_same_order(data: SkimData) -> None:
    orders = [
        rows_of(ShuffledBatches(source_of(data), 16, 1, factor * N * row_bytes(data)).epoch(2)) for factor in (1, 2, 50)
    ]
    assert orders[0] == orders[1] == orders[2]


def test_a_batch_mixes_the_whole_skim_beyond_the_buffer(data: SkimData) -> None:
    batches = ShuffledBatches(source_of(data), 20, 1, N * row_bytes(data) // 2)
    assert not batches.fits
    rows = [batch.weight_N for batch in batches.epoch(0)]
    # A quarter of the events in a window: in a window of consecutive events, rows would differ by less than N / 4.
    assert np.mean([np.ptp(batch) for batch in rows[:-1]]) > N / 2


@pytest.mark.parametrize("buffer", [0.1, 5.0])
@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("batch_size", [2, 7, 30, 100])
def test_processes_share_the_events_and_make_as_many_steps(
    data: SkimData, world: int, batch_size: int, buffer: float
) -> None:
    n_bytes = int(buffer * N * row_bytes(data) / world)
    ranks = [ShuffledBatches(source_of(data), batch_size, 1, n_bytes, rank, world) for rank in range(world)]
    for epoch in (0, 1):
        found = [list(rank.epoch(epoch)) for rank in ranks]
        assert {len(batches) for batches in found} == {ranks[0].n_batches}
        assert sorted(row for batches in found for row in rows_of(batches)) == list(range(N))
        assert all(0 < len(batch.features_NF) <= batch_size for batches in found for batch in batches)
        counts = [len(rows_of(batches)) for batches in found]
        assert max(counts) - min(counts) <= len(ranks[0].blocks)


def test_a_window_reads_its_own_rows(data: SkimData, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    features = SkimData.features

    def noted(self: SkimData, start: int, stop: int) -> np.ndarray:
        read.append((start, stop))
        return features(self, start, stop)

    monkeypatch.setattr(SkimData, "features", noted)
    batches = ShuffledBatches(source_of(data), 8, 1, N * row_bytes(data) // 4)
    list(batches.epoch(0))
    assert sum(stop - start for start, stop in read) == N, "every row is read once"
    read.clear()
    kept = ShuffledBatches(source_of(data), 8, 1)
    for epoch in range(3):
        list(kept.epoch(epoch))
    assert sum(stop - start for start, stop in read) == N, "what fits is read in the first epoch only"


def test_an_epoch_that_is_left_leaves_nothing_behind(data: SkimData) -> None:
    before = threading.active_count()
    for buffer in (0.1, 5.0):
        epoch = ShuffledBatches(source_of(data), 2, 1, int(buffer * N * row_bytes(data))).epoch(0)
        next(epoch)
        epoch.close()
    assert threading.active_count() == before


def test_the_time_that_was_waited_is_part_of_all(data: SkimData) -> None:
    batches = ShuffledBatches(source_of(data), 8)
    list(batches.epoch(0))
    assert 0 < batches.meter.waited <= batches.meter.total
    assert 0 < batches.meter.share <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("buffer", [0.1, 5.0])
def test_what_is_no_number_is_named(tmp_path: Path, bad: float, buffer: float) -> None:
    events = toy_events(N, n_classes=3)
    events.cont["y"][[5, 17, 100]] = bad
    with open_skim(tmp_path / "train.h5", events, steps=()) as skim:
        data = SkimData.open(skim)
        batches = ShuffledBatches(source_of(data), N, 1, int(buffer * N * row_bytes(data)))
        with pytest.raises(DataError, match=r"batch 1 of epoch 3: NaN or infinity in the input 'y' for 3 of its 211"):
            list(batches.epoch(2))
        with pytest.raises(DataError, match=r"validation events 1 to 211: .* 'y'"):
            list(OrderedBatches(source_of(data), 50))


def padded_skim(path: Path) -> Any:
    """`y` and `noise` as two positions of a padded branch; every third event has one object only."""
    events = toy_events(N, n_classes=3)
    cont = {"x": events.cont["x"], "pt_0": events.cont["y"], "pt_1": events.cont["noise"].copy()}
    cont["pt_1"][::3] = np.nan
    made = type(events)(cont, events.cat, events.misc, events.target, events.n_classes)
    return open_skim(path, made, steps=(), metadata={"padded_features": {"pt": 2}})


def test_padding_is_zero_with_a_mask_beside_it(tmp_path: Path) -> None:
    with padded_skim(tmp_path / "train.h5") as skim:
        data = SkimData.open(skim)
        assert data.padded_indices == (1, 2)
        for batches in (ShuffledBatches(source_of(data), 30).epoch(0), OrderedBatches(source_of(data), 30)):
            for batch in batches:
                expected_BF = np.zeros(batch.features_NF.shape, bool)
                expected_BF[:, 2] = batch.weight_N % 3 == 0
                np.testing.assert_array_equal(batch.mask_NF, expected_BF)
                assert (batch.features_NF[expected_BF] == 0).all()
                assert (batch.features_NF[:, 2][~expected_BF[:, 2]] != 0).all()


def test_infinity_is_no_padding(tmp_path: Path) -> None:
    with padded_skim(tmp_path / "train.h5") as skim:
        data = SkimData.open(skim)
        features_NF = data.features(0, 10)
        features_NF[4, 2] = np.inf
        with pytest.raises(DataError, match="'pt_1' for 1 of its 10 events"):
            ShuffledBatches(source_of(data), 1).inputs.checked(features_NF, "ten events")


@pytest.mark.parametrize("keep", [0, 10**9])
def test_ordered_batches_are_the_source_in_order(data: SkimData, keep: int) -> None:
    batches = OrderedBatches(source_of(data), 50, keep)
    for _ in range(2):
        found: list[Batch] = list(batches)
        assert rows_of(found) == list(range(N))
        assert max(len(batch.features_NF) for batch in found) == 50


def test_a_few_events_come_from_all_over_the_skim(data: SkimData) -> None:
    few = few_events(source_of(data), 24)
    assert few.n_events == 24
    assert len(set(few.rows_N)) == 24
    assert few.rows_N[0] == 0 and few.rows_N[-1] > 0.9 * N
    np.testing.assert_array_equal(few.weight_N, few.rows_N)
    assert few_events(few, 24) is few


# The array of row numbers, their classes and weights stay in memory, 16 B for every event; the features are 160 B.
BOUNDED = """
import sys, threading, time
from pathlib import Path
import numpy as np, psutil
from tests.skims import Events, write_skim
from utils.loading import EventSource, SkimData
from utils.loading.shuffled import ShuffledBatches
from utils.readers.skim import SkimFile

folder, buffer = Path(sys.argv[1]), float(sys.argv[2])
N, F = 250_000, 40
rng = np.random.default_rng(0)
path = folder / "train.h5"
if not path.exists():
    cont = {f"f{i}": rng.random(N, dtype=np.float32) for i in range(F)}
    write_skim(path, Events(cont, {}, {"evt": np.arange(N, dtype=np.uint64)}, np.arange(N) % 2, 2), steps=())
    sys.exit()
with SkimFile(path) as skim:
    data = SkimData.open(skim)
    source = EventSource(data, np.arange(N), np.ones(N, np.float32))
    source.target_N
    data.features(0, 20_000)
    process, peak, over = psutil.Process(), 0, False
    before = process.memory_info().rss
    def watch():
        global peak
        while not over:
            peak = max(peak, process.memory_info().rss - before)
            time.sleep(0.001)
    thread = threading.Thread(target=watch)
    thread.start()
    seen = sum(len(b.features_NF) for e in range(2) for b in ShuffledBatches(source, 1000, 1, int(buffer)).epoch(e))
    over = True
    thread.join()
    assert seen == 2 * N
    print(peak)
"""


def test_memory_is_bounded_by_the_buffer(tmp_path: Path) -> None:
    def peak(buffer: float) -> float:
        command = [sys.executable, "-c", BOUNDED, str(tmp_path), str(buffer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
        assert done.returncode == 0, done.stderr
        return float(done.stdout or 0)

    peak(0)  # writes the skim
    all_bytes = 250_000 * (40 * 4 + 16)
    a_tenth = peak(all_bytes / 10)
    assert a_tenth < 0.45 * all_bytes, f"{a_tenth / 1e6:.1f} MB with a tenth of {all_bytes / 1e6:.1f} MB"
    assert peak(2 * all_bytes) > 0.8 * all_bytes, "the measurement sees what is kept"

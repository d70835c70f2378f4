"""Bins that depend on the values alone, and the hundred of them that are shown."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from utils.describing import histogram as module
from utils.describing.binning import N_BINS, binned
from utils.describing.histogram import MAX_BINS, SparseHistogram, key_values, order_keys

finite = st.floats(allow_nan=False, allow_infinity=False)


def filled(*pieces: np.ndarray) -> SparseHistogram:
    histogram = SparseHistogram()
    for piece in pieces:
        if len(piece):
            histogram.add(piece, piece.min(), piece.max())
    return histogram


def same(first: SparseHistogram, second: SparseHistogram) -> bool:
    return (
        first.level == second.level
        and np.array_equal(first.bins, second.bins)
        and np.array_equal(first.counts, second.counts)
    )


@given(st.lists(finite, min_size=1))
@example([-0.0, 0.0, 5e-324, -5e-324, 1.7e308])
def test_keys_have_the_order_of_the_values(values: list[float]) -> None:
    keys = order_keys(np.array(values))
    assert np.array_equal(np.argsort(keys, kind="stable"), np.argsort(np.array(values) + 0.0, kind="stable"))
    assert np.array_equal(key_values(keys), np.array(values))


@settings(max_examples=60)
@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.float16, np.int8, np.int64, np.uint64]),
        st.integers(1, 400),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    st.integers(1, 5),
    st.integers(2, 40),  # one for either sign at least
    st.randoms(),
)
def test_chunks_order_and_merging_change_nothing(values: np.ndarray, n_parts: int, n_bins: int, random) -> None:
    before = module.MAX_BINS, module._SAMPLE, module._NARROW
    module.MAX_BINS, module._SAMPLE, module._NARROW = n_bins, 2 * n_bins, 50
    try:
        whole = filled(values)
        shuffled = values.copy()
        random.shuffle(shuffled)
        pieces = np.array_split(shuffled, n_parts)
        merged = SparseHistogram()
        for piece in reversed(pieces):
            merged.merge(filled(piece))
        assert same(whole, filled(*pieces))
        assert same(whole, merged)
        assert whole.n_values == len(values)
        assert len(whole.bins) <= n_bins
    finally:
        module.MAX_BINS, module._SAMPLE, module._NARROW = before


@pytest.mark.parametrize("name", ["normal", "spectrum", "sentinel", "numbers", "narrow", "decades"])
def test_large_samples_in_any_chunks(name: str) -> None:
    rng = np.random.default_rng(3)
    n = 50_000
    values = {
        "normal": rng.standard_normal(n).astype(np.float32),
        "spectrum": rng.exponential(30, n),
        "sentinel": np.where(rng.random(n) < 0.4, -999.0, rng.standard_normal(n)),
        "numbers": rng.integers(0, 10**10, n),
        "narrow": 125 + 0.01 * rng.standard_normal(n),
        "decades": 10 ** rng.uniform(-25, 0, n),
    }[name]
    whole = filled(values)
    assert same(whole, filled(*np.array_split(rng.permutation(values), 9)))
    assert 100 < len(whole.bins) <= MAX_BINS
    lower, upper = whole.edges()
    counts = [
        np.count_nonzero((values >= low) & (values < high)) for low, high in zip(lower[:50], upper[:50], strict=False)
    ]
    if lower[0] >= 0:
        assert counts == whole.counts[:50].tolist()
    median = np.median(values)
    assert whole.quantiles((0.5,))[0] == pytest.approx(median, rel=0.02, abs=0.02)


def shown(values: np.ndarray):
    return binned(filled(values), values.min(), values.max(), values.dtype.kind in "iu")


@settings(max_examples=80)
@given(hnp.arrays(np.float64, st.integers(1, 300), elements=finite))
def test_every_value_is_shown_or_counted_outside(values: np.ndarray) -> None:
    found = shown(values)
    assert found.counts.sum() + found.below + found.above == len(values)
    assert len(found.counts) == len(found.edges) - 1 <= 2 * N_BINS
    assert (np.diff(found.edges) > 0).all()


def test_a_sentinel_stands_beside_the_histogram() -> None:
    rng = np.random.default_rng(5)
    found = shown(np.where(rng.random(20_000) < 0.6, -999.0, rng.normal(0, 1, 20_000)))
    assert 11_000 < found.below < 13_000
    assert found.above == 0
    assert -8 < found.edges[0] < found.edges[-1] < 8
    assert len(found.counts) > 40


def test_rare_outliers_do_not_spoil_the_histogram() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(50, 5, 20_000)
    values[:20] = rng.uniform(1e20, 1e30, 20)
    found = shown(values)
    assert found.above == 20
    assert np.count_nonzero(found.counts) > 30


def test_small_integers_have_a_bin_each() -> None:
    found = shown(np.array([0, 1, 1, 7, -3], np.int32))
    assert found.scale == "value"
    assert found.edges.tolist() == list(range(-3, 9))
    assert found.counts.tolist() == [1, 0, 0, 1, 2, 0, 0, 0, 0, 0, 1]


def test_many_decades_get_a_logarithmic_axis() -> None:
    found = shown(10 ** np.random.default_rng(1).uniform(-20, 0, 5000))
    assert found.scale == "log"
    assert np.count_nonzero(found.counts) > 50


def test_a_constant_is_one_bin() -> None:
    found = shown(np.full(10, 3.5))
    assert found.counts.tolist() == [10]
    assert found.edges[0] <= 3.5 < found.edges[1]


def test_nothing_shows_nothing() -> None:
    assert binned(SparseHistogram(), 0, 0, False) is None


def test_integers_beyond_float64_are_counted() -> None:
    values = np.array([2**64 - 1, 0, 2**63], np.uint64)
    assert filled(values).n_values == 3
    close = np.array([2**62 + 5, 2**62 + 3000], np.int64)
    assert same(filled(close), filled(close[:1], close[1:]))

"""Moments over blocks of entries: NumPy's, whatever is missing, and the same to the bit when parts are put together."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.preprocessing import moments as module
from utils.preprocessing.moments import Moments, MomentsAccumulator

BLOCK = 32
N = 150


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ENTRIES", BLOCK)
        patch.setattr(module, "TILE_ROWS", 10)
        yield


def values(seed: int, n_features: int = 4, missing: float = 0.0) -> np.ndarray:
    """Far from zero, so that cancellation would show; the last feature is missing in whole blocks."""
    rng = np.random.default_rng(seed)
    made = rng.normal(1e4, [1, 2, 3, 4][:n_features], (N, n_features)).astype(np.float32)
    if missing:
        made[:, 1:][rng.random((N, n_features - 1)) < missing] = np.nan
        made[: 2 * BLOCK, -1] = np.nan
        made[-BLOCK:, -1] = np.nan
    return made


def gathered(rows: np.ndarray, edges: list[int], **options: Any) -> MomentsAccumulator:
    accumulator = MomentsAccumulator(rows.shape[1], **options)
    for start, stop in zip([0, *edges], [*edges, N], strict=True):
        accumulator.add(0, np.arange(start, stop), rows[start:stop])
    return accumulator


def same(one: Moments, other: Moments) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("seed", range(3))
def test_they_are_numpys(seed: int, missing: float) -> None:
    rows = values(seed, missing=missing)
    wide = rows.astype(np.float64)
    made = gathered(rows, [], n_padded=3 if missing else 0).result()
    assert made.n_rows == N
    assert made.mean_F == pytest.approx(np.nanmean(wide, axis=0), rel=1e-14)
    assert made.std_F == pytest.approx(np.nanstd(wide, axis=0), rel=1e-9)
    assert np.array_equal(made.minimum_F, np.nanmin(wide, axis=0))
    assert np.array_equal(made.maximum_F, np.nanmax(wide, axis=0))
    assert np.array_equal(made.count_F, (~np.isnan(wide)).sum(axis=0))


def test_the_covariance_is_numpys() -> None:
    rows = values(5)
    made = gathered(rows, [], with_covariance=True).result()
    assert made.covariance_FF == pytest.approx(np.cov(rows.astype(np.float64).T, bias=True), rel=1e-8, abs=1e-8)
    assert np.array_equal(made.covariance_FF, made.covariance_FF.T)


def test_what_no_event_has() -> None:
    rows = values(1)
    rows[:, 3] = np.nan
    made = gathered(rows, [], n_padded=1).result()
    assert [part[3] for part in (made.mean_F, made.std_F, made.minimum_F, made.maximum_F, made.count_F)] == [0.0] * 5
    assert same(MomentsAccumulator(2).result(), MomentsAccumulator(2, n_padded=1).result())


@given(edges=st.lists(st.integers(0, N), max_size=5).map(sorted), kind=st.sampled_from(["flat", "padded", "pca"]))
def test_chunks_do_not_show(edges: list[int], kind: str) -> None:
    options = {"flat": {}, "padded": {"n_padded": 3}, "pca": {"with_covariance": True}}[kind]
    rows = values(2, missing=0.5 if kind == "padded" else 0.0)
    assert same(gathered(rows, edges, **options).result(), gathered(rows, [], **options).result())


@given(borders=st.lists(st.integers(1, N // BLOCK), max_size=3, unique=True).map(sorted))
def test_parts_put_together(borders: list[int]) -> None:
    """Parts begin at multiples of a block; what they saved is added in order."""
    rows = values(3, missing=0.3)
    edges = [0, *(border * BLOCK for border in borders), N]
    whole = MomentsAccumulator(4, n_padded=3)
    for start, stop in pairwise(edges):
        part = MomentsAccumulator(4, n_padded=3, keep_blocks=True)
        part.add(0, np.arange(start, stop), rows[start:stop])
        whole.sums.add_sums(np.array(part.sums.blocks))
    assert same(whole.result(), gathered(rows, [], n_padded=3).result())

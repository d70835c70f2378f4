"""No result depends on how the input is cut into chunks or baskets, nor on threads."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.factory import Factory
from utils.preprocessing.jagged_spec import ImageSpec
from utils.preprocessing.spec import MinMaxSpec, NonFinite, PcaSpec, Process, Sample, ScalerSpec

CONFIGS: dict[str, dict[str, Any]] = {
    "scaler": {},
    "pca": {"pca": PcaSpec(n_components=2, whiten=True)},
    "everything": {
        "cont_features": ("pt_1", "m_vis", "eta_1", "lead_pt", "ht", "log_eta"),
        "new_variables": {
            "lead_pt": "nth(jet_pt, 0, default=-1)",
            "ht": "sum(jet_pt)",
            "nbig": "count(jet_pt[jet_pt>30])",
            "log_eta": "np.log(eta_1)",
        },
        "non_finite": NonFinite("drop"),
        "cat_features": ("njets", "is_mc"),
        "misc_features": ("evt", "nbig", "entry", "w_class_imbalance"),
        "clip": {"lead_pt": (0.0, 80.0), "njets": (None, 2.0)},
        # The first events of a file are cut away, so that the first chunks have no rows.
        "input_samples": (
            Sample("signal", (Process("A", "(entry>150) & (pt_1>20)", 0), Process("B", "pt_1<40", 1))),
            Sample("taus", (Process("T", "entry>=250", 2),)),
        ),
        "compute_w_CP": True,
        "pca": PcaSpec(),
        "compression": "blosc:lz4",
    },
    "lists": {
        "padded_features": {"jet_pt": 2, "big": 1},
        "new_variables": {"big": "jet_pt[jet_pt>30]", "odd": "jet_pt % 2 - 1", "flag": "jet_pt > 40"},
        "jagged_features": {"jets": ("jet_pt", "flag"), "big": ("big",)},
        "images": {
            "dense": ImageSpec(
                x="jet_pt", y="odd", range=((0.0, 99.0), (-1.0, 1.0)), bins=(5, 4), channels={"w": "odd", "n": None}
            ),
            "sparse": ImageSpec(
                x="jet_pt",
                y="odd",
                z="jet_pt",
                range=((0.0, 99.0), (-1.0, 1.0), (9.0, 60.0)),
                bins=(3, 3, 3),
                channels={"w": "odd"},
                views=("xy", "yz", "zx"),
                storage="sparse",
            ),
        },
        "minmax": MinMaxSpec(),
        "fill_padding": -1.0,
        "compression": "blosc:lz4",
    },
    "prediction": {
        "for_training": False,
        "input_samples": (Sample.from_config("taus", ""), Sample.from_config("rare", "")),
    },
}


@pytest.fixture(scope="module")
def reference(skims: Callable[..., Any]) -> Callable[[str], Any]:
    """One chunk per file."""
    return cache(lambda name: skims(**CONFIGS[name]))


@settings(max_examples=16, deadline=None)
@given(
    name=st.sampled_from(list(CONFIGS)),
    chunk_size=st.integers(9, 500),
    basket=st.sampled_from([23, 100, 1000]),
    n_threads=st.sampled_from([1, 3]),
)
def test_chunks_baskets_and_threads_do_not_show(
    toys: Callable[[int], Path],
    skims: Callable[..., Any],
    reference: Callable[[str], Any],
    assert_same: Callable[..., None],
    name: str,
    chunk_size: int,
    basket: int,
    n_threads: int,
) -> None:
    other = skims(toys(basket), **{**CONFIGS[name], "chunk_size": chunk_size, "n_threads": n_threads})
    assert_same(reference(name), other)


def test_one_event_at_a_time(
    toy_file: Callable[..., Any],
    ntuple: Callable[..., Path],
    skims: Callable[..., Any],
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    for name, seed in (("signal", 1), ("taus", 2)):
        ntuple(tmp_path / f"{name}.root", toy_file(30, seed), basket=7)
    samples = (Sample("signal", (Process("S", None, 0),)), Sample("taus", (Process("T", None, 1),)))
    options = {"input_samples": samples, "pca": PcaSpec()}
    assert_same(skims(tmp_path, **options), skims(tmp_path, **options, chunk_size=1))


def test_sums_over_many_events_are_equal_to_the_bit(
    ntuple: Callable[..., Path],
    skims: Callable[..., Any],
    assert_same: Callable[..., None],
    steps_file: Path,
    tmp_path: Path,
) -> None:
    """Enough events that any order of summation would show in the last bits of means, components and yields."""
    rng = np.random.default_rng(0)
    n = 150_000
    for name in ("a", "b"):
        columns = {
            "x": rng.normal(1000, 1, n).astype(np.float32),
            "y": rng.exponential(1, n).astype(np.float32),
            "weight": rng.normal(0.1, 1, n),
        }
        ntuple(tmp_path / f"{name}.root", columns, basket=17_000)
    options = {
        "input_samples": (
            Sample("a", (Process("A", "y>0.3", 0), Process("A2", "y<1.5", 1))),
            Sample("b", (Process("B", None, 1),)),
        ),
        "cont_features": ("x", "y"),
        "cat_features": None,
        "misc_features": ("w_class_imbalance", "class_weight", "w_cp"),
        "pca": PcaSpec(),
    }
    for steps in ((), (Factory(f"{steps_file}:SignedLog"),)):
        whole = skims(tmp_path, **options, steps=steps, chunk_size=1_000_000)
        for chunk_size in (65_536, 19_001):
            assert_same(whole, skims(tmp_path, **options, steps=steps, chunk_size=chunk_size))


def test_the_scaler_alone_and_no_scaler(skims: Callable[..., Any], assert_same: Callable[..., None]) -> None:
    for scaler in (ScalerSpec(with_mean=False), ScalerSpec(with_std=False), None):
        assert_same(skims(scaler=scaler), skims(scaler=scaler, chunk_size=31))


def test_moments_of_padded_features_over_many_blocks(
    ntuple: Callable[..., Path], skims: Callable[..., Any], assert_same: Callable[..., None], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    n = 150_000
    counts = rng.integers(0, 4, n)
    counts[:70_000] = counts[:70_000].clip(0, 1)  # no second object in the first block
    columns = {"x": rng.normal(1000, 1, n).astype(np.float32)}
    columns["jet"] = ak.unflatten(rng.normal(1000, 1, counts.sum()).astype(np.float32), counts)
    ntuple(tmp_path / "a.root", columns, basket=17_000)
    options = {
        "input_samples": (Sample("a", (Process("A", "x>999.5", 0),)),),
        "cont_features": ("x",),
        "padded_features": {"jet": 2},
        "cat_features": None,
        "misc_features": None,
        "weight_name": None,
    }
    for kind in ({}, {"scaler": None, "minmax": MinMaxSpec()}):
        whole = skims(tmp_path, **options, **kind, chunk_size=1_000_000)
        assert_same(whole, skims(tmp_path, **options, **kind, chunk_size=19_001))

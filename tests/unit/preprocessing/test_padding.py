"""Jagged columns as continuous features: the first objects of every event, NaN and a mask where there are fewer."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import ConfigError, DataError
from utils.factory import Factory
from utils.preprocessing.jagged import objects_of
from utils.preprocessing.padding import Kept, fill_matrix, pad
from utils.preprocessing.spec import NonFinite, PcaSpec, Process, Sample, ScalerSpec

lists = st.lists(st.lists(st.floats(-1e6, 1e6, width=32), max_size=6), max_size=12)


def naive(values: list[list[float]], length: int) -> tuple[np.ndarray, np.ndarray]:
    padded = np.full((len(values), length), np.nan, np.float32)
    mask = np.ones((len(values), length), bool)
    for i, objects in enumerate(values):
        for j, value in enumerate(objects[:length]):
            padded[i, j], mask[i, j] = value, False
    return padded, mask


def jagged(values: list[list[float]], dtype: Any = np.float32) -> ak.Array:
    flat = np.array([x for objects in values for x in objects], dtype)
    return ak.unflatten(flat, np.array([len(objects) for objects in values], np.int64))


@given(values=lists, length=st.integers(1, 5), order=st.randoms())
def test_pad_is_a_loop_over_events(values: list[list[float]], length: int, order: Any) -> None:
    """Also for events that were picked, repeated or cut off an array: their values are not in one piece then."""
    array = jagged(values)
    rows = [order.randrange(len(values)) for _ in values]
    cases = [(array, values), (array[rows], [values[i] for i in rows]), (array[1:], values[1:])]
    for given_array, expected in cases:
        padded, mask = pad(given_array, length)
        wanted, wanted_mask = naive(expected, length)
        assert padded.dtype == np.float32
        assert np.array_equal(padded, wanted, equal_nan=True)
        assert np.array_equal(mask, wanted_mask)


def test_a_nan_among_the_values_is_not_padding() -> None:
    padded, mask = pad(ak.Array([[1.0, np.nan], [2.0]]), 2)
    assert np.isnan(padded).tolist() == [[False, True], [False, True]]
    assert mask.tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int64, np.bool_, np.float64])
def test_any_number_becomes_float32(dtype: Any) -> None:
    padded, _ = pad(jagged([[1, 0], [], [1]], dtype), 2)
    assert padded.dtype == np.float32
    assert np.array_equal(padded, [[1, 0], [np.nan, np.nan], [1, np.nan]], equal_nan=True)


def test_lists_of_a_fixed_length() -> None:
    values = np.arange(6.0).reshape(2, 3)
    for array in (values, ak.Array(ak.to_regular(ak.Array(values.tolist())))):
        assert np.array_equal(pad(array, 2)[0], values[:, :2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3), "one value per event"),
        (ak.Array([[[1.0]], []]), "list of values for each object"),
        (ak.Array([["a"], []]), "not a list of numbers"),
        (ak.Array(["ab", "c"]), "not a list of numbers"),
        (ak.Array([[{"pt": 1.0}]]), "not a list of numbers"),
    ],
)
def test_what_cannot_be_padded(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"(?s)'jets'.*{message}.*file.root"):
        objects_of(values, "jets", "file.root")


@given(values=lists, n_flat=st.integers(0, 3), lengths=st.lists(st.integers(1, 7), max_size=3))
def test_a_matrix_of_flat_and_padded_columns(values: list[list[float]], n_flat: int, lengths: list[int]) -> None:
    flat = [np.arange(len(values)) + i for i in range(n_flat)]
    other = [objects[::2] for objects in values]
    columns = [jagged(values) if i % 2 else jagged(other) for i in range(len(lengths))]
    matrix = np.empty((len(values), n_flat + sum(lengths)), np.float32)
    kept = [Kept.of(objects_of(c, "c", "file"), length) for c, length in zip(columns, lengths, strict=True)]
    fill_matrix(matrix, flat, kept)
    parts = [column[:, None] for column in flat]
    parts += [naive(c.to_list(), length)[0] for c, length in zip(columns, lengths, strict=True)]
    expected = np.hstack([np.empty((len(values), 0)), *parts])
    assert np.array_equal(matrix, expected, equal_nan=True)
    assert [k.n_truncated for k in kept] == [
        sum(len(objects) > length for objects in c.to_list()) for c, length in zip(columns, lengths, strict=True)
    ]


PADDED: dict[str, Any] = {
    "cont_features": ("pt_1", "m_vis"),
    "padded_features": {"jet_pt": 2, "big": 3},
    "new_variables": {"big": "jet_pt[jet_pt>30]"},
    "cat_features": ("njets",),
}
COLUMNS = ("pt_1", "m_vis", "jet_pt_0", "jet_pt_1", "big_0", "big_1", "big_2")


def expected_jets(toys: Path, node: dict[str, Any], length: int, above: float = -1) -> np.ndarray:
    """The padded jets of a node's rows, from the ntuples themselves."""
    import uproot

    by_run = {}
    for path in toys.glob("*.root"):
        arrays = uproot.open(path)["events"].arrays(["run", "evt", "jet_pt"])
        jets = [[pt for pt in event if pt > above] for event in arrays["jet_pt"].to_list()]
        by_run.update(dict(zip(zip(arrays["run"].to_list(), arrays["evt"].to_list(), strict=True), jets, strict=True)))
    rows = [by_run[key] for key in zip(node["run"].tolist(), node["evt"].tolist(), strict=True)]
    return naive(rows, length)[0]


def test_a_skim_with_padded_features(
    skims: Callable[..., Any], toys: Callable[[int], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        done = skims(**PADDED)
    assert done.metadata["train"]["cont_features"] == list(COLUMNS)
    assert done.groups["train"]["cont_features"] == COLUMNS
    n_truncated = 0
    for node in done.nodes.values():
        jets = np.stack([node["jet_pt_0"], node["jet_pt_1"]], axis=1)
        assert np.array_equal(jets, expected_jets(toys(100), node, 2), equal_nan=True)
        big = np.stack([node[f"big_{i}"] for i in range(3)], axis=1)
        assert np.array_equal(big, expected_jets(toys(100), node, 3, 30), equal_nan=True)
        n_truncated += int((node["njets"] > 2).sum())
        assert np.isnan(node["jet_pt_0"]).any()
    assert done.metadata["test"]["lists"]["truncated/jet_pt"] == n_truncated > 0
    assert f"jet_pt: {n_truncated:,} events have more than 2 objects" in caplog.text
    assert done.result.pipe.inputs == COLUMNS


def test_the_scaler_looks_at_what_is_there(skims: Callable[..., Any]) -> None:
    done = skims(**PADDED)
    ((_, scaler),) = done.result.pipe.steps
    for i, name in enumerate(COLUMNS):
        values = done.nodes["train"][name].astype(np.float64)
        assert scaler.mean[i] == pytest.approx(np.nanmean(values), rel=1e-12)
        assert scaler.scale[i] == pytest.approx(np.nanstd(values), rel=1e-12)
    matrix = np.stack([done.nodes["train"][name] for name in COLUMNS], axis=1)
    assert np.array_equal(np.isnan(done.result.pipe.transform(matrix)), np.isnan(matrix))


def test_objects_that_no_event_has(skims: Callable[..., Any]) -> None:
    done = skims(**{**PADDED, "padded_features": {"jet_pt": 9}})
    assert np.isnan(done.both("jet_pt_8")).all()
    ((_, scaler),) = done.result.pipe.steps
    assert (scaler.mean[-1], scaler.scale[-1]) == (0.0, 1.0)


def test_clip_takes_the_branch(skims: Callable[..., Any]) -> None:
    done = skims(**{**PADDED, "clip": {"jet_pt": (None, 50.0)}})
    assert np.nanmax(done.both("jet_pt_0")) == 50
    assert np.nanmax(done.both("big_0")) > 50
    with pytest.raises(ConfigError, match="'jet_pt_0' is no feature.*did you mean 'jet_pt'.*name of their branch"):
        skims(**{**PADDED, "clip": {"jet_pt_0": (None, 50.0)}})


@pytest.fixture
def spoilt(tmp_path: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]) -> dict[str, Any]:
    """A file in which one jet of entry 7 is NaN, as is one beyond the padded length in entry 9."""
    columns = toy_file(40, 3)
    counts = np.full(40, 2)
    counts[9] = 3
    pt = np.linspace(1, 80, counts.sum()).astype(np.float32)
    pt[2 * 7 + 1] = np.nan
    pt[2 * 9 + 2] = np.inf
    columns["jet_pt"] = ak.unflatten(pt, counts)
    ntuple(tmp_path / "signal.root", columns)
    ntuple(tmp_path / "taus.root", toy_file(40, 4))
    samples = (Sample("signal", (Process("S", None, 0),)), Sample("taus", (Process("T", None, 1),)))
    return {"input_samples": samples, "cont_features": ("pt_1",), "padded_features": {"jet_pt": 2}}


def test_the_policy_is_for_values_not_for_padding(
    skims: Callable[..., Any], spoilt: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="1 NaN or infinite values of 'jet_pt', the first in entry 7"):
        skims(tmp_path, **spoilt)
    everything = {**spoilt, "train_size": 1.0, "misc_features": ("entry",), "output_samples": ("train", "rest")}
    dropped = skims(tmp_path, **everything, non_finite=NonFinite("drop"))
    assert dropped.result.n_rows["train"] == 79
    assert dropped.of("train", file_index=0)["entry"].tolist() == [i for i in range(40) if i != 7]
    assert np.isnan(dropped.nodes["train"]["jet_pt_1"]).any()  # of the other sample
    filled = skims(tmp_path, **everything, non_finite=NonFinite("fill", -5.0))
    row = filled.of("train", file_index=0, entry=7)
    assert row["jet_pt_1"].tolist() == [-5.0]
    assert np.isnan(filled.nodes["train"]["jet_pt_1"]).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pca": PcaSpec()}, "principal components need every feature.*pca"),
        ({"padded_features": {"jet_pt": 0}}, "length 0.*padded_features.jet_pt"),
        ({"cont_features": ("jet_pt_1",)}, "'jet_pt_1' is listed twice"),
        ({"cat_features": ("jet_pt_0",)}, "'jet_pt_0' is both"),
        ({"cont_features": (), "cat_features": (), "padded_features": {}}, "there are no features"),
    ],
)
def test_configs_that_make_no_sense(skims: Callable[..., Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        skims(**{**PADDED, **changes})


def test_flat_branches_are_not_padded(skims: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="'m_vis' has one value per event.*cont_features"):
        skims(**{**PADDED, "cont_features": ("pt_1",), "padded_features": {"m_vis": 2}})


def test_padded_features_alone(skims: Callable[..., Any]) -> None:
    done = skims(cont_features=(), padded_features={"jet_pt": 1}, cat_features=None)
    assert done.groups["train"]["cont_features"] == ("jet_pt_0",)


def test_a_value_in_place_of_padding(skims: Callable[..., Any]) -> None:
    done = skims(**PADDED, fill_padding=0.0)
    assert [name for name, _ in done.result.pipe.steps] == ["scaler", "fill_padding"]
    matrix = np.stack([done.nodes["train"][name] for name in COLUMNS], axis=1)
    assert np.isnan(matrix).any()  # skims are raw
    models_see = done.result.pipe.transform(matrix)
    assert (models_see[np.isnan(matrix)] == 0).all()
    assert (models_see[~np.isnan(matrix)] != 0).all()
    assert json.loads(done.pipe_text)["steps"][-1] == {"step": "fill_padding", "value": 0.0}
    some = done.result.pipe.restricted(["jet_pt_1", "m_vis"])
    assert np.array_equal(some.transform(matrix[:, [3, 1]]), models_see[:, [3, 1]])


def test_users_steps_with_padding(skims: Callable[..., Any], steps_file: Path) -> None:
    """Their effect on the moments is measured where there is something; NaN of their own are refused."""
    done = skims(**PADDED, steps=(Factory(f"{steps_file}:Root"),), clip={"m_vis": (0.0, None)})
    (_, root), (_, scaler) = done.result.pipe.steps
    values = np.sqrt(done.nodes["train"]["big_1"])
    assert scaler.mean[5] == pytest.approx(np.nanmean(values.astype(np.float64)), rel=1e-7)
    assert root.state() == {"unit": 1.0}
    with pytest.raises(DataError, match="Root' of the input pipe makes NaN"):
        skims(**{**PADDED, "cont_features": ("eta_1",)}, steps=(Factory(f"{steps_file}:Root"),))


def test_without_a_scaler(skims: Callable[..., Any]) -> None:
    done = skims(**PADDED, scaler=None)
    assert done.result.pipe.steps == ()
    assert skims(**{**PADDED, "scaler": ScalerSpec(with_std=False)}).result.pipe.steps[0][1].scale == (1.0,) * 7

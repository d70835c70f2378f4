"""What becomes of branches on their way into a skim: new variables, clips, types, the policy for NaN."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pytest

from utils.errors import ConfigError, DataError, ExpressionError
from utils.logs import captured_log
from utils.preprocessing.spec import NonFinite, Process, Sample
from utils.readers.root.tree import RootTree

TAUS = (Sample("taus", (Process("Taus", None, 0),)),)


@pytest.fixture(scope="module")
def taus(toy_file: Callable[..., Any]) -> dict[str, Any]:
    """The branches of the sample `taus`."""
    return toy_file(330, 2, run=3)


def in_order(run: Any, name: str) -> np.ndarray:
    """A column of both nodes in the order of the input."""
    return run.both(name)[np.argsort(run.both("entry"))]


def test_columns_keep_their_values_and_types(skims: Callable[..., Any], taus: dict[str, Any]) -> None:
    run = skims(
        input_samples=TAUS, misc_features=("evt", "run", "weight", "is_mc", "m_vis2"), new_variables={"m_vis2": "m_vis"}
    )
    types = {
        "pt_1": "f4",
        "m_vis": "f4",
        "njets": "i4",
        "evt": "u8",
        "run": "u4",
        "weight": "f4",
        "is_mc": "u1",
        "m_vis2": "f8",
    }
    branches = {**taus, "m_vis2": taus["m_vis"]}
    for name, dtype in types.items():
        assert run.both(name).dtype == np.dtype(dtype), name
        assert np.array_equal(in_order(run, name), branches[name].astype(dtype)), name
    assert in_order(run, "entry").tolist() == list(range(330))
    assert set(run.both("group_name")) == {"Taus"}
    assert set(run.both("file_index").tolist()) == {0}


def test_pandas_sees_the_same(skims: Callable[..., Any]) -> None:
    run = skims()
    for node, path in run.result.outputs.items():
        for group, columns in run.groups[node].items():
            frame = pd.read_hdf(path, key=group)
            assert tuple(frame.columns) == columns
            for name in columns:
                assert np.array_equal(frame[name].to_numpy(), run.nodes[node][name]), name
    assert pd.read_hdf(run.result.outputs["train"], key="misc_features")["evt"].min() > 2**53


@pytest.mark.parametrize("compression", ["blosc:lz4", "blosc:zstd"])
def test_compression_changes_nothing_that_is_read(
    skims: Callable[..., Any], assert_same: Callable[..., None], compression: str
) -> None:
    assert_same(skims(), skims(compression=compression))


def test_new_variables_from_flat_and_jagged_branches(skims: Callable[..., Any], taus: dict[str, Any]) -> None:
    run = skims(
        input_samples=TAUS,
        new_variables={
            "ratio": "pt_1 / m_vis",
            "twice": "2*ratio",
            "lead": "nth(jet_pt, 0, default=-10)",
            "ht": "sum(jet_pt[jet_pt>30])",
            "half": "entry % 2",
            "one": "1",
        },
        cont_features=("twice", "lead", "ht"),
        cat_features=("half",),
        misc_features=("one", "entry"),
    )
    jets = taus["jet_pt"]
    expected = {
        "twice": 2 * taus["pt_1"] / taus["m_vis"],
        "lead": ak.to_numpy(ak.fill_none(ak.firsts(jets), -10)),
        "ht": ak.to_numpy(ak.sum(jets[jets > 30], axis=1)),
        "half": np.arange(330) % 2,
        "one": np.ones(330),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(in_order(run, name), values, rtol=1e-5, err_msg=name)


def test_a_new_variable_may_take_the_place_of_a_branch(skims: Callable[..., Any], taus: dict[str, Any]) -> None:
    run = skims(input_samples=TAUS, new_variables={"njets": "where(njets>2, 2, njets)"})
    assert np.array_equal(in_order(run, "njets"), np.minimum(taus["njets"], 2))


def test_features_are_clipped_and_cuts_see_what_was_before(skims: Callable[..., Any], taus: dict[str, Any]) -> None:
    run = skims(
        input_samples=(Sample("taus", (Process("Taus", "pt_1>45", 0),)),),
        clip={"pt_1": (None, 50.0), "njets": (1.0, 2.0), "eta_1": (-1.0, 1.0)},
        misc_features=("eta_2",),
        new_variables={"eta_2": "eta_1"},
    )
    keep = taus["pt_1"] > 45
    assert np.array_equal(in_order(run, "pt_1"), np.minimum(taus["pt_1"][keep], 50))
    assert np.array_equal(in_order(run, "njets"), np.clip(taus["njets"][keep], 1, 2))
    assert np.array_equal(in_order(run, "eta_2"), taus["eta_1"][keep]), "only the feature is clipped"


def test_a_cut_may_use_branches_and_variables_that_are_not_kept(
    skims: Callable[..., Any], taus: dict[str, Any]
) -> None:
    run = skims(
        input_samples=(Sample("taus", (Process("Taus", "(ht>50) & ~is_mc & (m_vis<100)", 0),)),),
        new_variables={"ht": "sum(jet_pt)"},
        cont_features=("pt_1",),
        cat_features=None,
        misc_features=("evt",),
    )
    keep = (ak.to_numpy(ak.sum(taus["jet_pt"], axis=1)) > 50) & ~taus["is_mc"] & (taus["m_vis"] < 100)
    assert in_order(run, "evt").tolist() == taus["evt"][keep].tolist()
    assert run.groups["train"].keys() == {"cont_features", "misc_features", "origin", "targets"}


def test_only_what_is_used_is_read(skims: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    chunks = RootTree.chunks

    def spy(tree: RootTree, names: Any, *args: Any) -> Any:
        names = set(names)
        read.update(names)
        return chunks(tree, names, *args)

    monkeypatch.setattr(RootTree, "chunks", spy)
    skims(
        input_samples=(Sample("taus", (Process("Taus", "is_mc", 0),)),),
        input_branches=("pt_1", "m_vis", "eta_1"),
        new_variables={"ht": "sum(jet_pt)", "unused": "m_vis+eta_1"},
        cont_features=("pt_1", "ht"),
        cat_features=None,
        misc_features=None,
        identity=("evt",),
        weight_name="weight",
    )
    assert read == {"is_mc", "jet_pt", "pt_1", "evt", "weight"}


# -- NaN and infinities ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def holes(tmp_path_factory: pytest.TempPathFactory, ntuple: Callable[..., Path]) -> Path:
    """A sample with NaN in `x` (3 events), infinities in `y` (2 events, one of them the same), and a clean `z`."""
    x, y = np.arange(60, dtype=np.float64), np.arange(60, dtype=np.float32)
    x[[5, 20, 41]] = np.nan
    y[[20, 50]] = [np.inf, -np.inf]
    folder = tmp_path_factory.mktemp("holes")
    ntuple(folder / "a.root", {"x": x, "y": y, "z": np.arange(60, dtype=np.float32)}, basket=10)
    return folder


HOLES: dict[str, Any] = {
    "input_samples": (Sample("a", (Process("A", None, 0),)),),
    "cont_features": ("x", "y", "z"),
    "cat_features": None,
    "misc_features": None,
    "weight_name": None,
}


def test_nan_is_an_error_with_branch_file_and_count(skims: Callable[..., Any], holes: Path) -> None:
    with pytest.raises(DataError) as raised:
        skims(holes, **HOLES)
    for part in ("'x' (3)", "'y' (2)", "a.root", "non_finite"):
        assert part in str(raised.value)
    assert "'z'" not in str(raised.value)
    assert raised.value.where == str(holes / "a.root")


@pytest.mark.parametrize("chunk_size", [200_000, 7])
def test_events_with_nan_are_dropped_and_counted(skims: Callable[..., Any], holes: Path, chunk_size: int) -> None:
    with captured_log() as log:
        run = skims(holes, **HOLES, non_finite=NonFinite("drop"), chunk_size=chunk_size)
    assert sorted(run.both("entry").tolist()) == sorted(set(range(60)) - {5, 20, 41, 50})
    assert any("dropped 4 events" in line for line in log)


@pytest.mark.parametrize("chunk_size", [200_000, 7])
def test_nan_is_filled(skims: Callable[..., Any], holes: Path, chunk_size: int) -> None:
    run = skims(holes, **HOLES, non_finite=NonFinite("fill", -999.0), chunk_size=chunk_size)
    assert np.flatnonzero(in_order(run, "x") == -999).tolist() == [5, 20, 41]
    assert np.flatnonzero(in_order(run, "y") == -999).tolist() == [20, 50]
    assert np.array_equal(in_order(run, "z"), np.arange(60))


def test_nan_outside_of_the_selection_and_of_the_features_is_nobodys_business(
    skims: Callable[..., Any], holes: Path
) -> None:
    samples = (Sample("a", (Process("A", "(x>-1) & (abs(y)<1e9)", 0),)),)
    run = skims(holes, **{**HOLES, "input_samples": samples})
    assert len(run.both("x")) == 56
    run = skims(holes, **{**HOLES, "cont_features": ("z",), "misc_features": ("x",)})
    assert np.isnan(in_order(run, "x")).sum() == 3


def test_what_float32_cannot_hold_is_infinite(skims: Callable[..., Any], holes: Path) -> None:
    changes = {**HOLES, "cont_features": ("big",), "new_variables": {"big": "1e200*entry"}}
    with pytest.raises(DataError, match=r"'big' \(59\)"):
        skims(holes, **changes)
    run = skims(holes, **changes, non_finite=NonFinite("drop"))
    assert run.both("entry").tolist() == [0]


def test_a_clip_mends_infinities_but_not_nan(skims: Callable[..., Any], holes: Path) -> None:
    run = skims(holes, **{**HOLES, "cont_features": ("y",)}, clip={"y": (0.0, 40.0)})
    assert in_order(run, "y").max() == 40
    with pytest.raises(DataError, match=r"'x' \(3\)"):
        skims(holes, **HOLES, clip={"x": (0.0, 40.0), "y": (0.0, 40.0)})


def test_a_weight_must_be_finite(skims: Callable[..., Any], holes: Path) -> None:
    changes = {**HOLES, "cont_features": ("z",), "weight_name": "x"}
    with pytest.raises(DataError, match=r"weight 'x' is NaN or infinite for 3 selected events, in .*a\.root"):
        skims(holes, **changes)
    skims(holes, **{**changes, "input_samples": (Sample("a", (Process("A", "x>-1", 0),)),)})


def test_nan_among_the_categories(skims: Callable[..., Any], holes: Path) -> None:
    with pytest.raises(DataError, match=r"'x' must be an integer, but 3 of 60 events .*a\.root"):
        skims(holes, **{**HOLES, "cont_features": ("z",), "cat_features": ("x",)})


@pytest.mark.parametrize("chunk_size", [200_000, 7])
def test_nan_among_the_categories_is_dropped_or_filled_as_well(
    skims: Callable[..., Any], holes: Path, chunk_size: int
) -> None:
    changes = {**HOLES, "cont_features": ("z",), "cat_features": ("x",), "chunk_size": chunk_size}
    run = skims(holes, **changes, non_finite=NonFinite("drop"))
    assert sorted(run.both("entry").tolist()) == sorted(set(range(60)) - {5, 20, 41})
    run = skims(holes, **changes, non_finite=NonFinite("fill", -1.0))
    assert np.flatnonzero(in_order(run, "x") == -1).tolist() == [5, 20, 41]
    with pytest.raises(DataError, match="'x' must be an integer"):
        skims(holes, **changes, non_finite=NonFinite("fill", 0.5))


@pytest.mark.parametrize(
    ("value", "policy"),
    [("error", NonFinite()), ("drop", NonFinite("drop")), ({"fill": "-1e2"}, NonFinite("fill", -100.0))],
)
def test_policies_as_they_are_written(value: Any, policy: NonFinite) -> None:
    assert NonFinite.from_config(value, "non_finite") == policy


@pytest.mark.parametrize("policy", [NonFinite(), NonFinite("drop"), NonFinite("fill", -9.0)])
def test_policies_as_a_resolved_config_has_them(policy: NonFinite) -> None:
    assert NonFinite.from_config({"policy": policy.policy, "value": policy.value}, "non_finite") == policy


@pytest.mark.parametrize(
    "value", ["skip", {"fill": "x"}, {"fill": None}, {"fill": ".nan"}, {"fill": float("inf")}, {}, 3, None]
)
def test_policies_that_are_none(value: Any) -> None:
    with pytest.raises(ConfigError, match="is no policy"):
        NonFinite.from_config(value, "non_finite")


# -- values of the wrong kind ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory, ntuple: Callable[..., Path]) -> Path:
    """Branches of every kind."""
    folder = tmp_path_factory.mktemp("kinds")
    n = 40
    columns = {
        "x": np.arange(n, dtype=np.float32),
        "name": ak.Array(["a", "bc"] * (n // 2)),
        "jets": ak.Array([[1.0, 2.0], []] * (n // 2)),
        "half": np.arange(n) / 2,
        "huge": np.arange(n) + 2**33,
    }
    ntuple(folder / "a.root", columns)
    return folder


@pytest.mark.parametrize("role", ["cont_features", "cat_features", "misc_features", "identity", "weight_name"])
@pytest.mark.parametrize(
    ("branch", "problem"), [("name", "'name' is text, not a number"), ("jets", "'jets' has several values")]
)
def test_text_and_jagged_branches_are_named(
    skims: Callable[..., Any], kinds: Path, role: str, branch: str, problem: str
) -> None:
    changes = {**HOLES, "cont_features": ("x",), role: branch if role == "weight_name" else (branch,)}
    with pytest.raises(DataError, match=rf"{problem}.*a\.root:events"):
        skims(kinds, **changes)


@pytest.mark.parametrize(
    ("branch", "problem"),
    [("half", "'half' must be an integer, but 20 of 40"), ("huge", "'huge' holds categories beyond")],
)
def test_categories_are_integers_of_32_bits(skims: Callable[..., Any], kinds: Path, branch: str, problem: str) -> None:
    with pytest.raises(DataError, match=rf"{problem}.*a\.root:events"):
        skims(kinds, **{**HOLES, "cont_features": ("x",), "cat_features": (branch,)})


def test_an_identity_that_is_no_integer(skims: Callable[..., Any], kinds: Path) -> None:
    with pytest.raises(DataError, match=r"'half' must be an integer"):
        skims(kinds, **{**HOLES, "cont_features": ("x",)}, identity=("half",))


@pytest.mark.parametrize("text", ["x.__class__", "__import__('os')", "open('a')", "x > 1 and x < 3", "x >"])
def test_expressions_that_may_not_be(skims: Callable[..., Any], kinds: Path, text: str) -> None:
    with pytest.raises(ExpressionError, match="new_variables.v"):
        skims(kinds, **{**HOLES, "cont_features": ("v",)}, new_variables={"v": text})
    with pytest.raises(ExpressionError, match=r"input_samples\.a\.A\.cut"):
        skims(kinds, **{**HOLES, "cont_features": ("x",), "input_samples": (Sample("a", (Process("A", text, 0),)),)})

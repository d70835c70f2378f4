"""Objects of an event: reductions, positions, selections, four-vectors."""

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import ExpressionError
from utils.expressions import Expression

COLUMNS = {
    "Jet_pt": ak.Array(np.array([50.0, 30.0, 20.0, 40.0], dtype=np.float32)),
    "met": np.array([10.0, 20.0, 30.0]),
    "n": np.array([3, 0, 1], dtype=np.uint32),
}
COLUMNS["Jet_pt"] = ak.unflatten(COLUMNS["Jet_pt"], [3, 0, 1])
COLUMNS["Jet_eta"] = ak.Array([[0.1, -2.0, 1.0], [], [3.0]])
COLUMNS["Jet_id"] = ak.values_astype(ak.Array([[1, 0, 1], [], [0]]), np.uint8)
COLUMNS["Mu_pt"] = ak.Array([[25.0], [], [5.0]])


def evaluate(text, columns=COLUMNS):
    return Expression.parse(text).evaluate(columns)


NAN = np.nan


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum(Jet_pt)", [100, 0, 40]),
        ("ak.sum(Jet_pt, axis=1)", [100, 0, 40]),
        ("sum(Jet_pt > 25)", [2, 0, 1]),
        ("count(Jet_pt)", [3, 0, 1]),
        ("ak.num(Jet_pt)", [3, 0, 1]),
        ("max(Jet_pt)", [50, NAN, 40]),
        ("max(Jet_pt, default=-10)", [50, -10, 40]),
        ("min(Jet_pt, default=0)", [20, 0, 40]),
        ("max(Jet_id, default=-999)", [1, -999, 0]),
        ("mean(Jet_pt)", [100 / 3, NAN, 40]),
        ("any(Jet_pt > 45)", [True, False, False]),
        ("all(Jet_pt > 25)", [False, True, True]),
        ("argmax(Jet_eta)", [2, NAN, 0]),
        ("nth(Jet_pt, 0, default=-10)", [50, -10, 40]),
        ("nth(Jet_pt, 1, default=-10)", [30, -10, -10]),
        ("nth(Jet_pt, -1)", [20, NAN, 40]),
        ("nth(Jet_id, 2, default=-1)", [1, -1, -1]),
        ("nth(Jet_pt, argmax(Jet_eta), default=-1)", [20, -1, 40]),
        ("nth(Jet_pt, n - 1, default=-1)", [20, -1, 40]),
        ("nth(sort_by(Jet_eta, Jet_pt), 0, default=-9)", [1.0, -9, 3.0]),
        ("nth(Jet_eta[argsort(Jet_pt, ascending=False)], 0, default=-9)", [0.1, -9, 3.0]),
        ("nth(sort(Jet_eta, ascending=False), 0)", [1.0, NAN, 3.0]),
        ("count(Jet_pt[(Jet_pt > 25) & (abs(Jet_eta) < 2.5)])", [2, 0, 0]),
        ("sum(Jet_pt[:, :2])", [80, 0, 40]),
        ("firsts(Jet_pt)", [50, NAN, 40]),
        ("fill_none(ak.firsts(Jet_pt), -10)", [50, -10, 40]),
        ("firsts(Jet_pt) > 0", [True, False, True]),
        ("is_none(firsts(Jet_pt))", [False, True, False]),
        ("sum(Jet_pt * met)", [1000, 0, 1200]),
        ("sum(where(Jet_pt > 25, Jet_pt, met))", [90, 0, 40]),
        ("sum(where(met > 15, Jet_pt, 1))", [3, 0, 40]),
        ("sum(Jet_id - 1)", [-1, 0, -1]),
        ("any(Jet_id == 300)", [False, False, False]),
        ("sum(clip(Jet_pt, 25, 45))", [100, 0, 40]),
        ("sum(concatenate(Jet_pt, Mu_pt))", [125, 0, 45]),
        ("max(abs(pair_first(Jet_eta) - pair_second(Jet_eta)), default=-1)", [3.0, -1, -1]),
        ("count(pair_first(Jet_pt))", [3, 0, 0]),
        ("min(abs(cross_first(Jet_pt, Mu_pt) - cross_second(Jet_pt, Mu_pt)), default=-1)", [5, -1, 35]),
        ("max(round(Jet_eta / 3, 1), default=0)", [0.3, 0, 1.0]),
        ("max(Jet_pt, met) > 45", None),
    ],
)
def test_values(text, expected):
    result = evaluate(text)
    if expected is None:
        assert isinstance(result, ak.Array)
        return
    assert isinstance(result, np.ndarray)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_types_follow_from_types_alone():
    full = {**COLUMNS, "Jet_pt": COLUMNS["Jet_pt"][[0, 2, 2]], "Jet_id": COLUMNS["Jet_id"][[0, 2, 2]]}
    for text in (
        "max(Jet_pt)",
        "max(Jet_id)",
        "nth(Jet_id, 0)",
        "firsts(Jet_id)",
        "argmax(Jet_pt)",
        "firsts(Jet_pt) > 0",
    ):
        assert evaluate(text).dtype == evaluate(text, full).dtype, text
    for text in (
        "max(Jet_pt, default=-10)",
        "nth(Jet_pt, 0, default=-10)",
        "nth(Jet_pt, 0)",
        "sum(where(Jet_pt > 0, Jet_pt, 9))",
    ):
        assert evaluate(text).dtype == np.float32, text
    assert evaluate("nth(Jet_id, 0, default=-1)").dtype.kind == "i"


def test_nan_objects_are_left_out_of_extremes():
    columns = {"x": ak.Array([[NAN, 1.0, 2.0], [2.0, 1.0, NAN]])}
    assert evaluate("max(x)", columns).tolist() == [2.0, 2.0] and evaluate("min(x)", columns).tolist() == [1.0, 1.0]
    assert np.isnan(evaluate("sum(x)", columns)).all()


def test_jagged_results_stay_jagged():
    assert evaluate("Jet_pt[Jet_id == 1]").tolist() == [[50.0, 20.0], [], []]
    assert evaluate("np.sqrt(Jet_pt - 30) > 3").tolist() == [[True, False, False], [], [True]]
    assert evaluate("Jet_pt[argmax(Jet_pt, keepdims=True)]").tolist()[0] == [50.0]


def test_fixed_size_lists_are_lists_of_objects():
    columns = {"x": np.arange(6.0).reshape(3, 2), "y": np.array([1.0, 10.0, 100.0])}
    assert evaluate("sum(x * y)", columns).tolist() == [1.0, 50.0, 900.0]
    square = {"x": np.arange(4.0).reshape(2, 2), "y": np.array([1.0, 10.0])}
    assert evaluate("x * y", square).tolist() == [[0.0, 1.0], [20.0, 30.0]]
    assert evaluate("x[:, 0]", square).tolist() == [0.0, 2.0]


def test_flat_and_text_awkward_columns():
    columns = {"x": ak.Array([1.0, 2.0]), "s": ak.Array(["et", "mt"])}
    assert isinstance(evaluate("x", columns), np.ndarray)
    assert evaluate("(s == 'et') | (x > 1)", columns).tolist() == [True, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Jet_pt[:, 0]", r"nth\(x, 0, default"),
        ("Jet_pt[met > 15]", "one per event"),
        ("Jet_pt[Mu_pt > 1]", "different numbers of objects"),
        ("Jet_pt + Mu_pt", "cross_first"),
        ("delta_r(Jet_pt, Jet_pt, Mu_pt, Mu_pt)", "different numbers of objects"),
        ("sum(met)", "one value per event"),
        ("max(met)", "maximum"),
        ("nth(met, 0)", "one value per event"),
        ("any(Jet_pt)", "any\\(x > 0\\)"),
        ("count(Jet_pt > 30)", "sum\\(condition\\)"),
        ("met[met > 1]", "cut"),
        ("met[:, 0]", "one value per event"),
        ("nth(Jet_pt, met)", "whole number"),
    ],
)
def test_misuse_is_explained(text, words):
    with pytest.raises(ExpressionError, match=words):
        evaluate(text)


def test_a_jagged_cut_asks_for_any_or_all():
    with pytest.raises(ExpressionError, match=r"any\(…\) or all\(…\)"):
        Expression.parse("Jet_pt > 30").evaluate_mask(COLUMNS, 3)
    assert Expression.parse("firsts(Jet_pt) > 45").evaluate_mask(COLUMNS, 3).tolist() == [True, False, False]


_events = st.lists(st.lists(st.floats(-100, 100, width=32), max_size=4), min_size=2, max_size=8)
_TEXTS = [
    "sum(x) + y",
    "max(x, default=-10)",
    "min(x)",
    "nth(x, 1)",
    "x[x > 0]",
    "argmax(x)",
    "mean(x * y)",
    "nth(sort_by(x, -x), 0, default=-1)",
    "count(x) > 1",
    "any(x > y)",
    "firsts(x)",
    "max(delta_r(x, x, y, y), default=0)",
    "max(pair_first(x) * pair_second(x), default=-1)",
    "x - max(x, default=0)",
    "where(y > 0, x, y)",
    "mass(x, x, y, abs(x))",
    "pt(y, y) + eta(y, y, y)",
]


@given(events=_events, cut=st.integers(0, 8), text=st.sampled_from(_TEXTS))
@settings(max_examples=150, deadline=None)
def test_chunks_are_invisible(events, cut, text):
    x = ak.values_astype(ak.Array([*events, [1.0]])[:-1], np.float32)  # typed even where all events are empty
    columns = {"x": x, "y": np.linspace(-2, 2, len(events)).astype(np.float32)}
    whole = evaluate(text, columns)
    cut = min(cut, len(events))
    parts = [evaluate(text, {k: v[s] for k, v in columns.items()}) for s in (slice(None, cut), slice(cut, None))]
    if isinstance(whole, np.ndarray):
        assert all(part.dtype == whole.dtype for part in parts)
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    else:
        joined = ak.concatenate(parts)
        assert ak.num(joined).tolist() == ak.num(whole).tolist()
        np.testing.assert_array_equal(ak.to_numpy(ak.flatten(joined)), ak.to_numpy(ak.flatten(whole)))


def test_inputs_are_never_modified():
    columns = {"x": COLUMNS["Jet_pt"], "y": COLUMNS["met"]}
    before = {name: ak.to_list(value) for name, value in columns.items()}
    for text in _TEXTS:
        evaluate(text, columns)
    assert {name: ak.to_list(value) for name, value in columns.items()} == before

"""What the language computes on flat branches, and what it needs."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import ExpressionError, MissingColumnError
from utils.expressions import CONSTANTS, FUNCTIONS, Expression, describe_functions, parse_cut

N = 5
COLUMNS = {
    "a": np.array([1.5, -2.0, np.nan, 0.0, 4.0], dtype=np.float32),
    "b": np.array([2.0, 0.5, 3.0, -1.0, 0.0]),
    "n": np.array([3, 0, -2, 7, 1], dtype=np.int64),
}


def evaluate(text, columns=COLUMNS, **keywords):
    return Expression.parse(text).evaluate(columns, **keywords)


_leaves = st.sampled_from(["a", "b", "n", "2", "0.5", "3", "pi"])


def _grow(inner):
    one = st.sampled_from(["sqrt", "np.exp", "abs", "numpy.sin", "math.floor", "isnan", "np.log1p"])
    two = st.sampled_from(["maximum", "np.arctan2", "hypot"])
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(one, inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(two, inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        inner.map(lambda t: f"(-({t} * 1.0))"),
        st.tuples(inner, st.sampled_from(["<", ">=", "==", "!="]), inner, inner, inner).map(
            lambda t: f"where(({t[0]} {t[1]} {t[2]}) & ~({t[3]} > {t[4]}), {t[0]}, {t[3]})"
        ),
    )


_trees = st.recursive(_leaves, _grow, max_leaves=8)


@given(_trees)
@settings(max_examples=300, deadline=None)
def test_flat_values_are_numpy_s(text):
    """Python's own evaluation is the reference; only the library may not use it."""
    names = {name: getattr(np, name) for name in ("sqrt", "abs", "maximum", "hypot", "where", "isnan", "pi")}
    names |= {"np": np, "numpy": np, "math": np, "a": COLUMNS["a"].copy(), "b": COLUMNS["b"], "n": COLUMNS["n"]}
    with np.errstate(all="ignore"):
        try:
            reference = eval(text, {"__builtins__": {}}, names)  # noqa: S307 (texts of this file)
        except (ZeroDivisionError, TypeError):  # constants alone, and conditions as numbers, are ours to define
            return
    result = evaluate(text)
    if np.ndim(reference) and reference.dtype.kind == "f" and result.dtype == reference.dtype:
        np.testing.assert_array_equal(result, reference)
    else:
        np.testing.assert_allclose(result.astype(float), np.broadcast_to(reference, N).astype(float), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a>1.) & (b>0.5)", [True, False, False, False, False]),
        ("(a > 1) | ~(b > 0)", [True, False, False, True, True]),
        ("(a > 1) ^ (b > 1)", [False, False, True, False, True]),
        ("a != a", [False, False, True, False, False]),
        ("n // 2", [1, 0, -1, 3, 0]),
        ("n % 2", [1, 0, 0, 1, 1]),
        ("n ** 2", [9, 0, 4, 49, 1]),
        ("2 ** -1 * n", [1.5, 0, -1, 3.5, 0.5]),
        ("(n > 0) + (b > 0)", [2, 1, 1, 1, 1]),
        ("(n > 0) * (b > 0)", [True, False, False, False, False]),
        ("clip(n, 0, 5)", [3, 0, 0, 5, 1]),
        ("np.clip(n, 0, 5)", [3, 0, 0, 5, 1]),
        ("where(b > 0, n, -10)", [3, 0, -2, -10, -10]),
        ("max(n, b, 1)", [3, 1, 3, 7, 1]),
        ("min(n, b)", [2, 0, -2, -1, 0]),
        ("round(b * 0.26, 1)", [0.5, 0.1, 0.8, -0.3, 0.0]),
        ("(n & 1) == 1", [True, False, False, True, True]),
        ("delta_phi(3, -3) + 0*n", [6 - 2 * np.pi] * N),
    ],
)
def test_values(text, expected):
    result = evaluate(text)
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    assert result.dtype.kind in ("b" if isinstance(expected[0], bool) else "if")


def test_nan_and_infinity_pass_without_a_warning(recwarn):
    with np.errstate(all="raise"):
        result = evaluate("log(a) / (b - b)")
    assert np.isnan(result[2]) and not recwarn.list
    assert evaluate("log(0 * b)")[0] == -np.inf


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int8])
def test_narrow_and_unsigned_counters_do_not_wrap(dtype):
    columns = {"njets": np.array([0, 1, 100], dtype=dtype)}
    np.testing.assert_array_equal(evaluate("njets - 1", columns), [-1, 0, 99])
    np.testing.assert_array_equal(evaluate("-njets", columns), [0, -1, -100])
    np.testing.assert_array_equal(evaluate("njets * 100000", columns), [0, 100_000, 10_000_000])
    np.testing.assert_array_equal(evaluate("where(njets > 0, njets, -1000)", columns), [-1000, 1, 100])
    np.testing.assert_array_equal(evaluate("njets < 300", columns), [True] * 3)


def test_a_constant_takes_the_type_of_its_branch():
    assert evaluate("1/3 * a + 2**0.5").dtype == np.float32
    assert evaluate("where(a > 0, a, -10)").dtype == np.float32
    assert evaluate("n % 2**2 + 3*(5 - 1)").dtype == np.int64


def test_constants_are_broadcast():
    np.testing.assert_array_equal(evaluate("1"), np.ones(N))
    assert evaluate("True", {}, n_events=3).tolist() == [True] * 3
    np.testing.assert_array_equal(evaluate("sqrt(4)", n_events=2), [2.0, 2.0])
    np.testing.assert_allclose(evaluate("np.pi / math.e", n_events=1), [np.pi / np.e])
    with pytest.raises(ExpressionError, match="n_events"):
        evaluate("1", {})


@pytest.mark.parametrize(
    "text", ["9**9**9", "2**(3**(4**5))", "(10**300)*(10**300)*10**300", "1/0", "7 // 0", "(-8)**0.5"]
)
def test_constants_neither_hang_nor_raise(text):
    assert evaluate(text, {}, n_events=1).dtype == np.float64


@pytest.mark.parametrize("dtype", ["U3", "S3", object])
def test_text_branches_compare_with_text(dtype):
    columns = {"channel": np.array(["et", "mt", "et"], dtype=dtype), "pt": np.array([1.0, 2.0, 3.0])}
    assert evaluate("channel == 'et'", columns).tolist() == [True, False, True]
    assert evaluate('("et" != channel) & (pt > 1)', columns).tolist() == [False, True, False]
    with pytest.raises(ExpressionError, match="compares numbers with the text"):
        evaluate("pt == 'et'", columns)


def test_text_branches_do_not_compare_with_numbers():
    with pytest.raises(ExpressionError, match="quotes"):
        evaluate("channel == 1", {"channel": np.array(["1"])})


@pytest.mark.parametrize(
    "text",
    ["\n(a>1.) \\\n  & (b>0.5)\n", "(a>1.)\n & \n (b>0.5)", "(a>1.) \\ & (b>0.5)", "  (a>1.)\t& (b>0.5) \\"],
)
def test_continued_lines(text):
    assert evaluate(text).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("sqrt(2*pt*met*(1-cos(dphi)))", {"pt", "met", "dphi"}),
        ("np.log(part_pt/jet_pt)", {"part_pt", "jet_pt"}),
        ("pt(px, py) + pt + np", {"px", "py", "pt", "np"}),
        ("pi * e + nan + inf + np.e", set()),
        ("nth(Jet_pt[Jet_ID], argmax(Jet_pt), default=-10)", {"Jet_pt", "Jet_ID"}),
        ('branch("Jet.pt") * branch("e")', {"Jet.pt", "e"}),
        ("(Jet.PT > 20) & (muon.p4.px < leaflist.x)", {"Jet.PT", "muon.p4.px", "leaflist.x"}),
        ("np.sqrt(MET.px**2 + MET . py**2) / math.pi", {"MET.px", "MET.py"}),
        ("pt(jet.px, jet.py) + e.pt + sum.x", {"jet.px", "jet.py", "e.pt", "sum.x"}),
        ("channel == 'et'", {"channel"}),
        ("x[:, :2]", {"x"}),
    ],
)
def test_uses(text, uses):
    assert Expression.parse(text).uses == uses


@given(_trees)
@settings(max_examples=50, deadline=None)
def test_uses_is_sufficient_and_needed(text):
    expression = Expression.parse(text)
    full = expression.evaluate({name: COLUMNS[name] for name in expression.uses}, n_events=N)
    np.testing.assert_array_equal(full, expression.evaluate(COLUMNS))
    for name in expression.uses:
        with pytest.raises(MissingColumnError):
            expression.evaluate({key: value for key, value in COLUMNS.items() if key != name})


def test_a_branch_may_have_the_name_of_a_function():
    columns = {"pt": np.array([3.0]), "mass": np.array([4.0]), "Jet.pt": np.array([1.0])}
    assert evaluate("pt(pt, mass) + mass", columns).tolist() == [9.0]
    assert evaluate('branch("Jet.pt")', columns).tolist() == [1.0]


def test_a_name_with_dots_is_a_branch():
    columns = {"MET.px": np.array([3.0]), "jet.vertex.z": np.array([4.0])}
    assert evaluate("hypot(MET.px, jet.vertex.z) + branch('MET.px')", columns).tolist() == [8.0]
    with pytest.raises(MissingColumnError, match=r"no branch 'MET\.pxx'.*did you mean 'MET\.px'"):
        evaluate("MET.pxx > 3", columns)


def test_a_missing_branch_names_the_nearest():
    with pytest.raises(MissingColumnError, match=r"no branch 'jet_ptt'.*new_variables\.x.*'jet_pt'") as caught:
        Expression.parse("2*jet_ptt", where="new_variables.x").evaluate({"jet_pt": np.ones(1), "met": np.ones(1)})
    assert caught.value.nearest == "jet_pt"


def test_inputs_are_never_modified():
    columns = {name: value.copy() for name, value in COLUMNS.items()}
    for value in columns.values():
        value.flags.writeable = False
    evaluate("clip(-a, 0, 1) + where(n > 0, n ** 2, b)", columns)


def test_masks():
    mask = Expression.parse("(a > 1) | isnan(a)").evaluate_mask(COLUMNS, N)
    assert mask.dtype == np.bool_ and mask.tolist() == [True, False, True, False, True]
    for nothing in (None, "", "  \n", True, 1, "1", "True"):
        assert parse_cut(nothing).evaluate_mask({}, 3).tolist() == [True] * 3
    assert parse_cut("0").evaluate_mask(COLUMNS).tolist() == [False] * N


@pytest.mark.parametrize("text", ["a", "n", "(a > 1) + (b > 1)", "2", "n & (b > 1)"])
def test_a_number_is_no_mask(text):
    with pytest.raises(ExpressionError, match="not a condition") as caught:
        parse_cut(text, where="common_cut").evaluate_mask(COLUMNS, N)
    assert caught.value.where == "common_cut" and "> 0" in caught.value.remedy


def test_expressions_travel_to_workers():
    expression = Expression.parse("sqrt(b) > nth(x, 0, default=-1)", where="cut")
    assert pickle.loads(pickle.dumps(expression)) == expression


def test_the_table_of_functions_is_whole():
    table = describe_functions()
    for name, function in FUNCTIONS.items():
        assert f"`{name}({function.signature})`" in table and function.description
    assert not set(FUNCTIONS) & set(CONSTANTS)


def test_flat_expressions_import_neither_awkward_nor_vector():
    program = (
        "import sys, numpy as np; from utils.expressions import Expression, DerivedVariables\n"
        "e = Expression.parse('where((a > 1) & (pt(a, a) < 9), clip(max(a, 2), 0, 5), delta_phi(a, 1))')\n"
        "assert e.evaluate({'a': np.ones(3)}).shape == (3,)\n"
        "print([m for m in ('awkward', 'vector', 'uproot', 'pandas') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

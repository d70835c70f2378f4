"""What the language refuses, and what it says to do instead."""

import numpy as np
import pytest

from utils.errors import ExpressionError
from utils.expressions import Expression


def refusal(text):
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text, where="new_variables.x")
    assert caught.value.where == "new_variables.x"
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "__class__", "().__class__", "a.__class__", "(1).__class__.__bases__", "'x'.__class__", "np.__loader__",
        "__import__('os')", "np.load('x')", "np.lib", "np.lib.npyio.load('x')", "np.fromfile('x')", "math.os",
        "ak.from_parquet('x')", "np.sqrt", "np.sqrt.at(a, 1)", "open('x')", "eval('1')", "exec('1')",
        "getattr(a, 'b')", "a()", "(a)(b)", "f()()", "lambda: 1", "lambda x: x", "[x for x in a]", "{x for x in a}",
        "{x: 1 for x in a}", "sum(x for x in a)", "(x := 1)", "[1, 2]", "(1, 2)", "a, b", "{1}", "{1: 2}", "f'{a}'",
        "f''", "b'x'", "'x'", "'x' * 1000", "'x' + 'y'", "1j", "None", "...", "a[...]", "a[0]", "a[-1]", "a[1:3]",
        "a[:, :, 0]", "a[0, 1]", "a[b, 0]", "a['x']", "a[().x]", "a[:, b]", "a[:, 0.5]", "a[:, (1, 2)]", "*a",
        "sqrt(*a)", "sqrt(**a)", "sqrt(a, out=b)", "sqrt(a, where=b)", "sqrt()", "sqrt(a, b)", "clip(a)",
        "clip(a, 0, 1, out=2)", "sum(a, axis=0)", "sum(a, axis=None)", "max(a, default=b)", "max(a, initial=0)",
        "nth(a, 0, default=1, default=2)", "branch(a)", "branch()", "branch('a', 'b')", "branch('a' + 'b')",
        "branch(name='a')", "a if b else c", "a is b", "a in b", "a not in b", "not a", "a and b", "a or b",
        "a @ b", "a << 2", "a >> 1", "a < 'x'", "await a", "yield a", "import os", "a; b", "a = 1", "a == 1 # b",
        "a && b", "a || b", "!a", "a b", "(a", "a)", "a)+(b", "", "  ", "a\0", "print(a)", "a.sum()",
        "a.__class__.__bases__", "a.b.__class__", "a._b", "_a.b", "__a.b", "a.__init__.b", "(a + b).c", "a[b].c",
        "a().b", "(1).real", "'x'.y", "np.a.b", "ak.a", "math.a.b", "numpy.a", "awkward.a", "a.b.c(d)", "a.b()",
        "a.__call__(b)",
        "np.nth(a, 0)", "x.y(a)", "a^2", "2^a", "a & 0.5", "~1.5", "'a' == 1",
    ],
)  # fmt: skip
def test_refused(text):
    assert refusal(text).remedy


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("20 < pt < 40", "(20 < pt) & (pt < 40)"),
        ("20 < pt + 1 <= 40", "(20 < pt + 1) & (pt + 1 <= 40)"),
        ("a > 1 & b > 2", "(a > 1) & (b > 2)"),
        ("a>1 | b>2 & c>3", "(a > 1) | (b > 2) & (c > 3)"),
        ("a > 1 & trigger", "(a > 1) & trigger"),
        ("a > 1 & ~(b > 2)", "(a > 1) & ~(b > 2)"),
        ("a > 1 & 20 < pt < 40", "(a > 1) & ((20 < pt) & (pt < 40))"),
        ("(a + 1) * 2 > 1 & b > 2", "((a + 1) * 2 > 1) & (b > 2)"),
        ("a > 1 and b > 2", "(a > 1) & (b > 2)"),
        ("a > 1 or b > 2 or c", "(a > 1) | (b > 2) | (c)"),
        ("not a > 1", "~(a > 1)"),
        ("a if b > 1 else c", "where(b > 1, a, c)"),
        ("a = 1", "Write == to compare"),
        ("(a = 1) & (b > 2)", "Write == to compare"),
        ("Jet_pt[0]", "nth(Jet_pt, 0, default=…)"),
        ("Jet_pt.sum()", "sum(Jet_pt)"),
        ("ak.concatenate([a, b], axis=1)", "concatenate(a, b)"),
        ("Jet._pt > 3", 'branch("Jet._pt")'),
        ("pt^2", "pt ** 2"),
        ("!a", "~("),
        ("a && b", "&"),
        ("a # comment", "comments"),
    ],
)
def test_the_remedy_is_exact(text, remedy):
    assert remedy in refusal(text).remedy


@pytest.mark.parametrize("text", ["(flags & 4) > 0", "0 < (flags & 4)", "(a > 1) & (b > 2)", "((a) > (1)) & (b)"])
def test_parentheses_settle_precedence(text):
    Expression.parse(text)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("sqr(a)", "sqrt"),
        ("np.sqr(a)", "np.sqrt"),
        ("np.load('x')", "np.log"),
        ("np.nth(a, 0)", "nth"),
        ("maxx(a, b)", "max"),
        ("nth(a, 0, defalt=1)", "default"),
    ],
)
def test_the_nearest_function_is_named(text, nearest):
    assert refusal(text).nearest == nearest


def test_the_error_shows_the_text_and_the_column():
    error = refusal("(pt > 20) & (eta._x < 2)")
    assert "at column 14 of '(pt > 20) & (eta._x < 2)'" in str(error) and "new_variables.x" in str(error)
    assert "at column 16" in str(refusal("  (é > 1)\n & ( b._x)"))
    long = refusal(" & ".join(f"(branch_number_{i} > {i})" for i in range(40)) + " & open('x')")
    assert "…" in str(long) and "open('x')" in str(long) and len(str(long)) < 300


@pytest.mark.parametrize(
    "text",
    [
        "-" * 3000 + "a",
        "~" * 250 + "a",
        "(" * 300 + "a" + ")" * 300,
        "+".join(["a"] * 5000),
        "sqrt(" * 150 + "a" + ")" * 150 + "+1" * 150,
        "a" * 30_000,
        "1" * 5000,
    ],
)
def test_monsters_are_refused_quickly(text):
    assert len(str(refusal(text))) < 400


def test_long_cuts_are_no_monsters():
    text = " & ".join(["(a > 0)"] * 150)
    assert Expression.parse(text).evaluate({"a": np.ones(2)}).tolist() == [True, True]


def test_parsing_leaves_no_warning(recwarn):
    refusal("'\\d' + 1")
    refusal("1 is 1")
    assert not recwarn.list


def test_conditions_and_numbers_are_not_confused_while_evaluating():
    columns = {"x": np.array([0.5]), "n": np.array([3])}
    for text, words in [("x & (n > 1)", "joins conditions"), ("n ^ n", "power"), ("~x", "negates a condition")]:
        with pytest.raises(ExpressionError, match=words):
            Expression.parse(text).evaluate(columns)

"""New variables that use one another."""

import numpy as np
import pytest

from utils.errors import ExpressionError, MissingColumnError
from utils.expressions import DerivedVariables, Expression

COLUMNS = {"pt": np.array([1.0, 2.0]), "met": np.array([3.0, 4.0]), "njets": np.array([2, 9]), "unused": np.zeros(2)}


def test_order_does_not_matter_and_needs_are_exact():
    derived = DerivedVariables({"c": "b + met", "b": "2 * a", "a": "pt + 1", "d": "unused"})
    assert derived.needs(["c"]) == {"pt", "met"}
    assert derived.needs(["a", "run"]) == {"pt", "run"}
    assert derived.needs([]) == frozenset()
    needed = {name: COLUMNS[name] for name in derived.needs(["c", "b", "met"])}
    values = derived.compute(["c", "b", "met"], needed)
    assert list(values) == ["c", "b", "met"]
    assert (
        values["c"].tolist() == [7.0, 10.0] and values["b"].tolist() == [4.0, 6.0] and values["met"] is COLUMNS["met"]
    )


def test_a_definition_may_shadow_its_branch():
    derived = DerivedVariables({"half": "njets / 2", "njets": "clip(njets, 0, 5)"})
    assert derived.needs(["half"]) == {"njets"}
    values = derived.compute(["half", "njets"], COLUMNS)
    assert values["njets"].tolist() == [2, 5] and values["half"].tolist() == [1.0, 2.5]
    assert COLUMNS["njets"].tolist() == [2, 9]


def test_a_derived_name_hides_a_branch_from_the_others():
    derived = DerivedVariables({"met": "pt * 10", "x": "met"})
    assert derived.needs(["x"]) == {"pt"}
    assert derived.compute(["x"], COLUMNS)["x"].tolist() == [10.0, 20.0]


def test_each_definition_is_evaluated_once(monkeypatch):
    evaluated = []
    original = Expression.evaluate
    monkeypatch.setattr(
        Expression, "evaluate", lambda self, *rest: evaluated.append(self.text) or original(self, *rest)
    )
    DerivedVariables({"a": "pt + 1", "b": "a * a", "c": "a + b", "d": "met"}).compute(["c", "b", "a", "c"], COLUMNS)
    assert sorted(evaluated) == ["a * a", "a + b", "pt + 1"]


@pytest.mark.parametrize(
    ("definitions", "cycle"),
    [({"a": "b", "b": "a"}, "a → b → a"), ({"x": "a", "a": "b+1", "b": "c", "c": "pt*a"}, "a → b → c → a")],
)
def test_a_cycle_is_named(definitions, cycle):
    with pytest.raises(ExpressionError, match=cycle):
        DerivedVariables(definitions)


def test_errors_name_the_definition():
    with pytest.raises(ExpressionError, match=r"new_variables\.bad"):
        DerivedVariables({"good": "pt", "bad": "pt +"})
    with pytest.raises(ExpressionError, match="constant"):
        DerivedVariables({"e": "pt"})
    derived = DerivedVariables({"mt": "mett * pt"})
    with pytest.raises(MissingColumnError, match=r"new_variables\.mt.*'met'"):
        derived.compute(["mt"], COLUMNS)
    with pytest.raises(MissingColumnError, match="'mett'"):
        derived.compute(["mett"], COLUMNS)


def test_constants_get_the_length_of_the_chunk():
    derived = DerivedVariables({"year": "2018", "next": "year + 1"})
    assert derived.needs(["next"]) == frozenset()
    assert derived.compute(["next"], {}, n_events=2)["next"].tolist() == [2019, 2019]

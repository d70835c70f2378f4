"""What a config refers to."""

import pytest

from utils.config.references import is_referenced, referenced_keys


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${common_cut} & (a>1)", {"common_cut"}),
        ("${a.b}/${c}", {"a.b", "c"}),
        ("${a[b]}", {"a.b"}),
        ("${oc.env:HOME}", set()),
        ("${oc.env:HOME,${fallback}}", {"fallback"}),
        ("${choices.${year}}", {"year", "choices"}),
        ("no $ {reference}", set()),
    ],
)
def test_references_of_a_text(text: str, expected: set[str]) -> None:
    assert referenced_keys({"key": text}) == expected


def test_relative_references_and_those_in_lists() -> None:
    config = {"a": {"b": ["${..c}", "${.0}"], "c": 1, "d": "${.c}"}}
    assert referenced_keys(config) == {"a.c", "a.b.0"}


def test_a_key_is_used_when_something_inside_it_is() -> None:
    assert is_referenced("cuts", {"cuts.tight"})
    assert not is_referenced("cut", {"cuts.tight"})

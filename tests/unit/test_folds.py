"""Folds partition the events, by one pure integer function."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import DataError, FoldError
from utils.events import hash_identity, in_training_split
from utils.folds import FoldRule, check_balance

EVENTS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=60)


@given(EVENTS, st.integers(1, 12), st.sampled_from(["modulo", "hash"]), st.randoms(use_true_random=False))
def test_folds_partition_and_never_depend_on_company(events: list[int], n_splits: int, by: str, random: object) -> None:
    rule = FoldRule(n_splits, by, "evt")  # type: ignore[arg-type]
    values = np.array(events, np.uint64)
    fold = rule.assign(values)
    assert fold.dtype == np.int32
    assert ((fold >= 0) & (fold < n_splits)).all()
    order = random.sample(range(len(events)), len(events))  # type: ignore[attr-defined]
    assert np.array_equal(rule.assign(values[order]), fold[order])
    assert [rule.assign(values[i : i + 1])[0] for i in range(len(events))] == fold.tolist()


@given(EVENTS, st.integers(2, 12))
def test_modulo_is_what_ml_framework_does(events: list[int], n_splits: int) -> None:
    fold = FoldRule(n_splits, "modulo", "evt").assign(np.array(events, np.uint64))
    assert fold.tolist() == [event % n_splits for event in events]


def test_event_numbers_beyond_two_to_the_63() -> None:
    assert FoldRule(3, "modulo", "evt").assign(np.array([2**64 - 1], np.uint64)).tolist() == [(2**64 - 1) % 3]


def test_integers_stored_as_floats() -> None:
    assert FoldRule(2, "modulo", "evt").assign(np.array([1.0, 4.0])).tolist() == [1, 0]


def test_the_rule_names_its_column() -> None:
    assert FoldRule(2, "modulo", "evt").column == "evt"
    assert FoldRule(2, "hash", "evt").column == "identity"


def test_hashed_folds_are_even_and_free_of_parity_and_of_the_split() -> None:
    n, n_splits = 60_000, 3
    even = hash_identity([np.arange(0, 2 * n, 2)])
    fold = FoldRule(n_splits, "hash", "evt").assign(even)
    in_train = fold[in_training_split(even, 0.5, 0)]
    for folds in (fold, in_train):
        counts = np.bincount(folds, minlength=n_splits)
        assert (np.abs(counts - len(folds) / n_splits) < 4.5 * np.sqrt(len(folds) * 2 / 9)).all()


def test_hashed_folds_stay_what_they_are() -> None:
    """Frozen numbers: another hash would route events to models that trained on them."""
    fold = FoldRule(5, "hash", "evt").assign(np.arange(12, dtype=np.uint64))
    assert fold.tolist() == [1, 2, 3, 0, 2, 3, 0, 2, 4, 0, 1, 4]
    fold = FoldRule(2, "hash", "evt").assign(np.arange(10_000, dtype=np.uint64))
    assert abs((fold == np.arange(10_000) % 2).sum() - 5000) < 4.5 * 50


@pytest.mark.parametrize("values", [np.array([0.5, 1.0]), np.array([np.nan])])
def test_a_split_feature_that_is_no_integer(values: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"'evt' must be an integer.*, in train\.h5"):
        FoldRule(2, "modulo", "evt").assign(values, "train.h5")


@pytest.mark.parametrize("values", [np.array([3, -1, -2]), np.array([3.0, -1.0, -2.0])])
def test_a_negative_split_feature(values: np.ndarray) -> None:
    with pytest.raises(FoldError, match=r"'evt' holds negative values \(2 events\), in train\.h5.*folds\.by=hash"):
        FoldRule(2, "modulo", "evt").assign(values, "train.h5")


def test_one_fold_needs_no_feature() -> None:
    assert FoldRule(1, "modulo", "evt").assign(np.array([-1.5, np.nan])).tolist() == [0, 0]


@pytest.mark.parametrize(("n_splits", "by"), [(0, "modulo"), (-1, "hash"), (2, "random")])
def test_rules_that_are_none(n_splits: int, by: str) -> None:
    with pytest.raises(FoldError):
        FoldRule(n_splits, by, "evt")  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 200_000), min_size=2, max_size=6))
def test_both_limits_must_be_passed_for_an_error(counts: list[int]) -> None:
    total, n_folds = sum(counts), len(counts)
    mean = total / n_folds
    sigma = math.sqrt(total / n_folds * (1 - 1 / n_folds))
    worst = max(abs(count - mean) for count in counts)
    if total == 0:
        assert check_balance(counts) is None
    elif worst > 0.05 * mean and worst > 5 * sigma:
        with pytest.raises(FoldError, match="standard deviations"):
            check_balance(counts)
    else:
        assert (check_balance(counts) is not None) == (worst > 0.05 * mean or worst > 5 * sigma)


def test_the_error_has_the_numbers() -> None:
    with pytest.raises(FoldError) as raised:
        check_balance([11_000, 8_000, 11_000])
    assert "fold 1 has 8,000 events where 10,000 are expected (-20.0%, 24.5 standard deviations)" in str(raised.value)
    assert "[11000, 8000, 11000]" in str(raised.value)
    assert "folds.by=hash" in str(raised.value)


@pytest.mark.parametrize(
    ("counts", "text"),
    [([60, 40], r"20\.0%, 2\.0 standard"), ([1_030_000, 970_000], r"3\.0%, 42\.4 standard"), ([5, 0], "100")],
)
def test_one_limit_alone_is_a_warning(counts: list[int], text: str) -> None:
    warning = check_balance(counts)
    assert warning is not None
    assert re.search(text, warning)


def test_even_folds_single_folds_and_no_events_say_nothing() -> None:
    assert check_balance([1000, 1010]) is None
    assert check_balance([7]) is None
    assert check_balance([0, 0]) is None


def test_the_limits_are_arguments() -> None:
    assert check_balance([12_000, 8_000], tolerance=0.3) is not None
    assert check_balance([12_000, 8_000], max_sigmas=100) is not None
    with pytest.raises(FoldError):
        check_balance([1_030_000, 970_000], tolerance=0.01)

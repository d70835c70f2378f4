"""What a negative weight means in training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import WeightError
from utils.loading import training_weights

WEIGHTS = np.array([1.0, -2.0, 0.0, 3.0, -4.0])
arrays = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50).map(np.array)


def test_error_names_the_weight_the_numbers_and_the_choices() -> None:
    with pytest.raises(WeightError) as raised:
        training_weights(WEIGHTS, "error", "genweight")
    text = str(raised.value)
    assert "weight 'genweight' is negative for 2 of 5 events (60.0% of the sum of absolute weights)" in text
    assert "negative_weights=abs, zero or drop" in text
    assert raised.value.where == "negative_weights"


@pytest.mark.parametrize(
    ("policy", "weights", "may_train"),
    [
        ("abs", [1, 2, 0, 3, 4], [True] * 5),
        ("zero", [1, 0, 0, 3, 0], [True] * 5),
        ("drop", [1, 0, 0, 3, 0], [True, False, True, True, False]),
    ],
)
def test_policies(policy: str, weights: list[float], may_train: list[bool]) -> None:
    before = WEIGHTS.copy()
    weight_N, may_train_N, report = training_weights(WEIGHTS, policy, "w")
    np.testing.assert_array_equal(weight_N, weights)
    np.testing.assert_array_equal(may_train_N, may_train)
    assert (report.policy, report.n_negative) == (policy, 2)
    assert report.negative_share == pytest.approx(0.6)
    np.testing.assert_array_equal(WEIGHTS, before)


@given(weight_N=arrays.map(np.abs))
def test_without_negative_weights_every_policy_is_the_same(weight_N: np.ndarray) -> None:
    for policy in ("error", "abs", "zero", "drop"):
        found_N, may_train_N, report = training_weights(weight_N, policy, "w")
        np.testing.assert_array_equal(found_N, weight_N)
        assert may_train_N.all()
        assert (report.n_negative, report.negative_share) == (0, 0.0)


@given(weight_N=arrays)
def test_nothing_negative_is_left_and_positive_weights_stay(weight_N: np.ndarray) -> None:
    for policy in ("abs", "zero", "drop"):
        found_N, may_train_N, report = training_weights(weight_N, policy, "w")
        assert (found_N >= 0).all()
        assert report.n_negative == int((weight_N < 0).sum())
        np.testing.assert_array_equal(found_N[weight_N >= 0], weight_N[weight_N >= 0])
        assert may_train_N[weight_N >= 0].all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("policy", ["error", "abs", "zero", "drop"])
def test_what_is_not_finite_is_an_error_in_any_case(bad: float, policy: str) -> None:
    with pytest.raises(WeightError, match="weight 'w' is NaN or infinite for 1 events"):
        training_weights(np.array([1.0, bad]), policy, "w")

"""Residuals, response and resolution, with weights that may be negative."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from utils.errors import DataError
from utils.metrics import residual_histogram, residuals, response_profile, value_plane
from utils.metrics.regression import weighted_quantiles

RNG = np.random.default_rng(4)
N = 20_000
TRUE = RNG.exponential(40, N) + 20
PREDICTED = TRUE * RNG.normal(1.02, 0.1, N)
WEIGHT = RNG.choice([-1.0, 1.0, 2.0], N, p=[0.1, 0.6, 0.3])


def test_means_and_their_errors_are_those_of_numpy() -> None:
    found = residuals(PREDICTED, TRUE, WEIGHT)
    residual = PREDICTED - TRUE
    assert found.mse == pytest.approx(np.average(residual**2, weights=WEIGHT))
    assert found.mae == pytest.approx(np.average(np.abs(residual), weights=WEIGHT))
    assert found.bias == pytest.approx(np.average(residual, weights=WEIGHT))
    plain = residuals(PREDICTED, TRUE)
    assert plain.bias_error == pytest.approx(residual.std() / np.sqrt(N))
    assert plain.mse_error == pytest.approx((residual**2).std() / np.sqrt(N))
    assert plain.n_effective == N
    assert found.n_effective == pytest.approx(WEIGHT.sum() ** 2 / (WEIGHT**2).sum())


def test_the_resolution_of_a_normal_distribution_is_its_standard_deviation() -> None:
    shift = RNG.normal(3, 2.5, N)
    assert residuals(TRUE + shift, TRUE).resolution == pytest.approx(2.5, rel=0.03)
    # Tails do not count.
    shift[: N // 100] = 1000
    assert residuals(TRUE + shift, TRUE).resolution == pytest.approx(2.5, rel=0.05)


@example(values=[0, 1], copies=[1] * 40, share=0.5)
@given(
    values=st.lists(st.integers(-50, 50), min_size=1, max_size=40),
    copies=st.lists(st.integers(1, 4), min_size=40, max_size=40),
    share=st.floats(0.01, 0.99),
)
def test_an_integer_weight_is_so_many_events(values: list[int], copies: list[int], share: float) -> None:
    weight_N = np.array(copies[: len(values)], float)
    repeated = np.repeat(np.array(values, float), copies[: len(values)])
    expected = np.quantile(repeated, share, method="inverted_cdf")
    assert weighted_quantiles(values, weight_N, [share]) == [expected]


def test_an_event_and_its_negative_are_nothing() -> None:
    both = np.concatenate([PREDICTED, [1e4, 1e4]]), np.concatenate([TRUE, [1.0, 1.0]])
    weight = np.concatenate([np.ones(N), [1.0, -1.0]])
    assert residuals(*both, weight).bias == pytest.approx(residuals(PREDICTED, TRUE).bias, rel=1e-9)
    assert residuals(*both, weight).resolution == pytest.approx(residuals(PREDICTED, TRUE).resolution, rel=1e-3)


def test_without_usable_events_the_numbers_say_why() -> None:
    nothing = residuals([], [])
    assert np.isnan([nothing.mse, nothing.resolution]).all()
    assert nothing.reason == "no events"
    cancelled = residuals([1.0, 2.0], [1.0, 1.0], [1.0, -1.0])
    assert np.isnan(cancelled.bias)
    assert cancelled.reason == "the weights sum to 0"
    assert np.isnan(residual_histogram([], []).values).all()
    assert np.isnan(response_profile([], []).median).all()
    assert np.isnan(value_plane([], []).values).all()


def test_nan_is_an_error() -> None:
    with pytest.raises(DataError, match="1 of 2 values are NaN"):
        residuals([1.0, np.nan], [1.0, 1.0])
    with pytest.raises(DataError, match="2 scores but 3 entries"):
        residuals([1.0, 2.0], [1.0, 1.0, 1.0])


def test_the_response_in_bins_of_the_true_value() -> None:
    profile = response_profile(PREDICTED, TRUE)
    assert len(profile.edges) == 21
    assert profile.edges[0] == TRUE.min()
    assert profile.edges[-1] == TRUE.max()
    np.testing.assert_allclose(profile.median, 1.02, atol=5 * profile.error.max())
    np.testing.assert_allclose((profile.high - profile.low) / 2, 0.1, rtol=0.15)
    np.testing.assert_allclose(profile.error, 1.2533 * 0.1 / np.sqrt(N / 20), rtol=0.15)
    counts, _ = np.histogram(TRUE, profile.edges)
    assert counts.max() - counts.min() <= 2


def test_events_without_a_response_are_counted_and_few_make_few_bins() -> None:
    profile = response_profile([1.0, 2.0, 3.0], [0.0, 2.0, 3.0])
    assert profile.n_left_out == 1
    assert profile.edges.tolist() == [2.0, 3.0]
    assert response_profile([1.0, 2.0], [2.0, 2.0]).edges.tolist() == [1.5, 2.5]


def test_the_histogram_knows_what_lies_outside() -> None:
    density = residual_histogram(PREDICTED, TRUE, WEIGHT)
    assert density.edges[0] == -density.edges[-1]
    assert float(np.sum(density.values * np.diff(density.edges))) + density.underflow + density.overflow == (
        pytest.approx(1)
    )
    assert 0 < density.underflow + density.overflow < 0.05


def test_the_plane_has_the_predicted_value_upwards() -> None:
    plane = value_plane(np.full(500, 2.0), np.linspace(0, 10, 500), np.full(500, 0.5))
    row = int(np.searchsorted(plane.y_edges, 2.0, side="right")) - 1
    assert np.isnan(np.delete(plane.values, row, axis=0)).all()
    assert np.nansum(plane.values[row]) == pytest.approx(0.5 * 500 * (1 - plane.outside))
    assert 0 <= plane.outside < 0.03

"""The learning-rate finder's curve: smoothed, cut off where it diverges, with a suggestion where it falls fastest."""

import numpy as np
import pytest

from utils.models.neural.finder import LearningRateCurve, rates_of, smooth
from utils.models.neural.plan import LearningRateRange

RATES = rates_of(LearningRateRange(1e-6, 1.0, 301))


def test_rates_grow_by_equal_factors() -> None:
    assert RATES[0] == pytest.approx(1e-6)
    assert RATES[-1] == pytest.approx(1)
    np.testing.assert_allclose(RATES[1:] / RATES[:-1], RATES[1] / RATES[0])


def test_a_constant_stays_what_it_is() -> None:
    np.testing.assert_allclose(smooth(np.full(50, 0.7)), 0.7)


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    losses = 1.4 - 0.6 / (1 + np.exp(-3 * np.log(RATES / 1e-3)))
    found = LearningRateCurve.of(RATES, losses).suggestion
    assert found is not None
    assert 1e-3 <= found < 3e-3, "smoothing looks back, so it comes a little late"


@pytest.mark.parametrize("bad", [np.nan, 50.0])
def test_what_diverges_is_cut_off(bad: float) -> None:
    losses = np.linspace(1.4, 0.7, 301)
    losses[200:] = bad
    curve = LearningRateCurve.of(RATES, losses)
    assert 200 <= len(curve.rates) == len(curve.losses) < 215
    assert np.isfinite(curve.losses).all()
    assert curve.suggestion is not None


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    assert LearningRateCurve.of(RATES, np.linspace(1, 2, 301)).suggestion is None
    assert LearningRateCurve.of(RATES, np.full(301, np.nan)).suggestion is None


def test_a_loss_that_jumps_about_beyond_its_lowest_is_no_fall() -> None:
    """As it does with small batches: down from 1e-4 to 1e-2, flat, then up with jumps, the last of them down."""
    rates = np.geomspace(1e-6, 1.0, 200)
    losses = 1.4 - 0.4 * np.clip((np.log10(rates) + 4) / 2, 0, 1) + np.where(rates > 0.1, 20 * (rates - 0.1), 0)
    losses[-40::8] += 3.0
    losses += np.random.default_rng(0).normal(0, 0.02, 200)
    found = LearningRateCurve.of(rates, losses)
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion < 1e-2

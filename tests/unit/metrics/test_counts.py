"""Confusion, accuracy, histograms, weights and the Kolmogorov-Smirnov test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, confusion_matrix

from utils.errors import ConfigError, DataError, WeightError
from utils.metrics import (
    accuracy,
    class_balanced_weights,
    confusion,
    effective_events,
    evaluation_weights,
    histogram,
    weighted_ks,
)
from utils.metrics.distributions import automatic_bin_size, category_scores, compare_fold


def events(n=800, seed=2):
    rng = np.random.default_rng(seed)
    target, pred = rng.integers(0, 3, n), rng.integers(0, 3, n)
    return target, pred, rng.exponential(1.0, n)


@pytest.mark.parametrize("normalise", ["true", "pred", None])
def test_confusion_equals_sklearn(normalise):
    target, pred, weight = events()
    expected = confusion_matrix(target, pred, sample_weight=weight, normalize=normalise)
    np.testing.assert_allclose(confusion(target, pred, 3, weight, normalise).values, expected, atol=1e-12)
    assert accuracy(target, pred, weight).value == pytest.approx(accuracy_score(target, pred, sample_weight=weight))


def test_signed_confusion_by_hand():
    matrix = confusion([0, 0, 1, 1], [0, 1, 1, 1], 2, [3.0, -1.0, 1.0, 1.0], "true")
    np.testing.assert_allclose(matrix.values, [[1.5, -0.5], [0, 1]])
    # (1 - 1.5)² 9 + 1.5² 1 = 4.5, over a sum of 2 squared.
    assert matrix.errors[0, 0] == pytest.approx(np.sqrt(4.5) / 2)
    assert confusion([0, 0, 1, 1], [0, 1, 1, 1], 2, [3.0, -1.0, 1.0, 1.0], None).values.tolist() == [[3, -1], [0, 2]]


def test_confusion_errors_are_binomial_without_weights():
    target, pred, _ = events()
    matrix = confusion(target, pred, 3, None, "pred")
    totals = np.bincount(pred)
    np.testing.assert_allclose(matrix.errors, np.sqrt(matrix.values * (1 - matrix.values) / totals))


def test_empty_and_negative_classes_are_nan_with_a_reason():
    matrix = confusion([0, 0, 1], [0, 0, 0], 3, [1.0, 1.0, -1.0], "true")
    assert matrix.reasons == {1: "its weights sum to -1", 2: "no events of this true class"}
    assert np.isnan(matrix.values[1:]).all() and matrix.values[0].tolist() == [1, 0, 0]
    assert confusion([0], [0], 2, None, "pred").reasons == {1: "no events of this predicted class"}
    assert np.isnan(accuracy([], []).value) and accuracy([], []).reason == "no events"
    assert accuracy([0, 1], [0, 1], [1.0, -1.0]).reason == "the weights of all events sum to 0"


def test_classes_out_of_range_are_named():
    with pytest.raises(DataError, match="1 events have a class outside 0 … 1, the first is 2"):
        confusion([0, 2], [0, 1], 2)
    with pytest.raises(DataError, match=r"the first is 0\.5"):
        confusion([0.5, 1.0], [0, 1], 2)
    with pytest.raises(DataError, match="the first is nan"):
        confusion([np.nan, 1.0], [0, 1], 2)
    with pytest.raises(ConfigError, match="did you mean 'pred'"):
        confusion([0], [0], 1, normalise="predd")


def test_accuracy_error_is_binomial():
    result = accuracy([0, 0, 1, 1], [0, 0, 1, 0])
    assert (result.value, result.error) == (0.75, pytest.approx(np.sqrt(0.75 * 0.25 / 4)))


def test_effective_events():
    assert effective_events(np.ones(17)) == 17
    assert effective_events([]) == 0
    assert effective_events([0.0, 0.0]) == 0
    assert effective_events([2.0, -1.0]) == pytest.approx(1 / 5)
    assert effective_events([1e-200, 1e-200]) == pytest.approx(2)


def test_class_weights_are_n_over_n_class():
    assert class_balanced_weights([0, 0, 0, 2]).tolist() == [4 / 3] * 3 + [4.0]
    assert class_balanced_weights([]).size == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1, 3)), min_size=1, max_size=50))
def test_both_gives_every_usable_class_the_same_signed_sum(rows):
    target, weight = (np.array(column) for column in zip(*rows, strict=True))
    sums = np.bincount(target, weights=weight, minlength=4)
    if np.any((np.abs(sums) < 1e-3) & (np.bincount(target, minlength=4) > 0)):
        return
    scaled = np.bincount(target, weights=evaluation_weights("both", target, weight), minlength=4)
    usable = sums > 0
    np.testing.assert_allclose(scaled[~usable], 0)
    if usable.any():
        np.testing.assert_allclose(scaled[usable], sums[usable].mean())


def test_schemes():
    target, weight = [0, 0, 1], [2.0, -1.0, 4.0]
    assert evaluation_weights("none", target, weight).tolist() == [1, 1, 1]
    assert evaluation_weights("event", target, weight).tolist() == weight
    assert evaluation_weights("class", target, weight).tolist() == [1.5, 1.5, 3.0]
    assert evaluation_weights("both", target, weight).tolist() == [5.0, -2.5, 2.5]
    with pytest.raises(WeightError, match="needs event weights"):
        evaluation_weights("both", target)
    with pytest.raises(ConfigError, match="did you mean 'class'"):
        evaluation_weights("clas", target)


def test_ks_equals_scipy_without_weights():
    rng = np.random.default_rng(0)
    a, b = np.round(rng.normal(0, 1, 400), 1), np.round(rng.normal(0.1, 1, 300), 1)
    expected = stats.ks_2samp(a, b, method="asymp")
    result = weighted_ks(a, None, b, None)
    assert result.statistic == pytest.approx(expected.statistic, abs=1e-12)
    assert result.p_value == pytest.approx(expected.pvalue, rel=0.05)
    assert (result.n_effective_a, result.n_effective_b) == (400, 300)


def test_ks_p_value_is_flat_for_equal_distributions():
    rng = np.random.default_rng(1)
    p = [weighted_ks(rng.random(150), rng.exponential(1, 150), rng.random(200), None).p_value for _ in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_signed_ks_by_hand():
    # F_a: 2 at 1, 1 at 2; F_b: 0.5 at 1, 1 at 2.
    result = weighted_ks([1.0, 2.0], [2.0, -1.0], [1.0, 2.0], [1.0, 1.0])
    assert result.statistic == pytest.approx(1.5)
    assert result.n_effective_a == pytest.approx(1 / 5)


def test_ks_counts_integer_weights_as_copies():
    copies = weighted_ks([1, 1, 1, 2], None, [1, 2, 2], None)
    weights = weighted_ks([1, 2], [3, 1], [2, 1], [2, 1])
    assert weights.statistic == pytest.approx(copies.statistic)


def test_ks_without_events_or_weight_says_so():
    assert weighted_ks([], None, [1.0], None).reason == "first sample: no events"
    assert weighted_ks([1.0], None, [1.0], [-2.0]).reason == "second sample: its weights sum to -2"
    assert np.isnan(weighted_ks([], None, [], None).p_value)
    assert weighted_ks([1.0, 2.0], None, [1.0, 2.0], None).p_value == 1.0


def test_histogram_counts_everything_once():
    filled = histogram([-1.0, 0.0, 0.5, 1.0, 1.5], [1.0, 2.0, -3.0, 4.0, 5.0], [0.0, 0.5, 1.0])
    assert filled.values.tolist() == [2, 1]
    assert filled.errors.tolist() == [2, 5]
    assert (filled.underflow, filled.overflow, filled.total) == (1, 5, 9)
    density = filled.density()
    assert density.values.tolist() == pytest.approx([2 / 9 / 0.5, 1 / 9 / 0.5])


def test_histogram_equals_numpy():
    rng = np.random.default_rng(4)
    values, weight = rng.random(1000), rng.normal(1, 1, 1000)
    edges = np.linspace(0.1, 0.9, 17)
    np.testing.assert_allclose(histogram(values, weight, edges).values, np.histogram(values, edges, weights=weight)[0])


def test_float32_scores_on_an_edge_belong_to_the_bin_it_opens():
    assert histogram(np.array([0.7], dtype=np.float32), None, [0.6, 0.7, 0.8]).values.tolist() == [0, 1]


def test_histogram_refuses_edges_that_do_not_ascend_and_nan():
    with pytest.raises(DataError, match="ascending"):
        histogram([0.5], None, [0, 1, 1])
    with pytest.raises(DataError, match="NaN"):
        histogram([np.nan], None, [0, 1])
    assert np.isnan(histogram([0.5, 0.6], [1.0, -1.0], [0, 1]).density().values).all()


def test_category_scores_split_a_category_by_truth():
    top = np.array([0.9, 0.8, 0.6, 0.7, 0.99], dtype=np.float32)
    pred, target = np.array([0, 0, 0, 1, 0]), np.array([0, 0, 1, 1, 1])
    weight = np.array([1.0, 2.0, 3.0, 4.0, -4.0])
    scores = category_scores(0, top, pred, target, weight, [0.1, None])
    assert scores.n_events == (2, 2)
    assert scores.shares == pytest.approx((1.5, -0.5))
    assert scores.densities[1] is None
    density = scores.densities[0]
    assert np.sum(density.values * np.diff(density.edges)) == pytest.approx(1)
    assert density.edges[-1] == 1.0
    assert category_scores(1, top, pred, target, weight, [0.1, None]).n_events == (0, 1)


def test_bins_are_as_fine_as_asked_only_where_events_fill_them():
    rng = np.random.default_rng(0)
    many = rng.uniform(0.5, 1, 20_000).astype(np.float32)
    zeros = np.zeros(many.size, dtype=int)
    fine = category_scores(0, many, zeros, zeros, np.ones(many.size), [0.01, 0.01]).densities[0]
    assert np.diff(fine.edges) == pytest.approx(0.01)
    coarse = category_scores(0, many[:30], zeros[:30], zeros[:30], np.ones(30), [0.01, 0.01]).densities[0]
    assert np.diff(coarse.edges) == pytest.approx(0.1)
    assert automatic_bin_size(0) == 0.1 and automatic_bin_size(1e9) == 0.02


def test_fold_comparison_keeps_class_and_rest_apart():
    score, target = np.array([0.9, 0.8, 0.1, 0.2]), np.array([1, 1, 0, 0])
    one = np.ones(4)
    comparison = compare_fold(1, 3, (score, target, one), (score[::-1], target[::-1], one))
    assert comparison.class_ks.statistic == 0 and comparison.rest_ks.statistic == 0
    assert comparison.class_train.n_events == 2
    assert comparison.class_train.values[-2:].sum() > 0 and comparison.rest_train.values[-2:].sum() == 0

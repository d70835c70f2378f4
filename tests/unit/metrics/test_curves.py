"""ROC and precision-recall against scikit-learn, against hand counts, and against what must hold for any sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from utils.errors import DataError, WeightError
from utils.metrics import precision_recall, roc, thin_pr, thin_roc


def sample(n=2000, seed=1, ties=True):
    rng = np.random.default_rng(seed)
    is_signal = rng.random(n) < 0.3
    score = rng.normal(is_signal * 0.8, 1.0)
    return (np.round(score, 1) if ties else score), is_signal, rng.exponential(1.0, n)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_roc_equals_sklearn_where_weights_are_positive(ties, weighted):
    score, is_signal, weight = sample(ties=ties)
    weight = weight if weighted else None
    curve = roc(score, is_signal, weight)
    fpr, tpr, thresholds = roc_curve(is_signal, score, sample_weight=weight, drop_intermediate=False)
    assert curve.auc == pytest.approx(roc_auc_score(is_signal, score, sample_weight=weight), abs=1e-12)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-12)
    np.testing.assert_array_equal(curve.thresholds, thresholds)


@pytest.mark.parametrize("weighted", [True, False])
def test_precision_recall_equals_sklearn(weighted):
    score, is_signal, weight = sample()
    weight = weight if weighted else None
    curve = precision_recall(score, is_signal, weight)
    precision, recall, _ = precision_recall_curve(is_signal, score, sample_weight=weight)
    expected = average_precision_score(is_signal, score, sample_weight=weight)
    assert curve.average_precision == pytest.approx(expected, abs=1e-12)
    # scikit-learn ends with a point that no cut gives: precision one at recall zero.
    np.testing.assert_allclose(curve.precision, precision[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(curve.recall, recall[:-1][::-1], atol=1e-12)


def test_signed_area_is_the_sum_over_pairs():
    rng = np.random.default_rng(3)
    score, is_signal = np.round(rng.random(60), 1), rng.random(60) < 0.5
    weight = rng.normal(1.0, 1.0, 60)
    signal, background = np.flatnonzero(is_signal), np.flatnonzero(~is_signal)
    wins = (score[signal, None] > score[background]) + 0.5 * (score[signal, None] == score[background])
    pairs = weight[signal, None] * weight[background]
    assert roc(score, is_signal, weight).auc == pytest.approx(np.sum(pairs * wins) / np.sum(pairs), abs=1e-12)


def test_signed_curve_by_hand():
    #   score    0.9   0.7   0.5   0.3
    #   signal    2          -1            (sum 1)
    #   backgr.         1           1      (sum 2)
    curve = roc([0.9, 0.7, 0.5, 0.3], [1, 0, 1, 0], [2.0, 1.0, -1.0, 1.0])
    np.testing.assert_allclose(curve.signal_efficiency, [0, 2, 2, 1, 1])
    np.testing.assert_allclose(curve.background_efficiency, [0, 0, 0.5, 0.5, 1])
    assert curve.auc == pytest.approx(0.5 * 2 + 0.5 * 1)
    # At 0.9: p = 2 of a sum of 1; (1-p)² 4 + p² 1 = 8.
    assert curve.signal_error[1] == pytest.approx(np.sqrt(8.0))
    assert curve.n_effective_signal == pytest.approx(1 / 5)
    assert curve.n_effective_background == pytest.approx(2.0)
    pr = precision_recall([0.9, 0.7, 0.5, 0.3], [1, 0, 1, 0], [2.0, 1.0, -1.0, 1.0])
    np.testing.assert_allclose(pr.precision, [1, 2 / 3, 1 / 2, 1 / 3])
    assert pr.average_precision == pytest.approx(2 * 1 - 1 * 1 / 2)


def test_precision_is_undefined_where_passing_weights_cancel():
    pr = precision_recall([0.9, 0.8, 0.7], [1, 0, 1], [1.0, -1.0, 1.0])
    assert np.isnan(pr.precision[1])
    assert pr.precision[[0, 2]].tolist() == [1.0, 2.0]
    assert pr.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2)


def test_point_errors_are_binomial_without_weights():
    score, is_signal, _ = sample(500)
    curve = roc(score, is_signal)
    n = is_signal.sum()
    expected = np.sqrt(curve.tpr * (1 - curve.tpr) / n)
    np.testing.assert_allclose(curve.signal_error, expected, atol=1e-12)
    # One common weight changes nothing.
    np.testing.assert_allclose(roc(score, is_signal, np.full(500, 7.0)).signal_error, expected, atol=1e-12)


def test_errors_of_areas_agree_with_a_bootstrap():
    score, is_signal, weight = sample(1500, seed=5)
    weight = weight * np.where(np.random.default_rng(0).random(1500) < 0.15, -1, 1)
    curve, pr = roc(score, is_signal, weight), precision_recall(score, is_signal, weight)
    rng = np.random.default_rng(7)
    copies = [rng.poisson(1.0, 1500) * weight for _ in range(400)]
    areas = [roc(score, is_signal, copy).auc for copy in copies]
    precisions = [precision_recall(score, is_signal, copy).average_precision for copy in copies]
    assert curve.auc_error == pytest.approx(np.std(areas), rel=0.15)
    assert pr.average_precision_error == pytest.approx(np.std(precisions), rel=0.15)


def test_delong_error_for_a_sample_small_enough_to_count():
    # Placements of signal 1, 1/2; of background 1/2, 1: A = 3/4; each variance (1/4)²·2/(2-1)/2.
    curve = roc([4.0, 2.0, 3.0, 1.0], [1, 1, 0, 0])
    assert curve.auc == pytest.approx(0.75)
    assert curve.auc_error == pytest.approx(np.sqrt(2 * (1 / 16)))


@pytest.mark.parametrize(
    ("is_signal", "weight", "reason"),
    [
        ([0, 0, 0], None, "no signal events"),
        ([1, 1, 1], None, "no background events"),
        ([1, 1, 0], [1.0, -2.0, 1.0], "the weights of the signal events sum to -1"),
        ([1, 0, 0], [1.0, 0.3, -0.3], "the weights of the background events sum to 0"),
    ],
)
def test_what_cannot_be_normalised_is_nan_with_a_reason(is_signal, weight, reason):
    curve = roc([0.1, 0.2, 0.3], is_signal, weight)
    assert np.isnan(curve.auc) and np.isnan(curve.auc_error)
    assert curve.reason == reason
    assert np.isnan(curve.fpr).all()


def test_cancelling_weights_are_zero_in_spite_of_rounding():
    assert roc([0.1, 0.2, 0.3, 0.4], [1, 1, 1, 0], [0.1, 0.2, -0.3, 1.0]).reason is not None


def test_no_events_at_all():
    assert roc([], [], []).reason == "no signal events"
    assert precision_recall([], []).reason == "no signal events"


def test_one_event_per_class_has_an_area_and_no_error():
    curve = roc([0.9, 0.1], [1, 0])
    assert curve.auc == 1.0
    assert np.isnan(curve.auc_error)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_and_weights_must_be_finite(bad):
    with pytest.raises(DataError, match="1 of 2 values are NaN or infinite, in score"):
        roc([0.1, bad], [0, 1])
    with pytest.raises(WeightError, match="NaN or infinite"):
        roc([0.1, 0.2], [0, 1], [1.0, bad])


def test_lengths_must_agree():
    with pytest.raises(DataError, match="2 scores but 3 entries"):
        roc([0.1, 0.2], [0, 1, 1])
    with pytest.raises(WeightError, match="weights of shape"):
        roc([0.1, 0.2], [0, 1], [1.0])


signed_events = st.lists(
    st.tuples(st.integers(-5, 5), st.booleans(), st.floats(-1, 3).filter(lambda w: abs(w) > 1e-3)),
    min_size=2,
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(signed_events, st.randoms(use_true_random=False), st.floats(1e-3, 1e3))
def test_order_and_scale_of_weights_do_not_matter(events, random, factor):
    score, is_signal, weight = (np.array(column) for column in zip(*events, strict=True))
    shuffled = list(range(len(events)))
    random.shuffle(shuffled)
    first = roc(score, is_signal, weight)
    second = roc(score[shuffled], is_signal[shuffled], factor * weight[shuffled])
    if abs(weight[is_signal].sum()) < 1e-6 or abs(weight[~is_signal].sum()) < 1e-6:
        return
    assert (first.reason is None) == (second.reason is None)
    if first.reason is None:
        assert second.auc == pytest.approx(first.auc, rel=1e-6, abs=1e-9)
        np.testing.assert_allclose(second.signal_efficiency, first.signal_efficiency, rtol=1e-6, atol=1e-6)
        assert second.auc_error == pytest.approx(first.auc_error, rel=1e-5, abs=1e-9, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(signed_events)
def test_turning_the_score_round_turns_the_area_round(events):
    score, is_signal, weight = (np.array(column) for column in zip(*events, strict=True))
    forward, backward = roc(score, is_signal, weight), roc(1 - score, is_signal, weight)
    swapped = roc(1 - score, ~is_signal, weight)
    if forward.reason is None and min(weight[is_signal].sum(), weight[~is_signal].sum()) > 1e-3:
        assert backward.auc == pytest.approx(1 - forward.auc, rel=1e-9, abs=1e-9)
        assert swapped.auc == pytest.approx(forward.auc, rel=1e-9, abs=1e-9)
        assert backward.auc_error == pytest.approx(forward.auc_error, rel=1e-6, abs=1e-9, nan_ok=True)


def test_thinned_curves_keep_their_ends_their_shape_and_the_area():
    score, is_signal, weight = sample(20_000, ties=False)
    full = roc(score, is_signal, weight * np.where(np.arange(20_000) % 9 == 0, -1, 1))
    thin = thin_roc(full, 500)
    assert 300 < thin.fpr.size <= 500
    assert thin.auc == full.auc
    assert (thin.fpr[0], thin.tpr[0], thin.fpr[-1]) == (0.0, 0.0, full.fpr[-1])
    assert set(thin.thresholds) <= set(full.thresholds)
    nearest = (np.abs(full.fpr[:, None] - thin.fpr) + np.abs(full.tpr[:, None] - thin.tpr)).min(axis=1)
    length = np.sum(np.abs(np.diff(full.fpr)) + np.abs(np.diff(full.tpr)))
    assert nearest.max() < 2 * length / 250
    # Tight cuts keep their points for a logarithmic axis.
    assert np.count_nonzero((thin.fpr > 0) & (thin.fpr < 0.01)) > 20
    assert thin_roc(roc([0.1, 0.9], [0, 1])).fpr.size == 3
    pr = precision_recall(score, is_signal, weight)
    assert thin_pr(pr, 300).recall.size <= 300
    assert thin_pr(pr, 300).recall[-1] == 1.0

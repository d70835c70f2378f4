"""Metrics under their names, notes where they are undefined, and a report that is complete."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from utils.errors import DataError, WeightError
from utils.evaluation.evaluate import evaluate_predictions
from utils.evaluation.options import EvaluationOptions
from utils.evaluation.report import evaluation_figures, write_report
from utils.evaluation.tables import FoldScores, ScoreTable
from utils.metrics import class_balanced_weights, roc
from utils.plots.classes import default_classes


def table(n=900, k=3, seed=0, classes=None, negative=0.1):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes or k, n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), target] += 1
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    weight = rng.exponential(1, n) * np.where(rng.random(n) < negative, -1, 1)
    return ScoreTable(scores.astype(np.float32), target, weight, np.arange(n) % 2)


CLASSES = default_classes(["sig", "tt bar", "fakes"])


def test_metrics_have_the_promised_names_and_sklearns_values():
    events = table()
    result = evaluate_predictions(events, CLASSES, EvaluationOptions("test", "class"))
    weight = class_balanced_weights(events.target_N)
    for k, name in enumerate(["sig", "tt_bar", "fakes"]):
        truth, score = events.target_N == k, events.scores_NK[:, k]
        area = roc_auc_score(truth, score, sample_weight=weight)
        assert result.metrics[f"test/roc_auc_{name}"] == pytest.approx(area, abs=1e-12)
        precision = average_precision_score(truth, score, sample_weight=weight)
        assert result.metrics[f"test/pr_average_prec_{name}"] == pytest.approx(precision, abs=1e-12)
        assert result.errors[f"test/roc_auc_{name}"] > 0
    macro = np.mean([result.metrics[f"test/roc_auc_{name}"] for name in ("sig", "tt_bar", "fakes")])
    assert result.metrics["test/roc_auc_macro"] == pytest.approx(macro)
    cells = {f"test/cm_{i}{j}_{kind}" for i in range(3) for j in range(3) for kind in ("true", "pred")}
    assert cells < set(result.metrics)
    assert len(result.metrics) == 3 + 1 + 3 + 1 + 18
    pred = events.scores_NK.argmax(axis=1)
    expected = np.mean(pred[events.target_N == 0] == 1)
    assert result.metrics["test/cm_01_true"] == pytest.approx(expected)
    assert result.notes == ()


@pytest.mark.parametrize("scheme", ["event", "both", "none"])
def test_weights_govern_the_areas(scheme):
    events = table()
    result = evaluate_predictions(events, CLASSES, EvaluationOptions("train", scheme))
    weight = None if scheme == "none" else events.event_weight_N
    if scheme == "both":
        sums = np.bincount(events.target_N, weights=events.event_weight_N)
        weight = events.event_weight_N / sums[events.target_N]
    expected = roc(events.scores_NK[:, 1], events.target_N == 1, weight).auc
    assert result.metrics["train/roc_auc_tt_bar"] == pytest.approx(expected, rel=1e-9)
    assert any("negative weights" in note for note in result.notes) == (scheme != "none")


def test_unscored_events_are_counted_and_left_out():
    events = table(negative=0)
    scores = events.scores_NK.copy()
    scores[:100] = -1
    target = events.target_N.copy()
    target[:100] = -1
    valid = np.arange(900) >= 100
    result = evaluate_predictions(ScoreTable(scores, target, None, None, valid), CLASSES)
    kept = evaluate_predictions(events.select(valid), CLASSES)
    assert result.metrics == kept.metrics
    assert result.n_unscored == 100
    assert "100 of 900 events have no score and are left out." in result.notes


def test_areas_come_from_the_whole_curve():
    coarse = evaluate_predictions(table(5000), CLASSES, EvaluationOptions(max_curve_points=50))
    fine = evaluate_predictions(table(5000), CLASSES)
    assert coarse.roc[0].fpr.size <= 50
    assert coarse.metrics == fine.metrics


def test_a_class_without_events_is_nan_with_a_note():
    result = evaluate_predictions(table(classes=2), CLASSES)
    assert np.isnan(result.metrics["test/roc_auc_fakes"])
    assert np.isnan(result.metrics["test/cm_20_true"])
    areas = [result.metrics["test/roc_auc_sig"], result.metrics["test/roc_auc_tt_bar"]]
    assert result.metrics["test/roc_auc_macro"] == pytest.approx(np.mean(areas))
    assert "fakes against all others is undefined: no signal events." in result.notes
    assert "roc_auc_macro is the mean of the 2 classes that have an area." in result.notes


def test_no_events_at_all_is_nan_everywhere_and_still_a_report(tmp_path):
    nothing = ScoreTable(np.zeros((0, 2), dtype=np.float32), np.zeros(0, dtype=np.int64))
    result = evaluate_predictions(nothing, CLASSES[:2])
    assert np.isnan(list(result.metrics.values())).all()
    assert (tmp_path / "index.html") in write_report(result, tmp_path)


def test_folds_are_compared_one_by_one():
    same = table(400, seed=5)
    other = table(400, seed=6)
    folds = [FoldScores(0, same, same), FoldScores(1, same, other)]
    result = evaluate_predictions(table(), CLASSES, EvaluationOptions("train", "none"), folds)
    assert result.metrics["train/ks_sig_fold_0"] == 0
    assert result.metrics["train/ks_p_sig_fold_0"] == 1
    assert result.metrics["train/ks_sig_fold_1"] > 0
    assert 0 <= result.metrics["train/ks_rest_p_fakes_fold_1"] <= 1
    assert len(result.comparisons) == 6


def test_cells_above_ten_classes_cannot_be_mistaken():
    result = evaluate_predictions(table(3000, 12), default_classes([f"c{i}" for i in range(12)]))
    cells = [name for name in result.metrics if "/cm_" in name]
    assert len(cells) == 2 * 144
    assert "test/cm_1_11_true" in cells


def test_what_does_not_fit_is_an_error():
    with pytest.raises(DataError, match="3 scores per event but 2 classes"):
        evaluate_predictions(table(), CLASSES[:2])
    with pytest.raises(DataError, match="two classes or more"):
        ScoreTable(np.zeros((4, 1), dtype=np.float32), np.zeros(4, dtype=int))
    with pytest.raises(DataError, match="target_N of shape"):
        ScoreTable(np.zeros((4, 2), dtype=np.float32), np.zeros(3, dtype=int))
    bad = table()
    bad.scores_NK[3, 1] = np.nan
    with pytest.raises(DataError, match="1 of 900 events have scores that are NaN"):
        evaluate_predictions(bad, CLASSES)
    with pytest.raises(WeightError, match="needs event weights"):
        evaluate_predictions(
            ScoreTable(table().scores_NK, table().target_N), CLASSES, EvaluationOptions(metric_weights="event")
        )


@pytest.mark.parametrize("n", [10, 700])
def test_report_is_complete(tmp_path, n):
    folds = [FoldScores(i, table(n, seed=2 + i), table(n, seed=4 + i)) for i in range(2)]
    result = evaluate_predictions(table(n, seed=1), CLASSES, EvaluationOptions("test", "both"), folds)
    names = set(evaluation_figures(result))
    assert names == {
        "roc_curve", "background_rejection", "pr_curve", "confusion_matrix_true", "confusion_matrix_pred",
        "density_sig", "density_tt_bar", "density_fakes",
        *(f"overtraining_{name}_fold_{i}" for name in ("sig", "tt_bar", "fakes") for i in range(2)),
    }  # fmt: skip
    paths = write_report(result, tmp_path, meta={"Run": "0123abcd"})
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == {
        "index.html",
        *(f"{name}.html" for name in names),
        *(f"pdf/{name}.pdf" for name in names),
    }
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure ") == len(names)
    assert "0123abcd" in page

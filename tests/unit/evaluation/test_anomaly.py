"""The evaluation of an autoencoder: its loss by class, and as a score."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from utils.evaluation.anomaly import evaluate_losses
from utils.evaluation.options import EvaluationOptions
from utils.evaluation.report import evaluation_figures, write_report
from utils.evaluation.tables import LossTable
from utils.evaluation.tasks import evaluate_table, in_words
from utils.outputs import Outputs
from utils.plots.classes import default_classes
from utils.writers.table import TableWriter

N = 2000
CLASSES = default_classes(("qcd", "higgs", "nothing"))
RNG = np.random.default_rng(2)
TARGET = RNG.integers(0, 2, N).astype(np.int32)
LOSS = RNG.lognormal(TARGET, 1.0).astype(np.float32)
TABLE = LossTable(LOSS, TARGET, RNG.normal(1, 0.5, N))


def test_areas_are_those_of_each_class_against_the_first() -> None:
    result = evaluate_losses(TABLE, CLASSES, EvaluationOptions("test", "none"))
    assert result.metrics["test/roc_auc_higgs"] == pytest.approx(roc_auc_score(TARGET == 1, LOSS))
    assert np.isnan(result.metrics["test/roc_auc_nothing"])
    assert result.notes == ("nothing against qcd is undefined: no signal events.",)
    assert result.metrics["test/loss_mean"] == pytest.approx(LOSS.mean(dtype=float))
    assert result.metrics["test/loss_median_qcd"] == pytest.approx(np.median(LOSS[TARGET == 0]), rel=1e-2)
    assert 0 < result.errors["test/roc_auc_higgs"] < 0.02
    assert result.n_events == (int((TARGET == 0).sum()), int((TARGET == 1).sum()), 0)


def test_distributions_sum_to_one_and_keep_every_event() -> None:
    result = evaluate_losses(TABLE, CLASSES, EvaluationOptions("test", "event"))
    qcd, higgs, nothing = result.shares
    assert nothing is None
    for share in (qcd, higgs):
        assert share is not None
        assert share.values.sum() == pytest.approx(1)
    assert "Not drawn: nothing" in evaluation_figures(result)["loss"].caption


def test_one_class_has_no_curve() -> None:
    result = evaluate_losses(LossTable(LOSS, np.zeros(N, np.int32), None), CLASSES[:1])
    assert set(evaluation_figures(result)) == {"loss"}
    assert set(result.metrics) == {"test/loss_mean"}


@pytest.mark.parametrize("loss", [np.empty(0), np.zeros(5), np.full(5, 2.0)])
def test_few_or_equal_losses_are_drawn_as_well(loss: np.ndarray, tmp_path: Path) -> None:
    table = LossTable(loss.astype(np.float32), np.zeros(len(loss), np.int32), None)
    result = evaluate_losses(table, CLASSES[:1], EvaluationOptions("test", "none"))
    write_report(result, tmp_path)
    assert (tmp_path / "pdf" / "loss.pdf").is_file()


def test_from_a_table_to_a_page(tmp_path: Path) -> None:
    columns = {"target": TARGET, "pred_loss": LOSS, "fold": np.zeros(N, np.int32)}
    path = tmp_path / "test.csv"
    with TableWriter(path, {name: values.dtype for name, values in columns.items()}, overwrite=True) as writer:
        writer.write(columns)
    outputs = Outputs.of("autoencoder", ("qcd", "higgs", "nothing"), ())
    result = evaluate_table(path, outputs, CLASSES, EvaluationOptions("test"), None)
    write_report(result, tmp_path / "plots")
    assert {p.stem for p in (tmp_path / "plots" / "pdf").iterdir()} == {"loss", "roc_curve"}
    ((_, rows, header),) = in_words(result)
    assert header[-1] == "ROC area against qcd"
    assert rows[1][0] == "higgs"
    assert rows[1][2].startswith("0.7")

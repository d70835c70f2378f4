"""The evaluation of a regression: numbers per target and fold, figures, one page."""

from pathlib import Path

import numpy as np
import pytest

from utils.errors import ConfigError, MissingColumnError
from utils.evaluation.options import EvaluationOptions
from utils.evaluation.predictions import read_values
from utils.evaluation.report import evaluation_figures, write_report
from utils.evaluation.tables import ValueTable
from utils.evaluation.tasks import evaluate_table, in_words
from utils.evaluation.values import evaluate_values
from utils.metrics import residuals
from utils.outputs import Outputs
from utils.writers.table import TableWriter

N = 3000
OUTPUTS = Outputs("regression", ("pt", "gen/mass"))


def table() -> ValueTable:
    rng = np.random.default_rng(9)
    true_NT = np.stack([rng.exponential(30, N) + 10, rng.normal(90, 3, N)], axis=1)
    predicted_NT = true_NT + rng.normal([1, 0], [2, 1], (N, 2))
    return ValueTable(predicted_NT, true_NT, rng.choice([-1.0, 1.0, 1.5], N), (np.arange(N) % 2).astype(np.int32))


def test_every_target_has_its_numbers_over_all_and_in_each_fold() -> None:
    events = table()
    result = evaluate_values(events, OUTPUTS.names, EvaluationOptions("test"))
    expected = residuals(events.predicted_NT[:, 0], events.true_NT[:, 0])
    assert result.metrics["test/mse_pt"] == expected.mse
    assert result.metrics["test/resolution_pt"] == pytest.approx(2, rel=0.1)
    assert result.metrics["test/bias_gen_mass"] == pytest.approx(0, abs=0.1)
    assert result.errors["test/bias_pt"] == expected.bias_error
    odd = events.fold_N == 1
    of_fold = residuals(events.predicted_NT[odd, 0], events.true_NT[odd, 0])
    assert result.metrics["test/mae_pt_fold_1"] == of_fold.mae
    kinds, places = ("mse", "mae", "bias", "resolution"), ("pt", "gen_mass")
    assert set(result.metrics) == {
        f"test/{kind}_{place}{end}" for kind in kinds for place in places for end in ("", "_fold_0", "_fold_1")
    }


def test_weights_are_used_where_they_are_asked_for() -> None:
    events = table()
    weighted = evaluate_values(events, OUTPUTS.names, EvaluationOptions("test", "event"))
    expected = residuals(events.predicted_NT[:, 0], events.true_NT[:, 0], events.event_weight_N)
    assert weighted.metrics["test/mse_pt"] == expected.mse
    assert "negative weights" in weighted.notes[0]
    for scheme in ("class", "none"):
        plain = evaluate_values(events, OUTPUTS.names, EvaluationOptions("test", scheme))
        assert plain.metrics["test/mse_pt"] == residuals(events.predicted_NT[:, 0], events.true_NT[:, 0]).mse
    bare = ValueTable(events.predicted_NT, events.true_NT, None, events.fold_N)
    with pytest.raises(ConfigError, match="metric_weights: event needs event weights"):
        evaluate_values(bare, OUTPUTS.names, EvaluationOptions("test", "event"))


def test_a_dataset_without_events_has_notes_instead_of_numbers() -> None:
    nothing = ValueTable(np.empty((0, 2)), np.empty((0, 2)), None, np.empty(0, np.int32))
    result = evaluate_values(nothing, OUTPUTS.names)
    assert np.isnan(list(result.metrics.values())).all()
    assert result.notes[0] == "The numbers of pt are undefined: no events."
    assert {figure.message is not None for figure in evaluation_figures(result).values()} == {True}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_from_a_table_to_a_page(tmp_path: Path, suffix: str) -> None:
    events = table()
    columns = {
        "pt": events.true_NT[:, 0],
        "gen/mass": events.true_NT[:, 1],
        **dict(zip(OUTPUTS.columns, events.predicted_NT.astype(np.float32).T, strict=True)),
        "fold": events.fold_N,
    }
    path = tmp_path / f"test{suffix}"
    with TableWriter(path, {name: values.dtype for name, values in columns.items()}, overwrite=True) as writer:
        writer.write(columns)
    np.testing.assert_array_equal(read_values(path, OUTPUTS, None).true_NT, events.true_NT)
    result = evaluate_table(path, OUTPUTS, (), EvaluationOptions("test"), None)
    names = {f"{kind}_{target}" for kind in ("residual", "response", "predicted") for target in ("pt", "gen_mass")}
    assert set(evaluation_figures(result)) == names
    write_report(result, tmp_path / "plots")
    for name in names:
        assert (tmp_path / "plots" / f"{name}.html").stat().st_size > 1000
        assert (tmp_path / "plots" / "pdf" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    page = (tmp_path / "plots" / "index.html").read_text()
    assert "none, every event counts one" in page
    ((title, rows, header),) = in_words(result)
    assert title == "Evaluation of test"
    assert [row[:2] for row in rows] == [[t, fold] for t in OUTPUTS.names for fold in ("all", "0", "1")]
    assert len(header) == len(rows[0])
    with pytest.raises(MissingColumnError, match="no column 'mass', in test.*'gen/mass'.*misc_features"):
        read_values(path, Outputs("regression", ("mass",)), None)

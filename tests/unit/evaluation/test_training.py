"""What a training shows of itself: curves, held-out areas, importances, and samples against overtraining."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.skims import open_skim, toy_events
from utils.evaluation import training as module
from utils.evaluation.predictions import read_overtraining
from utils.evaluation.training import Curves, HeldOut, importance_table, write_training_figures
from utils.loading import EventSource, SkimData
from utils.metrics import class_balanced_weights
from utils.models.crosstrain import TrainedFold, TrainingSet, cross_train, open_training_set
from utils.models.spec import TrainSpec

N, K = 300, 3


class Guess:
    """Scores that follow from the features alone, different for every fold."""

    count = 0

    def __init__(self) -> None:
        self.number = Guess.count
        Guess.count += 1

    def fit(self, train: EventSource, valid: EventSource, monitor: Any, context: Any = None) -> None: ...

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        raw_NK = np.exp(features_NF[:, :3] * (1 + 0.1 * self.number))
        return (raw_NK / raw_NK.sum(axis=1, keepdims=True)).astype(np.float32)

    n_iterations = 7

    def importances(self) -> Mapping[str, np.ndarray]:
        return {"gain": np.array([4.0, 3, 2, 1]) + self.number, "split": np.array([1.0, 2, 3, 4])}


@pytest.fixture
def data(tmp_path: Path) -> Iterator[SkimData]:
    events = toy_events(N, n_classes=K, misc={"weight": np.random.default_rng(1).normal(1, 0.7, N)})
    with open_skim(tmp_path / "train.h5", events) as skim:
        yield SkimData.open(skim)


def trained(data: SkimData, n_splits: int = 3, **options: Any) -> tuple[TrainingSet, list[TrainedFold]]:
    spec = TrainSpec(train_file="", n_splits=n_splits, **options)
    training = open_training_set(data, spec)
    return training, list(cross_train(training, spec, Guess, lambda _: lambda step, values: None))


def test_curves_are_forwarded_under_the_name_of_their_fold() -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    curves = Curves(lambda step, values: seen.append((step, dict(values))))
    curves.monitor_of(0)(1, {"train-multi_logloss": 0.5, "valid-multi_logloss": 0.6})
    curves.monitor_of(2)(3, {"valid-multi_logloss": 0.4})
    assert seen == [
        (1, {"train_0-multi_logloss": 0.5, "valid_0-multi_logloss": 0.6}),
        (3, {"valid_2-multi_logloss": 0.4}),
    ]


def test_a_figure_for_every_metric_with_more_than_one_point() -> None:
    curves = Curves(lambda step, values: None)
    for fold in range(2):
        for step in (1, 2, 3):
            curves.monitor_of(fold)(step, {"train-a": fold + 1 / step, "valid-a": fold + 2 / step})
        curves.monitor_of(fold)(1, {"valid-once": 0.1})
    (figure,) = curves.figures({0: 2, 1: None})
    assert figure.name == "learning_a"
    lines = [layer for layer in figure.layers if len(getattr(layer, "x", ())) == 3]
    assert {tuple(layer.y) for layer in lines} == {(f + w, f + w / 2, f + w / 3) for f in (0, 1) for w in (1, 2)}


def test_held_out_scores_are_those_of_the_right_model(data: SkimData) -> None:
    training, folds = trained(data)
    weight_N = data.skim.read(["weight"])["weight"]
    held_out = HeldOut(training, weight_N)
    expected_NK = np.empty((N, K), np.float32)
    for fold in folds:
        rows = np.arange(fold.fold, N, 3)
        expected_NK[rows] = fold.estimator.predict(data.features(0, N)[rows])
        own = np.mean([roc_auc_score(data.target_N[rows] == k, expected_NK[rows, k]) for k in range(K)])
        assert held_out.add(fold) == {f"fold_{fold.fold}/roc_auc_macro": pytest.approx(own)}
    areas = held_out.areas()
    names = [*(f"roc_auc_class_{k}" for k in range(K)), "roc_auc_macro"]
    assert set(areas) == {f"{kind}/{name}" for kind in ("cv", "cv_class", "cv_event") for name in names}
    for kind, balanced_N in (("cv", None), ("cv_class", class_balanced_weights(data.target_N, K))):
        by_class = [roc_auc_score(data.target_N == k, expected_NK[:, k], sample_weight=balanced_N) for k in range(K)]
        assert [areas[f"{kind}/roc_auc_class_{k}"] for k in range(K)] == pytest.approx(by_class)
        assert areas[f"{kind}/roc_auc_macro"] == pytest.approx(np.mean(by_class))
    assert areas["cv_event/roc_auc_macro"] != pytest.approx(areas["cv/roc_auc_macro"])
    unweighted = HeldOut(training, None)
    for fold in folds:
        unweighted.add(fold)
    assert not any(name.startswith("cv_event") for name in unweighted.areas())


def test_a_single_models_areas_are_of_the_events_it_did_not_train_on(data: SkimData) -> None:
    training, (fold,) = trained(data, n_splits=1, train_size=0.7)
    held_out = HeldOut(training, None)
    held_out.add(fold)
    rows = fold.held_out_rows
    scores_NK = fold.estimator.predict(data.features(0, N)[rows])
    area = np.mean([roc_auc_score(data.target_N[rows] == k, scores_NK[:, k]) for k in range(K)])
    assert held_out.areas()["cv/roc_auc_macro"] == pytest.approx(area)


def test_samples_of_what_a_model_saw_and_of_what_it_did_not(
    data: SkimData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE_ROWS", 60)
    training, folds = trained(data)
    held_out = HeldOut(training, data.skim.read(["weight"])["weight"])
    for fold in folds:
        held_out.add(fold)
    held_out.write_samples(tmp_path / "overtraining.parquet")
    kept = read_overtraining(tmp_path / "overtraining.parquet", K)
    assert [one.fold for one in kept] == [0, 1, 2]
    for one, fold in zip(kept, folds, strict=True):
        for table, rows in ((one.train, fold.train.rows_N), (one.held_out, fold.held_out_rows)):
            assert 30 <= table.n_events <= 60
            thinned = rows[:: -(-len(rows) // 60)]
            np.testing.assert_array_equal(table.scores_NK, fold.estimator.predict(data.features(0, N)[thinned]))
            np.testing.assert_array_equal(table.target_N, data.target_N[thinned])


def test_importances_as_table_and_figures(data: SkimData, tmp_path: Path) -> None:
    _, folds = trained(data)
    table = importance_table(data.feature_names, folds)
    assert set(table) == {"gain", "split"}
    assert table["gain"].shape == (3, 4)
    curves = Curves(lambda step, values: None)
    for step in (1, 2):
        curves.monitor_of(0)(step, {"valid-loss": 1 / step})
    figures = write_training_figures(tmp_path / "plots", curves, data.feature_names, folds)
    names = {figure.name for figure in figures}
    assert {"learning_loss"} < names
    assert len(names) == 3
    lines = (tmp_path / "plots" / "importance_gain.csv").read_text().splitlines()
    assert lines[0] == "feature,fold_0,fold_1,fold_2"
    assert [line.split(",")[0] for line in lines[1:]] == ["x", "y", "noise", "njets"]
    assert [float(value) for value in lines[1].split(",")[1:]] == table["gain"][:, 0].tolist()
    for name in names:
        assert (tmp_path / "plots" / f"{name}.html").stat().st_size > 1000
        assert (tmp_path / "plots" / "pdf" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_models_without_importances_have_none(data: SkimData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guess, "importances", lambda self: {})
    _, folds = trained(data)
    assert importance_table(data.feature_names, folds) == {}
    assert (
        write_training_figures(tmp_path / "plots", Curves(lambda step, values: None), data.feature_names, folds) == []
    )


# --- other tasks ---


class Value:
    """The first feature and its square, or its square alone."""

    def __init__(self) -> None: ...

    def fit(self, train: EventSource, valid: EventSource, monitor: Any, context: Any = None) -> None:
        self.n_outputs = train.data.n_outputs

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        return np.stack([features_NF[:, 0] ** 2, features_NF[:, 0]], axis=1)[:, : self.n_outputs]

    n_iterations = 1


def held_out_of(skim: Any, task: Any, targets: tuple[str, ...], weighted: bool) -> tuple[SkimData, HeldOut, list[Any]]:
    data = SkimData.open(skim, task=task, targets=targets)
    spec = TrainSpec(train_file="", n_splits=3, task=task, targets=targets)
    training = open_training_set(data, spec)
    held_out = HeldOut(training, data.skim.read(["weight"])["weight"] if weighted else None)
    folds = cross_train(training, spec, Value, lambda _: lambda step, values: None)
    return data, held_out, [held_out.add(fold) for fold in folds]


def test_the_held_out_metrics_of_values_are_those_of_every_target(tmp_path: Path) -> None:
    misc = {"a/b": np.linspace(0, 1, N), "c": np.ones(N), "weight": np.random.default_rng(1).normal(1, 0.7, N)}
    with open_skim(tmp_path / "train.h5", toy_events(N, n_classes=1, misc=misc)) as skim:
        data, held_out, of_folds = held_out_of(skim, "regression", ("a/b", "c"), weighted=True)
        metrics = held_out.areas()
        residual_N = data.features(0, N)[:, 0].astype(np.float64) ** 2 - misc["a/b"].astype(np.float32)
    names = [f"{kind}_{target}" for target in ("a_b", "c") for kind in ("mse", "mae", "bias", "resolution")]
    assert set(metrics) == {f"{prefix}/{name}" for prefix in ("cv", "cv_event") for name in names}
    assert metrics["cv/bias_a_b"] == pytest.approx(residual_N.mean())
    assert metrics["cv_event/bias_a_b"] == pytest.approx(np.average(residual_N, weights=misc["weight"]))
    assert of_folds[1]["fold_1/mse_a_b"] == pytest.approx(np.mean(residual_N[1::3] ** 2))
    assert set(of_folds[1]) == {f"fold_1/{name}" for name in names}
    assert held_out.headline(metrics, "cv").startswith("a/b: bias ")
    assert "c: bias " in held_out.headline(of_folds[0], "fold_0")
    assert not held_out.write_samples(tmp_path / "samples.parquet")


def test_the_held_out_metric_of_an_autoencoder_is_its_loss(data: SkimData) -> None:
    own, held_out, of_folds = held_out_of(data.skim, "autoencoder", (), weighted=False)
    metrics = held_out.areas()
    loss_N = own.features(0, N)[:, 0].astype(np.float64) ** 2
    assert metrics["cv/loss_mean"] == pytest.approx(loss_N.mean())
    median = np.quantile(loss_N[own.class_N == 1], 0.5, method="inverted_cdf")
    assert metrics["cv/loss_median_class_1"] == pytest.approx(median)
    assert of_folds[2] == {"fold_2/loss_mean": pytest.approx(loss_N[2::3].mean())}
    assert held_out.headline(metrics, "cv") == f"mean loss {loss_N.mean():.4g}"

"""Any classifier with scikit-learn's interface."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.skims import open_skim, toy_events
from utils.errors import ConfigError
from utils.loading import EventSource, SkimData
from utils.models.sklearn import SklearnEstimator

N = 400


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    with open_skim(tmp_path_factory.mktemp("skim") / "train.h5", toy_events(N, n_classes=3)) as skim:
        yield SkimData.open(skim)


def fitted(
    data: SkimData, monitor: Any = lambda step, values: None, weight: bool = True, **params: Any
) -> SklearnEstimator:
    rows_N = np.arange(N)
    weight_N = np.ones(N // 2, np.float32) if weight else None
    made = SklearnEstimator(params)
    made.fit(EventSource(data, rows_N[::2], weight_N), EventSource(data, rows_N[1::2], weight_N), monitor)
    return made


def test_it_is_what_the_library_makes_of_the_matrix(data: SkimData) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = fitted(data, _target_="sklearn.ensemble.HistGradientBoostingClassifier", max_iter=5, random_state=1)
    features_NF = data.features(0, N)
    reference = HistGradientBoostingClassifier(max_iter=5, random_state=1, categorical_features=[3])
    reference.fit(features_NF[::2], data.target_N[::2], sample_weight=np.ones(N // 2))
    np.testing.assert_array_equal(model.predict(features_NF), reference.predict_proba(features_NF).astype(np.float32))


def test_categories_that_the_user_names_are_kept(data: SkimData) -> None:
    model = fitted(
        data, _target_="sklearn.ensemble.HistGradientBoostingClassifier", max_iter=2, categorical_features=[]
    )
    assert model._model.get_params()["categorical_features"] == []


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_loss_curve_of_a_network_is_its_curve(data: SkimData) -> None:
    points: list[tuple[int, dict[str, float]]] = []

    def monitor(step: int, values: Mapping[str, float]) -> None:
        points.append((step, dict(values)))

    model = fitted(
        data,
        monitor,
        _target_="sklearn.neural_network.MLPClassifier",
        hidden_layer_sizes=[4],
        max_iter=6,
        random_state=1,
    )
    assert [step for step, values in points if "train-loss" in values] == [1, 2, 3, 4, 5, 6]
    ((last, values),) = [(step, values) for step, values in points if "valid-logloss" in values]
    assert last == model.n_iterations == 6
    chosen_N = model.predict(data.features(0, N))[np.arange(1, N, 2), data.target_N[1::2]]
    assert values["valid-logloss"] == pytest.approx(-np.log(chosen_N.astype(np.float64)).mean())


def test_what_is_watched_goes_to_libraries_that_can(data: SkimData) -> None:
    pytest.importorskip("xgboost")
    points: list[int] = []
    model = fitted(
        data,
        lambda step, values: points.append(step),
        _target_="xgboost.XGBClassifier",
        n_estimators=200,
        learning_rate=0.5,
        early_stopping_rounds=3,
        random_state=1,
    )
    assert len(points) < 200
    assert model.n_iterations == len(points) - 3
    assert model.libraries == ("scikit-learn", "xgboost-cpu") or "xgboost" in model.libraries


def test_a_model_that_takes_no_weights_is_an_error_with_weights_only(data: SkimData) -> None:
    params = {"_target_": "sklearn.neighbors.KNeighborsClassifier", "n_neighbors": 3}
    with pytest.raises(ConfigError, match="'sklearn.neighbors.KNeighborsClassifier' takes no event weights"):
        fitted(data, **params)
    model = fitted(data, weight=False, **params)
    assert model.predict(data.features(0, 5)).shape == (5, 3)
    assert model.importances() == {}
    assert model.n_iterations is None


HISTGB = "sklearn.ensemble.HistGradientBoostingClassifier"


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({}, "a mapping with _target_ is needed"),
        ({"_target_": HISTGB.replace("ss", "s")}, "did you mean 'HistGradientBoostingClassifier'"),
        ({"_target_": HISTGB, "max_itr": 3}, "no argument 'max_itr'.*did you mean 'max_iter'"),
        ({"_target_": "sklearn.linear_model.LinearRegression"}, "LinearRegression' gives no probabilities"),
        ({"_target_": HISTGB, "max_iter": -3}, "cannot be trained.*max_iter"),
    ],
)
def test_what_cannot_be_made_is_an_error(data: SkimData, params: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        fitted(data, **params)


def test_a_class_that_was_not_in_training_has_no_probability(data: SkimData, tmp_path: Path) -> None:
    rows_N = np.flatnonzero(data.target_N != 1)
    model = SklearnEstimator({"_target_": "sklearn.ensemble.RandomForestClassifier", "n_estimators": 3})
    model.fit(EventSource(data, rows_N), EventSource(data, rows_N), lambda step, values: None)
    scores_NK = model.predict(data.features(0, N))
    assert (scores_NK[:, 1] == 0).all()
    np.testing.assert_allclose(scores_NK.sum(axis=1), 1, atol=1e-6)


# --- values ---


@pytest.fixture(scope="module")
def valued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    events = toy_events(N, n_classes=2)
    misc = {"mass": 3 * events.cont["x"] + 5, "jets": events.cat["njets"].astype(np.float64)}
    path = tmp_path_factory.mktemp("valued") / "train.h5"
    with open_skim(path, toy_events(N, n_classes=2, misc=misc)) as skim:
        yield SkimData.open(skim, task="regression", targets=("mass", "jets"))


HISTGB = "sklearn.ensemble.HistGradientBoostingRegressor"


def test_a_wrapped_model_tells_several_values(valued: SkimData) -> None:
    inner = {"_target_": HISTGB, "max_iter": 20, "min_samples_leaf": 5}
    model = fitted(valued, _target_="sklearn.multioutput.MultiOutputRegressor", estimator=inner)
    predicted_NT = model.predict(valued.features(0, N))
    assert predicted_NT.shape == (N, 2)
    assert (np.var(predicted_NT - valued.target_N, axis=0) < 0.2 * np.var(valued.target_N, axis=0)).all()


def test_the_loss_of_values_is_watched(valued: SkimData) -> None:
    points: list[Mapping[str, float]] = []
    one = SkimData.open(valued.skim, task="regression", targets=("mass",))
    model = fitted(one, lambda step, values: points.append(values), _target_=HISTGB, max_iter=5)
    expected = np.mean((model.predict(one.features(0, N))[1::2] - one.target_N[1::2]) ** 2, dtype=np.float64)
    assert points == [{"valid-mse": pytest.approx(expected, rel=1e-5)}]


def test_a_classifier_tells_no_values_and_a_regressor_no_classes(data: SkimData, valued: SkimData) -> None:
    with pytest.raises(ConfigError, match="tells classes, and task=regression asks for values.*sklearn_histgb_reg"):
        fitted(valued, _target_="sklearn.ensemble.HistGradientBoostingClassifier")
    with pytest.raises(ConfigError, match="gives no probabilities"):
        fitted(data, _target_=HISTGB)
    with pytest.raises(ConfigError, match="cannot be trained"):
        fitted(data, _target_="sklearn.ensemble.HistGradientBoostingClassifier", max_iter=-1)

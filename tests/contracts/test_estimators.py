"""What every model promises, whatever library it comes from. A new one is one more line in `IMPLEMENTATIONS`."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.skims import toy_events, write_skim
from utils.errors import ConfigError
from utils.factory import Factory
from utils.loading import EventSource, SkimData
from utils.models.crosstrain import TrainedFold, cross_train, open_training_set, predict_rows
from utils.models.estimator import Estimator, load_estimator, save_estimator
from utils.models.spec import TrainSpec
from utils.readers.skim import SkimFile


@dataclass(frozen=True)
class Implementation:
    """An estimator's class, and small parameters for it with a fixed seed.

    `of_values` are its parameters for a regression, where they differ; `n_targets` is how many it can tell at once.
    """

    name: str
    target: str
    params: Mapping[str, Any]
    package: str
    budget: int
    of_values: Mapping[str, Any] | None = None
    n_targets: int = 2
    reconstructs: bool = False

    def __call__(self) -> Estimator:
        made: Estimator = Factory(self.target)(params=self.params)
        return made

    def regression(self) -> Estimator:
        made: Estimator = Factory(self.target)(params=self.params if self.of_values is None else self.of_values)
        return made


N = 1600
LIGHTGBM, SKLEARN = "utils.models.lightgbm.LightGBMEstimator", "utils.models.sklearn.SklearnEstimator"
TREES = {"num_leaves": 7, "min_data_in_leaf": 5, "seed": 1, "deterministic": True, "force_row_wise": True}
HISTGB, MLP, XGB = (
    {"_target_": "sklearn.ensemble.HistGradientBoostingClassifier", "learning_rate": 0.3, "random_state": 1},
    {"_target_": "sklearn.neural_network.MLPClassifier", "hidden_layer_sizes": [16], "random_state": 1},
    {"_target_": "xgboost.XGBClassifier", "learning_rate": 0.3, "random_state": 1},
)
TORCH = {"network": {"hidden": [16]}, "epochs": 15, "batch_size": 64, "learning_rate": 0.01}
OF_VALUES: Mapping[str, Mapping[str, Any]] = {
    "histgb": {**HISTGB, "_target_": "sklearn.ensemble.HistGradientBoostingRegressor", "max_iter": 12},
    "mlp": {**MLP, "_target_": "sklearn.neural_network.MLPRegressor", "learning_rate_init": 0.05, "max_iter": 150},
    "xgboost": {**XGB, "_target_": "xgboost.XGBRegressor", "n_estimators": 12, "max_depth": 3},
}
IMPLEMENTATIONS = [
    Implementation("lightgbm", LIGHTGBM, {**TREES, "num_iterations": 12}, "lightgbm", 12),
    Implementation("histgb", SKLEARN, {**HISTGB, "max_iter": 12}, "sklearn", 12, OF_VALUES["histgb"], 1),
    Implementation(
        "mlp", SKLEARN, {**MLP, "learning_rate_init": 0.02, "max_iter": 30}, "sklearn", 30, OF_VALUES["mlp"]
    ),
    Implementation(
        "xgboost", SKLEARN, {**XGB, "n_estimators": 12, "max_depth": 3}, "xgboost", 12, OF_VALUES["xgboost"]
    ),
    Implementation("torch", "utils.models.pytorch.estimator.TorchEstimator", TORCH, "torch", 15, reconstructs=True),
    Implementation(
        "keras", "utils.models.keras_network.estimator.KerasEstimator", TORCH, "tensorflow", 15, reconstructs=True
    ),
]

# scikit-learn says that an MLP with so few iterations has not converged: it need not.
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


@pytest.fixture(scope="module", params=IMPLEMENTATIONS, ids=lambda implementation: implementation.name)
def make(request: pytest.FixtureRequest) -> Implementation:
    implementation: Implementation = request.param
    if importlib.util.find_spec(implementation.package) is None:
        pytest.skip(f"{implementation.package} is not installed")
    return implementation


@pytest.fixture(scope="module", params=[2, 4])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    folder = tmp_path_factory.mktemp("skim")
    events = toy_events(N, n_classes=request.param)
    # Powers of two, so that a common factor changes no digit of a weight.
    weight = np.where(events.target == 0, 16.0, 1.0) * np.where(events.cont["x"] > 50, 2.0, 1.0)
    events.misc["weight"][:] = weight
    misc = dict(events.misc) | {"scaled": 1024 * weight}
    path = write_skim(folder / "train.h5", type(events)(events.cont, events.cat, misc, events.target, events.n_classes))
    with SkimFile(path) as skim:
        yield SkimData.open(skim)


class Recorder:
    """Remembers what a fit reports."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, dict[str, float]]] = []

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append((step, dict(values)))


def fit(
    data: SkimData, make: Callable[[], Estimator], weight_name: str | None = "weight", **options: Any
) -> TrainedFold:
    """The model of fold 0 of two."""
    spec = TrainSpec(train_file="", weight_name=weight_name, **options)
    return next(cross_train(open_training_set(data, spec), spec, make, lambda _: Recorder()))


@pytest.fixture(scope="module")
def fitted(data: SkimData, make: Implementation) -> TrainedFold:
    return fit(data, make)


def scores(fold: TrainedFold) -> np.ndarray:
    return predict_rows(fold.estimator, fold.train.data, np.arange(fold.train.data.skim.n_rows))


def test_scores_are_probabilities(data: SkimData, fitted: TrainedFold) -> None:
    scores_NK = scores(fitted)
    assert scores_NK.shape == (N, data.n_classes)
    assert scores_NK.dtype == np.float32
    np.testing.assert_allclose(scores_NK.sum(axis=1), 1.0, atol=1e-5)
    assert scores_NK.min() >= 0
    truth_N = data.target_N[fitted.held_out_rows]
    accuracy = np.mean(scores_NK[fitted.held_out_rows].argmax(axis=1) == truth_N)
    assert accuracy > 0.5 + 0.2 * (data.n_classes == 2), "it has learned something, and column k is class k"


def test_predicting_in_parts_changes_nothing(data: SkimData, fitted: TrainedFold) -> None:
    features_NF = data.features(0, 300)
    before = features_NF.copy()
    whole_NK = fitted.estimator.predict(features_NF)
    np.testing.assert_array_equal(features_NF, before)
    for size in (1, 7, 299):
        parts = [fitted.estimator.predict(features_NF[start : start + size]) for start in range(0, 300, size)]
        # A matrix product may sum in another order for another number of rows.
        np.testing.assert_allclose(np.concatenate(parts), whole_NK, atol=2e-6)


def test_no_rows_give_no_scores(data: SkimData, fitted: TrainedFold) -> None:
    nothing_NK = fitted.estimator.predict(np.empty((0, len(data.feature_names)), np.float32))
    assert nothing_NK.shape == (0, data.n_classes)
    assert nothing_NK.dtype == np.float32


def test_the_same_again_gives_the_same_model(data: SkimData, make: Implementation, fitted: TrainedFold) -> None:
    np.testing.assert_array_equal(scores(fit(data, make)), scores(fitted))


def test_the_order_of_folds_does_not_matter(data: SkimData, make: Implementation, fitted: TrainedFold) -> None:
    spec = TrainSpec(train_file="", weight_name="weight")
    training = open_training_set(data, spec)
    _, second = cross_train(training, spec, make, lambda _: Recorder())
    swapped = type(training)(data, 1 - training.fold_N, training.weight_N, training.may_train_N, None)
    first_of_swapped = next(cross_train(swapped, spec, make, lambda _: Recorder()))
    np.testing.assert_array_equal(scores(first_of_swapped), scores(second))
    assert not np.array_equal(scores(second), scores(fitted))


def test_batches_of_any_size_train_the_same_model(
    data: SkimData, make: Implementation, fitted: TrainedFold, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = EventSource._pieces
    monkeypatch.setattr(EventSource, "_pieces", lambda source, batch_rows: pieces(source, min(batch_rows, 37)))
    # A copy of the open skim, so that nothing that was kept of it is used again.
    with SkimFile(data.skim.path) as skim:
        again = fit(SkimData.open(skim), make)
        np.testing.assert_array_equal(scores(again), scores(fitted))


def test_weights_matter_but_not_their_scale(data: SkimData, make: Implementation, fitted: TrainedFold) -> None:
    unweighted, scaled = fit(data, make, weight_name=None), fit(data, make, weight_name="scaled")
    np.testing.assert_array_equal(scores(scaled), scores(fitted))
    assert scaled.weight_factor == pytest.approx(fitted.weight_factor / 1024)
    # Class 0 counts sixteen times as much, so it gets a larger share.
    assert scores(fitted)[:, 0].mean() > scores(unweighted)[:, 0].mean() + 0.02


def test_saved_and_loaded_it_is_the_same_bit_by_bit(fitted: TrainedFold, tmp_path: Path) -> None:
    save_estimator(fitted.estimator, tmp_path / "fold_0")
    loaded = load_estimator(tmp_path / "fold_0")
    features_NF = fitted.train.data.features(0, N)
    np.testing.assert_array_equal(loaded.predict(features_NF), fitted.estimator.predict(features_NF))
    assert loaded.predict(features_NF[:0]).shape == (0, fitted.train.data.n_classes)
    assert type(loaded) is type(fitted.estimator)
    assert loaded.libraries == fitted.estimator.libraries
    assert loaded.n_iterations == fitted.estimator.n_iterations
    for kind, importance_F in fitted.estimator.importances().items():
        np.testing.assert_allclose(loaded.importances()[kind], importance_F, rtol=1e-5)


def test_categorical_features_are_used(data: SkimData, fitted: TrainedFold) -> None:
    (column,) = data.categorical_indices
    features_NF = data.features(0, N)
    other_NF = features_NF.copy()
    other_NF[:, column] = (other_NF[:, column] + 1) % 4
    moved = np.abs(fitted.estimator.predict(other_NF) - fitted.estimator.predict(features_NF)).max(axis=1)
    assert np.mean(moved > 0.01) > 0.3


def test_the_monitor_gets_curves(data: SkimData, make: Implementation) -> None:
    spec = TrainSpec(train_file="")
    monitor = Recorder()
    fold = next(cross_train(open_training_set(data, spec), spec, make, lambda _: monitor))
    assert monitor.calls
    names = {name for _, values in monitor.calls for name in values}
    assert {name.partition("-")[0] for name in names} <= {"train", "valid"}
    assert any(name.startswith("valid-") for name in names)
    assert all(name.partition("-")[2] for name in names)
    assert all(np.isfinite(value) for _, values in monitor.calls for value in values.values())
    for name in names:
        steps = [step for step, values in monitor.calls if name in values]
        assert steps == sorted(set(steps)), f"{name} is reported once per step, in order"
        assert steps[0] >= 1
        assert steps[-1] <= make.budget
    assert fold.estimator.n_iterations is not None


def test_it_says_what_it_is(data: SkimData, make: Implementation, fitted: TrainedFold) -> None:
    model = fitted.estimator
    assert model.n_iterations is None or 1 <= model.n_iterations <= make.budget
    assert model.libraries
    for library in model.libraries:
        assert version(library), "a distribution that pip can pin"
    for kind, importance_F in model.importances().items():
        assert isinstance(kind, str)
        assert importance_F.shape == (len(data.feature_names),)
        assert importance_F.dtype == np.float64
        assert (importance_F >= 0).all()
        assert importance_F.sum() > 0
        assert importance_F[data.feature_names.index("noise")] < importance_F.max()


# --- values instead of classes ---


@pytest.fixture(scope="module")
def valued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    """One class; `mass` follows from `x` and the category, `angle` from `y`, both with noise."""
    folder = tmp_path_factory.mktemp("valued")
    events = toy_events(N, n_classes=1)
    rng = np.random.default_rng(5)
    x, njets = events.cont["x"].astype(np.float64), events.cat["njets"]
    misc = dict(events.misc) | {
        "mass": 100 + 2 * x + 15 * njets + rng.normal(0, 1, N),
        "angle": (-0.1 * events.cont["y"] + rng.normal(0, 0.1, N)).astype(np.float32),
        # Powers of two, so that a common factor changes no digit of a weight.
        "weight": np.where(x > 64, 16.0, 1.0),
        "scaled": np.where(x > 64, 16.0, 1.0) * 1024,
    }
    path = write_skim(folder / "train.h5", replace(events, misc=misc))
    with SkimFile(path) as skim:
        yield SkimData.open(skim, task="regression", targets=("mass",))


def fit_values(data: SkimData, make: Callable[[], Estimator], weight_name: str | None = "weight") -> TrainedFold:
    spec = TrainSpec(train_file="", weight_name=weight_name, task=data.task, targets=data.targets)
    return next(cross_train(open_training_set(data, spec), spec, make, lambda _: Recorder()))


def shares_explained(fold: TrainedFold) -> list[float]:
    """Of each target's variance, in the events that the model has not seen."""
    data = fold.train.data
    rows = fold.held_out_rows
    true_NT, predicted_NT = data.target_N[rows], predict_rows(fold.estimator, data, rows)
    return list(1 - np.mean((predicted_NT - true_NT) ** 2, axis=0) / np.var(true_NT, axis=0))


def test_values_are_told_in_the_targets_own_unit(valued: SkimData, make: Implementation, tmp_path: Path) -> None:
    fold = fit_values(valued, make.regression)
    values_NT = scores(fold)
    assert values_NT.shape == (N, 1)
    assert values_NT.dtype == np.float32
    assert shares_explained(fold)[0] > 0.6
    np.testing.assert_array_equal(scores(fit_values(valued, make.regression)), values_NT)
    nothing = np.empty((0, len(valued.feature_names)), np.float32)
    assert fold.estimator.predict(nothing).shape == (0, 1)
    save_estimator(fold.estimator, tmp_path / "fold_0")
    loaded = load_estimator(tmp_path / "fold_0")
    features_NF = valued.features(0, N)
    np.testing.assert_array_equal(loaded.predict(features_NF), fold.estimator.predict(features_NF))
    assert loaded.predict(nothing).shape == (0, 1)
    assert loaded.n_iterations == fold.estimator.n_iterations
    for importance_F in fold.estimator.importances().values():
        assert importance_F.shape == (len(valued.feature_names),)


def test_several_values_or_a_clear_no(valued: SkimData, make: Implementation, tmp_path: Path) -> None:
    both = replace(valued, targets=("mass", "angle"))
    if make.n_targets == 1:
        with pytest.raises(ConfigError, match=r"tells one value, and there are 2 targets.*MultiOutputRegressor"):
            fit_values(both, make.regression)
        return
    fold = fit_values(both, make.regression, weight_name=None)
    assert scores(fold).shape == (N, 2)
    assert min(shares_explained(fold)) > 0.5, "each column is its own target"
    save_estimator(fold.estimator, tmp_path / "fold_0")
    features_NF = valued.features(0, N)
    loaded_NT = load_estimator(tmp_path / "fold_0").predict(features_NF)
    np.testing.assert_array_equal(loaded_NT, fold.estimator.predict(features_NF))


def test_weights_matter_for_values_but_not_their_scale(valued: SkimData, make: Implementation) -> None:
    if make.name == "mlp":
        pytest.skip("scikit-learn's MLP stops by the loss, whose digits the weights' sum changes")
    weighted, scaled = fit_values(valued, make.regression), fit_values(valued, make.regression, "scaled")
    np.testing.assert_array_equal(scores(scaled), scores(weighted))
    assert not np.array_equal(scores(fit_values(valued, make.regression, None)), scores(weighted))


def test_an_autoencoder_or_a_clear_no(data: SkimData, make: Implementation, tmp_path: Path) -> None:
    own = replace(data, task="autoencoder")
    if not make.reconstructs:
        with pytest.raises(ConfigError, match=r"makes no autoencoder.*model=torch_mlp"):
            fit_values(own, make)
        return
    fold = fit_values(own, make)
    loss_N = scores(fold)
    assert loss_N.shape == (N, 1)
    assert loss_N.dtype == np.float32
    assert np.isfinite(loss_N).all()
    assert (loss_N >= 0).all()
    features_NF = own.features(0, N)
    assert loss_N.mean() < 0.5 * np.square(features_NF[:, : len(own.cont_features)]).mean(), "it has learned something"
    strange_NF = features_NF.copy()
    strange_NF[:, 0] += 20
    assert np.mean(fold.estimator.predict(strange_NF) > loss_N) > 0.95
    assert fold.estimator.predict(features_NF[:0]).shape == (0, 1)
    save_estimator(fold.estimator, tmp_path / "fold_0")
    loaded_N = load_estimator(tmp_path / "fold_0").predict(features_NF)
    np.testing.assert_array_equal(loaded_N, fold.estimator.predict(features_NF))

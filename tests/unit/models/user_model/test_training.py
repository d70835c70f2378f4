"""Models of users' files learn, in chunks as asked for, and are the same after saving."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.skims import Events, toy_events, write_skim
from utils.loading import SkimData
from utils.models.crosstrain import TrainedFold, cross_train, open_training_set, predict_rows
from utils.models.estimator import load_estimator, save_estimator
from utils.models.neural.watch import macro_auc
from utils.models.spec import TrainSpec
from utils.models.user_model.estimator import UserModelEstimator
from utils.readers.skim import SkimFile

Fit = Callable[..., tuple[TrainedFold, list[tuple[int, dict[str, float]]]]]
N = 800

SKLEARN = """
from sklearn.ensemble import HistGradientBoostingClassifier
def model():
    return HistGradientBoostingClassifier(max_iter=20)
"""
PARTIAL = """
from sklearn.linear_model import SGDClassifier
calls = []
class Counting(SGDClassifier):
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        calls.append(len(X))
        return super().partial_fit(X, y, classes=classes, sample_weight=sample_weight)
def model():
    return Counting(loss="log_loss")
"""
TORCH = """
import torch
from torch import nn
def model(idim):
    return nn.Sequential(nn.Linear(idim, 32), nn.ReLU(), {last})
"""
# As in MLaaS4HEP's description: overrides that forget `mode`, and a `self.model` that is not there.
THEIR_TORCH = """
import torch
import torch.nn as nn
calls = []
class Net(nn.Module):
    def __init__(self, idim):
        super().__init__()
        self.first, self.dropout, self.last = nn.Linear(idim, 32), nn.Dropout(0.5), nn.Linear(32, 1)
    def forward(self, x):
        return torch.sigmoid(self.last(self.dropout(torch.relu(self.first(x)))))
    def train(self, mode=True):
        super().train()
    def eval(self):
        super().eval()
    def torch_train(self, model, train_loader, val_loader):
        optimizer, loss_function = torch.optim.Adam(model.parameters(), lr=1e-2), nn.BCELoss()
        self.model.train()
        for _ in range(4):
            for xs, ys in train_loader:
                optimizer.zero_grad()
                loss_function(model(xs), ys).backward()
                optimizer.step()
        calls.append((sum(len(x) for x, _ in train_loader), sum(len(x) for x, _ in val_loader)))
def model(idim):
    return Net(idim)
"""
JAGGED = """
import torch
from MLaaS4HEP.jarray.pytorch import JaggedArrayLinear
def model(idim):
    return torch.nn.Sequential(JaggedArrayLinear(idim, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
"""
KERAS = """
import keras
def model(idim):
    network = keras.Sequential([keras.layers.Dense(32, activation="relu"), {last}])
    network.compile(optimizer=keras.optimizers.Adam(1e-2), loss={loss})
    return network
"""
OWN_FIT = """
import keras
calls = []
class Mine(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1, activation="sigmoid")
    def call(self, x):
        return self.last(self.hidden(x))
    def fit(self, x_train, y_train, **kwds):
        calls.append((x_train.shape, y_train.shape, sorted(kwds), kwds["epochs"]))
        return super().fit(x_train, y_train, **kwds)
def model(idim):
    made = Mine()
    made.compile(optimizer=keras.optimizers.Adam(1e-2), loss="binary_crossentropy")
    return made
"""


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Fit the model of fold 0 of two; gives the fold and what was reported."""
    opened = []

    def run(text: str, n_classes: int = 2, events: Events | None = None, task: Any = "classification", **params: Any):  # type: ignore[no-untyped-def]
        (tmp_path / "my_model.py").write_text(text)
        skim = SkimFile(write_skim(tmp_path / "train.h5", events or toy_events(N, n_classes)))
        opened.append(skim)
        spec = TrainSpec(train_file="", weight_name=params.pop("weight_name", None), task=task)
        given = {"file": str(tmp_path / "my_model.py"), "epochs": 8, "batch_size": 32, **params}
        calls: list[tuple[int, dict[str, float]]] = []

        def monitor(step: int, values: Mapping[str, float]) -> None:
            calls.append((step, dict(values)))

        training = open_training_set(SkimData.open(skim, task=task), spec)
        return next(cross_train(training, spec, lambda: UserModelEstimator(given), lambda _: monitor)), calls

    yield run
    for skim in opened:
        skim.close()


def scores(fold: TrainedFold) -> np.ndarray:
    return predict_rows(fold.estimator, fold.train.data, np.arange(fold.train.data.skim.n_rows))


def auc(fold: TrainedFold) -> float:
    return macro_auc(scores(fold)[fold.held_out_rows], fold.train.data.target_N[fold.held_out_rows])


def calls_of(fold: TrainedFold) -> list[Any]:
    """What a model's file has written down."""
    import sys

    found: list[Any] = sys.modules[fold.estimator.file.module_name].calls  # type: ignore[attr-defined]
    return found


def check(fold: TrainedFold, tmp_path: Path, at_least: float = 0.8) -> None:
    """It has learned, gives probabilities, and is the same from a copy elsewhere, without the user's file."""
    scores_NK = scores(fold)
    np.testing.assert_allclose(scores_NK.sum(axis=1), 1, atol=1e-5)
    assert auc(fold) > at_least
    save_estimator(fold.estimator, tmp_path / "saved")
    (tmp_path / "my_model.py").unlink()
    loaded = load_estimator(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.predict(fold.train.data.features(0, N)), scores_NK)
    assert loaded.libraries == fold.estimator.libraries
    assert loaded.n_iterations == fold.estimator.n_iterations


def test_scikit_learn_at_once(fit: Fit, tmp_path: Path) -> None:
    fold, calls = fit(SKLEARN, chunk_size=50)
    assert [step for step, _ in calls] == [1]
    check(fold, tmp_path)


def test_scikit_learn_in_chunks(fit: Fit, tmp_path: Path) -> None:
    fold, calls = fit(PARTIAL, chunk_size=150, epochs=2)
    assert calls_of(fold) == [150, 150, 150, 150, 100, 100]
    assert [step for step, _ in calls] == [1, 2, 3, 4, 5, 6]
    check(fold, tmp_path, 0.7)


def test_standard_training_goes_over_all_chunks(fit: Fit) -> None:
    fold, _ = fit(PARTIAL, chunk_size=150, epochs=2, training="standard")
    assert calls_of(fold) == [150, 150, 100, 150, 150, 100]


def test_xgboost(fit: Fit, tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    fold, _ = fit("import xgboost as xgb\ndef model():\n    return xgb.XGBClassifier(n_estimators=20)\n", 3)
    assert fold.estimator.importances()["importance"].shape == (4,)
    check(fold, tmp_path)


def test_a_class_of_the_users_own_with_a_neighbour(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "my_neighbour.py").write_text("SMOOTH = 0.5\n")
    text = """
import numpy as np
from my_neighbour import SMOOTH
class Counting:
    def fit(self, x, y):
        self.classes_ = np.unique(y)
        self.means = np.stack([x[y == k].mean(axis=0) for k in self.classes_])
        return self
    def predict_proba(self, x):
        inverse = 1 / (SMOOTH + ((x[:, None] - self.means) ** 2).sum(axis=2))
        return inverse / inverse.sum(axis=1, keepdims=True)
def model():
    return Counting()
"""
    fold, _ = fit(text)
    (tmp_path / "my_neighbour.py").unlink()
    check(fold, tmp_path, 0.7)


@pytest.mark.parametrize(
    ("last", "n_classes", "kind"),
    [
        ("nn.Linear(32, 1)", 2, "logits"),
        ("nn.Linear(32, 1), nn.Sigmoid()", 2, "probabilities"),
        ("nn.Linear(32, 3), nn.Softmax(1)", 3, "probabilities"),
        ("nn.Linear(32, 3), nn.LogSoftmax(1)", 3, "log_probabilities"),
        ("nn.Linear(32, 2), nn.Sigmoid()", 2, "probabilities"),
    ],
)
def test_torch_with_every_kind_of_outputs(fit: Fit, tmp_path: Path, last: str, n_classes: int, kind: str) -> None:
    pytest.importorskip("torch")
    fold, calls = fit(TORCH.format(last=last), n_classes, learning_rate=0.01)
    assert fold.estimator._model.kind == kind  # type: ignore[attr-defined]
    assert calls[-1][1]["valid-auc"] > calls[0][1]["valid-auc"] - 0.01
    check(fold, tmp_path)


def test_torch_that_trains_itself_as_in_their_description(fit: Fit, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    fold, calls = fit(THEIR_TORCH, chunk_size=300)
    assert calls_of(fold) == [(300, 400), (100, 400)]
    assert [step for step, _ in calls] == [1, 2]
    check(fold, tmp_path)


def test_torch_train_beside_the_model_may_return_another_object(fit: Fit) -> None:
    pytest.importorskip("torch")
    text = TORCH.format(last="nn.Linear(32, 1)") + (
        "import copy\ndef torch_train(model, train_loader, val_loader):\n"
        "    trained = copy.deepcopy(model)\n"
        "    with torch.no_grad():\n        trained[2].bias += 5\n    return trained\n"
    )
    fold, _ = fit(text)
    assert scores(fold)[:, 1].mean() > 0.9


def test_their_layer_by_its_name(fit: Fit, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    check(fit(JAGGED, learning_rate=0.01)[0], tmp_path)


@pytest.mark.parametrize(
    ("last", "loss", "n_classes"),
    [
        ('keras.layers.Dense(1, activation="sigmoid")', "'binary_crossentropy'", 2),
        ('keras.layers.Dense(2), keras.layers.Activation("softmax")', "'categorical_crossentropy'", 2),
        ('keras.layers.Dense(3, activation="softmax")', "'sparse_categorical_crossentropy'", 3),
        ("keras.layers.Dense(1)", "keras.losses.BinaryCrossentropy(from_logits=True)", 2),
    ],
)
def test_keras_with_every_kind_of_outputs(fit: Fit, tmp_path: Path, last: str, loss: str, n_classes: int) -> None:
    pytest.importorskip("keras")
    fold, calls = fit(KERAS.format(last=last, loss=loss), n_classes, chunk_size=200, epochs=4)
    assert [step for step, _ in calls] == list(range(1, 9))
    assert {"train-loss", "valid-loss", "train-auc", "valid-auc", "train-model_loss"} <= calls[0][1].keys()
    check(fold, tmp_path)
    assert [figure.name for figure in fold.estimator.figures()] == ["chunks_0"]  # type: ignore[attr-defined]


def test_a_fit_of_the_users_own_is_given_the_arrays_of_a_chunk(fit: Fit, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    fold, calls = fit(OWN_FIT, chunk_size=250)
    keys = ["batch_size", "epochs", "shuffle", "validation_data", "verbose"]
    assert calls_of(fold) == [((250, 4), (250, 1), keys, 8), ((150, 4), (150, 1), keys, 8)]
    assert len(calls) == 2
    check(fold, tmp_path)


@pytest.mark.parametrize("library", ["torch", "keras"])
def test_the_same_again_gives_the_same_model(fit: Fit, library: str) -> None:
    pytest.importorskip(library)
    text = {
        "torch": TORCH.format(last="nn.Dropout(0.2), nn.Linear(32, 1)"),
        "keras": KERAS.format(last="keras.layers.Dense(1, activation='sigmoid')", loss="'binary_crossentropy'"),
    }[library]
    first, again = (scores(fit(text, epochs=2)[0]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(scores(fit(text, epochs=2, seed=5)[0]), first)


@pytest.mark.parametrize("library", ["sklearn", "torch", "keras"])
def test_weights_count(fit: Fit, library: str) -> None:
    pytest.importorskip(library)
    text = {
        "sklearn": SKLEARN,
        "torch": TORCH.format(last="nn.Linear(32, 1)"),
        "keras": KERAS.format(last="keras.layers.Dense(1, activation='sigmoid')", loss="'binary_crossentropy'"),
    }[library]
    plain = toy_events(N, 2)
    weight = np.where(plain.target == 0, 16.0, 1.0)
    events = toy_events(N, 2, misc={"weight": weight})
    weighted, unweighted = (fit(text, events=events, weight_name=name)[0] for name in ("weight", None))
    assert scores(weighted)[:, 0].mean() > scores(unweighted)[:, 0].mean() + 0.05


def test_without_labels_the_inputs_come_back(fit: Fit, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    text = "from torch import nn\ndef model(idim):\n    return nn.Sequential(nn.Linear(idim, 3), nn.Linear(3, idim))\n"
    fold, calls = fit(text, task="autoencoder", learning_rate=0.01)
    losses = scores(fold)
    assert losses.shape == (N, 1)
    assert calls[-1][1]["valid-loss"] < 0.7 * calls[0][1]["valid-loss"]
    features = fold.train.data.features(0, N)
    back = fold.estimator._model.outputs(features)  # type: ignore[attr-defined]
    np.testing.assert_allclose(losses[:, 0], ((back - features) ** 2).mean(axis=1), rtol=1e-4, atol=1e-6)


def test_an_outlier_detector_needs_no_labels(fit: Fit) -> None:
    fold, _ = fit(
        "from sklearn.ensemble import IsolationForest\ndef model(): return IsolationForest()", task="autoencoder"
    )
    assert scores(fold).shape == (N, 1)
    far = np.full((1, 4), 100, np.float32)
    assert fold.estimator.predict(far)[0, 0] > scores(fold).mean()


def test_a_copy_in_the_librarys_own_format(fit: Fit, tmp_path: Path) -> None:
    import joblib

    copy = tmp_path / "copies" / "model.joblib"
    fold, _ = fit(SKLEARN, fout=str(copy))
    features = fold.train.data.features(0, N)
    np.testing.assert_allclose(joblib.load(copy).predict_proba(features), scores(fold), atol=1e-6)
    assert [path.name for path in copy.parent.iterdir()] == ["model.joblib"]


def test_a_copy_of_a_network(fit: Fit, tmp_path: Path) -> None:
    torch, keras = pytest.importorskip("torch"), pytest.importorskip("keras")
    fold, _ = fit(TORCH.format(last="nn.Linear(32, 1)"), fout=str(tmp_path / "model.pt"))
    assert set(torch.load(tmp_path / "model.pt", weights_only=True)) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    text = KERAS.format(last="keras.layers.Dense(1, activation='sigmoid')", loss="'binary_crossentropy'")
    fold, _ = fit(text, epochs=1, fout=str(tmp_path / "model.keras"))
    again = keras.models.load_model(tmp_path / "model.keras")
    features = fold.train.data.features(0, N)
    np.testing.assert_allclose(np.asarray(again(features))[:, 0], scores(fold)[:, 1], atol=1e-6)


def test_settings_of_params_json_and_of_the_skim(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text('{"epochs": 3, "batch_size": 20, "chunk_size": 100, "training": "standard"}')
    fold, calls = fit(PARTIAL, epochs=None, batch_size=None, params=str(tmp_path / "params.json"))
    assert [step for step, _ in calls] == list(range(1, 13))
    settings = fold.estimator.settings  # type: ignore[attr-defined]
    assert (settings.epochs, settings.batch_size, settings.chunk_size, settings.is_standard) == (3, 20, 100, True)
    filled = UserModelEstimator({"file": str(tmp_path / "my_model.py"), "epochs": 2}).settings.filled(
        {"train_params": {"epochs": 7, "metrics": {"threshold": 0.3}}, "mixing_chunk": 60}
    )
    assert (filled.epochs, filled.batch_size, filled.chunk_size, filled.threshold) == (2, 50, 60, 0.3)

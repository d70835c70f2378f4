"""What is wrong in a user's file is said with the file, and with its own traceback where it raises."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.skims import toy_events, write_skim
from utils.errors import ConfigError, CrossfoldError, DataError
from utils.loading import SkimData
from utils.models.crosstrain import cross_train, open_training_set
from utils.models.spec import TrainSpec
from utils.models.user_model.estimator import UserModelEstimator
from utils.readers.skim import SkimFile

Fit = Callable[..., UserModelEstimator]

SKLEARN = "from sklearn.linear_model import LogisticRegression\n"
TORCH = "import torch\nfrom torch import nn\n"
KERAS = "import keras\n"


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Fit the model of a file with this text on a small skim."""

    def run(text: str, n_classes: int = 2, task: Any = "classification", **params: Any) -> UserModelEstimator:
        (tmp_path / "my_model.py").write_text(text)
        with SkimFile(write_skim(tmp_path / "train.h5", toy_events(200, n_classes))) as skim:
            data = SkimData.open(skim, task=task)
            spec = TrainSpec(train_file="", weight_name=params.pop("weight_name", None), task=task)
            given = {"file": str(tmp_path / "my_model.py"), "epochs": 1, **params}
            folds = cross_train(
                open_training_set(data, spec), spec, lambda: UserModelEstimator(given), lambda _: lambda *_: None
            )
            return next(iter(folds)).estimator  # type: ignore[return-value]

    return run


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no file 'nowhere\.py'.*model_file"):
        UserModelEstimator({"file": "nowhere.py"})
    with pytest.raises(ConfigError, match=r"Set model_file=model\.py"):
        UserModelEstimator({"file": None})


def test_a_parameter_that_is_misspelt() -> None:
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        UserModelEstimator({"file": __file__, "epoch": 3})
    with pytest.raises(ConfigError, match="batch_size is 0"):
        UserModelEstimator({"file": __file__, "batch_size": 0})


def test_a_file_without_model(fit: Fit) -> None:
    with pytest.raises(ConfigError, match="no 'model' in .*did you mean 'my_model'"):
        fit("def my_model(idim): ...")


@pytest.mark.parametrize(
    ("text", "error"),
    [("def model(idim)\n    pass\n", SyntaxError), ("x = 1 / 0\n", ZeroDivisionError), ("x = y\n", NameError)],
)
def test_a_file_that_cannot_be_imported(fit: Fit, text: str, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        fit(text)
    whole = "".join(traceback.format_exception(raised.value))
    assert "my_model.py" in whole
    assert "This came from importing" in whole and "(model_file)" in whole


def test_a_file_that_needs_what_is_not_installed(fit: Fit) -> None:
    with pytest.raises(ConfigError, match="needs 'no_such_library', which is not installed"):
        fit("import no_such_library\ndef model(idim): ...\n")


def test_a_model_that_raises(fit: Fit) -> None:
    with pytest.raises(KeyError) as raised:
        fit("def model(idim):\n    return {}[idim]\n")
    whole = "".join(traceback.format_exception(raised.value))
    assert "return {}[idim]" in whole
    assert "This came from calling model(4) of" in whole


@pytest.mark.parametrize("arguments", ["idim, hidden", "*, size", "idim, /, *, size"])
def test_a_model_with_other_arguments(fit: Fit, arguments: str) -> None:
    with pytest.raises(ConfigError, match=r"model\(.*\) of .*my_model\.py cannot be called with the number of feat"):
        fit(f"def model({arguments}): ...")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def model(idim): return 3", "gives a int"),
        ("def model(idim): return None", "gives nothing"),
        ("def model(idim): return object", "gives the class object, not one of its objects"),
        ("class Half:\n    def fit(self, x, y): ...\ndef model(): return Half()", r"gives a .*Half"),
        (SKLEARN + "def model(): return LogisticRegression", "gives the class LogisticRegression"),
    ],
)
def test_a_model_of_no_kind(fit: Fit, body: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fit(body)


def test_a_classifier_without_probabilities(fit: Fit) -> None:
    with pytest.raises(ConfigError, match="LinearSVC of .* gives no probabilities"):
        fit("from sklearn.svm import LinearSVC\ndef model(): return LinearSVC()")


def test_a_fit_that_raises(fit: Fit) -> None:
    text = "class Mine:\n    def fit(self, x, y): raise RuntimeError('mine')\n    def predict_proba(self, x): ...\n"
    with pytest.raises(RuntimeError, match="mine") as raised:
        fit(text + "def model(): return Mine()")
    assert any("This came from fit of the model of" in note for note in raised.value.__notes__)


def test_weights_for_a_model_that_takes_none(fit: Fit) -> None:
    text = "from sklearn.neighbors import KNeighborsClassifier\ndef model(): return KNeighborsClassifier()"
    with pytest.raises(ConfigError, match="takes no event weights, in weight_name"):
        fit(text, weight_name="weight")


def test_a_class_without_events_in_a_fold(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text(SKLEARN + "def model(): return LogisticRegression()")
    events = toy_events(200, 2)
    events.target[events.misc["evt"] % 2 == 1] = 0
    with SkimFile(write_skim(tmp_path / "train.h5", events)) as skim:
        spec = TrainSpec(train_file="")
        training = open_training_set(SkimData.open(skim), spec)
        make = lambda: UserModelEstimator({"file": str(tmp_path / "my_model.py")})  # noqa: E731
        with pytest.raises(DataError, match=r"class 1 \(class_1\) has no events among the 100 training events of fold"):
            list(cross_train(training, spec, make, lambda _: lambda *_: None))


# --- torch ---


@pytest.mark.parametrize(
    ("width", "n_classes", "said"),
    [(3, 2, r"\(2, 3\) for 2 events of 2 classes, not \(2, 1\) or \(2, 2\)"), (1, 3, r"not \(2, 3\)")],
)
def test_outputs_that_do_not_fit_the_classes(fit: Fit, width: int, n_classes: int, said: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ConfigError, match=said):
        fit(f"{TORCH}def model(idim): return nn.Linear(idim, {width})", n_classes)


@pytest.mark.parametrize("width", [1, 2])
def test_outputs_that_fit_two_classes(fit: Fit, width: int) -> None:
    pytest.importorskip("torch")
    estimator = fit(f"{TORCH}def model(idim): return nn.Linear(idim, {width})")
    assert estimator.predict(np.zeros((3, 4), np.float32)).shape == (3, 2)


def test_inputs_that_do_not_fit(fit: Fit) -> None:
    pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as raised:
        fit(f"{TORCH}def model(idim): return nn.Linear(7, 1)")
    assert any("with (2, 4) features" in note for note in raised.value.__notes__)


def test_a_torch_train_that_does_nothing(fit: Fit) -> None:
    pytest.importorskip("torch")
    model = f"{TORCH}def model(idim): return nn.Linear(idim, 1)\n"
    with pytest.raises(DataError, match="gives nothing and leaves every weight as it was"):
        fit(model + "def torch_train(model, train_loader, val_loader): pass\n")
    with pytest.raises(ConfigError, match=r"torch_train\(model\) of .* cannot be called"):
        fit(model + "def torch_train(model): pass\n")
    with pytest.raises(ConfigError, match="gives another network than it was given"):
        fit(model + "def torch_train(model, train_loader, val_loader): return nn.Linear(2, 1)\n")
    with pytest.raises(ConfigError, match="torch_train of .* takes no event weights"):
        fit(model + "def torch_train(model, train_loader, val_loader): pass\n", weight_name="weight")


def test_without_labels_the_inputs_have_to_come_back(fit: Fit) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ConfigError, match=r"without labels the model has to give back its 4 inputs.*Give the labels"):
        fit(f"{TORCH}def model(idim): return nn.Linear(idim, 1)", task="autoencoder")


def test_what_only_the_shipped_networks_do(fit: Fit) -> None:
    with pytest.raises(CrossfoldError, match="outputs is words"):
        fit("", outputs="words")


# --- Keras ---


def test_a_keras_model_that_is_not_compiled(fit: Fit) -> None:
    pytest.importorskip("keras")
    text = f"{KERAS}def model(idim): return keras.Sequential([keras.layers.Dense(1)])"
    with pytest.raises(ConfigError, match="is not compiled"):
        fit(text)


def test_a_keras_model_with_other_outputs(fit: Fit) -> None:
    pytest.importorskip("keras")
    body = "    m = keras.Sequential([keras.layers.Dense(3)])\n    m.compile(loss='mse')\n    return m\n"
    with pytest.raises(ConfigError, match=r"\(2, 3\) for 2 events of 2 classes"):
        fit(f"{KERAS}def model(idim):\n{body}")

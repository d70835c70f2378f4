"""The estimator in Keras: users' networks, weights to start from, what is frozen, and inputs that cannot be."""

import logging
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import Recorder, fitted, halves
from tests.unit.models.keras.conftest import USERS, Make, N, weights
from utils.errors import ConfigError, DataError
from utils.loading import SkimData
from utils.logs import get_logger
from utils.models.estimator import FitContext, save_estimator
from utils.models.neural.checkpoints import LocalCheckpoints

IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
import numpy as np
from utils.models.estimator import load_estimator
loaded = load_estimator(Path(sys.argv[1]))
assert "XRootD" not in sys.modules or "XRootD.client" in sys.modules
np.save(sys.argv[3], loaded.predict(np.load(sys.argv[2])))
from utils.models.keras_network.library import keras
print(loaded.network.compute_dtype, keras.config.dtype_policy().name)
"""


@pytest.fixture(scope="module")
def features(data: SkimData) -> np.ndarray:
    return data.features(0, N)


def test_it_loads_in_another_process_with_the_users_file(
    data: SkimData, make: Make, features: np.ndarray, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(USERS.read_text())
    made = fitted(data, make({"_target_": f"{mine}:Noisy"}, precision="bf16"))
    save_estimator(made, tmp_path / "model")
    mine.unlink()
    np.save(tmp_path / "features.npy", features)
    (tmp_path / "elsewhere").mkdir()
    arguments = [str(tmp_path / name) for name in ("model", "features.npy", "scores.npy")]
    root = str(Path(__file__).parents[4])
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "elsewhere",
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "TensorFlow says nothing"
    assert done.stdout == "bfloat16 float32\n"
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), made.predict(features))


def test_a_compiled_network_keeps_its_optimizer_and_loss(
    data: SkimData, make: Make, features: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    import keras

    logging.getLogger("crossfold").propagate = True
    with caplog.at_level(logging.INFO, logger="crossfold"):
        made = fitted(data, make("compiled", schedule="steps", schedule_param={"milestones": [1], "gamma": 0.5}))
    assert "its own SGD and loss are used, not learning_rate of model_param" in caplog.text
    assert isinstance(made.network.optimizer, keras.optimizers.SGD)
    assert float(made.network.optimizer.learning_rate) == 0.125, "the schedule multiplies its own rate"
    scores_NK = made.predict(features)
    assert scores_NK.shape == (N, 2)
    np.testing.assert_allclose(scores_NK[:, 1:], made.network.predict(features, verbose=0), atol=1e-6)
    assert np.mean(scores_NK.argmax(axis=1) == data.target_N) > 0.7


@pytest.mark.parametrize("name", ["softmax", "one_hot"])
def test_probabilities_and_logits_are_told_apart(data: SkimData, make: Make, features: np.ndarray, name: str) -> None:
    made = fitted(data, make(name, epochs=6))
    given_NK = made.network.predict(features, verbose=0)
    sums = given_NK.sum(axis=1)
    assert (np.abs(sums - 1).max() < 1e-5) == (name == "softmax")
    wanted_NK = given_NK if name == "softmax" else np.exp(given_NK) / np.exp(given_NK).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(made.predict(features), wanted_NK, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "error", "said"),
    [
        ("too_many", ConfigError, r"gives \(8, 4\) for 8 events, not \(8, 2\).*Let its last layer have n_outputs = 2"),
        ("no_network", ConfigError, "gives a str, not a keras.Model"),
        ("raising", ZeroDivisionError, "4 by zero"),
        ("whole_loss", ConfigError, "one number for a batch, which cannot be weighted"),
        ("own_schedule", ConfigError, "a schedule of its own"),
    ],
)
def test_networks_that_cannot_be(data: SkimData, make: Make, network: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        fitted(data, make(network, schedule="flat+cos"))
    if error is ZeroDivisionError:
        assert any("making the network" in note for note in caught.value.__notes__)


def test_the_mask_reaches_who_asks_for_it(padded: SkimData, make: Make) -> None:
    features = padded.features(0, N)
    assert np.isnan(features[:, 1]).mean() == 0.5
    for network in ("Masked", "two_inputs"):
        made = fitted(padded, make(network, epochs=6, learning_rate=0.1))
        scores = made.predict(features)[:, 1]
        assert scores[padded.target_N == 1].min() > scores[padded.target_N == 0].max(), "only the mask tells them apart"
    plain = fitted(padded, make())
    np.testing.assert_array_equal(plain.predict(features), plain.predict(np.nan_to_num(features)))


def test_inputs_that_are_no_numbers(data: SkimData, make: Make, features: np.ndarray) -> None:
    made = fitted(data, make(epochs=1))
    bad = features.copy()
    bad[7, 1] = np.inf
    with pytest.raises(DataError, match=r"events 1 to 128 of those to predict: .* the input 'y' for 1 of its 128"):
        made.predict(bad)


def test_a_loss_that_is_no_number_names_its_batch(data: SkimData, make: Make) -> None:
    with pytest.raises(DataError, match=r"NaN or infinite in batch [2-4] of epoch 1.*Lower learning_rate"):
        fitted(data, make(learning_rate=1e30, optimizer="sgd", weight_decay=0))


def test_weights_to_start_from_and_what_is_frozen(
    data: SkimData, make: Make, features: np.ndarray, tmp_path: Path
) -> None:
    first = fitted(data, make())
    save_estimator(first, tmp_path)
    context = FitContext(initial=tmp_path, freeze=("hidden", "category"))
    second = fitted(data, make(seed=2), context)
    before, after = weights(first), weights(second)
    assert {path for path in after if after[path] != before[path]} == {"outputs/kernel", "outputs/bias"}
    with pytest.raises(
        ConfigError, match=r"no variable of the network matches 'hiden_0', in freeze; did you mean 'hidden_0'\?"
    ):
        fitted(data, make(), FitContext(freeze=("hiden_0",)))
    with pytest.raises(ConfigError, match="no variable is left to train"):
        fitted(data, make(), FitContext(freeze=(".*",)))
    with pytest.raises(ConfigError, match=r"the network has 'hidden_0/kernel' of .*4\) where the weights"):
        fitted(data, make({"hidden": [4]}), FitContext(initial=tmp_path))


def test_a_frozen_norm_keeps_its_statistics(data: SkimData, make: Make, tmp_path: Path) -> None:
    save_estimator(fitted(data, make("Noisy")), tmp_path)
    initial = np.load(tmp_path / "weights.npz")
    made = fitted(data, make("Noisy", seed=2), FitContext(initial=tmp_path, freeze=("noisy/batch_normalization",)))
    same = [np.array_equal(v.numpy(), initial[f"network.{i:05d}"]) for i, v in enumerate(made.network.weights)]
    names = [v.path for v in made.network.weights]
    assert [name for name, is_same in zip(names, same, strict=True) if is_same] == [
        f"noisy/batch_normalization/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    ]


def test_one_batch_of_every_phase(data: SkimData, make: Make, tmp_path: Path) -> None:
    recorder = Recorder()
    made = fitted(data, make(), FitContext(checkpoints=LocalCheckpoints(tmp_path), fast_dev_run=True), recorder)
    assert len(recorder.values) == 1
    assert made.n_iterations == 1
    assert not list(tmp_path.iterdir())


def test_gpus_where_there_are_none(data: SkimData, make: Make) -> None:
    from utils.models.keras_network.library import tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="GPU 0 is asked for, and TensorFlow sees none here"):
        fitted(data, make(), FitContext(gpus=(0,)))


def test_it_is_trained_in_one_process(data: SkimData, make: Make) -> None:
    with pytest.raises(ConfigError, match=r"trained in one process, in n_processes.*model=torch_mlp"):
        fitted(data, make(), FitContext(n_processes=2))


def test_nothing_is_left_changed(data: SkimData, make: Make) -> None:
    from utils.models.keras_network.library import keras

    keras.config.set_dtype_policy("float64")
    try:
        python, numpy = random.getstate(), np.random.get_state()[1]  # noqa: NPY002
        made = fitted(data, make(precision="bf16", epochs=1))
        assert random.getstate() == python
        np.testing.assert_array_equal(np.random.get_state()[1], numpy)  # noqa: NPY002
        assert keras.config.dtype_policy().name == "float64"
    finally:
        keras.config.set_dtype_policy("float32")
    layers = {layer.name: layer.compute_dtype for layer in made.network.layers}
    assert layers["hidden_0"] == "bfloat16" and layers["outputs"] == "float32"


def test_too_many_threads_come_too_late(caplog: pytest.LogCaptureFixture) -> None:
    from utils.models.keras_network.devices import limit_threads
    from utils.models.keras_network.library import tf

    tf.constant(1) + 1
    logging.getLogger("crossfold").propagate = True
    limit_threads(77)
    assert "threads=77 comes too late" in caplog.text


def test_compiled_by_xla_it_learns_the_same(data: SkimData, make: Make, features: np.ndarray) -> None:
    options = {"epochs": 1, "batch_size": 100}  # of one size, or it is compiled twice
    plain, compiled = (fitted(data, make(compile=value, **options)).predict(features) for value in (False, True))
    np.testing.assert_allclose(compiled, plain, atol=1e-3)


def test_the_finder_leaves_the_training_as_it_is(data: SkimData, make: Make) -> None:
    plain = fitted(data, make(epochs=1))
    found = fitted(data, make(epochs=1, lr_finder={"start": 1e-4, "end": 10.0, "n_steps": 30}))
    assert weights(found) == weights(plain)
    assert found.learning_rates.suggestion is not None
    assert len(found.figures()) == 1 and plain.figures() == ()


@pytest.mark.parametrize("compiled", [False, True])
def test_other_tasks(data: SkimData, padded: SkimData, make: Make, compiled: bool) -> None:
    """Regression in the target's own unit; an autoencoder whose padding does not count."""

    def opened(source: SkimData, **options: Any) -> SkimData:
        return SkimData.open(source.skim, **options)

    regression = opened(data, task="regression", targets=("z",))
    network = "compiled_reconstruction" if compiled else "reconstruction"
    made = fitted(regression, make(network, epochs=8, learning_rate=0.05))
    told_NT, z_N = made.predict(regression.features(0, N)), regression.target_N[:, 0]
    assert told_NT.shape == (N, 1)
    assert np.mean((told_NT[:, 0] - z_N) ** 2) < 0.2 * z_N.var()

    coder = opened(padded, task="autoencoder")
    made = fitted(coder, make(network))
    features = coder.features(0, N)
    given = made.network.predict(np.nan_to_num(features), verbose=0)
    wanted = np.nanmean((given - features) ** 2, axis=1)
    np.testing.assert_allclose(made.predict(features)[:, 0], wanted, rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="there is no AUC of a autoencoder"):
        fitted(coder, make("reconstruction", best_by="auc"))


def test_it_describes_itself_and_no_library_talks(
    data: SkimData, make: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_logger(), "handlers", [])  # our own words are none of a library's
    made = fitted(data, make({"hidden": [8], "dropout": 0.1}, epochs=1), FitContext(freeze=("hidden_0/bias",)))
    said = made.description()
    n_embedding, width = 5 * 5, 3 + 5
    total = n_embedding + width * 8 + 8 + 8 * 2 + 2
    assert said.numbers["parameters"] == total
    assert said.numbers["trained_parameters"] == total - 8
    products = 2 * (width * 8 + 8 * 2)
    assert products <= said.numbers["flops_per_event"] < products + 100
    assert said.numbers["events_per_second"] > 0
    assert said.params == {"network/precision": "fp32", "network/device": "cpu"}
    assert "hidden_0 (Dense)" in said.texts["layers.txt"]
    assert said.texts["source.py"].startswith("def mlp(")
    assert "".join(capfd.readouterr()) == ""


def test_a_loss_of_values(padded: SkimData, make: Make) -> None:
    coder = SkimData.open(padded.skim, task="autoencoder")
    features = coder.features(0, N)
    for loss, cost in (("mae", np.abs), ("huber", lambda d: np.where(abs(d) <= 1, d**2 / 2, abs(d) - 0.5))):
        made = fitted(coder, make("reconstruction", epochs=1, loss=loss))
        given = made.network.predict(np.nan_to_num(features), verbose=0)
        wanted = np.nanmean(cost(given - features), axis=1)
        np.testing.assert_allclose(made.predict(features)[:, 0], wanted, rtol=1e-4, atol=1e-6)


def test_curves_are_of_the_whole_validation_set(data: SkimData, make: Make) -> None:
    from utils.metrics import class_balanced_weights, roc

    seen: list[Mapping[str, float]] = []
    made = make(epochs=1)
    train, valid = halves(data)
    made.fit(train, valid, lambda _, values: seen.append(values), FitContext())
    whole = valid.whole()
    scores_NK = made.predict(whole.features_NF).astype(np.float64)
    losses_N = -np.log(scores_NK[np.arange(len(scores_NK)), whole.target_N])
    assert seen[0]["valid-loss"] == pytest.approx(np.average(losses_N, weights=whole.weight_N), rel=1e-4)
    auc = roc(scores_NK[:, 1], whole.target_N == 1, class_balanced_weights(whole.target_N, 2)).auc
    assert seen[0]["valid-auc"] == pytest.approx(auc, abs=1e-4)

"""Several processes that share every step: the training is that of one, and all of it comes back."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.networks import Recorder, fitted, halves  # noqa: E402
from tests.skims import open_skim, toy_events  # noqa: E402
from utils.errors import ConfigError, DataError, RunError  # noqa: E402
from utils.loading import SkimData  # noqa: E402
from utils.logs import captured_log  # noqa: E402
from utils.models.estimator import FitContext  # noqa: E402
from utils.models.neural.checkpoints import LocalCheckpoints  # noqa: E402
from utils.models.neural.world import World  # noqa: E402
from utils.models.pytorch.distributed import threads_of  # noqa: E402
from utils.models.pytorch.estimator import TorchEstimator  # noqa: E402
from utils.models.pytorch.networks import Mlp  # noqa: E402

N = 404  # halves of 202 events, which three processes cannot share equally
SMALL: dict[str, Any] = {
    "network": {"hidden": [16], "dropout": 0.3},
    "epochs": 4,
    "batch_size": 64,
    "learning_rate": 0.02,
    "ema": 0.9,
    "threads": 1,
}
EVERYTHING = {
    "network": {"hidden": [16]},
    "epochs": 3,
    "batch_size": 1000,
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "best_by": "auc",
    "clip_grad_norm": 0.5,
}


class Normed(torch.nn.Module):
    """Running statistics, which every process has of its own events, and a parameter that may be of no use."""

    def __init__(self, n_features: int, n_outputs: int, useless: bool = False) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.BatchNorm1d(n_features), Mlp(n_features, n_outputs, hidden=[8]))
        if useless:
            self.useless = torch.nn.Linear(2, 2)

    def forward(self, features: Any) -> Any:
        return self.layers(features)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    with open_skim(tmp_path_factory.mktemp("skim") / "train.h5", toy_events(N, n_classes=3)) as skim:
        yield SkimData.open(skim)


def fit(data: SkimData, params: Any, n_processes: int = 2, **context: Any) -> tuple[TorchEstimator, Recorder]:
    recorder = Recorder()
    given = FitContext(n_processes=n_processes, **context)
    return fitted(data, TorchEstimator(params), given, recorder), recorder


def weights(made: TorchEstimator) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in made.network.state_dict().items()}


def test_a_step_of_several_is_the_step_of_one_with_all_their_events(data: SkimData) -> None:
    """One batch an epoch, so that the order of the events cannot matter: weighted gradients, losses, areas."""
    alone, one = fit(data, EVERYTHING, n_processes=1)
    together, several = fit(data, EVERYTHING, n_processes=3)
    for epoch, values in enumerate(one.values):
        assert several.values[epoch] == pytest.approx(values, rel=1e-6)
    for name, value in alone.network.state_dict().items():
        torch.testing.assert_close(together.network.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    features = data.features(0, N)
    np.testing.assert_allclose(together.predict(features), alone.predict(features), atol=1e-5)
    assert together.n_iterations == alone.n_iterations
    assert together.description().numbers["parameters"] == alone.description().numbers["parameters"]


@pytest.fixture(scope="module")
def whole(data: SkimData) -> tuple[TorchEstimator, Recorder]:
    """A training in two processes that nothing has interrupted."""
    return fit(data, SMALL)


@pytest.mark.slow
def test_interrupted_they_end_the_same(data: SkimData, whole: Any, tmp_path: Path) -> None:
    """With random numbers of each process' own."""
    checkpoints = LocalCheckpoints(tmp_path)
    with pytest.raises(InterruptedError):
        fitted(data, TorchEstimator(SMALL), FitContext(n_processes=2, checkpoints=checkpoints), until(3))
    latest = checkpoints.latest()
    assert latest is not None and latest.name == "epoch_00002"
    generators = torch.load(latest / "state.pt", weights_only=True)["training"]["randomness"]
    assert len(generators) == 2 and not torch.equal(generators[0]["torch"], generators[1]["torch"])
    resumed, rest = fit(data, SMALL, checkpoints=checkpoints)
    assert rest.values == whole[1].values[2:]
    assert weights(resumed) == weights(whole[0])
    with pytest.raises(RunError, match="processes was 2, is 1"):
        fit(data, SMALL, n_processes=1, checkpoints=checkpoints)


def until(epoch: int) -> Any:
    def monitor(step: int, _: Any) -> None:
        if step >= epoch:
            raise InterruptedError

    return monitor


KILLED = """
import os, signal, sys
from pathlib import Path
from test_distributed import *
from utils.readers.skim import SkimFile

def end(step, values):
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    with SkimFile(sys.argv[1]) as skim:
        context = FitContext(n_processes=2, checkpoints=LocalCheckpoints(Path(sys.argv[2])))
        fitted(SkimData.open(skim), TorchEstimator(SMALL), context, end)
"""


@pytest.mark.slow
def test_killed_they_end_the_same(data: SkimData, whole: Any, tmp_path: Path) -> None:
    epoch = random.SystemRandom().randint(2, SMALL["epochs"])
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    root = Path(__file__).parents[4]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{Path(__file__).parent}"}
    command = [sys.executable, str(script), str(data.skim.path), str(tmp_path / "checkpoints"), str(epoch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed, rest = fit(data, SMALL, checkpoints=LocalCheckpoints(tmp_path / "checkpoints"))
    assert weights(resumed) == weights(whole[0]), f"killed in epoch {epoch}"
    assert rest.values == whole[1].values[-len(rest.values) :]


@pytest.mark.slow
def test_a_network_of_the_users_with_statistics(data: SkimData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is found by a relative path; what the first process has is what is judged, kept, and compiled once."""
    monkeypatch.chdir(Path(__file__).parent)
    target = f"{Path(__file__).name}:Normed"
    params = {**SMALL, "ema": None, "epochs": 2, "network": {"_target_": target}, "lr_finder": {"n_steps": 20}}
    with captured_log() as messages:
        made, recorder = fit(data, params)
    assert sum("best epoch" in message for message in messages) == 1, "one process speaks"
    assert made.learning_rates is not None and len(made.learning_rates.rates) > 10
    _, valid = halves(data)
    batch = valid.whole()
    chosen = made.predict(batch.features_NF)[np.arange(valid.n_events), batch.target_N]
    loss = np.average(-np.log(chosen), weights=batch.weight_N)
    assert loss == pytest.approx(min(recorder.curve("valid-loss")), rel=1e-4)
    assert made.description().texts["source.py"] == Path(__file__).read_text()


@pytest.mark.slow
def test_what_goes_wrong_in_one_of_them(data: SkimData, tmp_path: Path) -> None:
    events = toy_events(N, n_classes=3)
    events.cont["y"][21] = np.nan
    with open_skim(tmp_path / "train.h5", events, steps=()) as skim:
        with pytest.raises(DataError, match=r"batch \d of epoch 1: .* input 'y' for 1 of its 32 events") as caught:
            fit(SkimData.open(skim), SMALL)
        assert "training process" in caught.value.__notes__[0]
    network = {"_target_": f"{__file__}:Normed", "useless": True}
    with pytest.raises(ConfigError, match="parameters that its loss does not depend on.*freeze"):
        fit(data, {**SMALL, "network": network, "ema": None})


def test_too_few_events_and_no_gpus(data: SkimData) -> None:
    with pytest.raises(ConfigError, match="too few for 2 processes.*larger batches"):
        fit(data, {**SMALL, "batch_size": 2})
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="GPU 0 is asked for, and torch sees none here"):
            fit(data, SMALL, n_processes=1, gpus=(0, 1))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_what_one_does(data: SkimData) -> None:
    for network in ({"hidden": [16]}, {"_target_": f"{__file__}:Normed"}):
        params = {**EVERYTHING, "network": network, "lr_finder": {"n_steps": 20}}
        _, one = fit(data, params, n_processes=1, gpus=(0,))
        made, two = fit(data, params, n_processes=1, gpus=(0, 1))
        for epoch, values in enumerate(one.values):
            assert two.values[epoch] == pytest.approx(values, rel=1e-4)
        assert made.predict(data.features(0, N)).shape == (N, 3)


def test_cores_are_shared() -> None:
    assert threads_of(None, World(0, 1)) is None
    assert threads_of(3, World(0, 2)) == 3
    assert threads_of(None, World(0, 10_000)) == 1

"""A training that was interrupted ends as the one that was not, bit by bit."""

import json
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

from tests.networks import Recorder, fitted  # noqa: E402
from tests.skims import open_skim, toy_events  # noqa: E402
from utils.errors import RunError  # noqa: E402
from utils.loading import SkimData  # noqa: E402
from utils.models.estimator import FitContext  # noqa: E402
from utils.models.neural.checkpoints import LocalCheckpoints  # noqa: E402
from utils.models.pytorch import loop  # noqa: E402
from utils.models.pytorch.estimator import TorchEstimator  # noqa: E402
from utils.models.pytorch.networks import Mlp  # noqa: E402
from utils.models.pytorch.randomness import own_randomness  # noqa: E402

N = 400
EPOCHS = 5
SMALL: dict[str, Any] = {
    "network": {"hidden": [16], "dropout": 0.3},
    "epochs": EPOCHS,
    "batch_size": 32,
    "learning_rate": 0.02,
    "threads": 1,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "dropout": {},
    "ema": {"ema": 0.99, "schedule": "one-cycle", "clip_grad_norm": 1.0},
    "plateau": {
        "schedule": "plateau",
        "schedule_param": {"patience": 1},
        "optimizer": "sgd",
        "optimizer_param": {"momentum": 0.9},
    },
    "ranger": {"optimizer": "ranger", "precision": "bf16", "schedule": "flat+cos", "best_by": "auc"},
    "radam": {"optimizer": "radam", "precision": "fp16", "early_stopping": 2, "learning_rate": 0.2},
    "noise": {"network": {"_target_": f"{__file__}:Noisy"}, "buffer": 150},
}


class Noisy(torch.nn.Module):
    """A user's network with noise from every generator there is, and running statistics."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.mlp = torch.nn.Sequential(Mlp(n_features, 16), torch.nn.BatchNorm1d(16), Mlp(16, n_outputs))

    def forward(self, features: Any) -> Any:
        if self.training:
            noise = np.random.normal(size=features.shape).astype(np.float32)  # noqa: NPY002
            features = features + 0.1 * torch.from_numpy(noise) + 0.1 * torch.randn_like(features)
            features = features * random.uniform(0.9, 1.1)
        return self.mlp(features)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    with open_skim(tmp_path_factory.mktemp("skim") / "train.h5", toy_events(N, n_classes=3)) as skim:
        yield SkimData.open(skim)


class Interrupted(BaseException):
    """Stands for whatever ends a job between two epochs."""


def outcome(estimator: TorchEstimator, recorder: Recorder) -> dict[str, Any]:
    """What has to be the same."""
    kept = {name: value.numpy().tobytes() for name, value in estimator.network.state_dict().items()}
    return {"weights": kept, "best": estimator.n_iterations, "curves": recorder.values}


def uninterrupted(data: SkimData, name: str, checkpoints: LocalCheckpoints | None = None) -> dict[str, Any]:
    recorder = Recorder()
    made = fitted(data, TorchEstimator({**SMALL, **OPTIONS[name]}), FitContext(checkpoints=checkpoints), recorder)
    return outcome(made, recorder)


def interrupted_after(data: SkimData, name: str, epoch: int, folder: Path) -> dict[str, Any]:
    """Stopped before the epoch that follows, then resumed, with other random numbers drawn in between."""
    recorder = Recorder()

    def until(step: int, values: Any) -> None:
        if step > epoch:
            raise Interrupted
        recorder(step, values)

    context, params = FitContext(checkpoints=LocalCheckpoints(folder)), {**SMALL, **OPTIONS[name]}
    with pytest.raises(Interrupted):
        fitted(data, TorchEstimator(params), context, until)
    torch.rand(17), random.random()
    np.random.rand(17)  # noqa: NPY002
    made = fitted(data, TorchEstimator(params), context, recorder)
    return outcome(made, recorder)


@pytest.mark.parametrize("name", OPTIONS)
def test_interrupted_after_any_epoch_it_ends_the_same(data: SkimData, name: str, tmp_path: Path) -> None:
    whole = uninterrupted(data, name)
    assert len(whole["curves"]) >= 3
    for epoch in range(1, len(whole["curves"])):
        assert interrupted_after(data, name, epoch, tmp_path / str(epoch)) == whole, f"after epoch {epoch}"


@pytest.mark.parametrize("name", ["dropout", "noise"])
def test_without_the_random_state_it_would_end_otherwise(
    data: SkimData, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above would say were that state left out of a checkpoint: it can fail."""
    whole = uninterrupted(data, name)
    monkeypatch.setattr(loop, "restore", lambda state, device: None)
    assert uninterrupted(data, name) == whole, "without an interruption there is nothing to restore"
    assert interrupted_after(data, name, 2, tmp_path)["weights"] != whole["weights"]


def test_writing_checkpoints_changes_nothing(data: SkimData, tmp_path: Path) -> None:
    class Restless(LocalCheckpoints):
        """Draws random numbers while it writes, as a library that waits and tries again does."""

        def save(self, *arguments: Any) -> None:
            torch.rand(3), random.random()
            np.random.rand(3)  # noqa: NPY002
            super().save(*arguments)

    assert uninterrupted(data, "noise", Restless(tmp_path)) == uninterrupted(data, "noise")


def test_one_that_had_ended_is_the_model_at_once(data: SkimData, tmp_path: Path) -> None:
    checkpoints = LocalCheckpoints(tmp_path)
    whole = uninterrupted(data, "dropout", checkpoints)
    again = uninterrupted(data, "dropout", checkpoints)
    assert again["weights"] == whole["weights"] and again["best"] == whole["best"]
    assert again["curves"] == []


KILLED = """
import json, os, signal, sys
from pathlib import Path
from tests.networks import Recorder, fitted
from tests.unit.models.pytorch.test_resume import OPTIONS, SMALL, LocalCheckpoints
from utils.loading import SkimData
from utils.models.estimator import FitContext
from utils.models.pytorch.estimator import TorchEstimator
from utils.models.pytorch.loop import Training
from utils.readers.skim import SkimFile

path, folder, killed_in = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
step = Training.step
for name, last in killed_in.items():
    child = os.fork()  # torch is imported once for all of them
    if child:
        _, status = os.waitpid(child, 0)
        print(name, os.WTERMSIG(status) if os.WIFSIGNALED(status) else -1, flush=True)
        continue
    steps = 0
    def until(training, batch):
        global steps
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(training, batch)
    Training.step = until
    with SkimFile(path) as skim:
        context = FitContext(checkpoints=LocalCheckpoints(Path(folder) / name))
        fitted(SkimData.open(skim), TorchEstimator({**SMALL, **OPTIONS[name]}), context)
    os._exit(0)
"""


@pytest.mark.slow
def test_killed_at_any_step_it_ends_the_same(data: SkimData, tmp_path: Path) -> None:
    """SIGKILL in the middle of a random epoch, in a process of its own."""
    names = ["dropout", "ema", "plateau", "ranger", "noise"]
    n_steps = -(-N // 2 // SMALL["batch_size"])
    last = {name: random.SystemRandom().randint(n_steps + 1, EPOCHS * n_steps) for name in names}
    code = KILLED.replace("from tests.unit.models.pytorch.test_resume import", "from test_resume import")
    root = Path(__file__).parents[4]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}:{Path(__file__).parent}"}
    command = [sys.executable, "-c", code, str(data.skim.path), str(tmp_path), json.dumps(last)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment)
    assert done.stdout.split("\n")[:-1] == [f"{name} {signal.SIGKILL}" for name in names], done.stderr
    for name in names:
        whole = uninterrupted(data, name)
        checkpoints = LocalCheckpoints(tmp_path / name)
        latest = checkpoints.latest()
        assert latest is not None and latest.name == f"epoch_{(last[name] - 1) // n_steps:05d}"
        recorder = Recorder()
        made = fitted(data, TorchEstimator({**SMALL, **OPTIONS[name]}), FitContext(checkpoints=checkpoints), recorder)
        resumed = outcome(made, recorder)
        assert resumed["weights"] == whole["weights"], f"{name}, killed in step {last[name]}"
        assert resumed["best"] == whole["best"]
        assert resumed["curves"] == whole["curves"][-len(resumed["curves"]) or len(whole["curves"]) :]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"learning_rate": 0.5}, "model_param.learning_rate was 0.02, is 0.5"),
        ({"ema": 0.9}, "model_param.ema was None, is 0.9"),
        ({"network": {"hidden": [8]}}, "model_param.network was .*16.*, is .*8"),
    ],
)
def test_another_config_is_not_resumed(data: SkimData, tmp_path: Path, changed: Any, message: str) -> None:
    context = FitContext(checkpoints=LocalCheckpoints(tmp_path))
    fitted(data, TorchEstimator(SMALL), context)
    with pytest.raises(RunError, match=message):
        fitted(data, TorchEstimator({**SMALL, **changed}), context)


def test_other_events_or_other_frozen_weights_are_not_resumed(data: SkimData, tmp_path: Path) -> None:
    context = FitContext(checkpoints=LocalCheckpoints(tmp_path / "checkpoints"))
    fitted(data, TorchEstimator(SMALL), context)
    with pytest.raises(RunError, match="freeze was \\[\\], is \\['layers.0'\\]"):
        fitted(data, TorchEstimator(SMALL), FitContext(checkpoints=context.checkpoints, freeze=("layers.0",)))
    with (
        open_skim(tmp_path / "other.h5", toy_events(N, n_classes=3, seed=8)) as skim,
        pytest.raises(RunError, match="training events was '200 .*, is '200"),
    ):
        fitted(SkimData.open(skim), TorchEstimator(SMALL), context)


def test_a_checkpoint_that_is_damaged(data: SkimData, tmp_path: Path) -> None:
    checkpoints = LocalCheckpoints(tmp_path)
    fitted(data, TorchEstimator(SMALL), FitContext(checkpoints=checkpoints))
    latest = checkpoints.latest()
    assert latest is not None
    (latest / "state.pt").write_bytes(b"nothing")
    with pytest.raises(RunError, match="checkpoint cannot be read .*Remove its folder"):
        fitted(data, TorchEstimator(SMALL), FitContext(checkpoints=checkpoints))


def test_every_generator_is_seeded_and_given_back() -> None:
    cpu = torch.device("cpu")

    def draw() -> list[float]:
        return [float(torch.rand(1)), float(np.random.rand()), random.random()]  # noqa: NPY002

    with own_randomness(3, cpu):
        first = draw()
        with own_randomness(4, cpu):
            assert all(a != b for a, b in zip(draw(), first, strict=True))
        second = draw()
    with own_randomness(3, cpu):
        assert [*draw(), *draw()] == [*first, *second]

"""A training that was interrupted ends as the one that was not, bit by bit."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.networks import Recorder, fitted
from tests.unit.models.keras.conftest import Make, users, weights
from utils.errors import RunError
from utils.loading import SkimData
from utils.models.estimator import FitContext
from utils.models.neural.checkpoints import LocalCheckpoints

OPTIONS: dict[str, dict[str, Any]] = {
    "dropout": {
        "network": {"hidden": [8], "dropout": 0.4},
        "ema": 0.9,
        "schedule": "one-cycle",
        "clip_grad_norm": 1.0,
        "epochs": 4,
    },
    "noise": {
        "network": users("Noisy"),
        "precision": "fp16",
        "schedule": "plateau",
        "schedule_param": {"patience": 0},
        "best_by": "auc",
        "learning_rate": 0.3,
        "early_stopping": 2,
        "epochs": 6,
        "buffer": 150,
    },
    "compiled": {"network": users("compiled")},
}


class Interrupted(BaseException):
    """Stands for whatever ends a job between two epochs."""


def outcome(estimator: Any, recorder: Recorder) -> dict[str, Any]:
    """What has to be the same."""
    return {"weights": weights(estimator), "best": estimator.n_iterations, "curves": recorder.values}


def uninterrupted(data: SkimData, make: Make, name: str, checkpoints: Any = None) -> dict[str, Any]:
    recorder = Recorder()
    made = fitted(data, make(**OPTIONS[name]), FitContext(checkpoints=checkpoints), recorder)
    return outcome(made, recorder)


def resumed(data: SkimData, make: Make, name: str, epoch: int, folder: Path) -> dict[str, Any]:
    """Stopped before the epoch after this one, then resumed, with networks made and numbers drawn in between."""
    recorder = Recorder()

    def until(step: int, values: Any) -> None:
        if step > epoch:
            raise Interrupted
        recorder(step, values)

    context = FitContext(checkpoints=LocalCheckpoints(folder))
    with pytest.raises(Interrupted):
        fitted(data, make(**OPTIONS[name]), context, until)

    from utils.models.keras_network.library import keras

    keras.utils.set_random_seed(99)
    keras.random.normal((3,)), keras.layers.Dense(1), random.random()
    np.random.rand(17)  # noqa: NPY002
    return outcome(fitted(data, make(**OPTIONS[name]), context, recorder), recorder)


@pytest.mark.parametrize(("name", "epoch"), [("dropout", 1), ("dropout", 3), ("noise", 2), ("compiled", 2)])
def test_interrupted_it_ends_the_same(data: SkimData, make: Make, name: str, epoch: int, tmp_path: Path) -> None:
    whole = uninterrupted(data, make, name)
    assert len(whole["curves"]) > epoch
    assert resumed(data, make, name, epoch, tmp_path) == whole


@pytest.mark.parametrize("name", ["dropout", "noise"])
def test_without_the_generators_it_would_end_otherwise(
    data: SkimData, make: Make, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above would say were their states left out of a checkpoint: it can fail."""
    from utils.models.keras_network.loop import Training

    whole = uninterrupted(data, make, name)
    variables = Training._variables

    def left_out(training: Training) -> dict[str, list[Any]]:
        groups = variables(training)
        kept = [v for v in groups["network"] if "seed_generator" not in v.path]
        return {**groups, "network": kept, "random": []}

    monkeypatch.setattr(Training, "_variables", left_out)
    assert resumed(data, make, name, 2, tmp_path)["curves"] != whole["curves"]


def test_one_that_had_ended_is_the_model_at_once(data: SkimData, make: Make, tmp_path: Path) -> None:
    whole = uninterrupted(data, make, "compiled", LocalCheckpoints(tmp_path))
    again = uninterrupted(data, make, "compiled", LocalCheckpoints(tmp_path))
    assert again["weights"] == whole["weights"] and again["best"] == whole["best"]
    assert again["curves"] == []


def test_another_training_is_not_resumed(data: SkimData, make: Make, tmp_path: Path) -> None:
    context = FitContext(checkpoints=LocalCheckpoints(tmp_path))
    fitted(data, make(epochs=1), context)
    with pytest.raises(RunError, match=r"model_param.learning_rate was 0.02, is 0.5"):
        fitted(data, make(epochs=1, learning_rate=0.5), context)
    (tmp_path / "epoch_00001" / "state.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(RunError, match="the checkpoint cannot be read"):
        fitted(data, make(epochs=1), context)

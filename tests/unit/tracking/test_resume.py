"""What may differ when a training goes on, and what may not."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from tests.skims import Events, open_skim, toy_events
from utils.errors import RunError
from utils.factory import Factory
from utils.loading import SkimData
from utils.models.crosstrain import TrainingSet, open_training_set
from utils.models.spec import TrainSpec
from utils.readers.skim import SkimFile
from utils.tracking.environment import changed_packages, environment_text, sources_of
from utils.tracking.recorder import RunRecorder
from utils.tracking.resume import check_unchanged, differences, digest_of, has_started, mark_started
from utils.tracking.tracked_run import TRAIN_CONFIG
from utils.tracking.training_log import log_origin

CONFIG = {"train_file": "a/train.h5", "n_splits": 2, "model_param": {"dropout": 0.1, "hidden": [8]}, "gpus": [0, 1]}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, {}),
        ({"train_file": "b/train.h5", "run_name": "again", "resume": "1234", "tracking_uri": "x"}, {}),
        ({"vars": {"place": "/elsewhere"}, "gpus": [2, 3]}, {}),
        ({"gpus": [2]}, {"gpus": "2 → 1"}),
        ({"freeze": None}, {}),
        ({"n_splits": 3}, {"n_splits": "2 → 3"}),
        ({"model_param": {"dropout": 0.2, "hidden": [8]}}, {"model_param.dropout": "0.1 → 0.2"}),
        ({"model_param": {"dropout": 0.1}}, {"model_param.hidden": "[8] → None"}),
        ({"seed": 0}, {"seed": "None → 0"}),
    ],
)
def test_differences(change: dict[str, Any], found: dict[str, str]) -> None:
    assert differences(CONFIG, {**CONFIG, **change}) == found


def training_of(skim: SkimFile, **options: Any) -> TrainingSet:
    return open_training_set(SkimData.open(skim), TrainSpec(train_file="", **options))


@pytest.fixture
def events() -> Events:
    return toy_events(1000)


@pytest.fixture
def skim(events: Events, tmp_path: Path) -> Iterator[SkimFile]:
    with open_skim(tmp_path / "train.h5", events) as opened:
        yield opened


def test_the_digest_is_of_the_events_and_not_of_the_file(events: Events, skim: SkimFile, tmp_path: Path) -> None:
    digest = digest_of(training_of(skim))
    with open_skim(tmp_path / "elsewhere" / "same.h5", events, metadata={"config": {"workers": 7}}) as same:
        assert digest_of(training_of(same)) == digest
    shifted = {**events.cont, "noise": events.cont["noise"] + np.float32(1)}
    others = [
        replace(events, target=1 - events.target % 2),
        replace(events, cont=shifted),
        replace(events, misc={**events.misc, "evt": events.misc["evt"][::-1].copy()}),
    ]
    for i, other in enumerate(others):
        with open_skim(tmp_path / f"other_{i}.h5", other) as opened:
            assert digest_of(training_of(opened)) != digest, i
    assert digest_of(training_of(skim, weight_name="weight")) != digest
    assert digest_of(training_of(skim, n_splits=3)) != digest


@pytest.fixture
def recorder(client: MlflowClient, tmp_path: Path) -> RunRecorder:
    experiment = client.create_experiment(tmp_path.name, artifact_location=str(tmp_path / "artifacts"))
    return RunRecorder(client, client.create_run(experiment).info.run_id, resumed=True)


def test_only_what_was_started_goes_on(
    recorder: RunRecorder, events: Events, skim: SkimFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.tracking.training_log._log_dataset", lambda *_: None)
    (tmp_path / "net.py").write_text("one")
    network = {"network": {"_target_": "net.py:Net"}}
    config = {"train_file": str(skim.path), "n_splits": 2, "model_param": network}
    spec = TrainSpec(**config)
    training, scratch = training_of(skim), tmp_path / "scratch"
    scratch.mkdir()
    assert not has_started(recorder)
    log_origin(recorder, spec, config, skim.metadata)
    assert not has_started(recorder)
    mark_started(recorder, training)
    assert has_started(recorder)
    assert not has_started(RunRecorder(recorder._client, recorder.run_id)), "this process has not resumed it"

    check_unchanged(recorder, spec, config, training, scratch)
    check_unchanged(recorder, spec, {**config, "resume": recorder.run_id, "train_file": "moved.h5"}, training, scratch)
    moved = recorder.download(TRAIN_CONFIG, scratch).read_text()
    assert "moved.h5" in moved, "the later stages look for the skims beside it"
    assert "resume" not in moved
    with pytest.raises(RunError, match=r"another config .n_splits: 2 → 3; weight_name: None → w.*config/train.yaml"):
        check_unchanged(recorder, spec, {**config, "n_splits": 3, "weight_name": "w"}, training, scratch)
    (tmp_path / "net.py").write_text("two")
    with pytest.raises(RunError, match=r"net.py: the file has changed"):
        check_unchanged(recorder, spec, config, training, scratch)
    (tmp_path / "net.py").write_text("one")
    with open_skim(tmp_path / "other.h5", toy_events(1000, seed=8)) as other:
        with pytest.raises(RunError, match="the skim is not the one that run") as raised:
            check_unchanged(recorder, spec, config, training_of(other), scratch)
        assert raised.value.where == str(other.path)


def test_files_of_the_same_name_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").touch()
    spec = TrainSpec(
        train_file="",
        model=Factory("a/net.py:Model"),
        model_param={"network": {"_target_": "b/net.py:Net"}, "_target_": "torch.nn.Linear", "file": "model.py"},
        steps=(Factory("a/steps.py:One"), Factory("a/steps.py:Two")),
    )
    assert sources_of(spec) == {
        "source/net.py": Path("a/net.py"),
        "source/1_net.py": Path("b/net.py"),
        "source/steps.py": Path("a/steps.py"),
        "source/model.py": Path("model.py"),
    }


def test_other_versions_are_named() -> None:
    text = environment_text()
    assert changed_packages(text, ("numpy", "lightgbm", "not-there")) == []
    older = text.replace(f"numpy=={np.__version__}", "numpy==1.0")
    assert changed_packages(older, ("numpy", "lightgbm")) == [f"numpy 1.0 → {np.__version__}"]

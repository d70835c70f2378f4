"""Trainings of networks as a user types them: killed and gone on with, started from another run, only tried out."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import uproot
from mlflow.tracking import MlflowClient, fluent

from tests.skims import toy_events, write_skim
from utils.logs import setup_logging

REPOSITORY = Path(__file__).parents[2]
NETWORK = '''
from torch import nn

class Net(nn.Module):
    """A network of a user's own."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_features, 24), nn.GELU(), nn.Dropout(0.3), nn.BatchNorm1d(24))
        self.head = nn.Linear(24, n_outputs)

    def forward(self, x):
        return self.head(self.body(x))
'''
TOY = (
    "year=2018",
    "train_file=train.h5",
    "weight_name=null",
    "event_weight=null",
    "class_to_info=null",
    "model=torch_mlp",
    "model_param.network._target_=net.py:Net",
    "model_param.epochs=8",
    "model_param.batch_size=128",
    "model_param.ema=0.99",
    "model_param.schedule=one-cycle",
)

pytestmark = pytest.mark.slow


def needs(library: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(missing, reason=f"{library} is not installed (requirements-nn.txt)")


@dataclass
class Toy:
    """A skim and a network in a folder, and the trainings of it."""

    place: Any

    @property
    def folder(self) -> Path:
        folder: Path = self.place.folder
        return folder

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.place.tracking_uri)

    def train(self, *overrides: str) -> str:
        return str(self.place.train(*TOY, *overrides))

    def fails(self, *overrides: str) -> str:
        """What a training says that ends with an error; in this process, which is faster."""
        said = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stderr(said), pytest.raises(SystemExit):
            arguments = [*TOY, *overrides, f"tracking_uri={self.place.tracking_uri}"]
            importlib.import_module("train").main.command(arguments)
        setup_logging()  # what it has set up writes to where nobody listens any more
        return said.getvalue()

    def killed(self, when: str, *overrides: str) -> str:
        """Start a training and kill it without warning as soon as it has an artifact `when`; the ID of its run."""
        before = {path.name for path in self.folder.glob("mlruns/*/*")}
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(REPOSITORY / "train.py"), *TOY, *overrides]
        job = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            deadline = time.monotonic() + 300
            while not (found := list(self.folder.glob(f"mlruns/*/*/artifacts/{when}"))):
                assert job.poll() is None, f"it ended before it had {when}: {job.communicate()}"
                assert time.monotonic() < deadline
                time.sleep(0.002)
        finally:
            job.send_signal(signal.SIGKILL)
            job.communicate()
        run_id = found[0].relative_to(self.folder / "mlruns").parts[1]
        assert run_id not in before or f"resume={run_id}" in overrides
        return run_id

    def weights(self, run_id: str) -> list[dict[str, np.ndarray]]:
        """The weights of all models, as they are in the routed ensemble."""
        import torch

        from utils.tracking.model_store import download_ensemble
        from utils.tracking.store import connect

        connect(self.place.tracking_uri)
        folder = self.folder / "down" / run_id
        folder.mkdir(parents=True, exist_ok=True)
        saved = download_ensemble(run_id, "ensemble", folder)
        files = sorted(saved.glob("fold_*/weights.pt"))
        return [{k: v.numpy() for k, v in torch.load(path, weights_only=True).items()} for path in files]

    def history(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """All metrics but those of the clock: (step, value) as often as they were logged."""
        names = [n for n in self.client.get_run(run_id).data.metrics if not re.search("second|wait|per_s", n)]
        return {name: sorted((p.step, p.value) for p in self.client.get_metric_history(run_id, name)) for name in names}

    def artifacts(self, run_id: str, folder: str | None = None) -> set[str]:
        found: set[str] = set()
        for item in self.client.list_artifacts(run_id, folder):
            found |= self.artifacts(run_id, item.path) if item.is_dir else {item.path}
        return found


@pytest.fixture(autouse=True)
def nothing_left_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What MLflow keeps in its process ends with the test."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    yield
    mlflow.set_tracking_uri("")
    fluent._active_experiment_id = None


@pytest.fixture(scope="module")
def toy(new_workplace: Callable[[str], Any]) -> Toy:
    made = Toy(new_workplace("networks"))
    write_skim(made.folder / "train.h5", toy_events(1200))
    (made.folder / "net.py").write_text(NETWORK)
    return made


@pytest.fixture(scope="module")
def whole(toy: Toy) -> str:
    """The run of a training that nothing has interrupted."""
    return toy.train()


def assert_same(toy: Toy, run_id: str, other: str, n_models: int = 2) -> None:
    pairs = list(zip(toy.weights(run_id), toy.weights(other), strict=True))
    assert len(pairs) == n_models
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    ours, theirs = toy.history(run_id), toy.history(other)
    assert ours == theirs
    assert [step for step, _ in ours["train_0-loss"]] == list(range(1, 9))


@needs("torch")
def test_killed_at_any_moment_it_goes_on_as_if_nothing_had_been(toy: Toy, whole: str) -> None:
    run_id = toy.killed("checkpoints/fold_0/epoch_0000[3-8].json")
    assert toy.client.get_run(run_id).info.status == "RUNNING"
    # Once more, in the second fold; the first is finished then and taken from the run.
    assert toy.killed("checkpoints/fold_1/epoch_0000[4-8]", f"resume={run_id}") == run_id
    assert not any(name.startswith("checkpoints/fold_0") for name in toy.artifacts(run_id))
    for change, said in (
        ("model_param.learning_rate=0.1", "model_param.learning_rate: 0.001 → 0.1"),
        ("n_splits=3", "n_splits: 2 → 3"),
        ("xtrain_split_feature=entry", "xtrain_split_feature: evt → entry"),
    ):
        error = toy.fails(f"resume={run_id}", change)
        assert "was started with another config" in error
        assert said in error
    assert toy.train(f"resume={run_id}") == run_id
    assert_same(toy, run_id, whole)
    assert toy.client.get_run(run_id).info.status == "FINISHED"
    assert toy.artifacts(run_id) == toy.artifacts(whole)
    models = toy.client.search_logged_models([toy.client.get_run(run_id).info.experiment_id])
    assert sorted(m.name for m in models if m.source_run_id == run_id) == ["ensemble", "model_0", "model_1"]
    assert "is complete" in toy.fails(f"resume={run_id}")


@needs("torch")
def test_two_processes_share_a_training_killed_or_not(toy: Toy) -> None:
    """One run, whose curves and checkpoints come from processes that know nothing of MLflow."""
    two = ("n_processes=2", "n_splits=1", "model_param.threads=1")
    together = toy.train(*two)
    metrics = toy.client.get_run(together).data.metrics
    assert {"train_0-loss", "valid_0-loss", "valid_0-auc", "fold_0/events_per_second"} <= metrics.keys()
    assert metrics["cv/roc_auc_macro"] > 0.8
    run_id = toy.killed("checkpoints/fold_0/epoch_0000[3-8].json", *two)
    assert "n_processes: 2 → 1" in toy.fails(f"resume={run_id}", "n_splits=1", "model_param.threads=1")
    assert toy.train(f"resume={run_id}", *two) == run_id
    assert_same(toy, run_id, together, n_models=1)
    assert toy.artifacts(run_id) == toy.artifacts(together)


@needs("torch")
def test_a_run_says_what_it_trained(toy: Toy, whole: str) -> None:
    run, artifacts = toy.client.get_run(whole), toy.artifacts(whole)
    assert {"source/net.py", "logs/train.log"} <= artifacts
    assert any(name.startswith("network/") for name in artifacts)
    for fold in (0, 1):
        for name in ("parameters", "flops_per_event", "seconds", "n_iterations"):
            assert run.data.metrics[f"fold_{fold}/{name}"] > 0
    # 4 inputs (3 continuous, 1 category), 24 hidden with a norm, 4 classes; two operations for every weight.
    assert run.data.metrics["fold_0/parameters"] == 4 * 24 + 24 + 2 * 24 + 24 * 4 + 4
    assert run.data.metrics["fold_0/flops_per_event"] == 2 * (4 * 24 + 24 * 4)
    requirements = Path(toy.client.download_artifacts(whole, "environment/requirements.txt", str(toy.folder)))
    assert "torch==" in requirements.read_text()


@needs("torch")
def test_the_ensemble_is_served_from_anywhere(toy: Toy, whole: str, tmp_path: Path) -> None:
    """Without this checkout, and without the user's file."""
    code = f"""
import mlflow, pandas as pd, sys
model = mlflow.pyfunc.load_model("runs:/{whole}/ensemble")
frame = pd.DataFrame({{"x": [50.0, 60.0], "y": [0.0, 1.0], "noise": [0.0, 0.0], "njets": [1, 2], "evt": [0, 1]}})
scores = model.predict(frame)
print(list(scores.columns), float(scores.filter(like="proba").iloc[:, :4].sum(axis=1).mean()))
import utils
assert not utils.__file__.startswith({str(REPOSITORY)!r}), utils.__file__
lines = open(mlflow.pyfunc.get_model_dependencies("runs:/{whole}/ensemble")).read().split()
print([line for line in lines if line.startswith(("torch", "keras", "tensorflow", "lightgbm"))])
"""
    (toy.folder / "net.py").rename(toy.folder / "hidden.py")
    try:
        done = toy.place.attempt("-c", code, cwd=tmp_path, MLFLOW_TRACKING_URI=toy.place.tracking_uri)
    finally:
        (toy.folder / "hidden.py").rename(toy.folder / "net.py")
    assert done.returncode == 0, done.stderr
    assert "pred_class_3_proba" in done.stdout
    assert " 1.0" in done.stdout or " 0.99999" in done.stdout
    torch = importlib.metadata.version("torch").partition("+")[0]
    assert f"['torch=={torch}']" in done.stdout


@needs("torch")
def test_a_training_starts_from_the_models_of_another(toy: Toy, whole: str) -> None:
    started = toy.train(f"init_from={whole}", "freeze=[body]", "model_param.epochs=2", "model_param.ema=null")
    run = toy.client.get_run(started)
    assert run.data.params["init_from"] == whole
    assert run.data.params["freeze"] == "body"
    for before, after in zip(toy.weights(whole), toy.weights(started), strict=True):
        for name in ("body.0.weight", "body.0.bias", "body.3.weight"):
            np.testing.assert_array_equal(before[name], after[name], err_msg=f"{name} is frozen")
        assert not np.array_equal(before["head.weight"], after["head.weight"])
        assert np.abs(before["head.weight"] - after["head.weight"]).max() < 0.1, "it did start from there"
    for change, said in (
        ("n_splits=3", "n_splits: 2 there, 3 here"),
        ("folds.by=hash", "folds.by: modulo there, hash here"),
        ("xtrain_split_feature=entry", "xtrain_split_feature: evt there, entry here"),
        ("cont_features=[x,y]", "'noise' is in one of them only"),
        ("freeze=[boddy]", "no parameter of the network matches 'boddy', in freeze; did you mean 'body"),
    ):
        error = toy.fails(f"init_from={whole}", change)
        assert said in error, error
    assert "LightGBM has no use for init_from" in toy.fails(f"init_from={whole}", "model=lightgbm", "~model_param")


@needs("torch")
def test_a_fast_dev_run_goes_through_everything_and_is_no_result(toy: Toy) -> None:
    printed = toy.place.run("train.py", *TOY, "fast_dev_run=true")
    run_id = printed.split()[-1]
    assert "no later stage takes them" in printed
    assert "predict.py" not in printed
    found = toy.client.get_run(run_id)
    assert found.data.tags["crossfold.fast_dev_run"] == "true"
    steps = [p.step for p in toy.client.get_metric_history(run_id, "train_1-loss")]
    assert steps == [1]
    assert not any(name.startswith("checkpoints") for name in toy.artifacts(run_id))
    done = toy.place.attempt(str(REPOSITORY / "predict.py"), f"run_id={run_id}")
    assert done.returncode == 1
    assert "was a fast_dev_run" in done.stderr
    assert "keeps nothing to go on from" in toy.fails(f"resume={run_id}")


def test_without_torch_the_error_names_what_to_install(toy: Toy, tmp_path: Path) -> None:
    for library, model in (("torch", "torch_mlp"), ("tensorflow", "keras_mlp")):
        folder = tmp_path / model / library
        folder.mkdir(parents=True)
        missing = f"raise ModuleNotFoundError(\"No module named '{library}'\", name='{library}')"
        (folder / f"{library}.py").write_text(missing)
        command = [str(REPOSITORY / "train.py"), "year=2018", "train_file=train.h5", f"model={model}"]
        done = toy.place.attempt(*command, "tracking_uri=sqlite:///none.db", PYTHONPATH=str(folder))
        assert done.returncode != 0
        assert "pip install -r requirements-nn.txt" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (toy.folder / "none.db").exists(), "no run is left behind"


STOPPING = """
import os
from utils.models.lightgbm import LightGBMEstimator

class Stopping(LightGBMEstimator):
    def fit(self, train, valid, monitor, context):
        if os.path.exists("stop") and context.fold == 1:
            os.kill(os.getpid(), 9)
        super().fit(train, valid, monitor, context)
        with open("fitted", "a") as file:
            file.write(f"{context.fold} ")
"""


def test_finished_folds_of_trees_are_not_trained_again(toy: Toy) -> None:
    (toy.folder / "stopping.py").write_text(STOPPING)
    (toy.folder / "stop").touch()
    trees = (*TOY[:5], "model._target_=stopping.py:Stopping", "model_param.num_iterations=5")
    done = toy.place.attempt(str(REPOSITORY / "train.py"), *trees)
    assert done.returncode == -signal.SIGKILL
    (run,) = [r for r in toy.client.search_runs(["1"]) if "Stopping" in r.data.params["model"]]
    assert run.info.status == "RUNNING"
    (toy.folder / "stop").unlink()
    assert toy.place.train(*trees, f"resume={run.info.run_id}") == run.info.run_id
    assert (toy.folder / "fitted").read_text().split() == ["0", "1"]
    (toy.folder / "fitted").unlink()
    whole = toy.place.train(*trees)
    assert (toy.folder / "fitted").read_text().split() == ["0", "1"]
    assert toy.history(run.info.run_id) == toy.history(whole)
    assert toy.artifacts(run.info.run_id) == toy.artifacts(whole)


@pytest.fixture(scope="module")
def skims(new_workplace: Callable[[str], Any]) -> Any:
    """The toy analysis, up to the trainings."""
    place = new_workplace("chain of networks")
    place.run("examples/make_htt_toy.py", "--output", "data/htt/2018/original", "--scale", "0.1")
    place.preprocess("htt", "year=2018")
    return place


@pytest.mark.parametrize(
    ("model", "library"), [pytest.param("torch_mlp", "torch", marks=needs("torch")),
                           pytest.param("keras_mlp", "tensorflow", marks=needs("tensorflow"))]
)  # fmt: skip
def test_nothing_else_that_is_typed_changes(skims: Any, model: str, library: str) -> None:
    few = ("model_param.epochs=3", "model_param.batch_size=256")
    done = skims.attempt(
        "-m", "mlflow", "run", str(REPOSITORY), "--env-manager", "local", "-P", "year=2018",
        "-P", f"train_file={skims.folder}/data/htt/2018/skims/train.h5",
        "-P", f"overrides=model={model} {' '.join(few)}",
        MLFLOW_TRACKING_URI=skims.tracking_uri, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run_id = re.findall(r"\brun_id +([0-9a-f]{32})\b", done.stdout + done.stderr)[-1]
    skims.run("predict.py", f"run_id={run_id}", "sample_names=[VBFHToTauTau_M125]")
    skims.run("predict.py", "--config-name", "for_evaluation", f"run_id={run_id}", "sample_names=[test]")
    skims.run("evaluate.py", f"run_id={run_id}", "dataset=test")
    run = MlflowClient(skims.tracking_uri).get_run(run_id)
    assert run.data.metrics["test/roc_auc_macro"] > 0.7
    assert {f"train_{fold}-loss" for fold in (0, 1)} <= set(run.data.metrics)
    with uproot.open(skims.folder / "predictions" / run_id / "VBFHToTauTau_M125_pred.root") as file:
        friend = file["TauCheck"].arrays(library="np")
    assert set(friend["is_valid"]) == {1}
    np.testing.assert_allclose(sum(friend[f"pred_class_{k}_proba"] for k in range(4)), 1, atol=1e-5)

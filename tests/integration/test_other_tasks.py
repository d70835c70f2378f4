"""Regression and autoencoder through the whole chain, as a user types it."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uproot
import yaml
from mlflow.tracking import MlflowClient

pytestmark = pytest.mark.slow

FEATURES = {"cont_features": ["e", "eta"], "cat_features": ["njets"], "misc_features": ["evt", "pt", "w"]}
INPUTS = {"input_path": "ntuples", "input_tree_name": "events", "identity": ["evt"], "scaler": {}, **FEATURES}


def write_ntuple(path: Path, n: int, first: int, shift: float) -> None:
    rng = np.random.default_rng(first)
    pt, eta = rng.exponential(40, n) + 20, rng.normal(shift, 1, n)
    columns = {
        "evt": np.arange(first, first + n, dtype=np.uint64),
        "e": (pt * np.cosh(np.clip(eta, -2, 2)) * rng.normal(1, 0.05, n)).astype(np.float32),
        "eta": eta.astype(np.float32),
        "njets": rng.integers(0, 4, n).astype(np.int32),
        "pt": pt.astype(np.float32),
        "w": rng.normal(1, 0.2, n),
    }
    with uproot.recreate(path) as file:
        file["events"] = columns


@pytest.fixture(scope="module")
def place(new_workplace: Callable[[str], Any]) -> Any:
    made = new_workplace("other tasks")
    (made.folder / "ntuples").mkdir()
    write_ntuple(made.folder / "ntuples" / "qcd.root", 3000, 0, 0.0)
    write_ntuple(made.folder / "ntuples" / "signal.root", 600, 10**6, 4.0)
    training: dict[str, Any] = {**INPUTS, "input_samples": [{"qcd": {"qcd": {"class": 0}}}], "output_path": "skims"}
    both = {
        **training,
        "input_samples": [{"qcd": {"qcd": {"class": 0}}}, {"signal": {"signal": {"class": 1}}}],
        "output_path": "skims_both",
        "new_variables": {"is_qcd": "pt*0 + where(evt<1000000, 1, 0)"},
        "misc_features": [*FEATURES["misc_features"], "is_qcd"],
    }
    to_predict = {**INPUTS, "for_training": False, "input_samples": ["qcd", "signal"], "output_path": "skims_predict",
                  "misc_features": ["evt"], "scaler": None}  # fmt: skip
    trees = {"num_iterations": 30, "min_data_in_leaf": 5, "metric": ["multi_logloss", "multi_error"], "seed": 1}
    train = {"train_file": "skims/train.h5", "xtrain_split_feature": "evt", "event_weight": "w",
             "model": {"_target_": "utils.models.lightgbm.LightGBMEstimator"}, "model_param": trees,
             "prediction_data": to_predict}  # fmt: skip
    for name, content in {"one": training, "both": both, "predict": to_predict, "train": train}.items():
        (made.folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    for name in ("one", "both", "predict"):
        made.run("preprocess.py", "--config-path", str(made.folder), "--config-name", name)
    return made


def chain(place: Any, *overrides: str) -> tuple[str, str]:
    """Train, predict and evaluate; the run ID, and what the evaluation printed."""
    config = ("--config-path", str(place.folder), "--config-name", "train")
    run_id = re.findall(r"\brun_id +([0-9a-f]{32})\b", place.run("train.py", *config, *overrides))[-1]
    place.run("predict.py", f"run_id={run_id}")
    place.run("predict.py", "--config-name", "for_evaluation", f"run_id={run_id}")
    return run_id, place.run("evaluate.py", f"run_id={run_id}", "dataset=test", "output_path=shown")


def friend(place: Any, run_id: str, sample: str) -> dict[str, np.ndarray]:
    with uproot.open(place.folder / "predictions" / run_id / f"{sample}_pred.root") as file:
        found: dict[str, np.ndarray] = file["events"].arrays(library="np")
    return found


def test_a_regression_with_trees(place: Any) -> None:
    run_id, said = chain(place, "task=regression", "targets=[pt]", "unseen=average")
    client = MlflowClient(place.tracking_uri)
    metrics = client.get_run(run_id).data.metrics
    for prefix, end in (
        ("fold_0", ""),
        ("fold_1", ""),
        ("cv", ""),
        ("cv_event", ""),
        ("test", ""),
        ("test", "_fold_1"),
    ):
        assert 0 < metrics[f"{prefix}/resolution_pt{end}"] < 10, prefix
        assert abs(metrics[f"{prefix}/bias_pt{end}"]) < 3, prefix
    assert {f"{kind}_{fold}-{metric}" for kind in ("valid",) for fold in (0, 1) for metric in ("l1", "regression", "l2")
            } & set(metrics) == {f"valid_{fold}-{metric}" for fold in (0, 1) for metric in ("l1", "l2")}  # fmt: skip
    assert not any("roc_auc" in name for name in metrics)
    assert re.search(r"pt +all +\d+ ", said)
    shown = {path.name for path in (place.folder / "shown").iterdir()}
    assert {"residual_pt.html", "response_pt.html", "predicted_pt.html", "index.html", "pdf"} <= shown
    found = friend(place, run_id, "qcd")
    assert list(found) == ["pred_pt", "is_valid", "evt"]
    with uproot.open(place.folder / "ntuples" / "qcd.root") as file:
        pt_N = file["events"]["pt"].array(library="np")
    assert np.corrcoef(found["pred_pt"], pt_N)[0, 1] > 0.9

    import mlflow

    mlflow.set_tracking_uri(place.tracking_uri)
    model = mlflow.pyfunc.load_model(f"runs:/{run_id}/ensemble")
    told = model.predict(pd.DataFrame({"e": [100.0, 60.0], "eta": [0.5, 0.1], "njets": [1, 2]}))
    mlflow.set_tracking_uri("")
    assert list(told) == ["pred_pt"]
    assert [output["name"] for output in model.metadata.signature.outputs.to_dict()] == ["pred_pt"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_an_autoencoder_finds_what_it_was_not_trained_on(place: Any) -> None:
    network = ("model._target_=utils.models.pytorch.estimator.TorchEstimator", "~model_param.num_iterations",
               "~model_param.min_data_in_leaf", "~model_param.metric", "+model_param.epochs=20",
               "+model_param.batch_size=128", "+model_param.learning_rate=0.01",
               "+model_param.network={hidden: [8, 1, 8]}")  # fmt: skip
    # Events of another class weigh nothing, so that they are not learned.
    run_id, said = chain(place, "task=autoencoder", "train_file=skims_both/train.h5", "weight_name=is_qcd", *network)
    metrics = MlflowClient(place.tracking_uri).get_run(run_id).data.metrics
    assert metrics["test/roc_auc_signal"] > 0.8
    assert {"cv/loss_mean", "fold_0/loss_mean", "test/loss_mean", "test/loss_median_qcd"} <= set(metrics)
    assert re.search(r"signal +\d+ +0\.\d+ ± 0\.\d+", said)
    found = {sample: friend(place, run_id, sample) for sample in ("qcd", "signal")}
    assert list(found["qcd"]) == ["pred_loss", "is_valid", "evt"]
    assert np.median(found["signal"]["pred_loss"]) > np.median(found["qcd"]["pred_loss"])


def test_trees_make_no_autoencoder(place: Any) -> None:
    config = ("--config-path", str(place.folder), "--config-name", "train")
    done = place.attempt(str(Path(__file__).parents[2] / "train.py"), *config, "task=autoencoder")
    assert done.returncode == 1
    assert "LightGBM makes no autoencoder, in task. Choose a network: model=torch_mlp" in done.stderr

"""The whole chain on a small toy, as a user types it: what it writes, what it logs, what it says on the terminal."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import uproot
import yaml
from mlflow.tracking import MlflowClient, fluent

from utils.logs import get_logger

REPOSITORY = Path(__file__).parents[2]
SAMPLES = {
    "SUSYGluGluToBBHToTauTau_M125": 1800,
    "GluGluHToTauTau_M125": 1600,
    "VBFHToTauTau_M125": 700,
    "WHToTauTau_M125": 3,
    "Tau_Run2018": 3106,
    "EmbeddedTauTau_Run2018": 2000,
}
CLASSES = ("H_sig", "H_bkgr", "Fakes", "Taus")
SCORES = [f"pred_class_{i}_proba" for i in range(4)]
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d  \S")
FEW = ("model_param.num_iterations=8", "model_param.early_stopping=3")

pytestmark = pytest.mark.slow


@dataclass
class Chain:
    """A workplace after the whole chain, and what every command said."""

    place: Any
    said: dict[str, "subprocess.CompletedProcess[str]"] = field(default_factory=dict)
    run_id: str = ""

    def stage(self, name: str, script: str, *arguments: str) -> None:
        done = self.place.attempt(str(REPOSITORY / script), *arguments)
        assert done.returncode == 0, f"{script} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        self.said[name] = done

    @property
    def folder(self) -> Path:
        folder: Path = self.place.folder
        return folder

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.place.tracking_uri)


@pytest.fixture(scope="module")
def chain(new_workplace: Callable[[str], Any]) -> Chain:
    made = Chain(new_workplace("chain"))
    made.stage("toy", "examples/make_htt_toy.py", "--output", "data/htt/2018/original", "--scale", "0.1")
    for kind in ("training_data", "prediction_data"):
        arguments = ("--config-path", f"configs/preprocess/{kind}", "--config-name", "htt", "year=2018")
        made.stage(kind, "preprocess.py", *arguments)
    made.stage("train", "train.py", "year=2018", *FEW)
    made.run_id = made.said["train"].stdout.split()[-1]
    made.stage("for_datacards", "predict.py", f"run_id={made.run_id}")
    made.stage("for_evaluation", "predict.py", "--config-name", "for_evaluation", f"run_id={made.run_id}")
    for dataset in ("train", "test"):
        made.stage(f"evaluate {dataset}", "evaluate.py", f"run_id={made.run_id}", f"dataset={dataset}")
    return made


@pytest.fixture
def here(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """Stages called in this process, where the chain lies; what MLflow keeps in its process ends with the test."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(chain.folder)
    yield chain
    mlflow.set_tracking_uri("")
    fluent._active_experiment_id = None


def artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for item in client.list_artifacts(run_id, folder):
        found |= artifacts(client, run_id, item.path) if item.is_dir else {item.path}
    return found


# --- the terminal ---


def test_the_terminal_shows_what_matters_and_nothing_else(chain: Chain) -> None:
    """Our own lines with the time, no library's: no warning, no progress bar, no table that is being created."""
    for name, done in chain.said.items():
        strange = [line for line in done.stderr.splitlines() if not LOG_LINE.match(line)]
        assert strange == [], name
        assert "mlflow.store" not in done.stderr + done.stdout, name
        assert "Warning" not in done.stderr + done.stdout, name
        assert "Traceback" not in done.stderr, name
        assert "\x1b" not in done.stdout + done.stderr, name
        assert "\r" not in done.stdout + done.stderr, name


def test_training_ends_with_the_ids(chain: Chain) -> None:
    last = chain.said["train"].stdout.strip().splitlines()[-2:]
    experiment = chain.client.get_run(chain.run_id).info.experiment_id
    assert [line.split() for line in last] == [["experiment_id", experiment], ["run_id", chain.run_id]]
    assert re.fullmatch(r"[0-9a-f]{32}", chain.run_id)


def test_every_stage_says_what_it_did_and_what_comes_next(chain: Chain) -> None:
    text = {name: done.stdout for name, done in chain.said.items()}
    assert re.search(r"GluGluHToTauTau_M125 +H_bkgr .*\d ± \d", text["training_data"])
    assert re.search(r"Tau_Run2018 +12\n", text["training_data"]), "the planted duplicates"
    assert re.search(r"Tau_Run2018 +EmbeddedTauTau_Run2018 +20\n", text["training_data"])
    assert "events/s" in chain.said["training_data"].stderr
    assert f"python predict.py run_id={chain.run_id}" in text["train"]
    assert f"python evaluate.py run_id={chain.run_id} dataset=test" in text["for_evaluation"]
    assert re.search(r"WHToTauTau_M125 +3 +3 .* 1 ", text["for_datacards"]), "a sample that misses fold 1"
    assert "plots/test/index.html" in text["evaluate test"]
    for name in CLASSES:
        assert re.search(rf"{name} +\d+ +0\.\d+ ± 0\.\d+", text["evaluate test"])


# --- what is written ---


def test_friend_trees_are_aligned_with_their_samples(chain: Chain) -> None:
    for sample, n_entries in SAMPLES.items():
        with uproot.open(chain.folder / "data/htt/2018/original" / f"{sample}.root") as file:
            original = file["TauCheck"].arrays(["run", "lumi", "evt", "weight"], library="np")
        with uproot.open(chain.folder / "predictions" / chain.run_id / f"{sample}_pred.root") as file:
            friend = file["TauCheck"].arrays(library="np")
        assert len(friend["evt"]) == n_entries, sample
        for name, values in original.items():
            np.testing.assert_array_equal(friend[name], values)
            assert friend[name].dtype == values.dtype, name
        assert set(friend["is_valid"]) == {1}, "every entry is predicted: the analysis has no cut on them"
        scores_NK = np.stack([friend[name] for name in SCORES], axis=1)
        np.testing.assert_allclose(scores_NK.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(friend["pred_class"], scores_NK.argmax(axis=1))
        np.testing.assert_array_equal(friend["pred_class_proba"], scores_NK.max(axis=1))
        assert {name: str(friend[name].dtype) for name in ("pred_class", "is_valid", *SCORES)} == {
            "pred_class": "int32", "is_valid": "uint8", **dict.fromkeys(SCORES, "float32")
        }  # fmt: skip


def test_no_unfinished_file_is_left(chain: Chain) -> None:
    assert list(chain.folder.rglob("*.part")) == []
    assert {path.name for path in chain.folder.iterdir()} == {"data", "mlflow.db", "mlruns", "predictions"}


def test_tables_have_every_event_of_the_skims_with_its_truth(chain: Chain) -> None:
    skims = chain.folder / "data/htt/2018/skims"
    for dataset in ("train", "test"):
        path = chain.client.download_artifacts(chain.run_id, f"pred/{dataset}.csv")
        table = pd.read_csv(path)
        targets = pd.read_hdf(skims / f"{dataset}.h5", key="targets")
        misc = pd.read_hdf(skims / f"{dataset}.h5", key="misc_features")
        np.testing.assert_array_equal(table["target"], targets["target"])
        np.testing.assert_array_equal(table["group_name"], targets["group_name"])
        np.testing.assert_array_equal(table["evt"], misc["evt"])
        np.testing.assert_array_equal(table["w_class_imbalance"], misc["w_class_imbalance"])
        np.testing.assert_array_equal(table["fold"], misc["evt"] % 2)
        assert set(SCORES) < set(table)


# --- what the run says ---


def test_metrics_have_exactly_the_promised_names(chain: Chain) -> None:
    metrics = set(chain.client.get_run(chain.run_id).data.metrics)
    kinds = {name.partition("/")[0] for name in metrics if "/" in name}
    assert kinds == {"data", "fold_0", "fold_1", "cv", "cv_class", "cv_event", "train", "test"}
    for dataset in ("train", "test"):
        expected = {f"{dataset}/roc_auc_{name}" for name in (*CLASSES, "macro")}
        expected |= {f"{dataset}/pr_average_prec_{name}" for name in CLASSES}
        expected |= {f"{dataset}/cm_{i}{j}_{kind}" for i in range(4) for j in range(4) for kind in ("true", "pred")}
        expected |= {f"{dataset}/accuracy"}
        if dataset == "train":
            ks = ("ks", "ks_p", "ks_rest", "ks_rest_p")
            expected |= {f"train/{kind}_{name}_fold_{i}" for kind in ks for name in CLASSES for i in range(2)}
        assert {name for name in metrics if name.startswith(f"{dataset}/")} == expected
    for kind in ("cv", "cv_class", "cv_event"):
        assert {name for name in metrics if name.startswith(f"{kind}/")} == {
            f"{kind}/roc_auc_{name}" for name in (*CLASSES, "macro")
        }
    curves = {
        f"{kind}_{i}-multi_{loss}" for kind in ("train", "valid") for i in range(2) for loss in ("logloss", "error")
    }
    assert {name for name in metrics if "/" not in name} == curves


def test_curves_are_stepped_and_metrics_are_there_once(chain: Chain) -> None:
    n_rounds = int(chain.client.get_run(chain.run_id).data.metrics["fold_0/n_iterations"])
    for name in ("train_0-multi_logloss", "valid_0-multi_logloss"):
        history = chain.client.get_metric_history(chain.run_id, name)
        assert [point.step for point in sorted(history, key=lambda point: point.step)][:n_rounds] == list(
            range(1, n_rounds + 1)
        )
        assert len({point.step for point in history}) == len(history)
    for name in ("test/roc_auc_macro", "cv/roc_auc_macro", "data/events_H_sig"):
        assert len(chain.client.get_metric_history(chain.run_id, name)) == 1


def test_a_run_explains_itself(chain: Chain) -> None:
    run = chain.client.get_run(chain.run_id)
    params = run.data.params
    assert params["run_id"] == chain.run_id
    assert params["train_file"] == "data/htt/2018/skims/train.h5"
    assert (params["xtrain_split_feature"], params["weight_name"], params["n_splits"]) == (
        "evt",
        "w_class_imbalance",
        "2",
    )
    assert params["model_param.num_iterations"] == "8"
    assert re.fullmatch(r"[0-9a-f]{40}", run.data.tags["git.commit"])
    assert run.data.tags["git.dirty"] in ("true", "false")
    assert "slightly optimistic" in run.data.tags["crossfold.validation"]
    assert run.inputs.dataset_inputs[0].dataset.name == "train"
    assert chain.client.get_experiment(run.info.experiment_id).name == "htt"
    assert artifacts(chain.client, chain.run_id) >= {
        "config/train.yaml",
        "config/preprocess.yaml",
        "config/prediction_data.yaml",
        "data/skim.json",
        "data/cutflow.csv",
        "environment/requirements.txt",
        "logs/train.log",
        "diagnostics/overtraining.parquet",
        "pred/train.csv",
        "pred/test.csv",
        *(f"pred/{sample}_pred.root" for sample in SAMPLES),
        *(f"plots/training/importance_gain.{suffix}" for suffix in ("html", "csv")),
        "plots/training/learning_multi_logloss.html",
        "plots/training/pdf/learning_multi_logloss.pdf",
    }
    config = yaml.safe_load(Path(chain.client.download_artifacts(chain.run_id, "config/train.yaml")).read_text())
    assert config["n_splits"] == 2
    assert config["negative_weights"] == "error", "defaults are recorded as well"
    assert config["model_param"]["num_iterations"] == 8
    log = Path(chain.client.download_artifacts(chain.run_id, "logs/train.log")).read_text()
    assert re.search(r"fold 1: [\d,]+ training events", log)


def test_figures_are_those_that_were_promised_as_html_and_pdf(chain: Chain) -> None:
    found = artifacts(chain.client, chain.run_id, "plots")
    figures = {"roc_curve", "pr_curve", "confusion_matrix_true", "confusion_matrix_pred"}
    figures |= {f"density_{name}" for name in CLASSES}
    for dataset in ("train", "test"):
        assert f"plots/{dataset}/index.html" in found
        for name in figures:
            assert {f"plots/{dataset}/{name}.html", f"plots/{dataset}/pdf/{name}.pdf"} <= found
    assert {f"plots/train/overtraining_{name}_fold_{i}.html" for name in CLASSES for i in range(2)} <= found


def test_models_are_logged_by_fold_and_as_an_ensemble(chain: Chain) -> None:
    models = chain.client.search_logged_models([chain.client.get_run(chain.run_id).info.experiment_id])
    assert {model.name for model in models if model.source_run_id == chain.run_id} == {"model_0", "model_1", "ensemble"}


RELOAD = """
import sys
import mlflow, pandas as pd, numpy as np
uri, run_id, skim, output = sys.argv[1:]
mlflow.set_tracking_uri(uri)
frame = pd.concat([pd.read_hdf(skim, key=key) for key in ("cont_features", "cat_features", "misc_features")], axis=1)
frame["evt"] = frame["evt"].astype("int64")
for name in ("ensemble", "model_0", "model_1"):
    model = mlflow.pyfunc.load_model(f"runs:/{run_id}/{name}")
    needed = [column.name for column in model.metadata.signature.inputs]
    model.predict(frame[needed]).to_csv(f"{output}/{name}.csv", index=False)
    print(name, *needed)
"""


def test_logged_models_give_the_friend_trees_scores_anywhere(chain: Chain, tmp_path: Path) -> None:
    """Another directory, a fresh process, no project on its path: raw features in, the same scores out."""
    (tmp_path / "reload.py").write_text(RELOAD)
    skim = chain.folder / "data/htt/2018/skims/for_prediction/Tau_Run2018.h5"
    done = chain.place.attempt(
        "reload.py", chain.place.tracking_uri, chain.run_id, str(skim), str(tmp_path), cwd=tmp_path, PYTHONPATH=""
    )
    assert done.returncode == 0, done.stderr
    with uproot.open(chain.folder / "predictions" / chain.run_id / "Tau_Run2018_pred.root") as file:
        friend = file["TauCheck"].arrays(library="np")
    columns = [*SCORES, "pred_class", "pred_class_proba"]
    ensemble = pd.read_csv(tmp_path / "ensemble.csv")
    assert list(ensemble) == columns
    of_fold = [pd.read_csv(tmp_path / f"model_{i}.csv") for i in range(2)]
    for name in columns:
        np.testing.assert_array_equal(ensemble[name].astype(friend[name].dtype), friend[name])
        for i in range(2):
            rows = friend["evt"] % 2 == i
            np.testing.assert_array_equal(of_fold[i][name][rows].astype(friend[name].dtype), friend[name][rows])
    assert not np.allclose(of_fold[0]["pred_class_0_proba"], of_fold[1]["pred_class_0_proba"])
    inputs = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()[0] != "mlflow"}
    assert "evt" in inputs["ensemble"], "the split feature routes"
    assert "evt" not in inputs["model_0"]


# --- again, and elsewhere ---


@pytest.fixture(scope="module")
def second_run(chain: Chain) -> tuple[str, dict[str, float]]:
    """A second training with the same configuration, called as in a notebook; nothing was predicted with it."""
    import train

    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
            patch.delenv(name, raising=False)
        patch.chdir(chain.folder)
        composed = train.main.compose(["year=2018", *FEW, f"tracking_uri={chain.place.tracking_uri}"])
        result = train.main(composed.spec, composed.config)
        mlflow.set_tracking_uri("")
        fluent._active_experiment_id = None
    assert {figure.name for figure in result.figures} >= {"learning_multi_logloss", "importance_gain"}
    return result.run_id, dict(result.metrics)


def test_the_same_again_gives_the_same_metrics(chain: Chain, second_run: tuple[str, dict[str, float]]) -> None:
    run_id, returned = second_run
    first = chain.client.get_run(chain.run_id).data.metrics
    second = chain.client.get_run(run_id).data.metrics
    compared = {name for name in second if not name.endswith("/seconds")}
    # The sums of a loss are made by threads, in any order: equal but for rounding.
    assert {name: second[name] for name in compared} == pytest.approx(
        {name: first[name] for name in compared}, rel=1e-9
    )
    assert returned == pytest.approx({name: first[name] for name in returned}, rel=1e-9)
    assert len(returned) == 15


def test_stages_return_their_results_to_a_notebook(here: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    import evaluate
    import predict

    common = [f"run_id={here.run_id}", f"tracking_uri={here.place.tracking_uri}"]
    made = predict.main(
        predict.main.compose(
            [*common, "sample_names=[WHToTauTau_M125]", "output_path=notebook", "log_predictions=false"]
        ).spec
    )
    assert [(one.sample, one.n_entries, one.missing_folds) for one in made] == [("WHToTauTau_M125", 3, (1,))]
    assert made[0].path == Path("notebook") / here.run_id / "WHToTauTau_M125_pred.root"
    result = evaluate.main(evaluate.main.compose([*common, "dataset=test", "metric_weights=event"]).spec)
    assert result.metrics["test_event/roc_auc_macro"] > 0.7
    capsys.readouterr()
    shutil.rmtree("notebook")


USER_STEP = """
import numpy as np


class Log:
    def fit(self, moments, names):
        return self

    def transform(self, features_NF):
        return np.sign(features_NF) * np.log1p(np.abs(features_NF))

    def output_names(self, names):
        return tuple(f"log_{name}" for name in names)

    def state(self):
        return {}

    @classmethod
    def from_state(cls, state):
        return cls()
"""


def test_another_model_with_a_users_step_goes_through_the_chain(
    here: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    """scikit-learn, three hashed folds, the next fold watched, and a step from a file that is gone afterwards."""
    import predict
    import preprocess
    import train

    Path("my_steps.py").write_text(USER_STEP)
    step, skims = "steps=[{_target_: my_steps.py:Log}]", "data/htt/2018/skims_log"
    for kind, output in (("training_data", skims), ("prediction_data", f"{skims}/pred")):
        composed = preprocess.main.compose(
            ["year=2018", step, f"output_path={output}"]
            + ([f"input_pipe_file={skims}/input_pipe.json"] if kind == "prediction_data" else []),
            config_path=f"configs/preprocess/{kind}",
        )
        preprocess.main(composed.spec, composed.config)
    composed = train.main.compose(
        ["year=2018", "model=sklearn_histgb", "model_param.max_iter=5", "n_splits=3", "folds.by=hash", step,
         "validation=next_fold", "unseen=average", f"train_file={skims}/train.h5",
         f"tracking_uri={here.place.tracking_uri}"]
    )  # fmt: skip
    result = train.main(composed.spec, composed.config)
    assert result.metrics["cv/roc_auc_macro"] > 0.75
    params = here.client.get_run(result.run_id).data.params
    assert params["features"].startswith("log_pt_1,")
    assert "crossfold.validation" not in here.client.get_run(result.run_id).data.tags, "nothing is optimistic here"
    Path("my_steps.py").unlink()
    spec = predict.main.compose(
        [f"run_id={result.run_id}", f"input_path={skims}/pred", f"tracking_uri={here.place.tracking_uri}",
         "sample_names=[VBFHToTauTau_M125]", "output_path=with_step", "log_predictions=false"]
    ).spec  # fmt: skip
    (made,) = predict.main(spec)
    assert (made.n_entries, made.n_scored, made.missing_folds) == (700, 700, ())
    capsys.readouterr()
    shutil.rmtree("with_step")


@pytest.fixture(scope="module")
def project(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the chain's data, for `mlflow run .`, which works in the project's folder."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("utils", "configs"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*REPOSITORY.glob("*.py"), *REPOSITORY.glob("*.yaml"), REPOSITORY / "MLproject"]:
        shutil.copy(path, copy)
    (copy / "data").symlink_to(chain.folder / "data")
    return copy


def mlflow_run(chain: Chain, project: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    # Against the chain's store, because making the tables of another takes seconds.
    done: subprocess.CompletedProcess[str] = chain.place.attempt(
        "-m", "mlflow", "run", ".", "--env-manager", "local", *options,
        cwd=project, MLFLOW_TRACKING_URI=chain.place.tracking_uri,
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_mlflow_run_trains_and_predicts(chain: Chain, project: Path) -> None:
    overrides = "model_param.learning_rate=0.2 validation=held_out run_name='by mlflow run'"
    done = mlflow_run(
        chain, project, "-e", "main", "--experiment-name", "of_mlflow_run", "-P", "year=2018", "-P", "n_splits=2",
        "-P", "num_iterations=5", "-P", f"overrides={overrides}",
    )  # fmt: skip
    run_id = re.findall(r"\brun_id +([0-9a-f]{32})\b", done.stdout + done.stderr)[-1]
    run = chain.client.get_run(run_id)
    assert chain.client.get_experiment(run.info.experiment_id).name == "of_mlflow_run"
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "by mlflow run"
    config = yaml.safe_load(Path(chain.client.download_artifacts(run_id, "config/train.yaml")).read_text())
    assert config["model_param"]["learning_rate"] == 0.2
    assert config["model_param"]["num_iterations"] == 5
    assert config["model_param"]["early_stopping"] == 30, "what was not given keeps the YAML's value"
    assert run.data.metrics["fold_0/n_iterations"] == 5
    mlflow_run(
        chain, project, "-e", "predict", "-P", f"run_id={run_id}", "-P", "overrides=sample_names=[VBFHToTauTau_M125]"
    )
    assert "pred/VBFHToTauTau_M125_pred.root" in artifacts(chain.client, run_id)
    assert (project / "predictions" / run_id / "VBFHToTauTau_M125_pred.root").is_file()


# --- bad input ---


@pytest.fixture
def refused(here: Chain, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Give a stage its command line, which it must refuse with one message; gives the message."""

    def command(stage: str, *arguments: str, code: int = 1) -> str:
        module = importlib.import_module(stage)
        store = () if stage == "preprocess" else (f"tracking_uri={here.place.tracking_uri}",)
        with pytest.raises(SystemExit) as ended:
            module.main.command([*arguments, *store])
        printed = capsys.readouterr().err
        message = [line for line in printed.splitlines() if not LOG_LINE.match(line)]
        assert len(message) == 1, printed
        assert ended.value.code == code, printed
        return message[0]

    yield command
    logger = get_logger()
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True


def mistyped(run_id: str) -> str:
    return ("1" if run_id[0] != "1" else "2") + run_id[1:]


def test_an_unknown_run(chain: Chain, refused: Callable[..., str]) -> None:
    for stage in ("predict", "evaluate"):
        message = refused(stage, f"run_id={mistyped(chain.run_id)}")
        assert f"no run '{mistyped(chain.run_id)}', in the MLflow store sqlite:///" in message
        assert f"did you mean '{chain.run_id}'?" in message
        assert "The newest trainings are " in message


def test_a_deleted_run(chain: Chain, second_run: tuple[str, Any], refused: Callable[..., str]) -> None:
    run_id, _ = second_run
    chain.client.delete_run(run_id)
    try:
        message = refused("predict", f"run_id={run_id}")
        assert f"run '{run_id}' was deleted" in message
        assert f"mlflow runs restore --run-id {run_id}" in message
    finally:
        chain.client.restore_run(run_id)


def test_the_wrong_experiment(chain: Chain, refused: Callable[..., str]) -> None:
    message = refused("predict", f"run_id={chain.run_id}", "experiment_id=77")
    assert "not 77" in message
    assert "the run ID is enough" in message


def test_evaluating_what_was_not_predicted(second_run: tuple[str, Any], refused: Callable[..., str]) -> None:
    run_id, _ = second_run
    message = refused("evaluate", f"run_id={run_id}", "dataset=test")
    assert f"run '{run_id}' has no prediction of dataset 'test'" in message
    assert f"python predict.py --config-name for_evaluation run_id={run_id}" in message


def test_an_unknown_dataset(chain: Chain, refused: Callable[..., str]) -> None:
    assert "did you mean 'test'?" in refused("evaluate", f"run_id={chain.run_id}", "dataset=tset")


def test_another_year_than_the_runs(chain: Chain, refused: Callable[..., str]) -> None:
    message = refused("predict", f"run_id={chain.run_id}", "year=2017")
    assert "the run's paths are for year 2018, not 2017" in message


def test_another_pipe_than_the_runs(chain: Chain, refused: Callable[..., str]) -> None:
    pipe = json.loads(Path("data/htt/2018/skims/input_pipe.json").read_text())
    pipe["steps"][0]["mean"][0] += 1
    Path("other_pipe.json").write_text(json.dumps(pipe))
    message = refused("predict", f"run_id={chain.run_id}", "input_pipe_file=other_pipe.json")
    assert "the input pipe differs from the one the run was trained with, in other_pipe.json" in message
    Path("other_pipe.json").unlink()


@pytest.mark.parametrize("name", ["skims/for_prediction/WHToTauTau_M125.h5", "original/WHToTauTau_M125.root"])
def test_a_file_that_is_gone(chain: Chain, refused: Callable[..., str], name: str) -> None:
    path = Path("data/htt/2018") / name
    path.rename(path.with_suffix(".away"))
    try:
        message = refused(
            "predict", f"run_id={chain.run_id}", "sample_names=[WHToTauTau_M125]", "output_path=elsewhere"
        )
    finally:
        path.with_suffix(".away").rename(path)
    assert "no such" in message
    assert path.name in message


@pytest.mark.parametrize(
    ("overrides", "code", "texts"),
    [
        (["weight_name=weight"], 1, ["weight 'weight' is negative for", "negative_weights=abs, zero or drop"]),
        (["validation=next_fold"], 2, ["leaves nothing to train on with n_splits=2", "n_splits=3 or more"]),
        (["cont_features=[pt_1,m_vsi]"], 1, ["no column 'm_vsi'", "did you mean 'm_vis'?"]),
        (["xtrain_split_feature=event"], 1, ["no column 'event' (xtrain_split_feature)"]),
        (["xtrain_split_feature=weight"], 1, ["'weight' must be an integer"]),
        (["train_file=data/htt/2018/skims/trian.h5"], 1, ["no such skim", "did you mean 'train.h5'?"]),
        (["train_file=data/htt/2018/skims/for_prediction/Tau_Run2018.h5"], 1, ["for_training=true"]),
        (["model_param.num_iteratons=3"], 1, ["no parameter 'num_iteratons'", "did you mean 'num_iterations'?"]),
        (["n_split=3"], 2, ["did you mean 'n_splits'?"]),
        (["n_splits=two"], 2, ["'n_splits' must be an integer"]),
        (["model=lightgmb"], 2, ["lightgbm"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and "=" in value[0] else "",
)
def test_a_training_that_cannot_be(
    refused: Callable[..., str], overrides: list[str], code: int, texts: list[str]
) -> None:
    message = refused("train", "year=2018", *FEW, *overrides, code=code)
    for text in texts:
        assert text in message


def test_a_training_that_failed_leaves_a_run_that_says_so(chain: Chain, refused: Callable[..., str]) -> None:
    refused("train", "year=2018", "weight_name=weight", "run_name=negative")
    (run,) = chain.client.search_runs(["1"], "attributes.run_name = 'negative'")
    assert run.info.status == "FAILED"
    log = Path(chain.client.download_artifacts(run.info.run_id, "logs/train.log")).read_text()
    assert "training failed: weight 'weight' is negative" in log
    assert f"the training of run '{run.info.run_id}' did not finish" in refused("predict", f"run_id={run.info.run_id}")


TRAINING = ("--config-path", "configs/preprocess/training_data", "--config-name", "htt", "year=2018")


@pytest.mark.parametrize(
    ("stage", "arguments", "nearest"),
    [
        ("preprocess", [*TRAINING, "train_sise=0.5"], "train_size"),
        ("preprocess", [*TRAINING, "scaler.with_maen=false"], "scaler.with_mean"),
        ("train", ["year=2018", "folds.tolerence=1"], "folds.tolerance"),
        ("predict", ["run_id=0", "misc_feature=[evt]"], "misc_features"),
        ("evaluate", ["run_id=0", "datset=test"], "dataset"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistyped_key_on_the_command_line(
    refused: Callable[..., str], stage: str, arguments: list[str], nearest: str
) -> None:
    assert f"did you mean '{nearest}'?" in refused(stage, *arguments, code=2)


@pytest.mark.parametrize(
    ("stage", "config", "line", "nearest"),
    [
        ("preprocess", "preprocess/training_data/htt", "train_sise: 0.5", "train_size"),
        ("train", "train/train", "n_split: 3", "n_splits"),
        ("predict", "predict/for_evaluation", "sample_name: [test]", "sample_names"),
        ("evaluate", "evaluate", "metric_weight: none", "metric_weights"),
    ],
)
def test_a_mistyped_key_in_yaml(
    refused: Callable[..., str], tmp_path: Path, stage: str, config: str, line: str, nearest: str
) -> None:
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    path = tmp_path / "configs" / f"{config}.yaml"
    path.write_text(f"{path.read_text()}\n{line}\n")
    required = ["run_id=0"] if stage in ("predict", "evaluate") else ["year=2018"]
    message = refused(stage, "--config-path", str(path.parent), "--config-name", path.stem, *required, code=2)
    assert f"unknown key '{line.partition(':')[0]}'" in message
    assert path.name in message
    assert f"did you mean '{nearest}'?" in message


def test_a_training_that_was_killed(chain: Chain, refused: Callable[..., str]) -> None:
    started = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "train.py"), "year=2018", "run_name=killed",
         "model_param.num_iterations=1000000", "model_param.early_stopping=0"],
        cwd=chain.folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert started.stderr is not None
        assert any("events, folds" in line for line in started.stderr), "the training has started"
    finally:
        started.kill()
        started.wait()
    (run,) = chain.client.search_runs(["1"], "attributes.run_name = 'killed'")
    for stage in ("predict", "evaluate"):
        message = refused(stage, f"run_id={run.info.run_id}")
        assert f"the training of run '{run.info.run_id}' did not finish (MLflow says RUNNING)" in message

"""A config tree as users of ml-framework have it, in a folder of its own: nothing is changed but `input_path`.

The outputs per run ID are those that its users know, under the names they know.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from os import environ
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uproot
from mlflow.tracking import MlflowClient

REPOSITORY = Path(__file__).parents[2]
SAMPLES = ["SUSYGluGluToBBHToTauTau_M125", "GluGluHToTauTau_M125", "VBFHToTauTau_M125", "Tau_Run2018"]
CLASSES = ("H_sig", "H_bkgr", "Fakes")

# In the form of ml-framework's own: its keys, its order, its ways of writing YAML; the analysis is another.
TREE = {
    "preprocess/features/zh.yaml": """
        input_branches: # will be loaded from input ROOT files
          - pt_1
          - pt_2
          - m_vis
          - met
          - dr_tt
          - mjj
          - njets
          - nbtag
          - evt
          - run

        cont_features: # will be stored as continuous features
          - pt_1
          - pt_2
          - m_vis
          - met
          - dr_tt
          - mjj
        cat_features:
          - njets
          - nbtag
        misc_features:
          - evt
          - run
          - w_class_imbalance
        """,
    "preprocess/training_data/zh.yaml": """
        for_training: True
        compute_w_CP: False
        defaults:
          - ../features@_global_: zh
          - _self_

        # input section
        year: ???
        input_path: /somewhere/else/${year}/original # should be absolute path
        input_filename_template: '{sample_name}.root'
        input_tree_name: TauCheck
        common_cut: "(trg_doubletau>0.5) & (extraelec_veto<0.5) & (pt_1>40.) & \\
                      (byTightDeepTau_1>0.5) & (byTightDeepTau_2 == True)"
        input_samples:
          - SUSYGluGluToBBHToTauTau_M125:
              H_sig:
                cut: '${common_cut} & (os>0.5)'
                class: 0
          - GluGluHToTauTau_M125:
              H_sig:
                cut: '${common_cut} & (os>0.5) & (gen_nbjets_cut>0)'
                class: 0
              H_bkgr:
                cut: '${common_cut} & (os>0.5) & (gen_nbjets_cut==0)'
                class: 1
          - VBFHToTauTau_M125:
              H_bkgr: {cut: '${common_cut} & (os>0.5)', class: 1}
          - Tau_Run2018:
              Fakes:
                cut: '${common_cut} & (os<0.5)'
                class: 2

        # train/test splitter & scaler
        train_size: 9e-1
        scaler:   # null to not apply scaling
          with_mean: True
          with_std: True
        pca: null # null to not apply PCA

        # output section
        output_path: data/zh/${year}/skims/os/ # relative path
        output_filename_template: '{sample_name}'
        output_samples:
          - train
          - test
        pipe_name: 'input_pipe'
        """,
    "preprocess/prediction_data/zh.yaml": """
        for_training: False
        compute_w_CP: False
        defaults:
          - ../features@_global_: zh
          - _self_

        # override values
        misc_features:
          - evt
          - run

        # input section
        year: ???
        input_path: /somewhere/else/${year}
        input_filename_template: '{sample_name}.root'
        input_tree_name: ???
        input_samples:
          - SUSYGluGluToBBHToTauTau_M125
          - GluGluHToTauTau_M125
          #- WHToTauTau_M125
          - VBFHToTauTau_M125
          - "Tau_Run2018"
        input_pipe_file: 'data/zh/${year}/skims/os/input_pipe.pkl' # relative path

        # output section
        output_path:  data/zh/${year}/skims/for_prediction
        output_filename_template: '{sample_name}'
        """,
    "train/train.yaml": """
        defaults:
          - model@_global_: zh
          - features@_global_: zh

        year: 2018
        train_file: 'data/zh/${year}/skims/os/train.h5'
        n_splits: 3 # splits into len(set(xtrain_split_feature % n_splits)) folds
        xtrain_split_feature: 'evt' # used only if n_splits > 1
        train_size: 0.9 # used only if n_splits=1
        """,
    "train/features/zh.yaml": """
        # features to be used for training
        cont_features:
          - pt_1
          - m_vis
          - met
          # - dr_tt
          - mjj
        cat_features:
          - njets
          - nbtag

        # training weight
        weight_name: 'w_class_imbalance'
        """,
    "train/model/zh.yaml": """
        model_param:
          objective: 'multiclass'
          num_class: 3
          metric: ['multi_logloss', 'multi_error']
          learning_rate: 1e-1
          early_stopping: 20
          first_metric_only: True
          metric_freq: 10
          is_training_metric: True
          max_depth: 3
          bagging_fraction: 0.8
          bagging_freq: 5
          bagging_seed: 1357
          feature_fraction: 0.8
          lambda_l1: 0
          feature_fraction_bynode: 1
          num_threads: -1
          verbosity: 1
          seed: 1357
          num_iterations: 300
        """,
    "predict/for_datacards.yaml": """
        defaults:
          - ../preprocess/prediction_data@_global_.preprocess_cfg: zh.yaml
          - _self_

        kind: 'for_datacards'

        # mlflow cfg
        experiment_id: ???
        run_id: ???

        # input path & info
        year: ???
        orig_path: ${preprocess_cfg.input_path}
        orig_filename_template: ${preprocess_cfg.input_filename_template}
        orig_tree_name: ${preprocess_cfg.input_tree_name}
        input_path: ${preprocess_cfg.output_path}
        input_filename_template: ${preprocess_cfg.output_filename_template}.h5
        sample_names: ${preprocess_cfg.input_samples}

        # output section
        misc_features: # will be added to output ROOT file along with prediction branches
            - evt
            - run
        output_filename_template: '{sample_name}_pred.root'
        output_tree_name: TauCheck
        """,
    "predict/for_evaluation.yaml": """
        kind: 'for_evaluation'

        # mlflow cfg
        experiment_id: ???
        run_id: ???

        # input path & info
        year: ???
        input_path: 'data/zh/${year}/skims/os'
        input_filename_template: '{sample_name}.h5'
        sample_names:
            - train
            - test

        # output section
        misc_features:
            - evt
            - target
            - w_class_imbalance
        output_filename_template: '{sample_name}.csv'
        """,
    "evaluate.yaml": """
        experiment_id: ???
        run_id: ???
        dataset: ??? # name without csv extension

        class_to_info:
          0:
            name: H_sig
            color: '194, 71, 92' # RGB format
            alpha: 0.6 # color transparency
            bin_size: 1e-2
          1:
            name: H_bkgr
            color: '163, 145, 113'
            alpha: 0.7
            bin_size: 1e-2
          2: {name: Fakes, color: '97, 128, 90', alpha: 0.7, bin_size: 2e-2}
        """,
}

pytestmark = pytest.mark.slow


@dataclass
class Outside:
    """The tree in its folder, where its commands have been typed."""

    place: Any
    run_id: str

    @property
    def skims(self) -> Path:
        folder: Path = self.place.folder
        return folder / "data/zh/2018/skims"

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.place.tracking_uri)


@pytest.fixture(scope="module")
def outside(new_workplace: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Outside:
    place = new_workplace("ml_framework")
    tree = tmp_path_factory.mktemp("somebody") / "configs"
    for name, text in TREE.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(dedent(text).lstrip())
    ntuples = tmp_path_factory.mktemp("ntuples")

    def typed(script: str, *arguments: str) -> str:
        done = place.attempt(str(REPOSITORY / script), *arguments)
        assert done.returncode == 0, f"{script} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        assert re.fullmatch(r"(\d\d:\d\d:\d\d  .*\n)*", done.stderr), done.stderr
        assert "LightGBM" not in done.stdout
        return str(done.stdout)

    typed("examples/make_htt_toy.py", "--output", str(ntuples), "--scale", "0.1")
    for kind, more in (("training_data", ()), ("prediction_data", ("input_tree_name=TauCheck",))):
        typed(
            "preprocess.py", "--config-path", str(tree / "preprocess" / kind), "--config-name", "zh.yaml",
            "year=2018", f"input_path={ntuples}", *more,
        )  # fmt: skip
    done = place.attempt(
        "-m", "mlflow", "run", "--experiment-name", "test", "-e", "main", "-P", "year=2018", "-P", "num_iterations=5",
        "-P", "n_splits=2", "-P", f"config_path={tree / 'train'}", "-P", "config_name=train.yaml",
        # The data and the store lie where the commands are typed; MLflow works in the project's folder.
        "-P", f"overrides=train_file={place.folder}/data/zh/2018/skims/os/train.h5",
        "--env-manager", "local", str(REPOSITORY),
        MLFLOW_TRACKING_URI=place.tracking_uri, PATH=f"{Path(sys.executable).parent}:{environ['PATH']}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run_id = re.findall(r"\brun_id +([0-9a-f]{32})\b", done.stdout)[-1]
    experiment = re.findall(r"\bexperiment_id +(\d+)\b", done.stdout)[-1]
    ids = (f"experiment_id={experiment}", f"run_id={run_id}")
    typed(
        "predict.py", "--config-path", str(tree / "predict"), "--config-name", "for_datacards.yaml", "year=2018", *ids,
        f"preprocess_cfg.input_path={ntuples}", "preprocess_cfg.input_tree_name=TauCheck",
    )  # fmt: skip
    typed(
        "predict.py", "--config-path", str(tree / "predict"), "--config-name", "for_evaluation.yaml", "year=2018", *ids
    )
    for dataset in ("train", "test"):
        typed("evaluate.py", "--config-path", str(tree), *ids, f"dataset={dataset}")
    return Outside(place, run_id)


def names(client: MlflowClient, run_id: str, folder: str) -> set[str]:
    return {Path(item.path).name for item in client.list_artifacts(run_id, folder) if not item.is_dir}


def test_skims_open_with_pandas_and_have_the_columns_that_preprocessing_adds(outside: Outside) -> None:
    train = {key: pd.read_hdf(outside.skims / "os/train.h5", key=key) for key in ("cont_features", "cat_features", "misc_features", "targets")}  # fmt: skip  # noqa: E501
    assert list(train["cont_features"]) == ["pt_1", "pt_2", "m_vis", "met", "dr_tt", "mjj"]
    assert list(train["cat_features"]) == ["njets", "nbtag"]
    assert set(train["misc_features"]) == {"evt", "run", "w_class_imbalance"}
    targets = train["targets"]
    assert set(targets["group_name"]) == set(CLASSES)
    assert set(targets["target"]) == {0, 1, 2}
    counts = np.bincount(targets["target"])
    np.testing.assert_allclose(train["misc_features"]["w_class_imbalance"], (counts.sum() / counts)[targets["target"]])
    n_test = len(pd.read_hdf(outside.skims / "os/test.h5", key="targets"))
    assert n_test / (n_test + len(targets)) == pytest.approx(0.1, abs=0.03)
    assert train["cont_features"]["pt_1"].min() > 40, "features are raw, in GeV"
    assert {path.stem for path in (outside.skims / "for_prediction").glob("*.h5")} == set(SAMPLES)
    assert (outside.skims / "os/input_pipe.json").is_file()


def test_the_run_has_the_models_parameters_and_curves(outside: Outside) -> None:
    run = outside.client.get_run(outside.run_id)
    models = outside.client.search_logged_models([run.info.experiment_id])
    assert {model.name for model in models} == {"model_0", "model_1", "ensemble"}
    assert outside.client.get_experiment(run.info.experiment_id).name == "test"
    params = run.data.params
    assert params["train_file"].endswith("data/zh/2018/skims/os/train.h5")
    assert {name: params[name] for name in ("xtrain_split_feature", "weight_name", "n_splits", "run_id")} == {
        "xtrain_split_feature": "evt",
        "weight_name": "w_class_imbalance",
        "n_splits": "2",
        "run_id": outside.run_id,
    }
    assert params["features"] == "pt_1,m_vis,met,mjj,njets,nbtag"
    for i in range(2):
        for kind in ("train", "valid"):
            history = outside.client.get_metric_history(outside.run_id, f"{kind}_{i}-multi_logloss")
            assert sorted(point.step for point in history) == [1, 2, 3, 4, 5]
    first = min(
        outside.client.get_metric_history(outside.run_id, "train_0-multi_logloss"), key=lambda point: point.step
    )
    assert 0.9 < first.value < np.log(3), "one small step away from knowing nothing"


def test_friend_trees_are_in_the_run(outside: Outside) -> None:
    assert names(outside.client, outside.run_id, "pred") == {
        *(f"{sample}_pred.root" for sample in SAMPLES), "train.csv", "test.csv"
    }  # fmt: skip
    path = outside.client.download_artifacts(outside.run_id, "pred/Tau_Run2018_pred.root")
    with uproot.open(path) as file:
        friend = file["TauCheck"].arrays(library="np")
    scores = [f"pred_class_{i}_proba" for i in range(3)]
    assert {*scores, "pred_class", "pred_class_proba", "evt", "run"} <= set(friend)
    assert len(friend["evt"]) == 3106
    assert set(friend["is_valid"]) == {1}


def test_tables_are_in_the_run(outside: Outside) -> None:
    table = pd.read_csv(outside.client.download_artifacts(outside.run_id, "pred/test.csv"))
    scores = [f"pred_class_{i}_proba" for i in range(3)]
    assert {*scores, "pred_class", "pred_class_proba", "evt", "target", "w_class_imbalance"} <= set(table)
    assert len(table) == len(pd.read_hdf(outside.skims / "os/test.h5", key="targets"))
    np.testing.assert_allclose(table[scores].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("dataset", ["train", "test"])
def test_figures_and_metrics_have_the_names_they_always_had(outside: Outside, dataset: str) -> None:
    figures = {*(f"density_{name}" for name in CLASSES), "roc_curve", "pr_curve"}
    assert {f"{name}.html" for name in figures} <= names(outside.client, outside.run_id, f"plots/{dataset}")
    matrices = {"confusion_matrix_true", "confusion_matrix_pred"}
    assert {f"{name}.pdf" for name in figures | matrices} <= names(
        outside.client, outside.run_id, f"plots/{dataset}/pdf"
    )
    metrics = outside.client.get_run(outside.run_id).data.metrics
    for name in (*CLASSES, "macro"):
        assert 0.5 < metrics[f"{dataset}/roc_auc_{name}"] < 1
    for i in range(3):
        assert 0 < metrics[f"{dataset}/pr_average_prec_{CLASSES[i]}"] < 1
        assert sum(metrics[f"{dataset}/cm_{i}{j}_true"] for j in range(3)) == pytest.approx(1)
        assert sum(metrics[f"{dataset}/cm_{j}{i}_pred"] for j in range(3)) == pytest.approx(1)

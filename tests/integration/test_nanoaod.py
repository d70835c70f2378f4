"""NanoAOD from description to friend trees, with features of lists of objects, on real files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import mlflow
import numpy as np
import pytest
import uproot

pytestmark = pytest.mark.slow

FOLDER = "nanoaod"
# Two simulations with 1,119 and 1,200 branches of their own making: which of them an event is of, told by its jets.
TWO_FILES = """
for_training: {training}
input_path: {folder}
input_tree_name: Events
input_samples:
  - NanoAODv5_sample: {{v5: {{cut: null, class: 0}}}}
  - nanoAOD_2015_CMS_Open_Data_ttbar: {{ttbar: {{cut: null, class: 1}}}}
new_variables:
  n_jets: count(Jet_pt)
  ht: sum(Jet_pt[abs(Jet_eta) < 2.5])
  jet_1_pt: nth(Jet_pt, 0, default=-10)
  n_tight: sum(Muon_pt[Muon_tightId] > 20)
cont_features: [n_jets, ht, jet_1_pt, n_tight, MET_pt]
padded_features: {{Jet_eta: 3}}
misc_features: [event]
train_size: 0.6
output_path: skims{suffix}
"""


@pytest.fixture(scope="module")
def nanoaod(shared_data: Path) -> Path:
    return shared_data / FOLDER


@pytest.fixture(scope="module")
def pairs(nanoaod: Path, new_workplace: Callable[[str], Any]) -> tuple[Any, str]:
    """The shipped analysis, done: the folder it was done in, and the run."""
    place = new_workplace("nanoaod")
    place.run("describe.py", f"input={nanoaod}/open-data-example.root", "output_path=description")
    place.preprocess("nanoaod_dimuon", f"input_path={nanoaod}")
    run_id = place.train("analysis=nanoaod_dimuon", "model_param.num_iterations=40")
    place.run("predict.py", f"run_id={run_id}", "log_predictions=false")
    return place, run_id


def test_the_description_knows_the_jagged_branches(pairs: tuple[Any, str]) -> None:
    place, _ = pairs
    specs = json.loads((place.folder / "description" / "global-specs.json").read_text())
    assert specs["fkeys"] == ["nMuon"]
    assert set(specs["jkeys"]) == {"Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge"}
    assert specs["events"]["total"] == 100_000
    assert specs["jdim"]["Muon_pt"] == specs["jdim"]["Muon_eta"] > 2


def test_pairs_of_opposite_charge_are_told_from_the_others(pairs: tuple[Any, str], nanoaod: Path) -> None:
    place, run_id = pairs
    metrics = mlflow.MlflowClient(place.tracking_uri).get_run(run_id).data.metrics
    assert metrics["cv/roc_auc_macro"] > 0.73
    friend = uproot.open(place.folder / "predictions" / run_id / "open-data-example_pred.root")["Events"]
    muons = uproot.open(nanoaod / "open-data-example.root")["Events"].arrays(["Muon_charge", "Muon_pt"])
    assert friend.num_entries == len(muons)
    is_valid_N = friend["is_valid"].array(library="np").astype(bool)
    np.testing.assert_array_equal(is_valid_N, ak.to_numpy(ak.num(muons.Muon_pt) > 1))
    charge_N = ak.to_numpy(ak.prod(muons.Muon_charge[is_valid_N][:, :2], axis=1))
    score_N = friend["pred_class_0_proba"].array(library="np")[is_valid_N]
    assert score_N[charge_N < 0].mean() > score_N[charge_N > 0].mean() + 0.1


def test_two_nanoaod_files_of_different_making(nanoaod: Path, new_workplace: Callable[[str], Any]) -> None:
    place = new_workplace("nanoaod_two")
    for suffix, training in (("", "true"), ("/for_prediction", "false")):
        text = TWO_FILES.format(training=training, folder=nanoaod, suffix=suffix)
        (place.folder / f"two{suffix[:4].replace('/', '_')}.yaml").write_text(text)
    for name in ("two", "two_for"):
        place.run("preprocess.py", "--config-path", str(place.folder), "--config-name", name)
    skim = place.folder / "skims" / "for_prediction" / "NanoAODv5_sample.h5"
    run_id = place.train(
        "analysis=nanoaod_dimuon", "train_file=skims/train.h5", "n_splits=2", "xtrain_split_feature=event",
        "model_param.num_iterations=30", "folds.tolerance=1", "class_to_info=null", "weight_name=null",
        f"prediction_data.input_path={nanoaod}", f"prediction_data.output_path={skim.parent}",
        "prediction_data.input_samples=[NanoAODv5_sample,nanoAOD_2015_CMS_Open_Data_ttbar]",
    )  # fmt: skip
    place.run("predict.py", f"run_id={run_id}", "log_predictions=false")
    means = {}
    for name in ("NanoAODv5_sample", "nanoAOD_2015_CMS_Open_Data_ttbar"):
        friend = uproot.open(place.folder / "predictions" / run_id / f"{name}_pred.root")["Events"]
        original = uproot.open(nanoaod / f"{name}.root")["Events"]
        np.testing.assert_array_equal(friend["event"].array(library="np"), original["event"].array(library="np"))
        means[name] = friend["pred_class_1_proba"].array(library="np").mean()
    assert means["nanoAOD_2015_CMS_Open_Data_ttbar"] > means["NanoAODv5_sample"] + 0.2

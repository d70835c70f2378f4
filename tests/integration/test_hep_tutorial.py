"""The real analysis `hep_tutorial`, from ntuples to friend trees, against scikit-learn and against the ntuples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import uproot
from mlflow.tracking import MlflowClient
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from utils.readers.skim import SkimFile
from utils.tracking.tracked_run import TrackedRun

pytestmark = pytest.mark.slow

CLASSES = ("single_top", "ww", "wz", "zz")
N_EVENTS = {"single_top": 5684, "ww": 4580, "wz": 3367, "zz": 2421, "qcd": 142}
N_FOLDS = 3
SKIMS = "data/hep_tutorial/2012/skims"
SCORES = [f"pred_class_{k}_proba" for k in range(len(CLASSES))]


@dataclass(frozen=True)
class Chain:
    """The whole chain, done.

    Parameters
    ----------
    ntuples : folder of the ntuples.
    folder : where the commands were typed.
    client, run_id : the run in its store.
    metrics : of the run.
    tables : sample → the logged predictions of the skims `train` and `test`.
    """

    ntuples: Path
    folder: Path
    client: MlflowClient
    run_id: str
    metrics: dict[str, float]
    tables: dict[str, pd.DataFrame]

    def ntuple(self, sample: str) -> Any:
        """The tree of a sample."""
        return uproot.open(self.ntuples / f"{sample}.root")["events"]

    def friend(self, sample: str) -> dict[str, np.ndarray]:
        """The branches of a sample's friend tree."""
        path = self.folder / "predictions" / self.run_id / f"{sample}_pred.root"
        columns: dict[str, np.ndarray] = uproot.open(path)["events"].arrays(library="np")
        return columns


@pytest.fixture(scope="module")
def ntuples(shared_data: Path) -> Path:
    folder = shared_data / "hep-tutorial"
    if not folder.is_dir():
        pytest.skip("the CMS HEP-tutorial ntuples (../shared/data/hep-tutorial) are not here")
    return folder


@pytest.fixture(scope="module")
def chain(ntuples: Path, new_workplace: Callable[[str], Any]) -> Chain:
    place = new_workplace("hep_tutorial")
    place.preprocess("hep_tutorial", f"input_path={ntuples}")
    run_id = place.train("analysis=hep_tutorial")
    place.run("predict.py", f"run_id={run_id}", "log_predictions=false")
    place.run("predict.py", "--config-name", "for_evaluation", f"run_id={run_id}")
    place.run("evaluate.py", f"run_id={run_id}", "dataset=test")
    client = MlflowClient(place.tracking_uri)
    tables = {
        name: pd.read_csv(client.download_artifacts(run_id, f"pred/{name}.csv", str(place.folder)))
        for name in ("train", "test")
    }
    return Chain(ntuples, place.folder, client, run_id, client.get_run(run_id).data.metrics, tables)


@pytest.fixture
def tracking(chain: Chain) -> Iterator[str]:
    """Address of the chain's store; the tests' own is set again afterwards."""
    before = mlflow.get_tracking_uri()
    yield f"sqlite:///{chain.folder}/mlflow.db"
    mlflow.set_tracking_uri(before)


def areas(scores_NK: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray | None = None) -> np.ndarray:
    """(K,) one-vs-all areas by scikit-learn."""
    return np.array(
        [roc_auc_score(target_N == k, scores_NK[:, k], sample_weight=weight_N) for k in range(len(CLASSES))]
    )


def test_the_cutflow_counts_every_event_of_every_sample(chain: Chain) -> None:
    path = chain.client.download_artifacts(chain.run_id, "data/cutflow.csv", str(chain.folder))
    cutflow = pd.read_csv(path).set_index(["sample", "step"])
    assert set(cutflow.index.get_level_values("sample")) == set(CLASSES)
    for name in CLASSES:
        counts = cutflow.loc[name, "n_events"]
        assert counts["read"] == counts["cut"] == N_EVENTS[name] == counts["train"] + counts["test"]
        assert counts["train"] / counts["read"] == pytest.approx(0.7, abs=0.02)
        weight_N = chain.ntuple(name)["EventWeight"].array(library="np").astype(np.float64)
        assert cutflow.loc[(name, "read"), "sum_w"] == pytest.approx(weight_N.sum(), rel=1e-9)
        assert cutflow.loc[(name, "read"), "sqrt_sum_w2"] == pytest.approx(np.sqrt(np.sum(weight_N**2)), rel=1e-9)
        for node in ("train", "test"):
            assert counts[node] == np.count_nonzero(chain.tables[node]["group_name"] == name)


def test_the_truth_is_not_read(chain: Chain, ntuple: Callable[..., Path], new_workplace: Callable[[str], Any]) -> None:
    """Without any MC* branch in the ntuples, the skims are the same."""
    place = new_workplace("no_truth")
    for name in N_EVENTS:
        tree = chain.ntuple(name)
        # What counts the objects of a jagged branch is written beside the branch anyway.
        branches = [b for b in tree.keys() if not b.startswith(("MC", "N"))]  # noqa: SIM118 (a tree is no mapping)
        assert len(branches) < len(tree.keys())
        arrays = tree.arrays(branches, library="ak")
        columns = {b: arrays[b] if arrays[b].ndim > 1 else arrays[b].to_numpy() for b in branches}
        ntuple(place.folder / "ntuples" / f"{name}.root", columns, basket=10_000)
    place.preprocess("hep_tutorial", f"input_path={place.folder}/ntuples")
    for skim in ("train", "test", "for_prediction/qcd"):
        with (
            SkimFile(chain.folder / SKIMS / f"{skim}.h5") as full,
            SkimFile(place.folder / SKIMS / f"{skim}.h5") as bare,
        ):
            assert not [name for name in full.columns if name.startswith("MC")]
            assert full.columns == bare.columns
            features = full.metadata["cont_features"]
            np.testing.assert_array_equal(full.matrix(features), bare.matrix(features))


def test_it_separates_the_classes_as_well_as_scikit_learn(chain: Chain) -> None:
    with SkimFile(chain.folder / SKIMS / "train.h5") as skim:
        features_NF = skim.matrix(skim.metadata["cont_features"])
        columns = skim.read(["target", "entry"])
    target_N, fold_N = columns["target"], columns["entry"] % N_FOLDS
    assert chain.metrics["cv/roc_auc_macro"] >= 0.79
    # As it comes, and with scikit-learn's own early stopping, which suits so few events better.
    for early_stopping in ("auto", True):
        scores_NK = np.empty((len(target_N), len(CLASSES)))
        for fold in range(N_FOLDS):
            model = HistGradientBoostingClassifier(early_stopping=early_stopping, random_state=1)
            with threadpool_limits(1):
                model.fit(features_NF[fold_N != fold], target_N[fold_N != fold])
                scores_NK[fold_N == fold] = model.predict_proba(features_NF[fold_N == fold])
        reference = float(np.mean(areas(scores_NK, target_N)))
        assert reference > 0.79, "the reference is broken"
        assert chain.metrics["cv/roc_auc_macro"] >= reference - 0.005


def test_the_areas_are_those_that_scikit_learn_computes_from_the_logged_scores(chain: Chain) -> None:
    table = chain.tables["train"]
    scores_NK, target_N = table[SCORES].to_numpy(), table["target"].to_numpy()
    np.testing.assert_array_equal(table["fold"], table["entry"] % N_FOLDS)
    assert [CLASSES[k] for k in target_N] == list(table["group_name"])
    event_N = table["EventWeight"].to_numpy()
    class_N = 1 / np.bincount(target_N)[target_N]
    for prefix, weight_N in (("cv", None), ("cv_class", class_N), ("cv_event", event_N)):
        expected_K = areas(scores_NK, target_N, weight_N)
        for k, name in enumerate(CLASSES):
            assert chain.metrics[f"{prefix}/roc_auc_{name}"] == pytest.approx(expected_K[k], abs=1e-6)
        assert chain.metrics[f"{prefix}/roc_auc_macro"] == pytest.approx(expected_K.mean(), abs=1e-6)
    test = chain.tables["test"]
    balanced_N = 1 / np.bincount(test["target"])[test["target"]]
    expected_K = areas(test[SCORES].to_numpy(), test["target"].to_numpy(), balanced_N)
    assert chain.metrics["test/roc_auc_macro"] == pytest.approx(expected_K.mean(), abs=1e-6)


@pytest.mark.parametrize("sample", N_EVENTS)
def test_entry_i_of_the_friend_tree_is_entry_i_of_the_ntuple(chain: Chain, sample: str, tracking: str) -> None:
    tree, friend = chain.ntuple(sample), chain.friend(sample)
    n_events = N_EVENTS[sample]
    assert tree.num_entries == n_events
    assert {len(values) for values in friend.values()} == {n_events}
    np.testing.assert_array_equal(friend["EventWeight"], tree["EventWeight"].array(library="np"))
    assert friend["is_valid"].all()
    scores_NK = np.stack([friend[name] for name in SCORES], axis=1)
    np.testing.assert_array_equal(friend["pred_class"], scores_NK.argmax(axis=1))
    np.testing.assert_array_equal(friend["pred_class_proba"], scores_NK.max(axis=1))
    assert len(np.unique(scores_NK, axis=0)) > 0.9 * n_events  # neighbours differ: a shift would be seen below
    if sample in CLASSES:
        scored = pd.concat(chain.tables.values())
        scored = scored[scored["group_name"] == sample].sort_values("entry")
        np.testing.assert_array_equal(scored["entry"], np.arange(n_events))
        np.testing.assert_allclose(scores_NK, scored[SCORES].to_numpy(), rtol=0, atol=1e-6)
        return
    ensemble = TrackedRun.open(chain.run_id, tracking_uri=tracking).ensemble()
    with SkimFile(chain.folder / SKIMS / "for_prediction" / f"{sample}.h5") as skim:
        raw_NF = skim.matrix(ensemble.features)
        met_N = skim.read(["met"])["met"]
    momentum = tree.arrays(["MET_px", "MET_py"], library="np")
    np.testing.assert_allclose(met_N, np.hypot(momentum["MET_px"], momentum["MET_py"]), rtol=1e-5)
    fold_N = (np.arange(n_events) % N_FOLDS).astype(np.int32)
    np.testing.assert_allclose(scores_NK, ensemble.predict(raw_NF, fold_N), rtol=0, atol=1e-6)

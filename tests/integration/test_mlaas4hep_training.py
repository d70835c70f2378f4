"""MLaaS4HEP's command, with a model file of every kind, from its files to friend trees and an evaluation."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

MODELS = Path(__file__).parents[2] / "docs" / "examples" / "mlaas4hep"
SUFFIX = {"sklearn": "joblib", "torch": "pt", "keras": "keras"}
FILES = ("files=files.txt", "params=params.json")


def train(place: Any, library: str, *overrides: str) -> tuple[str, float]:
    """(run ID, held-out area) of a training with the example of a library."""
    printed = place.run(
        "train.py", "--config-name", "mlaas4hep", *FILES, "labels=labels.txt", "fout=" + f"copy.{SUFFIX[library]}",
        f"model_file={MODELS}/{library}_model.py", "folds.tolerance=1", *overrides,
    )  # fmt: skip
    area = re.search(r"cv/roc_auc_macro +([0-9.]+)", printed)
    assert area is not None
    assert (place.folder / f"copy.{SUFFIX[library]}").is_file()
    return re.findall(r"\brun_id +([0-9a-f]{32})\b", printed)[-1], float(area[1])


def predict(place: Any, run_id: str, samples: str) -> Path:
    """Friend trees and the evaluation of the events left to test with; gives the folder of the trees."""
    place.run("predict.py", f"run_id={run_id}", f"sample_names=[{samples}]")
    place.run("predict.py", "--config-name", "for_evaluation", f"run_id={run_id}")
    place.run("evaluate.py", f"run_id={run_id}", "dataset=test")
    return Path(place.folder) / "predictions" / run_id


def skims_to_predict(place: Any) -> None:
    place.run(
        "preprocess.py", "--config-path", "configs/preprocess/prediction_data", "--config-name", "mlaas4hep", *FILES
    )


@pytest.mark.slow
def test_a_model_file_from_the_command_line(new_workplace: Callable[[str], Any], ntuple: Callable[..., Path]) -> None:
    """A synthetic signal and background, two files, a scikit-learn model that needs no further library."""
    place = new_workplace("mlaas4hep_training")
    rng = np.random.default_rng(3)
    for name, scale in (("sig", 60.0), ("bkg", 30.0)):
        columns = {"met": rng.exponential(scale, 600), "ht": rng.normal(scale, 30, 600), "event": np.arange(600)}
        ntuple(place.folder / f"{name}.root", columns, tree="Events")
    (place.folder / "files.txt").write_text("sig.root\nbkg.root\n")
    (place.folder / "labels.txt").write_text("1\n0\n")
    (place.folder / "params.json").write_text(json.dumps({"chunk_size": -1, "metrics": True}))
    run_id, area = train(place, "sklearn")
    assert area > 0.75
    skims_to_predict(place)
    folder = predict(place, run_id, "sig,bkg")
    means = {}
    for name in ("sig", "bkg"):
        friend = uproot.open(folder / f"{name}_pred.root")["Events"]
        assert friend.num_entries == 600
        assert friend["is_valid"].array(library="np").all()
        means[name] = friend["pred_class_1_proba"].array(library="np").mean()
    assert means["sig"] > means["bkg"] + 0.1

    (place.folder / "broken.py").write_text("def model(idim):\n    return undefined\n")
    broken = place.attempt(
        str(Path(__file__).parents[2] / "train.py"), "--config-name", "mlaas4hep", *FILES, "model_file=broken.py"
    )
    assert broken.returncode == 1
    assert 'broken.py", line 2, in model' in broken.stderr
    assert "This came from calling model(2) of broken.py." in broken.stderr


@pytest.mark.slow
def test_every_library_on_real_files(shared_data: Path, new_workplace: Callable[[str], Any]) -> None:
    """CMS HEP-tutorial, WW against ZZ."""
    source = shared_data / "hep-tutorial"
    if not source.is_dir():
        pytest.skip("the CMS HEP-tutorial ntuples (../shared/data/hep-tutorial) are not here")
    place = new_workplace("mlaas4hep_training_real")
    (place.folder / "files.txt").write_text(f"{source}/ww.root\n{source}/zz.root\n")
    (place.folder / "labels.txt").write_text("1\n0\n")
    params = {
        "nevts": -1, "shuffle": True, "chunk_size": 1000, "epochs": 5, "batch_size": 100, "branch": "events",
        "exclude_branches": ["MC*", "EventWeight"], "metrics": {"threshold": 0.5},
    }  # fmt: skip
    (place.folder / "params.json").write_text(json.dumps(params))
    libraries = [library for library in SUFFIX if library == "sklearn" or _is_installed(library)]
    runs = {library: train(place, library) for library in libraries}
    assert all(area > 0.8 for _, area in runs.values()), runs
    skims_to_predict(place)
    run_id = runs[libraries[-1]][0]
    place.run("predict.py", f"run_id={run_id}", "sample_names=[ww,zz]")
    folder = Path(place.folder) / "predictions" / run_id
    for k, name in enumerate(("zz", "ww")):
        tree, friend = (
            uproot.open(source / f"{name}.root")["events"],
            uproot.open(folder / f"{name}_pred.root")["events"],
        )
        assert friend.num_entries == tree.num_entries
        assert (friend["pred_class"].array(library="np") == k).mean() > 0.5


def _is_installed(library: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(library) is not None

"""MLaaS4HEP's files from the command line to friend trees, and its event vector recomputed as it does it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from utils.config.compose import load_spec
from utils.preprocessing.flow import PreprocessResult, run_preprocessing
from utils.preprocessing.pipe import FittedPipe
from utils.preprocessing.spec import PreprocessSpec
from utils.readers.skim import SkimFile

CONFIGS = Path(__file__).parents[2] / "configs" / "preprocess" / "training_data"
FLAT, JAGGED = ["met", "n_jets"], ["Jet_eta", "Jet_pt"]
Event = Mapping[str, Any]


# --- their rules, one event at a time ---


def their_specs(events: Sequence[Event], flat: Sequence[str], jagged: Sequence[str]) -> dict[str, dict[str, float]]:
    """jdim, minv and maxv over some events."""
    jdim = {name: max(len(event[name]) for event in events) for name in jagged}
    values = {name: [float(event[name]) for event in events] for name in flat}
    values |= {name: [float(x) for event in events for x in event[name]] for name in jagged}
    return {
        "jdim": jdim,
        "minv": {name: min(numbers) for name, numbers in values.items()},
        "maxv": {name: max(numbers) for name, numbers in values.items()},
    }


def their_vector(
    event: Event, specs: Mapping[str, Any], flat: Sequence[str], jagged: Sequence[str]
) -> tuple[list[float], list[int]]:
    """The event vector before NaN becomes 0, and the mask."""

    def normalised(name: str, x: float) -> float:
        low, high = specs["minv"][name], specs["maxv"][name]
        return x if low == high else (x - low) / (high - low)

    vector = [normalised(name, float(event[name])) for name in sorted(flat)]
    for name in sorted(jagged):
        values = [normalised(name, float(x)) for x in event[name]]
        vector += values + [float("nan")] * (int(specs["jdim"][name]) - len(values))
    return vector, [int(np.isnan(x)) for x in vector]


def check_vectors(
    skim_path: Path, events: Sequence[Sequence[Event]], flat: Sequence[str], jagged: Sequence[str], n_checked: int = 200
) -> None:
    """Rows of a skim, through its input pipe, against the events they come from."""
    folder = skim_path.parent
    specs = json.loads((folder / "global-specs.json").read_text())
    with SkimFile(skim_path) as skim:
        origin = skim.read(["file_index", "entry"])
        names = skim.metadata["cont_features"]
        raw = skim.matrix(names)
        pipe = FittedPipe.from_dict(skim.metadata["input_pipe"])
    expected_names = sorted(flat) + [f"{name}_{i}" for name in sorted(jagged) for i in range(specs["jdim"][name])]
    assert names == expected_names
    seen = pipe.transform(raw)
    assert not np.isnan(seen).any()
    for row in np.linspace(0, len(raw) - 1, n_checked).astype(int):
        event = events[origin["file_index"][row]][origin["entry"][row]]
        vector, mask = their_vector(event, specs, flat, jagged)
        np.testing.assert_array_equal(np.isnan(raw[row]), np.array(mask, bool))
        np.testing.assert_allclose(seen[row], np.nan_to_num(vector, nan=0.0), rtol=1e-5, atol=1e-6)


# --- a small set of our own ---


def toy_events(n: int, signal: bool, seed: int) -> list[dict[str, Any]]:
    """Events with two flat branches and a collection."""
    rng = np.random.default_rng(seed)
    events = []
    for i in range(n):
        n_jets = int(rng.integers(0, 5))
        events.append(
            {
                "event": i,
                "met": float(np.float32(rng.exponential(60 if signal else 30))),
                "n_jets": n_jets,
                "Jet_pt": [float(np.float32(x)) for x in rng.exponential(40, n_jets)],
                "Jet_eta": [float(np.float32(x)) for x in rng.normal(0, 2, n_jets)],
                "label": int(signal),
            }
        )
    return events


def branches(events: Sequence[Event]) -> dict[str, Any]:
    """The events as branches of a tree."""
    flat = {"event": np.uint64, "met": np.float32, "n_jets": np.int32}
    return {
        **{name: np.array([event[name] for event in events], dtype) for name, dtype in flat.items()},
        **{name: ak.values_astype(ak.Array([event[name] for event in events]), np.float32) for name in JAGGED},
    }


@pytest.fixture(scope="module")
def toys() -> list[list[dict[str, Any]]]:
    """Signal and background."""
    return [toy_events(1200, True, 1), toy_events(800, False, 2)]


def skimmed(folder: Path, params: Mapping[str, Any], *overrides: str) -> PreprocessResult:
    """Skims of the files listed in a folder, in `folder/skims`."""
    (folder / "params.json").write_text(json.dumps(params))
    given = [f"files={folder}/files.txt", f"params={folder}/params.json", f"output_path={folder}/skims", *overrides]
    composed = load_spec(PreprocessSpec, CONFIGS, "mlaas4hep", given)
    return run_preprocessing(composed.spec, composed.config)


def rows_of(result: PreprocessResult) -> dict[str, np.ndarray]:
    """Origin and target of all rows of both nodes."""
    names = ["file_index", "entry", "target", "group_name"]
    parts = []
    for path in result.outputs.values():
        with SkimFile(path) as skim:
            parts.append(skim.read(names))
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def test_root_files_from_the_command_line(
    toys: list[list[dict[str, Any]]], new_workplace: Callable[[str], Any], ntuple: Callable[..., Path]
) -> None:
    """As it is typed: preprocess, train, predict."""
    place = new_workplace("mlaas4hep_toy")
    for name, events in zip(("sig", "bkg"), toys, strict=True):
        ntuple(place.folder / f"{name}.root", branches(events), tree="Events")
    (place.folder / "files.txt").write_text("sig.root\nbkg.root\n")
    (place.folder / "labels.txt").write_text("1\n0\n")
    params = {
        "nevts": 1000, "chunk_size": 200, "epochs": 5, "batch_size": 100, "branch": "Events", "identifier": ["event"],
        "selected_branches": ["met", "n_jets", "Jet_*"], "exclude_branches": "", "redirector": "", "verbose": 1,
    }  # fmt: skip
    (place.folder / "params.json").write_text(json.dumps(params))
    files = ("files=files.txt", "params=params.json")
    printed = place.run("preprocess.py", "--config-name", "mlaas4hep", *files, "labels=labels.txt")
    assert "600" in printed and "400" in printed
    skims = place.folder / "mlaas4hep" / "skims"
    check_vectors(skims / "train.h5", toys, FLAT, JAGGED)
    with SkimFile(skims / "train.h5") as skim:
        assert skim.metadata["config"]["train_params"] == {"epochs": 5, "batch_size": 100, "verbose": 1}
        found = skim.read(["file_index", "entry"])
        target = skim.read(["target"])["target"]
    np.testing.assert_array_equal(target, 1 - found["file_index"])
    chunk = np.where(found["file_index"] == 0, found["entry"] // 120, found["entry"] // 80)
    assert (np.diff(chunk) >= 0).all() and chunk[-1] == 4

    run_id = place.train("analysis=mlaas4hep", "model_param.num_iterations=10", "folds.tolerance=1")
    place.run(
        "preprocess.py", "--config-path", "configs/preprocess/prediction_data", "--config-name", "mlaas4hep", *files
    )
    place.run("predict.py", f"run_id={run_id}", "sample_names=[sig,bkg]")
    means = {}
    for name, n_events in (("sig", 1200), ("bkg", 800)):
        friend = uproot.open(place.folder / "predictions" / run_id / f"{name}_pred.root")["Events"]
        assert friend.num_entries == n_events
        assert friend["is_valid"].array(library="np").all()
        means[name] = friend["pred_class_1_proba"].array(library="np").mean()
    assert means["sig"] > means["bkg"] + 0.05


@pytest.mark.parametrize("suffix", ["parquet", "json"])
def test_nested_formats(toys: list[list[dict[str, Any]]], tmp_path: Path, suffix: str) -> None:
    """Lists in Parquet and JSON lines, labels in a column."""
    for name, events in zip(("sig", "bkg"), toys, strict=True):
        path = tmp_path / f"{name}.{suffix}"
        if suffix == "parquet":
            ak.to_parquet(ak.Array(events), path)
        else:
            path.write_text("".join(json.dumps(event) + "\n" for event in events))
    (tmp_path / "files.txt").write_text(f"sig.{suffix}\nbkg.{suffix}\n")
    result = skimmed(tmp_path, {"exclude_branches": ["event"], "chunk_size": 100}, "labels=label")
    check_vectors(result.outputs["train"], toys, FLAT, JAGGED)
    rows = rows_of(result)
    assert len(rows["entry"]) == 2000
    np.testing.assert_array_equal(rows["target"], 1 - rows["file_index"])
    assert result.class_names == ("0", "1")


@pytest.mark.parametrize("shuffle", [True, False])
def test_csv_files(toys: list[list[dict[str, Any]]], tmp_path: Path, shuffle: bool) -> None:
    """Flat columns; one file is compressed by nobody's wish, and both are read by their content."""
    for name, events in zip(("sig", "bkg"), toys, strict=True):
        lines = ["met,n_jets,event", *(f"{e['met']!r},{e['n_jets']},{e['event']}" for e in events)]
        (tmp_path / f"{name}.data").write_text("\n".join(lines) + "\n")
    (tmp_path / "files.txt").write_text("sig.data\nbkg.data\n")
    params = {"shuffle": shuffle, "exclude_branches": ["event"], "nevts": 500}
    result = skimmed(tmp_path, params, "labels=[sig,bkg]")
    check_vectors(result.outputs["train"], toys, ["met", "n_jets"], [])
    rows = rows_of(result)
    assert np.bincount(rows["file_index"]).tolist() == [300, 200]
    assert set(rows["group_name"]) == {"sig", "bkg"}
    with SkimFile(result.outputs["train"]) as skim:
        entry = skim.read(["entry"])["entry"]
    # Mixed in one chunk, the entries of a file ascend; shuffled, neighbours are strangers.
    assert (np.count_nonzero(np.diff(entry) < 0) > 100) == shuffle


def test_a_users_function_on_json_records(toys: list[list[dict[str, Any]]], tmp_path: Path) -> None:
    """MLaaS4HEP's example takes the payload out of the record; ours goes on with it."""
    body = """
def preprocessing(rec):
    rec = rec["data"]
    rec["met_log"] = rec["met"] ** 0.5
    rec["hard"] = [pt for pt in rec["Jet_pt"] if pt > 30]
    return rec
"""
    (tmp_path / "preproc.py").write_text(body)
    with (tmp_path / "all.json").open("w") as file:
        for event in [*toys[0], *toys[1]]:
            file.write(json.dumps({"data": event}) + "\n")
    (tmp_path / "files.txt").write_text("all.json\n")
    params = {"selected_branches": ["met_log", "hard"]}
    result = skimmed(tmp_path, params, "labels=label", f"preproc={tmp_path}/preproc.py")
    made = [{"met_log": e["met"] ** 0.5, "hard": [pt for pt in e["Jet_pt"] if pt > 30]} for e in [*toys[0], *toys[1]]]
    check_vectors(result.outputs["train"], [made], ["met_log"], ["hard"])
    rows = rows_of(result)
    np.testing.assert_array_equal(rows["target"], (rows["entry"] < 1200).astype(int))


def test_new_branches_and_cuts_of_a_root_file(
    toys: list[list[dict[str, Any]]], tmp_path: Path, ntuple: Callable[..., Path]
) -> None:
    for name, events in zip(("sig", "bkg"), toys, strict=True):
        ntuple(tmp_path / f"{name}.root", branches(events), tree="Events")
    (tmp_path / "files.txt").write_text("sig.root\nbkg.root\n")
    preproc = {
        "new_branch": {
            "Jet_log": {
                "def": "log(Jet_pt)", "type": "jagged", "keys_to_remove": ["Jet_pt"],
                "cut_1": ["Jet_log > 2.5", "any"], "cut_2": ["Jet_log > 0", "all"],
            },
        },
        "flat_cut": {"n_jets": {"cut": "1 <= n_jets <= 3", "remove": "True"}},
    }  # fmt: skip
    (tmp_path / "preproc.json").write_text(json.dumps(preproc))
    params = {"exclude_branches": ["event", "nJet_*"], "shuffle": True}
    result = skimmed(tmp_path, params, "labels=[1,0]", f"preproc={tmp_path}/preproc.json")
    made = [[{**e, "Jet_log": np.log(np.array(e["Jet_pt"], np.float32))} for e in events] for events in toys]
    check_vectors(result.outputs["train"], made, ["met"], ["Jet_eta", "Jet_log"])
    kept = [
        (i, entry)
        for i, events in enumerate(made)
        for entry, e in enumerate(events)
        if any(e["Jet_log"] > 2.5) and all(e["Jet_log"] > 0) and 1 <= e["n_jets"] <= 3
    ]
    rows = rows_of(result)
    assert sorted(zip(rows["file_index"].tolist(), rows["entry"].tolist(), strict=True)) == kept


# --- real files ---


@pytest.mark.slow
def test_real_files_through_the_chain(shared_data: Path, new_workplace: Callable[[str], Any]) -> None:
    """CMS HEP-tutorial, WW against ZZ: a file each, all jagged branches as they are."""
    source = shared_data / "hep-tutorial"
    if not source.is_dir():
        pytest.skip("the CMS HEP-tutorial ntuples (../shared/data/hep-tutorial) are not here")
    place = new_workplace("mlaas4hep_real")
    (place.folder / "files.txt").write_text(f"{source}/ww.root\n{source}/zz.root\n")
    (place.folder / "labels.txt").write_text("ww\nzz\n")
    params = {
        "nevts": 6000, "shuffle": True, "chunk_size": 1000, "branch": "events",
        "exclude_branches": ["MC*", "EventWeight"],
    }  # fmt: skip
    (place.folder / "params.json").write_text(json.dumps(params))
    files = ("files=files.txt", "params=params.json")
    place.run("preprocess.py", "--config-name", "mlaas4hep", *files, "labels=labels.txt")
    skims = place.folder / "mlaas4hep" / "skims"
    trees = [uproot.open(source / f"{name}.root")["events"] for name in ("ww", "zz")]
    names = [name for name in trees[0].keys() if not name.startswith("MC") and name != "EventWeight"]  # noqa: SIM118
    events = [ak.to_list(tree.arrays(names)) for tree in trees]
    jagged = [name for name in names if isinstance(events[0][0][name], list)]
    flat = [name for name in names if name not in jagged]
    check_vectors(skims / "train.h5", events, flat, jagged)
    specs = json.loads((skims / "global-specs.json").read_text())
    drawn = [round(n / (4580 + 2421) * 6000) for n in (4580, 2421)]
    theirs = their_specs([*events[0][: drawn[0]], *events[1][: drawn[0]]], flat, jagged)
    assert specs["jdim"] == theirs["jdim"]
    for extreme in ("minv", "maxv"):
        assert specs[extreme] == pytest.approx(theirs[extreme], rel=1e-6)

    run_id = place.train("analysis=mlaas4hep", "model_param.num_iterations=30", "folds.tolerance=1")
    place.run(
        "preprocess.py", "--config-path", "configs/preprocess/prediction_data", "--config-name", "mlaas4hep", *files
    )
    place.run("predict.py", f"run_id={run_id}", "sample_names=[ww,zz]")
    for k, (name, tree) in enumerate(zip(("ww", "zz"), trees, strict=True)):
        friend = uproot.open(place.folder / "predictions" / run_id / f"{name}_pred.root")["events"]
        assert friend.num_entries == tree.num_entries
        assert friend["is_valid"].array(library="np").all()
        assert (friend["pred_class"].array(library="np") == k).mean() > 0.5

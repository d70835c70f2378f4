"""ROOT itself finds our friend trees aligned with the trees they belong to.

Runs in an environment of its own (``pip install --pre ROOT==0.1a12``), whose Python ``CROSSFOLD_ROOT_PYTHON`` names.
"""

import json
import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from utils.outputs import Outputs
from utils.readers.root.tree import RootTree
from utils.writers.friend import FriendTreeWriter, prediction_columns

pytestmark = pytest.mark.root

# Reads the sample through a chain with the friend beside it, as an analysis would, and prints what it found as JSON.
SCRIPT = """
import json, sys
import ROOT

friend_file, *input_files = sys.argv[1:]
chain, friend = ROOT.TChain("TauCheck"), ROOT.TChain("predictions")
for name in input_files:
    chain.Add(name)
friend.Add(friend_file)
chain.AddFriend(friend, "pred")

frame = ROOT.RDataFrame(chain)
aligned = frame.Filter("run == pred.run && evt == pred.evt").Count()
wrong_scores = frame.Filter(
    "pred.is_valid != (evt % 5 != 0)"
    " || (pred.is_valid && (abs(pred.pred_class_1_proba - pt_1 / 100) > 1e-6 || pred.pred_class != (pt_1 > 50)))"
    " || (!pred.is_valid && (pred.pred_class_0_proba != -1 || pred.pred_class != -1 || pred.pred_class_proba != -1))"
).Count()
types = {name: str(frame.GetColumnType("pred." + name)) for name in ("evt", "run", "is_valid", "pred_class", "trigger")}
print(json.dumps({
    "entries": frame.Count().GetValue(),
    "aligned": aligned.GetValue(),
    "wrong_scores": wrong_scores.GetValue(),
    "drawn": int(chain.GetEntries("run == pred.run && evt == pred.evt && trigger == pred.trigger")),
    "types": types,
}))
"""


@pytest.fixture(scope="module")
def root_python() -> str:
    python = os.environ.get("CROSSFOLD_ROOT_PYTHON")
    if not python:
        pytest.skip("CROSSFOLD_ROOT_PYTHON names no Python with ROOT")
    try:
        probe = subprocess.run([python, "-c", "import ROOT"], capture_output=True, text=True, timeout=120)
    except OSError as error:
        pytest.skip(f"CROSSFOLD_ROOT_PYTHON={python} cannot be run: {error}")
    if probe.returncode:
        pytest.skip(f"CROSSFOLD_ROOT_PYTHON={python} has no usable ROOT: {probe.stderr[-200:]}")
    return python


def what_root_finds(root_python: str, friend: Path, inputs: list[str]) -> dict[str, Any]:
    result = subprocess.run(
        [root_python, "-W", "ignore", "-c", SCRIPT, str(friend), *inputs], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == "", "ROOT complained"
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def events(n_entries: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    return {
        "run": rng.integers(1, 4, n_entries).astype(np.uint32),
        "evt": rng.permutation(n_entries).astype(np.uint64) + np.uint64(2**53),
        "trigger": rng.random(n_entries) > 0.3,
        "pt_1": rng.uniform(0, 100, n_entries).astype(np.float32),
        "jets": rng.random((n_entries, 2)).astype(np.float32),
    }


def write_inputs(folder: Path, columns: dict[str, np.ndarray], sizes: list[int]) -> list[str]:
    files, start = [], 0
    types = {name: np.dtype((values.dtype, values.shape[1:])) for name, values in columns.items()}
    for i, size in enumerate(sizes):
        files.append(str(folder / f"sample_{i}.root"))
        with uproot.recreate(files[-1]) as file:
            tree = file.mktree("TauCheck", types)
            if size:
                tree.extend({name: values[start : start + size] for name, values in columns.items()})
        start += size
    return files


def predict(columns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    p_N = columns["pt_1"] / 100
    return np.stack([1 - p_N, p_N], axis=1), columns["evt"] % 5 != 0


def write_friend(path: Path, inputs: list[str], columns: dict[str, np.ndarray]) -> None:
    names = ["run", "evt", "trigger", "jets"]
    n_entries = len(columns["evt"])
    scores_NK, is_valid_N = predict(columns)
    with RootTree(inputs[0], "TauCheck") as tree:
        types = {name: tree.columns[name].type for name in names}
    with FriendTreeWriter(
        path,
        tree_name="predictions",
        originals=[partial(RootTree, path, "TauCheck") for path in inputs],
        n_entries=n_entries,
        outputs=Outputs.of_classes(2),
        misc=types,
        identity_branches=["run", "evt"],
        overwrite=False,
        basket_rows=1000,
    ) as writer:
        for start in range(0, n_entries, 700):
            rows = slice(start, start + 700)
            writer.write(start, scores_NK[rows], is_valid_N[rows], {name: columns[name][rows] for name in names})


@pytest.mark.parametrize("sizes", [[5000], [3500, 0, 1500]])
def test_root_finds_every_pair(tmp_path: Path, root_python: str, sizes: list[int]) -> None:
    columns = events(sum(sizes))
    inputs = write_inputs(tmp_path, columns, sizes)
    write_friend(tmp_path / "pred.root", inputs, columns)
    found = what_root_finds(root_python, tmp_path / "pred.root", inputs)
    assert found == {
        "entries": 5000,
        "aligned": 5000,
        "wrong_scores": 0,
        "drawn": 5000,
        "types": {
            "evt": "ULong64_t",
            "run": "UInt_t",
            "is_valid": "UChar_t",
            "pred_class": "Int_t",
            "trigger": "Bool_t",
        },
    }


def test_root_opens_a_friend_without_entries(tmp_path: Path, root_python: str) -> None:
    columns = events(0)
    inputs = write_inputs(tmp_path, columns, [0])
    write_friend(tmp_path / "pred.root", inputs, columns)
    found = what_root_finds(root_python, tmp_path / "pred.root", inputs)
    assert found["entries"] == 0
    assert found["types"]["evt"] == "ULong64_t"


def test_a_shifted_friend_would_be_seen(tmp_path: Path, root_python: str) -> None:
    """The checks above can fail: a friend that is one entry off, written without our writer, has no pair aligned."""
    columns = events(5000)
    inputs = write_inputs(tmp_path, columns, [3500, 1500])
    shifted = {name: np.roll(values, 1, axis=0) for name, values in columns.items()}
    friend = prediction_columns(*predict(shifted)) | {name: shifted[name] for name in ("run", "evt", "trigger")}
    with uproot.recreate(tmp_path / "pred.root") as file:
        file.mktree("predictions", {name: values.dtype for name, values in friend.items()}).extend(friend)
    found = what_root_finds(root_python, tmp_path / "pred.root", inputs)
    assert found["aligned"] == 0
    assert found["drawn"] == 0
    assert found["wrong_scores"] > 4000

"""Skims that keep jagged groups: every object of every row, with its type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import uproot

from utils.errors import ConfigError, DataError
from utils.preprocessing.spec import Process, Sample
from utils.readers.skim import SkimFile

GROUPS: dict[str, Any] = {
    "new_variables": {"hard": "jet_pt > 30", "charge": "where(jet_pt > 40, 1, -1)", "twice": "2*jet_pt"},
    "jagged_features": {"jets": ("jet_pt", "twice", "charge"), "hard_jets": ("hard",)},
}


def jagged(done: Any, node: str, group: str = "jets") -> dict[str, ak.Array]:
    with SkimFile(done.result.outputs[node]) as skim:
        return skim.jagged(group)


def test_every_object_of_every_row(skims: Callable[..., Any], toys: Callable[[int], Path]) -> None:
    done = skims(**GROUPS)
    known = {}
    for path in toys(100).glob("*.root"):
        arrays = uproot.open(path)["events"].arrays(["run", "evt", "jet_pt"])
        for run, evt, jets in zip(*(arrays[name].to_list() for name in ("run", "evt", "jet_pt")), strict=True):
            known[run, evt] = jets
    for node, columns in done.nodes.items():
        found = jagged(done, node)
        assert list(found) == ["jet_pt", "twice", "charge"]
        expected = [known[key] for key in zip(columns["run"].tolist(), columns["evt"].tolist(), strict=True)]
        assert found["jet_pt"].to_list() == expected
        assert ak.all(found["twice"] == 2 * found["jet_pt"])
        assert ak.all(found["charge"] == ak.where(found["jet_pt"] > 40, 1, -1))
        assert ak.all(jagged(done, node, "hard_jets")["hard"] == (found["jet_pt"] > 30))
    assert done.metadata["test"]["jagged_features"] == {"jets": ["jet_pt", "twice", "charge"], "hard_jets": ["hard"]}


def test_types_and_plain_pandas(skims: Callable[..., Any]) -> None:
    done = skims(**GROUPS)
    with SkimFile(done.result.outputs["train"]) as skim:
        types = skim.jagged_columns
        assert types["jets"] == {"jet_pt": np.dtype("f4"), "twice": np.dtype("f4"), "charge": np.dtype("i8")}
        assert types["hard_jets"] == {"hard": np.dtype("u1")}
        assert "jets" not in skim.groups
        assert "jet_pt" not in skim.columns
    frame = pd.read_hdf(done.result.outputs["train"], key="cont_features")
    assert len(frame) == done.result.n_rows["train"]


def test_an_event_of_two_processes_has_its_objects_twice(skims: Callable[..., Any]) -> None:
    done = skims(**GROUPS, train_size=1.0)
    columns, found = done.nodes["train"], jagged(done, "train")["jet_pt"]
    twice = np.flatnonzero((columns["run"][1:] == columns["run"][:-1]) & (columns["evt"][1:] == columns["evt"][:-1]))
    assert len(twice) > 50
    assert found[twice].to_list() == found[twice + 1].to_list()


def test_groups_of_unequal_counts(skims: Callable[..., Any]) -> None:
    options = {"new_variables": {"big": "jet_pt[jet_pt>30]"}, "jagged_features": {"jets": ("jet_pt", "big")}}
    with pytest.raises(DataError, match=r"entry \d+ has \d values of 'jet_pt', but \d of 'big'; jagged group 'jets'"):
        skims(**options)


def test_files_of_other_types(
    skims: Callable[..., Any], tmp_path: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]
) -> None:
    for i, (name, dtype) in enumerate((("signal", np.int16), ("taus", np.int32))):
        columns = toy_file(40, i)
        columns["jet_id"] = ak.values_astype(columns["jet_pt"], dtype)
        ntuple(tmp_path / f"{name}.root", columns)
    samples = (Sample("signal", (Process("S", None, 0),)), Sample("taus", (Process("T", None, 1),)))
    options = {"jagged_features": {"jets": ("jet_pt", "jet_id")}}
    with pytest.raises(DataError, match="'jet_id' is int32 here, but int16 in the first file"):
        skims(tmp_path, input_samples=samples, **options)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"jets": ()}, "needs columns"),
        ({"jets": ("jet_pt", "jet_pt")}, "columns that differ"),
        ({"jets": ("offsets",)}, "'offsets' cannot be a name"),
        ({"a/b": ("jet_pt",)}, "'a/b' cannot be a name"),
    ],
)
def test_configs_that_make_no_sense(skims: Callable[..., Any], groups: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        skims(jagged_features=groups)


def test_skims_to_predict_have_them_too(skims: Callable[..., Any]) -> None:
    done = skims(**GROUPS, for_training=False, input_samples=(Sample.from_config("taus", ""),))
    assert done.metadata["taus"]["for_training"] is False
    assert len(jagged(done, "taus")["jet_pt"]) == done.result.n_rows["taus"] == 330

"""Skims for prediction: a node per sample, every entry, and the pipe of the training beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.errors import SkimError
from utils.factory import Factory
from utils.preprocessing.spec import Sample
from utils.readers.skim import SkimFile

NAMES = ("signal", "rare", "taus")
PREDICT: dict[str, Any] = {
    "for_training": False,
    "input_samples": tuple(Sample.from_config(name, "input_samples") for name in NAMES),
}


def test_every_entry_of_every_sample_is_kept_in_order(skims: Callable[..., Any], toy_file: Callable[..., Any]) -> None:
    run = skims(**PREDICT)
    assert list(run.result.outputs) == list(NAMES)
    for name, n, seed, file_index in (("signal", 400, 0, 0), ("rare", 9, 3, 1), ("taus", 330, 2, 2)):
        node, branches = run.nodes[name], toy_file(n, seed, run=seed + 1)
        assert node["entry"].tolist() == list(range(n))
        assert set(node["file_index"].tolist()) == {file_index}
        assert set(node["group_name"]) == {name}
        assert np.array_equal(node["evt"], branches["evt"])
        assert np.array_equal(node["pt_1"], branches["pt_1"])
        assert run.groups[name]["misc_features"] == ("evt", "run", "weight")
        assert run.groups[name]["targets"] == ("group_name",)
        assert run.metadata[name]["for_training"] is False
    assert not (run.folder / "input_pipe.json").exists()
    assert run.result.pipe is None


def test_a_chain_is_one_sample(
    toy_file: Callable[..., Any], ntuple: Callable[..., Path], skims: Callable[..., Any], tmp_path: Path
) -> None:
    events = {}
    for name, n in (("taus_1", 30), ("taus_10", 20), ("taus_2", 10)):
        events[name] = toy_file(n, n)
        ntuple(tmp_path / f"{name}.root", events[name], basket=11)
    run = skims(
        tmp_path,
        for_training=False,
        input_samples=(Sample.from_config("taus", ""),),
        input_filename_template="{sample_name}_*.root",
        chunk_size=8,
    )
    node = run.nodes["taus"]
    assert node["file_index"].tolist() == [0] * 30 + [1] * 20 + [2] * 10
    assert node["entry"].tolist() == [*range(30), *range(20), *range(10)]
    assert np.array_equal(node["pt_1"], np.concatenate([events[name]["pt_1"] for name in sorted(events)]))
    inputs = run.metadata["taus"]["inputs"]
    assert [file["relative_path"] for file in inputs] == ["taus_1.root", "taus_10.root", "taus_2.root"]
    assert [file["fingerprint"]["n_entries"] for file in inputs] == [30, 20, 10]
    assert [file["fingerprint"]["size"] for file in inputs] == [Path(f["path"]).stat().st_size for f in inputs]


def test_an_empty_sample_has_an_empty_skim(
    toy_file: Callable[..., Any], ntuple: Callable[..., Path], skims: Callable[..., Any], tmp_path: Path
) -> None:
    ntuple(tmp_path / "empty.root", toy_file(0, 1))
    run = skims(
        tmp_path,
        for_training=False,
        input_samples=(Sample.from_config("empty", ""),),
        new_variables={"ht": "sum(jet_pt)"},
        cont_features=("pt_1", "ht"),
    )
    with SkimFile(run.result.outputs["empty"]) as skim:
        assert skim.n_rows == 0
        assert skim.dtype("evt") == np.uint64
        assert skim.read(["ht", "evt", "group_name", "entry"])["ht"].shape == (0,)
        assert skim.metadata["inputs"][0]["fingerprint"]["n_entries"] == 0
    assert run.result.n_rows == {"empty": 0}


def test_the_samples_of_a_training_config_work_too(skims: Callable[..., Any]) -> None:
    """With their cuts, and classes that say nothing here."""
    run = skims(for_training=False)
    assert list(run.result.outputs) == ["signal", "fakes", "taus", "rare"]
    assert set(run.nodes["signal"]["group_name"]) == {"H_sig", "H_loose"}
    assert (run.nodes["fakes"]["pt_1"] > 15).all()
    assert run.result.class_names == ()


def test_the_pipe_of_the_training_is_checked_and_carried(skims: Callable[..., Any], steps_file: Path) -> None:
    step = Factory(f"{steps_file}:SignedLog", {"unit": 2.0})
    training = skims(steps=(step,))
    pipe_file = str(training.folder / "input_pipe.pkl")
    run = skims(**PREDICT, input_pipe_file=pipe_file, steps=(step,))
    assert run.result.pipe == training.result.pipe
    assert run.metadata["taus"]["input_pipe"] == training.metadata["train"]["input_pipe"]
    with pytest.raises(SkimError, match="not built in"):
        skims(**PREDICT, input_pipe_file=pipe_file)


def test_the_pipe_of_other_features_is_refused_before_anything_is_written(
    skims: Callable[..., Any], tmp_path: Path
) -> None:
    training = skims(cont_features=("m_vis", "pt_1", "eta_1"))
    out = tmp_path / "out"
    for path, problem in (
        (training.folder / "input_pipe", "other continuous features"),
        (out / "none", "no such input pipe"),
    ):
        with pytest.raises(SkimError, match=problem):
            skims(**PREDICT, input_pipe_file=str(path), output_path=str(out))
        assert not list(out.glob("*"))

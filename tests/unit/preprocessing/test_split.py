"""Which node and which fold an event belongs to is its own affair: no other event, file or run changes it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.folds import FoldRule
from utils.preprocessing.spec import Process, Sample

SAMPLES = {
    "signal": (Process("H_sig", "pt_1>20", 0),),
    "fakes": (Process("Fakes", None, 0),),
    "taus": (Process("Taus", None, 1), Process("Taus_low", "pt_1<30", 1)),
    "rare": (Process("Rare", None, 1),),
}


def named(names: tuple[str, ...]) -> tuple[Sample, ...]:
    """Samples of these names, in this order, with classes that have no gaps."""
    return tuple(
        Sample(name, tuple(Process(p.name, p.cut, 0 if i == 0 else 1) for p in SAMPLES[name]))
        for i, name in enumerate(names)
    )


def places(skims: Any) -> dict[tuple[str, int], tuple[str, tuple[int, ...]]]:
    """(process, event number) → its node, and its folds under three rules."""
    rules = [FoldRule(2, "modulo", "evt"), FoldRule(5, "modulo", "evt"), FoldRule(3, "hash", "evt")]
    found = {}
    for node, columns in skims.nodes.items():
        folds = [rule.assign(columns[rule.column]) for rule in rules]
        for i, key in enumerate(zip(columns["group_name"], columns["evt"].tolist(), strict=True)):
            assert key not in found
            found[key] = (node, tuple(int(fold[i]) for fold in folds))
    return found


@pytest.fixture(scope="module")
def all_places(skims: Callable[..., Any]) -> Mapping[tuple[str, int], tuple[str, tuple[int, ...]]]:
    return places(skims(input_samples=named(("signal", "taus", "fakes", "rare")), identity=("run", "evt")))


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(list(SAMPLES)), n_samples=st.integers(2, 4), basket=st.sampled_from([23, 100]))
def test_other_samples_and_their_order_never_move_an_event(
    toys: Callable[[int], Path],
    skims: Callable[..., Any],
    all_places: Mapping[tuple[str, int], tuple[str, tuple[int, ...]]],
    order: list[str],
    n_samples: int,
    basket: int,
) -> None:
    chosen = named(tuple(order[:n_samples]))
    some = places(skims(toys(basket), input_samples=chosen, identity=("run", "evt")))
    processes = {process.name for sample in chosen for process in sample.processes}
    assert some == {key: place for key, place in all_places.items() if key[0] in processes}


def test_files_of_a_chain_and_their_order_never_move_an_event(
    toy_file: Callable[..., Any], ntuple: Callable[..., Path], skims: Callable[..., Any], tmp_path: Path
) -> None:
    """Without an event number, the file's name and the entry identify an event."""
    nodes = []
    for folder, files in (("few", "bc"), ("many", "abcd")):
        for file in files:
            ntuple(tmp_path / folder / f"signal_{file}.root", toy_file(120, ord(file)))
            ntuple(tmp_path / folder / f"fakes_{file}.root", toy_file(50, ord(file)))
        run = skims(
            tmp_path / folder,
            input_samples=named(("signal", "fakes") if folder == "few" else ("fakes", "signal")),
            input_filename_template="{sample_name}_*.root",
            identity="entry",
        )
        paths = [file["relative_path"] for file in run.metadata["train"]["inputs"]]
        assert len(paths) == 2 * len(files)
        nodes.append(
            {
                (paths[columns["file_index"][i]], int(columns["entry"][i])): (node, int(columns["identity"][i]))
                for node, columns in run.nodes.items()
                for i in range(len(columns["entry"]))
            }
        )
    few, many = nodes
    assert len(few) > 200
    assert {key: many[key] for key in few} == few
    assert len({identity for _, identity in many.values()}) == len(many)


def test_an_event_that_feeds_two_processes_appears_twice_side_by_side(skims: Callable[..., Any]) -> None:
    run = skims(
        input_samples=(
            Sample("signal", (Process("A", "pt_1>10", 1), Process("B", "pt_1>20", 0), Process("C", None, 1))),
        )
    )
    for node in run.nodes.values():
        order = np.array(["A", "B", "C"])
        process = np.array([list(order).index(name) for name in node["group_name"]])
        keys = list(zip(node["file_index"].tolist(), node["entry"].tolist(), process.tolist(), strict=True))
        assert keys == sorted(keys)
        assert len(set(keys)) == len(keys)
        for name, cut in (("A", 10), ("B", 20), ("C", -1)):
            assert (node["pt_1"][node["group_name"] == name] > cut).all()
        # Every event is in C, and in A and B where its pt allows it: all in the same node.
        everything = node["evt"][node["group_name"] == "C"]
        pt = node["pt_1"][node["group_name"] == "C"]
        assert node["evt"][node["group_name"] == "A"].tolist() == everything[pt > 10].tolist()
        assert node["evt"][node["group_name"] == "B"].tolist() == everything[pt > 20].tolist()
    assert len(run.of("train", group_name="C")["evt"]) + len(run.of("test", group_name="C")["evt"]) == 400
    assert set(run.of("train", group_name="A")["target"].tolist()) == {1}


def test_train_and_test_partition_the_selected_events(
    toys: Callable[[int], Path], toy_file: Callable[..., Any], skims: Callable[..., Any]
) -> None:
    run = skims(input_samples=named(("signal", "fakes")), train_size=0.6)
    columns = toy_file(400, 0, run=1)
    selected = columns["evt"][columns["pt_1"] > 20]
    found = np.concatenate([run.of(node, group_name="H_sig")["evt"] for node in ("train", "test")])
    assert sorted(found.tolist()) == selected.tolist()
    assert not set(run.nodes["train"]["identity"].tolist()) & set(run.nodes["test"]["identity"].tolist())


def test_the_train_node_has_the_wanted_fraction_and_the_seed_changes_who(
    ntuple: Callable[..., Path], skims: Callable[..., Any], tmp_path: Path
) -> None:
    n = 20_000
    ntuple(tmp_path / "a.root", {"x": np.zeros(n), "evt": np.arange(n)}, basket=n)
    options = {
        "input_samples": (Sample("a", (Process("A", None, 0),)),),
        "cont_features": ("x",),
        "cat_features": None,
        "misc_features": ("evt",),
        "weight_name": None,
    }
    taken = []
    for seed in (0, 1):
        run = skims(tmp_path, **options, train_size=0.9, seed=seed)
        taken.append(set(run.nodes["train"]["evt"].tolist()))
        assert abs(len(taken[-1]) - 0.9 * n) < 4.5 * np.sqrt(n * 0.09)
        assert run.result.n_rows == {"train": len(taken[-1]), "test": n - len(taken[-1])}
    assert taken[0] != taken[1]
    again = skims(tmp_path, **options, train_size=0.9, seed=1)
    assert set(again.nodes["train"]["evt"].tolist()) == taken[1]


def test_a_train_size_of_one_leaves_an_empty_test_node(skims: Callable[..., Any]) -> None:
    run = skims(train_size=1.0)
    assert run.result.n_rows["test"] == 0
    for group in ("cont_features", "cat_features", "misc_features", "targets", "origin"):
        assert len(pd.read_hdf(run.result.outputs["test"], key=group)) == 0
        assert len(pd.read_hdf(run.result.outputs["train"], key=group)) == run.result.n_rows["train"]

"""What is wrong with the input is said before or instead of a skim, with the name that was probably meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from utils.errors import DataError, InputFileError, MissingColumnError
from utils.logs import captured_log
from utils.preprocessing.spec import Process, Sample


@pytest.fixture
def folder(tmp_path: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]) -> Path:
    """Two samples of 60 events that a test may spoil."""
    for i, name in enumerate(("signal", "fakes")):
        ntuple(tmp_path / "ntuples" / f"{name}.root", toy_file(60, i, run=i), basket=20)
    return tmp_path / "ntuples"


SIGNAL = Sample("signal", (Process("S", None, 0),))
FAKES = Sample("fakes", (Process("F", None, 1),))
BOTH: dict[str, Any] = {"input_samples": (SIGNAL, FAKES)}


def refused(skims: Callable[..., Any], kind: type[Exception], folder: Path, out: Path, **changes: Any) -> Any:
    """The error, after a look that nothing was left behind."""
    with pytest.raises(kind) as raised:
        skims(folder, **{**BOTH, "output_path": str(out), **changes})
    assert not out.exists() or list(out.iterdir()) == []
    return raised.value


def test_the_folder_is_fine_to_begin_with(skims: Callable[..., Any], folder: Path) -> None:
    assert sum(skims(folder, **BOTH).result.n_rows.values()) == 120


def test_a_missing_file(skims: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    samples = (Sample("signl", SIGNAL.processes), FAKES)
    error = refused(skims, InputFileError, folder, tmp_path / "out", input_samples=samples)
    assert error.nearest == "signal.root"
    assert str(folder / "signl.root") in str(error)


def test_a_missing_folder(skims: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    error = refused(skims, InputFileError, folder / "2019", tmp_path / "out")
    assert "no such folder" in str(error)
    assert "input_path" in str(error)


def test_a_chain_without_files(skims: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    error = refused(skims, InputFileError, folder, tmp_path / "out", input_filename_template="{sample_name}_*.root")
    assert "signal_*.root" in str(error)


def test_a_folder_without_data_files(skims: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    (folder.parent / "ntuples.d").mkdir()
    (folder.parent / "ntuples.d" / "notes.md").touch()
    error = refused(skims, InputFileError, folder.parent, tmp_path / "out", input_filename_template="ntuples.d")
    assert "no data files" in str(error) and "notes.md" in str(error)


def test_a_missing_tree(skims: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    error = refused(skims, InputFileError, folder, tmp_path / "out", input_tree_name="event")
    assert error.nearest == "events"
    assert error.where == str(folder / "signal.root")


@pytest.mark.parametrize(
    "changes",
    [
        {"cont_features": ("m_viss",)},
        {"cat_features": ("m_viss",)},
        {"misc_features": ("m_viss",)},
        {"weight_name": "m_viss"},
        {"identity": ("m_viss",)},
        {"new_variables": {"pt_1": "m_viss*2"}},
        {"input_samples": (Sample("signal", (Process("S", "m_viss>3", 0),)),)},
    ],
)
def test_a_missing_branch_wherever_it_is_used(
    skims: Callable[..., Any], folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    error = refused(skims, MissingColumnError, folder, tmp_path / "out", **changes)
    assert error.nearest == "m_vis"
    assert error.where == f"{folder / 'signal.root'}:events"


def test_a_branch_that_a_later_file_lacks_is_missed_before_anything_is_read(
    skims: Callable[..., Any], folder: Path, tmp_path: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]
) -> None:
    columns = toy_file(60, 1)
    del columns["m_vis"]
    ntuple(folder / "fakes.root", columns)
    with captured_log() as log:
        error = refused(skims, MissingColumnError, folder, tmp_path / "out")
    assert error.where == f"{folder / 'fakes.root'}:events"
    assert not (tmp_path / "out").exists()
    assert log == []


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.3, 0.6, 0.9, 0.99, 0.9999])
def test_a_truncated_file(skims: Callable[..., Any], folder: Path, tmp_path: Path, fraction: float) -> None:
    whole = (folder / "fakes.root").read_bytes()
    (folder / "fakes.root").write_bytes(whole[: int(fraction * len(whole))])
    assert "fakes.root" in str(refused(skims, InputFileError, folder, tmp_path / "out"))


def test_a_basket_that_cannot_be_read_leaves_no_skim_unless_nobody_needs_it(
    skims: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    with uproot.open(folder / "fakes.root") as file:
        seek = int(file["events"]["m_vis"].member("fBasketSeek")[2])
    with (folder / "fakes.root").open("r+b") as raw:
        raw.seek(seek)
        raw.write(b"\xff" * 40)
    error = refused(skims, InputFileError, folder, tmp_path / "out", chunk_size=20)
    assert "branch 'm_vis'" in str(error)
    assert error.where == f"{folder / 'fakes.root'}:events"
    run = skims(folder, **BOTH, cont_features=("pt_1",), chunk_size=20)
    assert sum(run.result.n_rows.values()) == 120


def test_an_empty_tree_beside_others(
    skims: Callable[..., Any], folder: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]
) -> None:
    for first in ("a_empty", "z_empty"):
        ntuple(folder / f"{first}.root", toy_file(0, 9))
        empty = Sample(first, (Process("E", "pt_1>0", 1),))
        samples = sorted([empty, SIGNAL, FAKES], key=lambda sample: sample.name)
        with captured_log() as log:
            run = skims(folder, input_samples=tuple(samples))
        assert sum(run.result.n_rows.values()) == 120
        assert any("process E" in line for line in log)
        flow = {(step.process, step.step): step.n_events for step in run.result.cutflow}
        assert flow["E", "read"] == flow["E", "cut"] == 0


def test_only_empty_trees(
    skims: Callable[..., Any], folder: Path, tmp_path: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]
) -> None:
    for name in ("signal", "fakes"):
        ntuple(folder / f"{name}.root", toy_file(0, 1))
    error = refused(skims, DataError, folder, tmp_path / "out")
    assert "class 0 (S), 1 (F) has no events" in str(error)


def test_a_process_that_loses_all_its_events(skims: Callable[..., Any], folder: Path) -> None:
    sample = Sample("signal", (Process("S", None, 0), Process("none", "pt_1<0", 1)))
    with captured_log() as log:
        run = skims(folder, input_samples=(sample, FAKES))
    assert any("process none of sample signal loses all its events" in line for line in log)
    assert set(run.both("group_name")) == {"S", "F"}
    assert ("signal", "none", "cut", 0, 0.0, 0.0) in [tuple(vars(step).values()) for step in run.result.cutflow]


def test_a_class_without_events(skims: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    sample = Sample("signal", (Process("S", None, 0), Process("none", "pt_1<0", 2)))
    error = refused(skims, DataError, folder, tmp_path / "out", input_samples=(sample, FAKES))
    assert "class 2 (none) has no events in 'train'" in str(error)


def test_a_class_that_the_test_node_lacks_is_a_warning(skims: Callable[..., Any], folder: Path) -> None:
    sample = Sample("signal", (Process("S", "entry==7", 0),))
    with captured_log() as log:
        run = skims(folder, input_samples=(sample, FAKES), train_size=0.9)
    assert any("class 0 (S) has no events in 'test'" in line for line in log)
    assert run.result.class_counts["test"][0] == 0


def test_files_that_identify_events_differently(
    skims: Callable[..., Any], folder: Path, tmp_path: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]
) -> None:
    columns = toy_file(60, 1)
    columns["event"] = columns.pop("evt")
    ntuple(folder / "fakes.root", columns)
    changes = {"misc_features": ("run",)}
    error = refused(skims, MissingColumnError, folder, tmp_path / "out", **changes)
    assert "events are identified by run, event here, but by run, evt in the files before" in str(error)
    assert error.where == f"{folder / 'fakes.root'}:events"
    assert sum(skims(folder, **BOTH, **changes, identity="entry").result.n_rows.values()) == 120


def test_an_identity_without_event_number_is_file_and_entry(
    skims: Callable[..., Any], folder: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]
) -> None:
    for i, name in enumerate(("signal", "fakes")):
        columns = toy_file(60, i)
        del columns["evt"]
        ntuple(folder / f"{name}.root", columns)
    run = skims(folder, **BOTH, misc_features=("run",))
    assert run.metadata["train"]["identity"] == []
    assert len(set(run.both("identity").tolist())) == 120


@pytest.mark.parametrize(
    ("first", "second"), [(np.int32, np.int64), (np.float32, np.float64), (np.int32, np.float32), (np.uint32, np.int32)]
)
def test_a_branch_of_another_type_in_the_second_file(
    skims: Callable[..., Any],
    folder: Path,
    tmp_path: Path,
    toy_file: Callable[..., Any],
    ntuple: Callable[..., Path],
    first: Any,
    second: Any,
) -> None:
    for name, dtype in (("signal", first), ("fakes", second)):
        ntuple(folder / f"{name}.root", {**toy_file(60, 1), "extra": np.arange(60).astype(dtype)})
    error = refused(skims, DataError, folder, tmp_path / "out", misc_features=("evt", "extra"))
    assert f"'extra' is {np.dtype(second)} here, but {np.dtype(first)} in the first file" in str(error)
    assert error.where == str(folder / "fakes.root")


@pytest.mark.parametrize(("first", "second"), [(np.int64, np.int32), (np.float64, np.float32), (np.int16, np.uint8)])
def test_a_narrower_type_in_the_second_file_fits(
    skims: Callable[..., Any],
    folder: Path,
    toy_file: Callable[..., Any],
    ntuple: Callable[..., Path],
    first: Any,
    second: Any,
) -> None:
    for name, dtype in (("signal", first), ("fakes", second)):
        ntuple(folder / f"{name}.root", {**toy_file(60, 1), "extra": np.arange(60).astype(dtype)})
    run = skims(folder, **BOTH, misc_features=("extra",))
    assert run.both("extra").dtype == first
    assert sorted(run.both("extra").tolist()) == sorted([*range(60), *range(60)])


def test_a_feature_that_is_jagged_in_the_second_file(
    skims: Callable[..., Any], folder: Path, tmp_path: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]
) -> None:
    columns = toy_file(60, 1)
    columns["pt_1"] = ak.unflatten(columns["pt_1"], np.ones(60, int))
    ntuple(folder / "fakes.root", columns)
    error = refused(skims, DataError, folder, tmp_path / "out")
    assert "'pt_1' has several values per event" in str(error)
    assert error.where == f"{folder / 'fakes.root'}:events"


def test_a_feature_of_another_type_is_still_a_feature(
    skims: Callable[..., Any], folder: Path, toy_file: Callable[..., Any], ntuple: Callable[..., Path]
) -> None:
    columns = toy_file(60, 1)
    columns["pt_1"] = columns["pt_1"].astype(np.float64)
    columns["njets"] = columns["njets"].astype(np.float64)
    ntuple(folder / "fakes.root", columns)
    run = skims(folder, **BOTH)
    assert run.both("pt_1").dtype == np.float32
    assert run.both("njets").dtype == np.int32

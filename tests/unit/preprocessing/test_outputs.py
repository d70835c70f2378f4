"""Outputs are whole or absent: existing ones, failing ones, killed ones."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from utils.errors import DataError, OutputError, SkimError
from utils.preprocessing.spec import NonFinite, Process, Sample
from utils.readers.skim import SkimFile

OUTPUTS = ["input_pipe.json", "test.h5", "train.h5"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_there_afterwards(skims: Callable[..., Any]) -> None:
    assert names(skims().folder) == OUTPUTS
    run = skims(output_samples=("a", "b"), output_filename_template="skim_{sample_name}_v1", pipe_name="pipe")
    assert names(run.folder) == ["pipe.json", "skim_a_v1.h5", "skim_b_v1.h5"]
    assert run.result.outputs == {"a": run.folder / "skim_a_v1.h5", "b": run.folder / "skim_b_v1.h5"}


@pytest.mark.parametrize("existing", OUTPUTS)
def test_existing_outputs_are_refused_before_anything_is_read(
    skims: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: str
) -> None:
    (tmp_path / existing).write_text("precious")
    monkeypatch.setattr("utils.readers.root.tree.RootTree.chunks", lambda *_: pytest.fail("reading began"))
    with pytest.raises(OutputError, match=f"exists already.*{existing}.*overwrite=true"):
        skims(output_path=str(tmp_path))
    assert names(tmp_path) == [existing]
    assert (tmp_path / existing).read_text() == "precious"


def test_samples_to_predict_are_checked_before_the_first_is_written(skims: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "taus.h5").touch()
    samples = tuple(Sample(name, (Process(name, None, None),)) for name in ("signal", "taus"))
    with pytest.raises(OutputError, match="exists already.*taus"):
        skims(for_training=False, misc_features=("evt",), input_samples=samples, output_path=str(tmp_path))
    assert not (tmp_path / "signal.h5").exists()


def test_overwrite_replaces_them(skims: Callable[..., Any], assert_same: Callable[..., None], tmp_path: Path) -> None:
    for name in OUTPUTS:
        (tmp_path / name).write_text("old")
    assert_same(skims(), skims(output_path=str(tmp_path), overwrite=True))
    assert names(tmp_path) == OUTPUTS


def test_a_failure_keeps_what_was_to_be_replaced(skims: Callable[..., Any], tmp_path: Path) -> None:
    for name in OUTPUTS:
        (tmp_path / name).write_text("old")
    for changes in ({"chunk_size": 50}, {"n_threads": 1}):
        with pytest.raises(DataError, match="NaN"):
            skims(
                output_path=str(tmp_path),
                overwrite=True,
                new_variables={"log": "np.log(entry - 250)"},
                cont_features=("log",),
                **changes,
            )
        assert names(tmp_path) == OUTPUTS
        assert {(tmp_path / name).read_text() for name in OUTPUTS} == {"old"}


def test_a_failing_write_surfaces_and_leaves_nothing(
    skims: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("utils.writers.skim.SkimWriter.append", fail)
    with pytest.raises(OSError, match="Input/output error"):
        skims(output_path=str(tmp_path), chunk_size=100)
    assert names(tmp_path) == []


KILLED = """
    import sys, time
    from pathlib import Path
    from utils.preprocessing.flow import run_preprocessing
    from utils.preprocessing.spec import PreprocessSpec, Process, Sample
    from utils.writers.skim import SkimWriter

    append, n_appended = SkimWriter.append, 0

    def slowly(writer, groups):
        global n_appended
        append(writer, groups)
        writer._file.flush()
        n_appended += 1
        if n_appended == 4:
            print("writing", flush=True)
            time.sleep(60)

    SkimWriter.append = slowly
    sample = Sample("signal", (Process("S", None, 0),))
    run_preprocessing(PreprocessSpec(
        input_path=sys.argv[1], input_tree_name="events", input_samples=(sample,), cont_features=("pt_1",),
        output_path=sys.argv[2], chunk_size=50,
    ))
"""


def test_a_killed_job_leaves_parts_that_the_next_one_replaces(
    toys: Callable[[int], Path], skims: Callable[..., Any], assert_same: Callable[..., None], tmp_path: Path
) -> None:
    out = tmp_path / "skims"
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(toys(23)), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "writing\n"
        job.send_signal(signal.SIGKILL)
    assert "train.h5.part" in names(out)
    assert all(name.endswith(".part") for name in names(out))
    with pytest.raises(SkimError, match="no such skim"):
        SkimFile(out / "train.h5")
    with pytest.raises(SkimError, match="unfinished"):
        SkimFile(out / "train.h5.part")

    assert_same(skims(), skims(output_path=str(out)))
    assert names(out) == OUTPUTS


def test_a_full_policy_walk_gives_one_set_of_files(skims: Callable[..., Any], tmp_path: Path) -> None:
    for policy in (NonFinite(), NonFinite("drop"), NonFinite("fill", 0.0)):
        skims(output_path=str(tmp_path), non_finite=policy, overwrite=True)
        assert names(tmp_path) == OUTPUTS

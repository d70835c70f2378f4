"""A stage as a command: Hydra's flags, one clean message on errors, help."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from utils.config import Stage


def command(name: str, *arguments: str) -> None:
    main: Any = importlib.import_module(f"{name}_stage").main
    assert isinstance(main, Stage)
    main.command(arguments)


@pytest.fixture(autouse=True)
def _restore_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["preprocess_stage.py"])


@pytest.mark.parametrize("name", ["zh", "zh.yaml"])
def test_flags_as_hydra_has_them(tree: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    command("preprocess", "--config-path", "configs/preprocess/prediction_data", "--config-name", name, "year=2018")
    assert "input_samples=('ggH',)" in capsys.readouterr().out
    assert list(Path.cwd().iterdir()) == []


def test_config_path_beside_the_script_or_absolute_or_from_here(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "configs").rename("mine")
    for path in ("mine/train", str(Path("mine/train").absolute())):
        command("train", "--config-path", path, "year=2018", "n_splits=3")
        assert "n_splits=3" in capsys.readouterr().out


def test_config_dir_adds_choices(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own" / "model"
    own.mkdir(parents=True)
    (own / "tiny.yaml").write_text("model_param: {n_trees: 1}")
    command("train", "--config-dir", "../own", "year=2018", "model=tiny")
    assert "'n_trees': 1" in capsys.readouterr().out


def test_multirun_runs_every_combination(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("train", "-m", "year=2018", "n_splits=2,3", "model=zh,forest")
    out = capsys.readouterr().out
    assert out.count("RAN") == 4
    assert out.count("n_splits=3") == 2
    assert out.count("'n_trees': 100") == 2
    assert [path.name for path in Path.cwd().rglob("*") if path.is_file()] == ["multirun.yaml"]


def test_cfg_prints_the_composed_config_with_the_schemas_defaults(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("preprocess", "--cfg", "job", "seed=4")
    out = capsys.readouterr().out
    assert "year: ???" in out
    assert "seed: 4" in out
    assert "output_path: skims/${year}" in out
    assert "RAN" not in out
    command("preprocess", "--cfg", "job", "--resolve", "--package", "scaler", "year=1")
    assert capsys.readouterr().out == "with_mean: false\n"


def test_errors_of_the_user_end_with_one_message(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, says in (
        (["sed=3", "year=2018"], 2, "unknown key 'sed'"),
        ([], 2, "'year' has no value"),
        (["--nonsense"], 2, "unknown option --nonsense"),
        (["year=2018", "seed=13"], 1, "no events, in ggH.root"),
    ):
        with pytest.raises(SystemExit) as raised:
            command("preprocess", *arguments)
        assert raised.value.code == code
        err = capsys.readouterr().err
        assert says in err
        assert len(err.splitlines()) == 1
    with pytest.raises(KeyError):
        command("preprocess", "year=2018", "seed=14")


def test_debug_shows_the_traceback(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFOLD_DEBUG", "1")
    with pytest.raises(SystemExit):
        command("preprocess", "year=2018", "seed=13")
    assert "Traceback" in capsys.readouterr().err


def test_a_stage_is_a_function_too(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module("preprocess_stage").main
    made = main.compose(["year=2018"])
    assert made.spec.year == "2018"
    main(made.spec, made.config)
    assert "RAN" in capsys.readouterr().out


def test_help_shows_keys_defaults_documentation_configs_and_examples(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("preprocess", "--help")
    out = capsys.readouterr().out
    assert out.startswith("preprocess_stage.py: Does its preprocess work.\n")
    assert "Not part of the summary" not in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "input_path (required) folder of the ntuples" in lines
    assert "scaler.with_std true subtract the mean, divide by the width" in lines
    assert "train_size 0.8 a number" in lines
    assert "Configs in configs/preprocess/training_data: zh (default)" in lines
    assert any(line.startswith("python preprocess_stage.py --config-path") for line in lines)
    command("train", "--help")
    assert "model=forest | zh" in capsys.readouterr().out


def test_as_a_program(tree: Path) -> None:
    """No traceback, the exit code, and nothing left in the working directory."""
    done = subprocess.run(
        [sys.executable, tree / "preprocess_stage.py", "yeer=2018"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), str(tree)])},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "preprocess_stage.py: unknown key 'yeer', in the command line; did you mean 'year'?\n"
    assert done.stdout == ""
    assert list(Path.cwd().iterdir()) == []

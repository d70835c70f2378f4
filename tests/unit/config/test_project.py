"""The command line that `mlflow run` makes of its parameters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from utils.config.project import stage_arguments
from utils.errors import ConfigError

ROOT = Path(__file__).parents[3]


def test_parameters_become_overrides_and_those_not_given_are_not_passed_on() -> None:
    assert stage_arguments("train.py", []) == []
    assert stage_arguments("train.py", ["--year", "2018", "--analysis", "zh", "--n_splits", ""]) == [
        "year=2018",
        "analysis=zh",
    ]
    assert stage_arguments("train.py", ["--num_iterations", "100"]) == ["model_param.num_iterations=100"]
    assert stage_arguments("preprocess.py", ["--analysis", "zh", "--config_path", "a/b", "--year", "2018"]) == [
        "--config-name",
        "zh",
        "--config-path",
        "a/b",
        "year=2018",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a=1  b=2", ["a=1", "b=2"]),
        ("cut='(a > 1) & (b < 2)' c=3", ["cut='(a > 1) & (b < 2)'", "c=3"]),
        ("'cut=(a > 1)' \"b=x y\"", ["cut=(a > 1)", "b=x y"]),
        ("x=[1, 2] y={a: 1}", ["x=[1, 2]", "y={a: 1}"]),
        ("a='it (is' b=2", ["a='it (is'", "b=2"]),
        (" ", []),
    ],
)
def test_several_overrides_in_one_parameter(text: str, words: list[str]) -> None:
    assert stage_arguments("train.py", ["--overrides", text]) == words


def test_what_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ConfigError, match="a quote is not closed"):
        stage_arguments("train.py", ["--overrides", "a='b"])
    for parameters in (["year=2018", "n_splits=2"], ["--year"]):
        with pytest.raises(ConfigError, match="cannot read the parameters"):
            stage_arguments("train.py", parameters)


def test_every_entry_point_through_a_shell_as_mlflow_starts_it(tmp_path: Path) -> None:
    from mlflow.projects._project_spec import load_project

    project = load_project(ROOT)
    contents = yaml.safe_load((ROOT / "MLproject").read_text())
    assert contents["conda_env"] == "conda.yaml"
    assert set(contents["entry_points"]) == {"main", "train", "describe", "preprocess", "predict", "evaluate"}
    (tmp_path / "train.py").write_text("import sys\nprint(*sys.argv[1:], sep='\\n')")
    parameters = {"year": "2018", "overrides": "cut='(a > 1) & $HOME {b}' x=\"it's\"", "input_path": "/a b/{c}"}
    command = project.get_entry_point("main").compute_command(parameters, None)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        },
    )
    assert done.stdout.splitlines() == [
        "year=2018",
        "input_path=/a b/{c}",
        "cut='(a > 1) & $HOME {b}'",
        'x="it\'s"',
    ]

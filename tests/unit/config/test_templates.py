"""Values that stand for a file of keys, such as `executor=htcondor_cern`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from utils.config.compose import Composed, Source, composed, spec_from
from utils.errors import ConfigError
from utils.executors.spec import ExecutorKeys
from utils.keys import key


@dataclass(frozen=True, kw_only=True)
class Spec(ExecutorKeys):
    """A stage that divides its work."""

    x: int = 0
    other: Literal["a", "b"] = key("without files", default="a")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Configs `config` and `chosen`, and two executors: one beside them, one in the folder above."""
    configs = tmp_path / "analysis" / "configs"
    (configs / "executors").mkdir(parents=True)
    (tmp_path / "analysis" / "executors").mkdir()
    (configs / "config.yaml").write_text("x: 1\n")
    (configs / "chosen.yaml").write_text("x: 1\nexecutor: farm\nworkers: 9\n")
    farm = "executor: dask\nworkers: 4\ncluster: {_target_: dask_jobqueue.SLURMCluster, cores: 1, queue: 'q${x}'}\n"
    (configs / "executors" / "farm.yaml").write_text(farm)
    (tmp_path / "analysis" / "executors" / "here.yaml").write_text("executor: processes\nworkers: 3\n")
    return configs


def built(folder: Path, *overrides: str, name: str = "config", **more: Any) -> Composed[Spec]:
    return spec_from(Spec, composed(Source.of(folder, name, overrides, **more), Spec))


def test_keys_of_the_file_are_those_of_the_config(folder: Path) -> None:
    made = built(folder, "executor=farm")
    assert (made.spec.executor, made.spec.workers, made.spec.x) == ("dask", 4, 1)
    assert made.spec.cluster.to_config() == {"_target_": "dask_jobqueue.SLURMCluster", "cores": 1, "queue": "q1"}  # type: ignore[union-attr]
    assert made.config["executor"] == "dask"


def test_what_the_config_or_the_command_line_says_wins(folder: Path) -> None:
    assert built(folder, name="chosen").spec.workers == 9
    assert built(folder, "workers=2", name="chosen").spec.workers == 2
    assert built(folder, "executor=farm", "cluster.cores=8").spec.cluster.params["cores"] == 8  # type: ignore[union-attr]
    assert built(folder, "executor=serial", name="chosen").spec.cluster is None


def test_files_are_found_around_the_config_and_by_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert built(folder, "executor=here").spec.workers == 3
    monkeypatch.chdir(folder.parent)
    assert built(folder, "executor=executors/here.yaml").spec.workers == 3
    elsewhere = folder.parent.parent / "elsewhere"
    (elsewhere / "executors").mkdir(parents=True)
    (elsewhere / "executors" / "farm.yaml").write_text("executor: processes\n")
    assert built(folder, "executor=farm", config_dir=elsewhere).spec.executor == "processes"


def test_an_unknown_name_has_a_nearest_one(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'farn' is no executor.*did you mean 'farm'") as caught:
        built(folder, "executor=farn")
    assert all(name in str(caught.value.remedy) for name in ("serial", "farm", "here", "htcondor_cern"))
    with pytest.raises(ConfigError, match="'executor' must be one of serial, processes, dask"):
        built(folder, "executor=[1]")


def test_errors_name_the_file_that_is_wrong(folder: Path) -> None:
    (folder / "executors" / "bad.yaml").write_text("executor: dask\nworker: 3\n")
    with pytest.raises(ConfigError, match="unknown key 'worker'.*bad.yaml.*did you mean 'workers'"):
        built(folder, "executor=bad")
    (folder / "executors" / "bad.yaml").write_text("executor: dask\nworkers: many\n")
    with pytest.raises(ConfigError, match="must be an integer.*bad.yaml"):
        built(folder, "executor=bad")


def test_other_keys_have_no_files(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'other' must be one of a, b"):
        built(folder, "other=farm")

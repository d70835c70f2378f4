"""Preprocessing in Dask clusters: on this machine, behind a scheduler, with workers that die; batch jobs' scripts."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tasks import write
from utils.config.compose import Source, composed, spec_from
from utils.errors import ExecutorError
from utils.executors import dask as dask_module
from utils.executors.call import Environment, environment
from utils.executors.run import Task, run_tasks
from utils.executors.spec import ExecutorSpec
from utils.factory import Factory
from utils.logs import captured_log
from utils.preprocessing.flow import PreprocessResult, run_preprocessing
from utils.preprocessing.parts import write_part
from utils.preprocessing.spec import PcaSpec, PreprocessSpec, Process, Sample, ScalerSpec
from utils.readers.skim import SkimFile

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "configs" / "executors"

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, ntuple: Callable[..., Path]) -> Path:
    """Two samples of three files each."""
    folder = tmp_path_factory.mktemp("chain")
    for s, sample in enumerate(("signal", "background")):
        for i in range(3):
            rng = np.random.default_rng(10 * s + i)
            n = 200 + 50 * i
            columns = {
                "run": np.full(n, s + 1, np.uint32),
                "evt": np.arange(1000 * i, 1000 * i + n, dtype=np.uint64),
                "x": rng.normal(s, 1, n).astype(np.float32),
                "y": rng.exponential(1, n),
                "weight": rng.choice([1.0, -0.5], n),
            }
            ntuple(folder / f"{sample}_{i}.root", columns, basket=60)
    return folder


@pytest.fixture
def spec(chain: Path, tmp_path: Path) -> Callable[..., PreprocessSpec]:
    """The config of a job; every key may be given another value."""

    def make(**changes: Any) -> PreprocessSpec:
        keys: dict[str, Any] = {
            "input_path": str(chain),
            "input_filename_template": "{sample_name}_*.root",
            "input_tree_name": "events",
            "input_samples": (
                Sample("signal", (Process("S", "y>0.2", 0),)),
                Sample("background", (Process("B", None, 1),)),
            ),
            "cont_features": ("x", "y"),
            "misc_features": ("evt", "w_class_imbalance"),
            "weight_name": "weight",
            "compute_w_CP": True,
            "scaler": ScalerSpec(),
            "pca": PcaSpec(),
            "output_path": str(tmp_path / changes.get("executor", "serial")),
        }
        return PreprocessSpec(**{**keys, **changes})

    return make


def content(result: PreprocessResult) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for node, path in result.outputs.items():
        with SkimFile(path) as skim:
            found[node] = {name: values.tolist() for name, values in skim.read(skim.columns).items()}
            found[node]["pipe and cutflow"] = [skim.metadata["input_pipe"], skim.metadata["cutflow"]]
    return found


def test_the_same_comes_out(spec: Callable[..., PreprocessSpec]) -> None:
    serial = run_preprocessing(spec())
    other = run_preprocessing(spec(executor="dask", workers=2))
    assert content(serial) == content(other)
    assert [file.n_read for file in other.files] == [file.n_read for file in serial.files]
    assert 1 <= len(other.peak_bytes) <= 2
    assert sorted(path.name for path in Path(other.outputs["train"]).parent.iterdir()) == [
        "input_pipe.json",
        "test.h5",
        "train.h5",
    ]


def test_a_cluster_by_its_class(spec: Callable[..., PreprocessSpec]) -> None:
    options = {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": None}
    cluster = Factory("distributed.LocalCluster", options)
    other = run_preprocessing(spec(executor="dask", workers=1, cluster=cluster))
    assert content(run_preprocessing(spec())) == content(other)


def test_a_cluster_that_cannot_be_made(spec: Callable[..., PreprocessSpec]) -> None:
    cluster = Factory("dask_jobqueue.HTCondorCluster", {"cores": 1, "memory": "1 GB"})
    with pytest.raises(ExecutorError, match="disk.*HTCondorCluster"):
        run_preprocessing(spec(executor="dask", cluster=cluster))


def test_a_killed_worker_costs_its_part_alone(spec: Callable[..., PreprocessSpec], tmp_path: Path) -> None:
    """The first worker that comes to the third file dies there."""
    file, marks = tmp_path / "deadly.py", tmp_path / "marks"
    marks.mkdir()
    file.write_text(
        f"""
import os
import signal
from pathlib import Path

class Deadly:
    uses = ("evt",)
    produces = ("late",)

    def __call__(self, chunk, where):
        marks = Path({str(marks)!r})
        name = Path(where).name.partition(".")[0]
        n_before = len(list(marks.glob(f"{{name}}-*")))
        (marks / f"{{name}}-{{n_before}}").touch()
        if name == "signal_2" and n_before == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return {{"late": chunk.columns["evt"]}}
"""
    )
    deadly = {"chunk_transform": Factory(f"{file}:Deadly"), "misc_features": ("evt", "late")}
    with captured_log() as messages:
        result = run_preprocessing(spec(executor="dask", workers=2, chunk_size=10_000, **deadly))
    assert "a worker died; its task is started again" in messages
    attempts = {name: len(list(marks.glob(f"{name}-*"))) for name in ("signal_1", "signal_2", "background_0")}
    assert attempts == {"signal_1": 1, "signal_2": 2, "background_0": 1}
    with SkimFile(result.outputs["train"]) as skim:
        columns = skim.read(["evt", "late"])
        assert columns["evt"].tolist() == columns["late"].tolist()
    # Nothing dies the second time, and the first file was looked at before for the types of the outputs.
    assert result.n_rows == run_preprocessing(spec(executor="serial", **deadly)).n_rows


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler with a worker, started elsewhere by somebody who has never heard of us; gives its address."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    quiet = {"DASK_LOGGING__DISTRIBUTED": "error", "PATH": os.environ["PATH"]}
    scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    worker = ["dask_worker", "--scheduler-file", file, "--nthreads", "1", "--no-dashboard", "--local-directory", folder]
    with ExitStack() as stack:
        for name, *arguments in (scheduler, worker):
            command = [sys.executable, "-m", f"distributed.cli.{name}", *map(str, arguments)]
            process = subprocess.Popen(command, cwd=folder, env=quiet, start_new_session=True)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            _wait_for(file.exists)
        import json

        yield json.loads(file.read_text())["address"]


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


def test_a_scheduler_that_runs_somewhere_is_given_our_code(
    spec: Callable[..., PreprocessSpec], cluster: str, chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(chain.parent)  # paths that are relative to here are found there
    other = run_preprocessing(spec(executor="dask", cluster=cluster, input_path=chain.name))
    assert content(run_preprocessing(spec(input_path=chain.name))) == content(other)


def test_a_failing_file_is_named(spec: Callable[..., PreprocessSpec], cluster: str, chain: Path) -> None:
    bad = {"new_variables": {"z": "log(x-100)"}, "cont_features": ("x", "z")}
    with pytest.raises(ValueError, match="NaN or infinite features.*'z'.*signal_0.root") as caught:
        run_preprocessing(spec(executor="dask", cluster=cluster, **bad))
    assert caught.value.__notes__ == [f"while working on {chain / 'signal_0.root'}"]


def test_workers_with_other_code_are_refused(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = environment()
    other = Environment("0" * 16, {**here.versions, "numpy": "1.0"}, here.folder)
    monkeypatch.setattr(dask_module, "environment", lambda: other)
    argument = {"path": str(tmp_path / "0"), "attempts": str(tmp_path / "attempts")}
    tasks = [Task("a.root", argument, tmp_path / "0")]
    with pytest.raises(ExecutorError, match=r"the code of Crossfold itself; numpy 1.0 in the job, \d"):
        list(run_tasks(write_part, tasks, ExecutorSpec("dask", 1, cluster), title="testing"))


def test_no_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_module, "CONNECT_TIMEOUT", 1)
    tasks = [Task("a.root", {}, tmp_path / "0")]
    with pytest.raises(ExecutorError, match="no Dask scheduler answers.*tcp://127.0.0.1:1.*dask scheduler"):
        list(run_tasks(write, tasks, ExecutorSpec("dask", 1, "tcp://127.0.0.1:1"), title="testing"))


def test_the_terminal_shows_our_lines_alone(tmp_path: Path) -> None:
    """Also when a worker dies and when a task fails."""
    (tmp_path / "job.py").write_text(
        f"""
from pathlib import Path
from tests.tasks import write
from utils.errors import CrossfoldError
from utils.executors.run import Task, run_tasks
from utils.executors.spec import ExecutorSpec
from utils.logs import quiet_third_party, setup_logging

if __name__ == "__main__":
    setup_logging()
    quiet_third_party()
    folder = Path({str(tmp_path)!r})
    def task(name, **what):
        argument = dict(path=str(folder / name), attempts=str(folder / "attempts"), **what)
        return Task(name, argument, folder / name)
    list(run_tasks(write, [task("0", deaths=1), task("1", warning="odd")], ExecutorSpec("dask", 2), title=""))
    try:
        list(run_tasks(write, [task("2", error=True)], ExecutorSpec("dask", 2), title=""))
    except CrossfoldError as error:
        print(error)
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, tmp_path / "job.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("no branch 'ptt', in ")
    lines = sorted(line.partition("  ")[2] or line for line in done.stderr.splitlines())
    assert lines == ["WARNING: a worker died; its task is started again", "WARNING: odd"]


@pytest.mark.parametrize("name", [path.stem for path in sorted(TEMPLATES.glob("*.yaml"))])
def test_scripts_of_batch_jobs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be submitted, as dask-jobqueue writes it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    overrides = ["year=2018", "input_path=/data", f"executor={name}", "workers=7"]
    folder = ROOT / "configs" / "preprocess" / "training_data"
    spec: Any = spec_from(PreprocessSpec, composed(Source.of(folder, "htt", overrides), PreprocessSpec)).spec
    assert spec.executor_spec.workers == 7
    assert isinstance(spec.cluster, Factory)
    local = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    with spec.cluster(scheduler_options=local) as cluster:
        script = cluster.job_script()
    wanted = {
        "htcondor_cern": ['MY.JobFlavour = "workday"', "MY.SendCredential = True", "--worker-port 10000:10050"],
        "htcondor_desy": ["+RequestRuntime = 10800", "MY.DaskWorkerMemory = 1500000000"],
        "slurm_desy": ["#SBATCH -p allcpu", "#SBATCH --cpus-per-task=32", "#SBATCH --nodes=1", "--nworkers 32"],
    }[name]
    for line in [*wanted, "--nthreads 1", "--death-timeout 300", str(tmp_path / "crossfold-jobs")]:
        assert line in script, script
    assert "Stream_Output" not in script or name != "htcondor_cern"
    assert sys.executable in script

"""Skims are equal in content under every executor and number of workers; an interrupted job is resumed."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.errors import DataError, MissingColumnError, OutputError
from utils.executors.run import run_tasks
from utils.executors.spec import ExecutorSpec
from utils.factory import Factory
from utils.logs import captured_log
from utils.preprocessing import parts as parts_module
from utils.preprocessing.duplicates import DuplicateAudit
from utils.preprocessing.flow import _Pass, run_preprocessing
from utils.preprocessing.inputs import open_inputs
from utils.preprocessing.jagged_spec import ImageSpec
from utils.preprocessing.moments import BLOCK_ENTRIES
from utils.preprocessing.parts import Parts, write_part
from utils.preprocessing.spec import MinMaxSpec, NonFinite, PcaSpec, PreprocessSpec, Process, Sample
from utils.readers.skim import SkimFile

ROOT = Path(__file__).parents[3]
BLOCK = 64  # entries of a block in tests that divide files


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, toy_file: Any, ntuple: Any) -> Path:
    """Three samples of several files each: one of them empty, one with nothing that is selected, some events twice."""
    folder = tmp_path_factory.mktemp("chain")
    sizes = {"signal": (150, 0, 90), "fakes": (40, 260), "taus": (70, 30, 80)}
    for s, (sample, files) in enumerate(sizes.items()):
        for i, n in enumerate(files):
            columns = toy_file(n, 10 * s + i, first_event=2**40 + (500 if i == 1 else 0), run=s + 1)
            if (sample, i) == ("taus", 1):
                columns["pt_1"] = np.zeros(n, np.float32)  # all are cut away
            ntuple(folder / f"{sample}_{i}.root", columns, basket=37)
    return folder


SAMPLES = (
    Sample("signal", (Process("H_sig", "(pt_1>20.) & (njets<4)", 0), Process("H_loose", "pt_1>10", 1))),
    Sample("fakes", (Process("Fakes", "pt_1>15", 2),)),
    Sample("taus", (Process("Taus", "pt_1>0", 1),)),
)
CONFIGS: dict[str, dict[str, Any]] = {
    "training": {},
    "everything": {
        "cont_features": ("pt_1", "m_vis", "eta_1", "lead_pt", "log_eta"),
        "new_variables": {"lead_pt": "nth(jet_pt, 0, default=-1)", "log_eta": "np.log(eta_1)"},
        "non_finite": NonFinite("drop"),
        "cat_features": ("njets", "is_mc"),
        "misc_features": ("evt", "weight", "w_class_imbalance"),
        "compute_w_CP": True,
        "pca": PcaSpec(2),
        "compression": "blosc:lz4",
        "nevts": 170,
    },
    "no identity": {"identity": "entry", "misc_features": None, "train_size": 1.0, "scaler": None, "order": "shuffled"},
    "lists": {
        "padded_features": {"jet_pt": 2},
        "new_variables": {"jet_y": "jet_pt % 2"},
        "jagged_features": {"jets": ("jet_pt", "jet_y")},
        "images": {
            "dense": ImageSpec(
                x="jet_pt", y="jet_y", range=((0.0, 90.0), (0.0, 2.0)), bins=(4, 3), channels={"w": "jet_pt"}
            ),
            "sparse": ImageSpec(
                x="jet_pt",
                y="jet_y",
                range=((0.0, 90.0), (0.0, 2.0)),
                bins=(4, 3),
                channels={"n": None},
                storage="sparse",
            ),
        },
        "minmax": MinMaxSpec(),
        "order": "shuffled",
    },
    "prediction": {"for_training": False, "misc_features": ("evt", "weight")},
}


@pytest.fixture(scope="module")
def preprocess(skims: Callable[..., Any], chain: Path) -> Callable[..., Any]:
    """Preprocess the chain."""
    common = {"input_samples": SAMPLES, "input_filename_template": "{sample_name}_*.root"}
    return lambda **changes: skims(chain, **{**common, **changes})


@pytest.fixture(scope="module")
def serial(preprocess: Callable[..., Any]) -> Callable[[str], Any]:
    """What the serial executor makes of a config."""
    return cache(lambda name: preprocess(**CONFIGS[name]))


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".") or path.suffix == ".part")


@pytest.mark.parametrize(("name", "workers"), [(name, 2) for name in CONFIGS] + [("training", 1), ("training", 5)])
def test_processes_make_the_same(
    preprocess: Callable[..., Any], serial: Callable[[str], Any], assert_same: Any, name: str, workers: int
) -> None:
    other = preprocess(**CONFIGS[name], executor="processes", workers=workers, chunk_size=41)
    assert_same(serial(name), other)
    assert leftovers(other.folder) == []
    for node, metadata in serial(name).metadata.items():
        assert metadata == other.metadata[node]
    files = other.result.files
    assert [Path(file.path).name for file in files] == [Path(f.path).name for f in serial(name).result.files]
    assert [file.n_read for file in files] == [file.n_read for file in serial(name).result.files]
    assert other.result.n_read == serial(name).result.n_read
    assert 1 <= len(other.result.peak_bytes) <= workers


@pytest.mark.parametrize("name", list(CONFIGS))
def test_files_in_several_parts_make_the_same(
    preprocess: Callable[..., Any], assert_same: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Parts are made here, in this process: blocks of entries are made small for it, and workers would not know."""
    for module in ("utils.preprocessing.moments", "utils.preprocessing.parts"):
        monkeypatch.setattr(f"{module}.BLOCK_ENTRIES", BLOCK)
    whole = preprocess(**CONFIGS[name])
    monkeypatch.setattr(parts_module, "PART_ENTRIES", BLOCK)
    monkeypatch.setattr(parts_module, "COPY_BYTES", 2000)
    monkeypatch.setattr("utils.preprocessing.flow._needs_parts", lambda spec: True)
    with captured_log() as messages:
        divided = preprocess(**CONFIGS[name])
    assert any(", entries 64 to 128" in message for message in messages), "no file was divided"
    assert_same(whole, divided)


@pytest.mark.parametrize("n_entries", [0, 1, BLOCK_ENTRIES, 16 * BLOCK_ENTRIES, 16 * BLOCK_ENTRIES + 1, 10**8 + 7])
def test_parts_begin_with_blocks_of_entries(n_entries: int) -> None:
    pieces = list(parts_module._pieces(0, n_entries))
    assert pieces[0][0] == 0 and pieces[-1][1] == n_entries
    assert all(stop == start for (_, stop), (start, _) in pairwise(pieces))
    assert all(start % BLOCK_ENTRIES == 0 for start, _ in pieces)
    assert all(stop - start <= parts_module.PART_ENTRIES for start, stop in pieces)
    lengths = [stop - start for start, stop in pieces]
    assert max(lengths) - min(lengths) <= 2 * BLOCK_ENTRIES


@pytest.fixture
def job(chain: Path, tmp_path: Path, spec: Callable[..., PreprocessSpec]) -> Callable[..., PreprocessSpec]:
    """The config of a job whose outputs go to `tmp_path / "skims"`."""

    def make(input_path: Path = chain, /, **changes: Any) -> PreprocessSpec:
        common = {"input_samples": SAMPLES, "input_filename_template": "{sample_name}_*.root"}
        return spec(input_path, tmp_path / "skims", **{**common, "executor": "processes", "workers": 2, **changes})

    return make


def parts_of(spec: PreprocessSpec) -> Parts:
    nodes = spec.output_samples if spec.for_training else (spec.input_samples[0].name,)
    return Parts(spec, open_inputs(spec), nodes, spec.input_samples if spec.for_training else spec.input_samples[:1])


def part_names(spec: PreprocessSpec) -> list[str]:
    """The parts that the job is made of."""
    inputs, nodes = open_inputs(spec), spec.output_samples
    with DuplicateAudit() as audit:
        one_pass = _Pass(spec, inputs, nodes, spec.input_samples, audit)
        tasks = Parts(spec, inputs, nodes, spec.input_samples).tasks(one_pass.prototype(), one_pass.moments)
    return [str(task.result) for task in tasks]


def done(spec: PreprocessSpec) -> list[str]:
    """The parts that lie beside the outputs."""
    found = Path(spec.output_path).glob(".*.parts-*/[0-9]*")
    return sorted(path.name for path in found if path.suffix != ".part")


@pytest.fixture
def copy(chain: Path, tmp_path: Path) -> Path:
    """A copy of the chain, in which files may be changed."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in chain.glob("*.root"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_failing_file_is_named_and_the_rest_is_kept(
    job: Callable[..., PreprocessSpec], chain: Path, copy: Path, ntuple: Any, toy_file: Any
) -> None:
    """The last file has a weight that is not finite; when it is repaired, it is all that is left to do."""
    columns = toy_file(80, 22)
    columns["weight"][33] = np.nan
    ntuple(copy / "taus_2.root", columns)
    spec = job(copy, workers=1)
    with captured_log() as messages, pytest.raises(DataError, match="weight.*taus_2.root") as caught:
        run_preprocessing(spec)
    assert "7 of 8 tasks are done and kept" in messages
    assert caught.value.where == str(copy / "taus_2.root")
    assert not (Path(spec.output_path) / "train.h5").exists()
    (copy / "taus_2.root").write_bytes((chain / "taus_2.root").read_bytes())
    with captured_log() as messages:
        run_preprocessing(spec)
    assert "7 of 8 tasks were already done" in messages


def test_an_interrupted_job_is_continued(
    job: Callable[..., PreprocessSpec], serial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run ends in the middle of its third part; the second one has no more than the rest to do."""
    spec = job(workers=1)
    calls: list[str] = []

    def failing(part_job: Any) -> None:
        if len(calls) == 2:
            raise MissingColumnError("something is wrong", where=part_job.file.path)
        calls.append(part_job.path.name)
        write_part(part_job)

    monkeypatch.setattr("utils.preprocessing.flow._needs_parts", lambda spec: True)
    monkeypatch.setattr("utils.preprocessing.flow.write_part", failing)
    with pytest.raises(MissingColumnError):
        run_preprocessing(replace(spec, executor="serial"))
    assert [name[:5] for name in done(spec)] == ["00000", "00001"]
    monkeypatch.undo()
    with captured_log() as messages:
        result = run_preprocessing(spec)
    assert "2 of 8 tasks were already done" in messages
    assert [file.worker == "done before" for file in result.files] == [True, True] + [False] * 6
    with SkimFile(result.outputs["train"]) as skim:
        content = skim.read(skim.columns)
    for name, values in serial("training").nodes["train"].items():
        np.testing.assert_array_equal(content[name], values)
    assert leftovers(Path(spec.output_path)) == []


CHANGES: dict[str, dict[str, Any]] = {
    "a cut": {"input_samples": (*SAMPLES[:2], Sample("taus", (Process("Taus", "pt_1>1", 1),)))},
    "the seed": {"seed": 3},
    "the split": {"train_size": 0.5},
    "a variable": {"new_variables": {"x": "pt_1"}, "misc_features": ("evt", "x")},
    "events": {"nevts": 60},
    "pca": {"pca": PcaSpec(1)},
}
NO_CHANGES: dict[str, dict[str, Any]] = {
    "workers": {"workers": 1},
    "chunks": {"chunk_size": 17},
    "threads": {"n_threads": 3},
    "overwrite": {"overwrite": True},
}


@pytest.mark.parametrize("what", [*CHANGES, *NO_CHANGES])
def test_what_makes_parts_useless(job: Callable[..., PreprocessSpec], what: str) -> None:
    before, after = parts_of(job()), parts_of(job(**{**CHANGES, **NO_CHANGES}[what]))
    assert (before.folder == after.folder) == (what in NO_CHANGES)
    assert before.base == after.base


def test_changed_inputs_make_their_parts_useless(
    job: Callable[..., PreprocessSpec], copy: Path, ntuple: Any, toy_file: Any
) -> None:
    before = part_names(job(copy))
    assert part_names(job(copy)) == before
    ntuple(copy / "taus_1.root", toy_file(30, 999), basket=37)
    assert [old == new for old, new in zip(before, part_names(job(copy)), strict=True)] == [True] * 6 + [False, True]
    (copy / "fakes_0.root").unlink()
    assert not set(before) & set(part_names(job(copy))[3:]), "files behind it have another number now"


def test_a_changed_transform_makes_parts_useless(job: Callable[..., PreprocessSpec], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    folders = []
    for factor in (1, 2):
        file.write_text(
            "class Mine:\n    uses = ('pt_1',)\n    produces = ('pt_2',)\n"
            f"    def __call__(self, chunk, where):\n        return {{'pt_2': {factor} * chunk.columns['pt_1']}}\n"
        )
        inputs = Parts(job(chunk_transform=Factory(f"{file}:Mine")), open_inputs(job()), ("train", "test"), SAMPLES)
        folders.append(inputs.folder)
    assert folders[0] != folders[1]


def test_parts_of_another_config_are_removed_at_the_end(job: Callable[..., PreprocessSpec]) -> None:
    old = parts_of(job(seed=5))
    old.prepare()
    (old.folder / "00000").mkdir()
    new = job()
    with captured_log() as messages:
        run_preprocessing(new)
    assert not any("already done" in message for message in messages)
    assert leftovers(Path(new.output_path)) == []


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_parts_are_gone_after_a_serial_job_too(job: Callable[..., PreprocessSpec], executor: str) -> None:
    spec = job(executor=executor)
    parts_of(spec).prepare()
    run_preprocessing(spec)
    assert leftovers(Path(spec.output_path)) == []


def test_outputs_that_exist_are_refused_before_any_work(job: Callable[..., PreprocessSpec]) -> None:
    spec = job()
    run_preprocessing(spec)
    with pytest.raises(OutputError, match="exists already"):
        run_preprocessing(spec)
    assert leftovers(Path(spec.output_path)) == []
    run_preprocessing(replace(spec, overwrite=True))


def test_a_job_that_ended_between_its_outputs_is_continued(job: Callable[..., PreprocessSpec], serial: Any) -> None:
    """Of the samples to predict, one has its skim and the next one fails: the same command makes the rest."""
    spec = job(**CONFIGS["prediction"])
    last = Path(spec.output_path) / "taus.h5"
    last.parent.mkdir()
    last.write_text("in the way")
    with pytest.raises(OutputError, match="exists already"):
        run_preprocessing(spec)
    last.unlink()
    _run_until_output(spec, "signal.h5")
    assert done(spec)
    result = run_preprocessing(spec)
    for node, path in result.outputs.items():
        with SkimFile(path) as skim:
            np.testing.assert_array_equal(skim.read(["entry"])["entry"], serial("prediction").nodes[node]["entry"])
    assert leftovers(Path(spec.output_path)) == []


def _run_until_output(spec: PreprocessSpec, name: str) -> None:
    """Run the job, and end it when an output is in place."""
    run = _Pass.run
    n_runs = 0

    def failing(self: Any, *args: Any) -> Any:
        nonlocal n_runs
        n_runs += 1
        if n_runs == 2:
            raise MissingColumnError("something is wrong")
        return run(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Pass, "run", failing)
        with pytest.raises(MissingColumnError):
            run_preprocessing(spec)
    assert (Path(spec.output_path) / name).exists()


JOB = """
import sys
import pickle
from pathlib import Path

from utils.preprocessing.flow import run_preprocessing

if __name__ == "__main__":
    run_preprocessing(pickle.loads(Path(sys.argv[1]).read_bytes()))
"""


def start(spec: PreprocessSpec, folder: Path) -> "subprocess.Popen[bytes]":
    """The job in a process of its own."""
    (folder / "job.py").write_text(JOB)
    (folder / "spec.pkl").write_bytes(pickle.dumps(spec))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, folder / "job.py", folder / "spec.pkl"], env=environment, stderr=subprocess.PIPE
    )


def wait_for(condition: Callable[[], Any]) -> Any:
    """What the condition gives as soon as it gives something."""
    for _ in range(1200):
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came true")


@pytest.fixture
def slow(chain: Path, tmp_path: Path, job: Callable[..., PreprocessSpec]) -> Callable[..., PreprocessSpec]:
    """A job of which every event takes its time, with one worker; the process ID of that is in `tmp_path / "pid"`."""
    file = tmp_path / "slow.py"
    file.write_text(
        f"""
import os
import threading
import time
from pathlib import Path

class Slow:
    uses = ("pt_1",)
    produces = ("late",)

    def __call__(self, chunk, where):
        with Path({str(tmp_path / "pids")!r}).open("a") as file:
            file.write(f"{{os.getpid()}}\\n")
        time.sleep(0.15)
        return {{"late": chunk.columns["pt_1"]}}
"""
    )
    return lambda **changes: job(
        chunk_transform=Factory(f"{file}:Slow"), workers=1, chunk_size=1000, misc_features=("evt", "late"), **changes
    )


def test_a_killed_job_is_continued(slow: Callable[..., PreprocessSpec], tmp_path: Path) -> None:
    spec = slow()
    first = start(spec, tmp_path)
    n_done = wait_for(lambda: len(done(spec)) >= 2 and len(done(spec)))
    first.send_signal(signal.SIGKILL)
    first.wait()
    pids = {int(line) for line in (tmp_path / "pids").read_text().split()}
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids - {os.getpid()}))
    n_done = len(done(spec))
    assert 2 <= n_done < 8, "it was killed too late"
    with captured_log() as messages:
        result = run_preprocessing(spec)
    assert f"{n_done} of 8 tasks were already done" in messages
    assert sum(result.n_rows.values()) > 0
    assert leftovers(Path(spec.output_path)) == []


def test_a_killed_worker_costs_its_part_alone(slow: Callable[..., PreprocessSpec], serial: Any, tmp_path: Path) -> None:
    spec = slow()
    running = start(spec, tmp_path)
    pids = tmp_path / "pids"
    wait_for(lambda: len(done(spec)) >= 2 and pids.exists())
    victim = int(pids.read_text().split()[-1])
    os.kill(victim, signal.SIGKILL)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors.decode()
    workers = [int(line) for line in pids.read_text().split()]
    assert len(set(workers) - {running.pid}) == 2
    assert len(workers) <= 1 + 8 + 1  # the types of the first file, every part, and the one that was lost
    with SkimFile(Path(spec.output_path) / "train.h5") as skim:
        np.testing.assert_array_equal(skim.read(["evt"])["evt"], serial("training").nodes["train"]["evt"])


def test_two_jobs_for_the_same_outputs(slow: Callable[..., PreprocessSpec], tmp_path: Path) -> None:
    spec = slow()
    first = start(spec, tmp_path)
    wait_for(lambda: done(spec))
    with pytest.raises(OutputError, match="another process"):
        run_preprocessing(spec)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors.decode()


def test_a_part_that_two_workers_make_at_once(job: Callable[..., PreprocessSpec]) -> None:
    """As when a worker is only thought to be dead: the first to finish wins, the other one leaves nothing behind."""
    spec = job()
    parts = parts_of(spec)
    parts.prepare()
    inputs = open_inputs(spec)
    with DuplicateAudit() as audit:
        one_pass = _Pass(spec, inputs, spec.output_samples, spec.input_samples, audit)
        task = parts.tasks(one_pass.prototype(), one_pass.moments)[0]
    write_part(task.argument)
    mark = (task.result / "0.h5").stat()
    write_part(task.argument)
    assert (task.result / "0.h5").stat() == mark
    assert list(parts.folder.iterdir()) == [task.result]
    assert next(run_tasks(write_part, [task], ExecutorSpec(), title="")).worker == ""


def test_parts_from_before_a_crash_of_the_machine_are_made_again(job: Callable[..., PreprocessSpec]) -> None:
    """They may never have reached the disk; those of workers elsewhere have, before they were done."""
    spec = job(workers=1)
    parts = parts_of(spec)
    parts.prepare()
    inputs = open_inputs(spec)
    with DuplicateAudit() as audit:
        one_pass = _Pass(spec, inputs, spec.output_samples, spec.input_samples, audit)
        first, second, third, *_ = parts.tasks(one_pass.prototype(), one_pass.moments)
    for task, durable in ((first, False), (second, True), (third, False)):
        write_part(replace(task.argument, durable=durable))
    (first.result / "boot_id").write_text("an earlier start")
    with captured_log() as messages:
        run_preprocessing(spec)
    assert "1 parts from before this machine was started are made again" in messages
    assert "2 of 8 tasks were already done" in messages


def test_types_are_those_of_the_first_file(
    job: Callable[..., PreprocessSpec], copy: Path, ntuple: Any, toy_file: Any
) -> None:
    """What fits into them is converted, what does not is the same error as where one process does everything."""
    columns = toy_file(80, 22)
    ntuple(copy / "taus_2.root", {**columns, "njets": columns["njets"].astype(np.int8)})
    spec = job(copy, cat_features=(), misc_features=("evt", "njets"))
    result = run_preprocessing(spec)
    with SkimFile(result.outputs["train"]) as skim:
        assert skim.dtype("njets") == np.int32
    ntuple(copy / "taus_2.root", {**columns, "njets": columns["njets"].astype(np.float64)})
    messages = []
    for executor in ("serial", "processes"):
        with pytest.raises(DataError, match="'njets' is float64 here, but int32 in the first file") as caught:
            run_preprocessing(replace(spec, executor=executor, overwrite=True))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_part_is_made_without_threads(job: Callable[..., PreprocessSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has one core, and helpers would only compete with the other workers."""
    spec = job()
    inputs, parts = open_inputs(spec), parts_of(spec)
    with DuplicateAudit() as audit:
        one_pass = _Pass(spec, inputs, spec.output_samples, spec.input_samples, audit)
        task = parts.tasks(one_pass.prototype(), one_pass.moments)[0]

    def start(self: threading.Thread) -> None:
        raise AssertionError(f"{self.name} is started")

    monkeypatch.setattr(threading.Thread, "start", start)
    write_part(task.argument)
    assert task.result.is_dir()

"""A disk that is full, and two jobs that write the same skims: a clear error, and nothing half-written."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.conftest import REPOSITORY, environment
from utils.readers.skim import SkimFile

CONFIG = """
for_training: {training}
input_path: {folder}
input_tree_name: events
input_samples: [{samples}]
cont_features: [pt, eta]
output_path: {output}
workers: 2
"""
N_EVENTS = 200_000  # 8 bytes of features each, and as much again to know where they come from


@pytest.fixture(scope="module")
def ntuples(tmp_path_factory: pytest.TempPathFactory, ntuple: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("ntuples")
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        columns = {"pt": rng.exponential(40, N_EVENTS), "eta": rng.normal(0, 1, N_EVENTS)}
        ntuple(folder / f"{name}.root", columns, basket=50_000)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no file system of our own can be mounted here ({made.stderr.strip()})")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def command(tmp_path: Path, ntuples: Path, output: Path, *overrides: str) -> list[str]:
    (tmp_path / "skim.yaml").write_text(CONFIG.format(training="false", folder=ntuples, samples="a, b", output=output))
    script = str(REPOSITORY / "preprocess.py")
    return [sys.executable, script, "--config-path", str(tmp_path), "--config-name", "skim", *overrides]


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_full_disk_is_named_and_nothing_half_written_remains(
    tmp_path: Path, ntuples: Path, small_disk: Path, executor: str
) -> None:
    done = subprocess.run(
        command(tmp_path, ntuples, small_disk / "skims", f"executor={executor}"),
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert str(small_disk) in done.stderr
    assert "Traceback" not in done.stderr
    left = [path for path in small_disk.rglob("*") if path.is_file() and "parts" not in str(path)]
    for path in left:  # a sample that was whole before the disk was full may stay
        assert path.suffix in (".h5", ".lock"), path
        with SkimFile(path) as skim:
            assert skim.n_rows == N_EVENTS


def test_two_jobs_for_the_same_skims(tmp_path: Path, ntuples: Path) -> None:
    jobs: list[Any] = [
        subprocess.Popen(
            command(tmp_path, ntuples, tmp_path / "skims"),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    errors = [job.communicate(timeout=300)[1] for job in jobs]
    codes = sorted(job.returncode for job in jobs)
    assert codes == [0, 1], errors  # one of them is refused, by the lock or by what is there already
    assert any("another process" in text or "exists" in text for text in errors), errors
    for name in ("a", "b"):
        with SkimFile(tmp_path / "skims" / f"{name}.h5") as skim:
            assert skim.n_rows == N_EVENTS
    assert not list((tmp_path / "skims").glob("*.part"))

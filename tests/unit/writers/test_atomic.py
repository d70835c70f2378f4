"""Outputs are whole or absent, whatever happens to the job that writes them."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import tables

from utils.errors import DataError, OutputError
from utils.writers.atomic import atomic_output, check_output


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that prints a line once it is inside its block."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(target: Path, error: BaseException) -> None:
    with atomic_output(target, overwrite=True) as part:
        part.write_text("half")
        raise error


WRITE_AND_HANG = """
    import sys, time
    from utils.writers.atomic import atomic_output
    with atomic_output(sys.argv[1], overwrite=True) as part:
        part.write_text("half")
        print("writing", flush=True)
        time.sleep(60)
"""


def test_the_output_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folders" / "train.h5"
    with atomic_output(target, overwrite=False) as part:
        assert part == target.with_name("train.h5.part")
        part.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(target.parent) == ["train.h5"]


@pytest.mark.parametrize("error", [DataError("NaN"), KeyboardInterrupt()])
def test_an_exception_leaves_nothing_and_passes_through(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        write_half(tmp_path / "train.h5", error)
    assert raised.value is error
    assert names(tmp_path) == []


def test_an_exception_keeps_the_file_that_was_to_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "train.h5"
    target.write_text("old")
    with pytest.raises(DataError):
        write_half(target, DataError("NaN"))
    assert target.read_text() == "old"
    assert names(tmp_path) == ["train.h5"]


def test_an_existing_output_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "train.h5"
    target.write_text("old")
    with pytest.raises(OutputError, match="overwrite=true") as raised:
        check_output(target, overwrite=False)
    assert raised.value.where == str(target)
    with pytest.raises(OutputError, match="overwrite=true"), atomic_output(target, overwrite=False):
        pytest.fail("work began although the output cannot be put in place")
    with atomic_output(target, overwrite=True) as part:
        part.write_text("new")
    assert target.read_text() == "new"


def test_a_directory_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="directory"):
        check_output(tmp_path, overwrite=True)


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "skims").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written: .* in .*train\.h5"):
        check_output(tmp_path / "skims" / "train.h5", overwrite=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="Permission denied"):
        check_output(tmp_path / "train.h5", overwrite=False)


def test_a_killed_job_leaves_parts_that_the_next_one_removes(tmp_path: Path) -> None:
    target = tmp_path / "train.h5"
    with child(WRITE_AND_HANG, target) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "writing\n"
        job.send_signal(signal.SIGKILL)
    assert "train.h5.part" in names(tmp_path)
    assert all(name.endswith(".part") for name in names(tmp_path))

    with atomic_output(target, overwrite=False) as part:
        assert not part.exists(), "a library that appends would continue the dead job's file"
        part.write_text("whole")
    assert names(tmp_path) == ["train.h5"]


def test_two_jobs_cannot_write_the_same_output(tmp_path: Path) -> None:
    target = tmp_path / "train.h5"
    with child(WRITE_AND_HANG, target) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "writing\n"
        with pytest.raises(OutputError, match="another process"), atomic_output(target, overwrite=True):
            pytest.fail("two jobs inside the same block")
        assert (tmp_path / "train.h5.part").read_text() == "half", "the refused job touched the other's file"
        with atomic_output(tmp_path / "test.h5", overwrite=True) as part:
            part.write_text("another output of the same folder is free")
        job.kill()


def test_a_library_that_locks_its_files_can_write(tmp_path: Path) -> None:
    with atomic_output(tmp_path / "train.h5", overwrite=False) as part, tables.open_file(part, "w") as file:
        file.create_array("/", "pt", [40.0])
    with tables.open_file(tmp_path / "train.h5") as file:
        assert file.root.pt.read() == [40.0]


def test_a_disk_without_space_is_named(tmp_path: Path) -> None:
    job = child(
        f"""
        import resource, sys
        from utils.errors import OutputError
        from utils.writers.atomic import atomic_output
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))
        try:
            with atomic_output(sys.argv[1], overwrite=False) as part, part.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(600))
        except OutputError as error:
            print(error)
        """,
        tmp_path / "train.h5",
    )
    out, err = job.communicate(timeout=60)
    assert "File too large" in out, err
    assert str(tmp_path / "train.h5") in out
    assert names(tmp_path) == []


def test_a_full_disk_is_named_where_the_library_hides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 0, 0, 1000, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(OutputError, match="No space left"), atomic_output(tmp_path / "train.h5", overwrite=False):
        raise RuntimeError("HDF5: file write failed")

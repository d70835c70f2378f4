"""Bytes of remote files: whole and right, or an error that says why; never a hang, never a short read."""

import gzip
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.servers import Fault, Served, file_server, free_port, silent_server
from utils.errors import InputFileError
from utils.logs import captured_log
from utils.readers.formats import open_reader
from utils.readers.places.storage import Source
from utils.readers.root.tree import RootTree
from utils.readers.spec import Access

N_BYTES = 9_000_000
QUICK = Access(retries=1, timeout=0.5)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxies, no credentials and no cache but the test's."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "FSSPEC_S3_ANON", "HADOOP_USER_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files to serve."""
    folder = tmp_path_factory.mktemp("served") / "data"
    folder.mkdir()
    (folder / "noise.bin").write_bytes(random.Random(1).randbytes(N_BYTES))
    (folder / "empty.bin").touch()
    return folder


@pytest.fixture
def http(folder: Path) -> Iterator[Served]:
    """An HTTP server of these files."""
    with file_server(folder) as served:
        yield served


@pytest.mark.parametrize("kind", ["http", "webhdfs", "s3"])
def test_every_byte_is_where_it_is_in_the_file(folder: Path, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (folder / "noise.bin").read_bytes()
    with file_server(folder.parent, kind) as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL", served.address)
        head = {"http": served.address, "webhdfs": f"webhdfs://{served.host}", "s3": "s3:/"}[kind]
        source = Source(f"{head}/data/noise.bin", replace(QUICK, timeout=30))
        assert (source.size, source.local_path) == (N_BYTES, None)
        with source.open() as file:
            assert file.read(4) == expected[:4]
            at = random.Random(2)
            for _ in range(30):
                start = file.seek(at.randrange(N_BYTES))
                n = at.choice([1, 100, 70_000, 300_000, 5_000_000])
                assert file.read(n) == expected[start : start + n]
            file.seek(-10, os.SEEK_END)
            assert file.read() == expected[-10:]
            file.seek(0)
            assert b"".join(iter(lambda: file.read(100_000), b"")) == expected
        empty = Source(f"{head}/data/empty.bin", replace(QUICK, timeout=30))
        with empty.open() as file:
            assert (empty.size, file.read()) == (0, b"")


def test_only_what_is_needed_is_fetched(http: Served) -> None:
    with Source(f"{http.address}/noise.bin", QUICK).open() as file:
        file.seek(5_000_000)
        file.read(10)
    asked = [line.partition("bytes=")[2].split("-") for line in http.requests]
    assert sum(int(last) - int(first) + 1 for first, last in asked) < 600_000


def test_text_and_gzip_read_from_a_server(http: Served, tmp_path: Path) -> None:
    text = "".join(f"{i},{i * i}\n" for i in range(50_000))
    with file_server(tmp_path) as served, gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write(text)
        file.close()
        with Source(f"{served.address}/a.csv.gz", QUICK).open() as raw, gzip.open(raw, "rt") as lines:
            assert lines.read() == text


@pytest.mark.parametrize("fault", ["hang up", "die", "stop", "stall", "short", "500"])
def test_one_fault_costs_an_attempt(http: Served, folder: Path, fault: Fault) -> None:
    # A connection that is closed before the first byte of an answer is tried again by the HTTP client itself.
    faults = (1, 2) if fault == "hang up" else (1,)
    http.fault = lambda n: fault if n in faults else None
    with captured_log() as log, Source(f"{http.address}/noise.bin", QUICK).open() as file:
        assert file.read(3_000_000) == (folder / "noise.bin").read_bytes()[:3_000_000]
    assert any("trying again (1 of 1)" in line for line in log)


REASONS = {
    "hang up": "disconnected",
    "die": "payload|not completed|Connection",
    "stop": "no answer within",
    "stall": "no answer within",
    "short": "it ends early",
    "500": "500 Internal Server Error",
}


# The one byte that the first request asks for cannot be halved: no `short` at once.
@pytest.mark.parametrize(
    ("fault", "first"), [(fault, n) for fault in REASONS for n in (0, 1) if (fault, n) != ("short", 0)]
)
def test_a_fault_that_stays_is_an_error(http: Served, fault: Fault, first: int) -> None:
    """From the first answer on, or in the middle of the reading."""
    http.fault = lambda n: fault if n >= first else None
    with pytest.raises(InputFileError) as raised, Source(f"{http.address}/noise.bin", QUICK).open() as file:
        file.read()
    error = raised.value
    assert error.where == f"{http.address}/noise.bin"
    assert "2 attempts" in str(error)
    assert any(reason in str(error) for reason in REASONS[fault].split("|"))
    assert "retries" in str(error.remedy)


def test_what_another_attempt_does_not_change_is_not_tried_again(http: Served) -> None:
    with pytest.raises(InputFileError, match="no such file.*did you mean 'noise.bin'"):
        Source(f"{http.address}/noisy.bin", QUICK)
    assert sum("noisy" in line for line in http.requests) == 1
    http.requests.clear()
    http.fault = lambda _: "403"
    with pytest.raises(InputFileError, match="refuses access .*403.*netrc"):
        Source(f"{http.address}/noise.bin", QUICK)
    assert len(http.requests) == 1


def test_nobody_listens_or_nobody_answers() -> None:
    for scheme in ("http", "webhdfs"):
        url = f"{scheme}://127.0.0.1:{free_port()}/a.root"
        with pytest.raises(InputFileError, match="does not deliver .*2 attempts.*127.0.0.1"):
            Source(url, QUICK)
        with silent_server() as host, pytest.raises(InputFileError, match="no answer within 0.5 s; 2 attempts"):
            Source(f"{scheme}://{host}/a.root", QUICK)


def test_s3_needs_credentials(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with file_server(folder.parent, "s3") as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL", served.address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
        with pytest.raises(InputFileError, match="refuses access.*AWS_ACCESS_KEY_ID"):
            Source("s3://data/noise.bin", replace(QUICK, timeout=20))
    with file_server(folder.parent, "s3") as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL", served.address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
        with pytest.raises(InputFileError, match="no such file.*did you mean 'noise.bin'"):
            Source("s3://data/noises.bin", replace(QUICK, timeout=20))


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(3_000_000))
    with file_server(tmp_path) as served:
        source = Source(f"{served.address}/a.bin", QUICK)
        (tmp_path / "a.bin").write_bytes(bytes(3_000_001))
        with pytest.raises(InputFileError, match="changed while it was read: 3,000,000 bytes before, 3,000,001 now"):
            source.open().read(10)


# --- ROOT files ---


@pytest.fixture(scope="module")
def tree(folder: Path, ntuple: Callable[..., Path]) -> Path:
    """A tree of many baskets."""
    rng = np.random.default_rng(3)
    return ntuple(folder / "a.root", {f"x{i}": rng.normal(size=40_000) for i in range(8)}, basket=2000)


def test_a_remote_tree_is_the_local_one(http: Served, tree: Path) -> None:
    with RootTree(str(tree), "events") as local, RootTree(f"{http.address}/a.root", "events", access=QUICK) as remote:
        assert replace(remote.fingerprint, path="") == replace(local.fingerprint, path="")
        for name, values in local.read(local.branches, 100, 30_000).items():
            assert np.array_equal(remote.read([name], 100, 30_000)[name], values)
        n = len(http.requests)
        chunks = list(remote.chunks(["x1", "x5"], 10_000))
        assert np.array_equal(np.concatenate([c.columns["x5"] for c in chunks]), local.read(["x5"], 0, 40_000)["x5"])
        assert len(http.requests) - n < 20  # of 40 baskets


@pytest.mark.parametrize(("fault", "first"), [("die", 0), ("die", 4), ("stall", 1), ("stall", 4), ("short", 4)])
def test_a_tree_on_a_server_that_fails(http: Served, tree: Path, fault: Fault, first: int) -> None:
    """While it is found, while its header is read, while its baskets are."""
    http.fault = lambda n: fault if n >= first else None
    with (
        pytest.raises(InputFileError, match=r"does not deliver .*2 attempts.*a\.root"),
        open_reader(f"{http.address}/a.root", "events", access=QUICK) as remote,
    ):
        list(remote.chunks(["x1", "x5"], 10_000))


def test_a_tree_that_lost_its_end(folder: Path, tree: Path, http: Served) -> None:
    (folder / "cut.root").write_bytes(tree.read_bytes()[: tree.stat().st_size // 2])
    with pytest.raises(InputFileError, match="cut.root"):
        open_reader(f"{http.address}/cut.root", "events", access=QUICK)


# --- copies ---


def test_a_copy_is_made_once_and_renewed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    original = tmp_path / "data" / "a b.csv"
    original.write_bytes(b"x\n" + b"1\n" * 100)
    access = replace(QUICK, copy_inputs=True, cache_path=str(tmp_path / "copies"))
    with file_server(tmp_path / "data") as served:
        url = f"{served.address}/a%20b.csv"
        first = Source(url, access)
        assert first.local_path is not None and Path(first.local_path).parent == tmp_path / "copies"
        assert first.local_path.endswith("a b.csv")
        assert (first.path, first.open().read()) == (url, original.read_bytes())
        n = len(served.requests)
        assert Source(url, access).local_path == first.local_path
        assert len(served.requests) == n + 1  # the question whether it changed
        original.write_bytes(b"x\n" + b"2\n" * 100)
        os.utime(original, (1, 1))
        renewed = Source(url, access)
        assert renewed.open().read() == original.read_bytes()
    files = [path.name for path in (tmp_path / "copies").iterdir() if not path.name.endswith(".lock")]
    assert files == [Path(str(renewed.local_path)).name]


def test_copies_lie_in_the_users_cache(http: Served, tmp_path: Path) -> None:
    source = Source(f"{http.address}/noise.bin", replace(QUICK, copy_inputs=True, timeout=20))
    assert Path(str(source.local_path)).parent == tmp_path / "cache" / "crossfold"


def test_a_server_without_parts_is_copied_from(http: Served, folder: Path, tmp_path: Path) -> None:
    http.ranges = False
    source = Source(f"{http.address}/noise.bin", QUICK)
    assert source.open().read() == (folder / "noise.bin").read_bytes()
    (tmp_path / "cache").rename(tmp_path / "old")
    for fault in ("die", "stop", "hang up"):
        http.n_contents = 0
        http.fault = lambda n, fault=fault: fault if n == 1 else None  # type: ignore[misc]
        assert Source(f"{http.address}/noise.bin", QUICK).open().read() == (folder / "noise.bin").read_bytes()
        (tmp_path / "cache").rename(tmp_path / fault)
        http.fault = lambda n, fault=fault: fault if n >= 1 else None  # type: ignore[misc]
        http.n_contents = 0
        with pytest.raises(InputFileError, match="2 attempts"):
            Source(f"{http.address}/noise.bin", QUICK)
        assert leftovers(tmp_path / "cache" / "crossfold") == []
        http.fault = lambda _: None


def leftovers(folder: Path) -> list[str]:
    """All but the locks."""
    return [path.name for path in folder.iterdir() if not path.name.endswith(".lock")]


def test_a_copy_that_breaks_off_leaves_nothing(http: Served, tmp_path: Path) -> None:
    http.fault = lambda n: "die" if n >= 2 else None
    access = replace(QUICK, copy_inputs=True, cache_path=str(tmp_path / "copies"))
    with pytest.raises(InputFileError, match="2 attempts"):
        Source(f"{http.address}/noise.bin", access)
    assert leftovers(tmp_path / "copies") == []


def test_two_that_want_the_same_copy_fetch_it_once(http: Served, folder: Path, tmp_path: Path) -> None:
    access = replace(QUICK, timeout=20, copy_inputs=True, cache_path=str(tmp_path / "copies"))
    url = f"{http.address}/noise.bin"
    program = f"from utils.readers.places.storage import *; print(len(Source({url!r}, {access!r}).open().read()))"
    with ThreadPoolExecutor(4) as threads:
        other = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
        )
        sources = list(threads.map(lambda _: Source(url, access), range(4)))
        assert other.communicate(timeout=60)[0].strip() == str(N_BYTES)
    assert {source.open().read() for source in sources} == {(folder / "noise.bin").read_bytes()}
    fetched = [line for line in http.requests if "bytes=0-" in line and "bytes=0-0" not in line]
    assert len(fetched) == 1


def test_a_full_disk(http: Served, tmp_path: Path) -> None:
    """A file system of its own, too small for the copy."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root may mount a small file system")
    try:
        access = replace(QUICK, copy_inputs=True, cache_path=str(mount))
        with pytest.raises(InputFileError, match=r"cannot be written: .*9.*MB.* are needed.*small.*cache_path"):
            Source(f"{http.address}/noise.bin", access)
        http.ranges = False  # how much room it needs shows when it is full
        with file_server(http.folder) as served:
            served.ranges = False
            with pytest.raises(InputFileError, match="cannot be written.*cache_path"):
                Source(f"{served.address}/noise.bin", access)
        assert leftovers(mount) == []
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_cache_folder_that_cannot_be_written(http: Served, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputFileError, match="cannot be written.*cache_path"):
        Source(f"{http.address}/noise.bin", replace(QUICK, copy_inputs=True, cache_path=str(tmp_path / "file" / "x")))


def test_no_thread_of_ours_outlives_its_file(http: Served) -> None:
    before = set(threading.enumerate())  # other tests' libraries have some of their own
    with Source(f"{http.address}/noise.bin", QUICK).open() as file:
        file.read(100)
    assert [thread.name for thread in set(threading.enumerate()) - before if not thread.daemon] == []

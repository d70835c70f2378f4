"""Events behind an XRootD server: skimmed, trained on and predicted as if they lay here, whatever the server does."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from tests.integration.conftest import REPOSITORY, Workplace, environment
from tests.integration.servers import (
    Served,
    file_server,
    free_port,
    public_folder,
    running_xrootd,
    silent_server,
    xrootd_server,
)
from utils.errors import InputFileError, MissingColumnError
from utils.logs import captured_log
from utils.preprocessing.flow import run_preprocessing
from utils.preprocessing.inputs import open_inputs
from utils.preprocessing.spec import PreprocessSpec, Process, Sample
from utils.readers.formats import open_reader
from utils.readers.places.locations import expand_paths
from utils.readers.skim import SkimFile
from utils.readers.spec import Access, MissingBranches

QUICK = Access(retries=1, timeout=1.0)
SIZES = {"ww": (3000, 2000), "zz": (1500,)}

pytestmark = pytest.mark.server


def branches(n: int, seed: int, *, numbered: bool) -> dict[str, Any]:
    """Flat and jagged branches of one file, with or without an event number."""
    import awkward as ak

    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    columns: dict[str, Any] = {
        "pt": rng.exponential(30, n),
        "mass": rng.normal(90, 10, n).astype(np.float32),
        "jet_pt": ak.unflatten(rng.exponential(40, counts.sum()).astype(np.float32), counts),
        "split": np.arange(n, dtype=np.int64),
    }
    if numbered:
        columns["event"] = np.arange(n, dtype=np.uint64) + np.uint64(10**6 * seed)
    return columns


@pytest.fixture(scope="module")
def data(ntuple: Callable[..., Path]) -> Iterator[Path]:
    """Two samples in folders of their own, with event numbers and without."""
    with public_folder() as folder:
        for kind in ("numbered", "plain"):
            for sample, sizes in SIZES.items():
                for i, n in enumerate(sizes):
                    columns = branches(n, 10 * len(sizes) + i, numbered=kind == "numbered")
                    ntuple(folder / kind / sample / f"{sample}_{i}.root", columns, basket=300)
        yield folder


@pytest.fixture(scope="module")
def xrootd(data: Path) -> Iterator[Served]:
    """An XRootD server of these files."""
    with xrootd_server(data) as served:
        yield served


def spec(input_path: str, output: Path, **changes: Any) -> PreprocessSpec:
    """A config of the two samples."""
    keys: dict[str, Any] = {
        "input_path": input_path,
        "input_filename_template": "{sample_name}/*.root",
        "input_tree_name": "events",
        "input_samples": (
            Sample("ww", (Process("WW", "pt>10", 0),)),
            Sample("zz", (Process("ZZ", "mass>85", 1),)),
        ),
        "cont_features": ("pt", "mass", "n_jets"),
        "misc_features": ("split",),
        "new_variables": {"n_jets": "ak.num(jet_pt)"},
        "output_path": str(output),
        "chunk_size": 700,
        "retries": 1,
        "timeout": 10,
    }
    return PreprocessSpec(**(keys | changes))


def content(folder: Path) -> dict[str, Any]:
    """Every value of both skims, and what says where the events come from."""
    found: dict[str, Any] = {}
    for name in ("train", "test"):
        with SkimFile(folder / f"{name}.h5") as skim:
            found |= {f"{name}/{column}": values for column, values in skim.read(skim.columns).items()}
            found[f"{name} files"] = [
                (file["relative_path"], file["fingerprint"]["uuid"]) for file in skim.metadata["inputs"]
            ]
            found[f"{name} pipe"] = skim.metadata["input_pipe"]
    return found


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Equal in content."""
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert np.array_equal(values, second[name]) if isinstance(values, np.ndarray) else values == second[name], name


@pytest.mark.parametrize("kind", ["numbered", "plain"])
def test_skims_of_remote_files_are_those_of_local_ones(xrootd: Served, data: Path, kind: str, tmp_path: Path) -> None:
    """Where there is no event number, too: then the path below the input folder identifies an event."""
    run_preprocessing(spec(str(data / kind), tmp_path / "local"))
    expected = content(tmp_path / "local")
    (data / kind / "files.txt").write_text("# all\nww/*.root\nzz/zz_0.root # one\n")
    with file_server(data) as http, file_server(data, "webhdfs") as hdfs:
        places: dict[str, dict[str, Any]] = {
            "root": {"input_path": f"{xrootd.address}//{kind}"},
            "redirected": {"input_path": f"/{kind}", "redirector": f"{xrootd.address}/"},
            "copied": {
                "input_path": f"{xrootd.address}//{kind}/", "copy_inputs": True, "cache_path": str(tmp_path / "copies"),
            },
            "folder": {"input_path": f"{xrootd.address}//{kind}", "input_filename_template": "{sample_name}"},
            "http": {"input_path": f"{http.address}/{kind}"},
            "hdfs": {"input_path": f"hdfs:///{kind}", "namenode": hdfs.host},
        }  # fmt: skip
        for name, keys in places.items():
            run_preprocessing(spec(output=tmp_path / name, **keys))
            assert_same(content(tmp_path / name), expected)


def test_globs_folders_and_names_of_an_xrootd_server(xrootd: Served) -> None:
    head = f"{xrootd.address}//numbered"
    everything = [f"{head}/ww/ww_0.root", f"{head}/ww/ww_1.root", f"{head}/zz/zz_0.root"]
    assert expand_paths(f"{head}/*/*.root", QUICK) == everything
    assert expand_paths(f"{head}/**/*_0.root", QUICK) == [everything[0], everything[2]]
    assert expand_paths(f"{head}/ww", QUICK) == expand_paths(f"{head}/ww/", QUICK) == everything[:2]
    assert expand_paths("/numbered/w?/*", replace(QUICK, redirector=f"{xrootd.address}//")) == everything[:2]
    with pytest.raises(InputFileError, match="no data files in the folder.*it holds .*ww/"):
        expand_paths(head, QUICK)
    with pytest.raises(InputFileError, match="no such file.*did you mean 'numbered'"):
        expand_paths(f"{xrootd.address}//numberd", QUICK)
    with pytest.raises(InputFileError, match="no such file.*did you mean 'ww_0.root'"):
        open_reader(f"{head}/ww/ww_00.root", access=QUICK)
    with pytest.raises(InputFileError, match="is a folder"):
        open_reader(f"{head}/ww", access=QUICK)


def test_what_may_not_be_read(xrootd: Served, data: Path) -> None:
    secret = data / "secret.root"
    secret.write_bytes(b"root")
    secret.chmod(0)
    with pytest.raises(InputFileError, match="refuses access .*voms-proxy-init"):
        open_reader(f"{xrootd.address}//secret.root", access=QUICK)


def test_nobody_listens_or_nobody_answers() -> None:
    with pytest.raises(InputFileError, match="does not deliver .*Connection error.*2 attempts"):
        open_reader(f"root://127.0.0.1:{free_port()}//a.root", access=QUICK)
    with silent_server() as host, pytest.raises(InputFileError, match="no answer within 1.*2 attempts"):
        open_reader(f"root://{host}//a.root", access=QUICK)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_ends_or_stalls_while_it_is_read(data: Path, how: signal.Signals) -> None:
    port = free_port()
    url = f"root://127.0.0.1:{port}//numbered/ww/ww_0.root"
    with running_xrootd(data, port) as server, open_reader(url, "events", access=QUICK) as tree:
        chunks = tree.chunks(["pt"], 600)
        assert next(chunks).n_events == 600
        server.send_signal(how)
        with pytest.raises(InputFileError, match=rf"does not deliver .*2 attempts.*{url}"):
            list(chunks)


def test_a_server_that_comes_back(data: Path) -> None:
    port = free_port()
    access = Access(retries=5, timeout=5)
    with running_xrootd(data, port) as server:
        tree = open_reader(f"root://127.0.0.1:{port}//numbered/ww/ww_0.root", "events", access=access)
        first = tree.read(["pt"], 0, 10)["pt"]
        server.kill()
        server.wait()
    done = threading.Event()

    def come_back() -> None:
        time.sleep(0.5)
        with running_xrootd(data, port):
            done.wait(30)

    thread = threading.Thread(target=come_back)
    thread.start()
    try:
        with tree, captured_log() as log:
            values = tree.read(["pt"], 0, 3000)["pt"]
    finally:
        done.set()
        thread.join()
    assert len(values) == 3000 and np.array_equal(values[:10], first)
    assert any("trying again" in line for line in log)


def test_a_file_that_ends_early(xrootd: Served, data: Path) -> None:
    whole = (data / "numbered" / "zz" / "zz_0.root").read_bytes()
    (data / "cut.root").write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(InputFileError, match="cut.root"):
        open_reader(f"{xrootd.address}//cut.root", "events", access=QUICK)


def test_the_client_is_refused_after_tensorflow(tmp_path: Path) -> None:
    """The process would crash; an error is better. Without tensorflow here, a module of its name serves as well."""
    (tmp_path / "tensorflow.py").touch()
    program = (
        "import tensorflow\nfrom utils.readers.places.storage import Source\n"
        "try:\n    Source('root://127.0.0.1:1//a.root')\nexcept Exception as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env=environment() | {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
    )  # fmt: skip
    assert "import XRootD.client" in done.stdout and "tensorflow" in done.stdout


def test_the_client_before_tensorflow(xrootd: Served) -> None:
    pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    url = f"{xrootd.address}//numbered/zz/zz_0.root"
    program = (
        "import XRootD.client, tensorflow\nfrom utils.readers.places.storage import Source\n"
        f"print(Source({url!r}).size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY, env=environment()
    )
    assert int(done.stdout) > 0


def test_connections_are_used_again(xrootd: Served, tmp_path: Path) -> None:
    """What was opened for the first look is what is read."""
    config = spec(f"{xrootd.address}//numbered", tmp_path)
    inputs = open_inputs(config)
    first = inputs.open(inputs.files[1], config)
    again = inputs.open(inputs.files[1], config)
    assert first is not again
    assert [reader.path for reader in (first, again)] == [inputs.files[1].path] * 2
    for reader in (first, again):
        assert len(reader.read(["pt"], 0, 5)["pt"]) == 5
        reader.close()
    inputs.close()


# --- branches that differ ---


@pytest.fixture
def differing(tmp_path: Path, ntuple: Callable[..., Path]) -> Path:
    """Two of four files lack branches."""
    for i in range(4):
        columns = branches(50, i, numbered=True)
        if i in (1, 2):
            del columns["mass"], columns["jet_pt"]
        ntuple(tmp_path / "in" / ("ww" if i < 3 else "zz") / f"{i}.root", columns)
    return tmp_path / "in"


def test_differing_branches_are_listed(differing: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError) as raised:
        open_inputs(spec(str(differing), tmp_path / "out"))
    message = str(raised.value)
    assert f"no 'jet_pt' in 2 of 4 files ({differing}/ww/1.root:events, {differing}/ww/2.root:events)" in message
    assert "no 'mass' in 2 of 4 files" in message and "missing_branches" in message


def test_differing_branches_are_filled(differing: Path, tmp_path: Path) -> None:
    config = spec(str(differing), tmp_path / "out", missing_branches=MissingBranches("fill", {"mass": 91.0}))
    with captured_log() as log:
        inputs = open_inputs(config)
    assert any("no branch 'mass' in 2 of 4 files" in line and "float32" in line for line in log)
    with inputs.open(inputs.files[1], config) as tree:
        columns = tree.read(["mass", "jet_pt", "pt"], 0, 50)
    assert columns["mass"].dtype == np.float32 and (columns["mass"] == 91.0).all()
    assert str(columns["jet_pt"].type) == "50 * var * float32" and len(columns["pt"]) == 50
    with inputs.open(inputs.files[0], config) as tree:
        assert len(np.unique(tree.read(["mass"], 0, 50)["mass"])) > 10
    inputs.close()


def test_the_first_entries_of_a_sample(data: Path, tmp_path: Path) -> None:
    inputs = open_inputs(spec(str(data / "plain"), tmp_path))
    inputs.close()
    assert [(file.index, a, b) for file, a, b in inputs.ranges("ww", 3100)] == [(0, 0, 3000), (1, 0, 100)]
    assert [(file.index, a, b) for file, a, b in inputs.ranges("ww", 10)] == [(0, 0, 10)]
    assert [(file.index, a, b) for file, a, b in inputs.ranges("zz")] == [(2, 0, 1500)]
    assert [(file.index, a, b) for file, a, b in inputs.ranges("ww", 10**9)] == [(0, 0, 3000), (1, 0, 2000)]


# --- the chain ---


@pytest.mark.slow
def test_the_chain_reads_from_the_server(new_workplace: Callable[[str], Workplace]) -> None:
    """The toy analysis, its ntuples behind a server: skim, train, predict; every entry has its friend."""
    place = new_workplace("remote_chain")
    with public_folder() as store, xrootd_server(store) as xrootd:
        served = store / "ntuples"
        subprocess.run(
            [sys.executable, str(REPOSITORY / "examples" / "make_htt_toy.py"), "--scale", "0.05",
             "--output", str(served)],
            check=True, env=environment(), capture_output=True,
        )  # fmt: skip
        check_chain(place, served, f"{xrootd.address}//ntuples")


def check_chain(place: Workplace, served: Path, url: str) -> None:
    """From the ntuples at `url`, which lie in `served`."""
    place.preprocess("htt", "year=2018", f"input_path={url}")
    run_id = place.train("year=2018", "model_param.num_iterations=5", "folds.tolerance=1")
    place.run("predict.py", f"run_id={run_id}", f"orig_path={url}")
    friends = sorted((place.folder / "predictions" / run_id).glob("*.root"))
    assert len(friends) == len(list(served.glob("*.root")))
    for path in friends:
        original = served / f"{path.name.removesuffix('_pred.root')}.root"
        with uproot.open(path) as friend, uproot.open(original) as file:
            (name,) = friend.keys(cycle=False)
            assert friend[name].num_entries == file[name].num_entries
            assert np.array_equal(friend[name]["evt"].array(library="np"), file[name]["evt"].array(library="np"))
    with SkimFile(next(place.folder.rglob("train.h5"))) as skim:
        recorded = json.dumps(skim.metadata["inputs"])
    assert f"{url}/" in recorded

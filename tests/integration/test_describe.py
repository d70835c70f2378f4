"""`describe.py` as it is typed: the terminal, the page in a browser, and every executor."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.conftest import Workplace, environment

CHROMIUM = shutil.which("chromium")


def nano(path: Path, ntuple: Callable[..., Path], n: int = 2000, seed: int = 1) -> Path:
    """A file of four collections, with more branches than the terminal lists."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, n)
    values = {"event": np.arange(n, dtype=np.uint64), "luminosityBlock": np.ones(n, np.uint32)}
    values |= {f"HLT_path{i}": rng.random(n) < 0.1 for i in range(60)}
    values |= {f"MET_{name}": rng.normal(size=n).astype(np.float32) for name in ("pt", "phi")}
    total = int(counts.sum())
    values |= {f"Muon_{name}": ak.unflatten(rng.normal(size=total), counts) for name in ("pt", "eta", "phi")}
    values["MET_phi"][5] = np.nan
    return ntuple(path, values, tree="Events", basket=300)


@pytest.fixture
def place(new_workplace: Callable[[str], Workplace], ntuple: Callable[..., Path]) -> Workplace:
    place = new_workplace("describe")
    for seed, name in enumerate(("a", "b", "c")):
        nano(place.folder / f"nano/{name}.root", ntuple, seed=seed)
    return place


def test_a_nanoaod_in_the_terminal_and_as_files(place: Workplace) -> None:
    shown = place.run("describe.py", "input=nano/*.root", "nevts=500")
    lines = [line.split() for line in shown.splitlines()]
    assert ["events", "6,000,", "1,500", "of", "them", "read"] in lines
    assert any(line[:2] == ["HLT", "60"] for line in lines)
    assert "HLT_path7 " not in shown
    assert "1 branch with NaN: MET_phi" in shown
    assert "kHz" in shown and "peak memory" in shown
    folder = place.folder / "descriptions/nano"
    assert sorted(path.name for path in folder.iterdir()) == ["description.json", "global-specs.json", "index.html"]
    specs = json.loads((folder / "global-specs.json").read_text())
    assert specs["events"]["total"] == 6000
    shown = place.run("describe.py", "input=[nano/a.root,nano/b.root]", "selected_branches=[Muon_*]", "hists=false")
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("Muon_")] == [
        "Muon_pt", "Muon_eta", "Muon_phi",
    ]  # fmt: skip


def test_files_that_differ_and_files_that_are_none(place: Workplace, ntuple: Callable[..., Path]) -> None:
    ntuple(place.folder / "nano/d.root", {"event": np.arange(10), "new": np.ones(10)}, tree="Events")
    shown = place.run("describe.py", "input=nano", "selected_branches=[event,n*]")
    assert "Where the files differ" in shown
    assert "int64 in 1 of 4 (d.root); uint64 in 3 of 4 (a.root, b.root, c.root)" in shown
    (place.folder / "nano/e.root").write_bytes((place.folder / "nano/a.root").read_bytes()[:5000])
    for arguments, words in (
        (["input=nano"], ("nano/e.root", "truncated")),
        (["input=nano/f.root"], ("no such file", "Check input.")),
        (["input=nano/a.root", "tree=Evnts"], ("no tree", "did you mean 'Events'?")),
        (["inptu=nano/a.root"], ("did you mean 'input'?",)),
        ([], ("input",)),
    ):
        done = place.attempt(str(Path(__file__).parents[2] / "describe.py"), *arguments)
        assert done.returncode in (1, 2), done.stdout
        assert "Traceback" not in done.stderr
        assert all(word in done.stderr for word in words), done.stderr


def test_other_formats(place: Workplace) -> None:
    rng = np.random.default_rng(2)
    table = pa.table({"x": rng.normal(size=500), "jets": [[1.0, 2.0], []] * 250, "name": ["a", "b"] * 250})
    pq.write_table(table, place.folder / "t.parquet")
    (place.folder / "t.csv").write_text("x,y\n1,2.5\n3,\n")
    (place.folder / "t.jsonl").write_text('{"x": 1, "pt": [1.5]}\n{"x": 2, "pt": []}\n')
    for name, n_events, words in (
        ("t.parquet", 500, "3: 1 flat, 1 jagged, 1 text"),
        ("t.csv", 2, "2: 2 flat"),
        ("t.jsonl", 2, "2: 1 flat, 1 jagged"),
    ):
        shown = place.run("describe.py", f"input={name}", f"output_path=out_{name}")
        assert words in shown
        assert json.loads((place.folder / f"out_{name}/description.json").read_text())["n_events"] == n_events


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_every_executor_finds_the_same(place: Workplace, executor: str) -> None:
    found = []
    for keys in ([], [f"executor={executor}", "workers=2"]):
        place.run("describe.py", "input=nano", "output_path=out", *keys)
        files = ("description.json", "global-specs.json")
        found.append([json.loads((place.folder / "out" / name).read_text()) for name in files])
    assert found[0] == found[1]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (Debian: apt install chromium)")
def test_the_page_draws_itself_offline(place: Workplace) -> None:
    place.run("describe.py", "input=nano/a.root", "output_path=out")
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={place.folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
         f"file://{place.folder}/out/index.html#Muon_pt"],
        capture_output=True, text=True, timeout=180, check=False, env=environment(),
    )  # fmt: skip
    page = done.stdout
    assert 'data-drawn="yes"' in page, done.stderr
    n_branches = len(json.loads((place.folder / "out/description.json").read_text())["branches"])
    assert page.count('class="branch') == n_branches
    assert page.count('<path class="bar"') >= 60
    assert 'aria-label="histogram of Muon_pt"' in page

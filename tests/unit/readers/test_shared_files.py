"""Public files of every kind, some of them broken: each gives content, or an error that names file and object."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils.errors import CrossfoldError, InputFileError
from utils.readers.root import RootTree

# Trees of each file (a wrong name where it has none), and branches that cannot be read.
FILES: dict[str, tuple[list[str], set[str]]] = {
    "robustness/bad_delphes.root": ([], set()),
    "robustness/string-example.root": (["Refs"], set()),
    "robustness/uproot-HZZ-objects.root": (["events"], set()),
    "robustness/uproot-empty.root": (["tree"], set()),
    "robustness/uproot-histograms.root": ([], set()),
    "robustness/uproot-issue-816.root": (["AnalysisMiniTree"], set()),
    "robustness/uproot-issue-880.root": (["Z"], {"Event", "Hit[6]"}),
    "robustness/uproot-issue261.root": (["events"], set()),
    "robustness/uproot-issue335.root": (["empty_tree"], set()),
    "robustness/uproot-issue513.root": (["Delphes"], {"Particle.fBits"}),
    "robustness/uproot-issue64.root": (["events/events"], set()),
    "robustness/uproot-issue70.root": ([], set()),
    "robustness/uproot-leaflist.root": (["tree"], set()),
    "robustness/uproot-nesteddirs.root": (["one/two/tree", "one/tree", "three/tree"], {"evt"}),
    "robustness/uproot-stl_containers.root": (["tree"], set()),
    "ntuples/uproot-HZZ-lz4.root": (["events"], set()),
    "ntuples/uproot-HZZ-lzma.root": (["events"], set()),
    "ntuples/uproot-HZZ-uncompressed.root": (["events"], set()),
    "ntuples/uproot-HZZ-zlib.root": (["events"], set()),
    "ntuples/uproot-HZZ-zstd.root": (["events"], set()),
    "ntuples/uproot-Zmumu.root": (["events"], set()),
    "ntuples/uproot-issue412.root": (["test"], set()),
}
MAX_BRANCHES = 60


@pytest.fixture(autouse=True)
def _no_hanging() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise AssertionError("still reading after 30 s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("name", FILES)
def test_every_branch_is_read_whole_or_named_in_an_error(shared_data: Path, name: str) -> None:
    trees, broken = FILES[name]
    path = shared_data / name
    if not trees:
        with pytest.raises(InputFileError, match=f"{path.name}") as raised:
            RootTree(str(path), "events")
        assert "holds no tree" in str(raised.value) or "truncated" in str(raised.value)
    unreadable = set()
    for tree_name in trees:
        with RootTree(str(path), tree_name) as tree:
            for branch in tree.branches[:MAX_BRANCHES] if not broken else {*tree.branches[:MAX_BRANCHES], *broken}:
                if branch not in tree.branches:
                    continue
                try:
                    n_read = sum(chunk.n_events for chunk in tree.chunks([branch], 1_000_000))
                except CrossfoldError as error:
                    unreadable.add(branch)
                    assert f"'{branch}'" in str(error)
                    assert f"{path}:{tree_name}" in str(error)
                else:
                    assert n_read == tree.n_entries
    assert unreadable == broken


def test_one_tree_under_every_compression(shared_data: Path) -> None:
    sums = set()
    for compression in ("lz4", "lzma", "uncompressed", "zlib", "zstd"):
        with RootTree(str(shared_data / "ntuples" / f"uproot-HZZ-{compression}.root"), "events") as tree:
            chunks = list(tree.chunks(["MET_px", "Jet_Px"], 500))
        sums.add((sum(len(c.columns["Jet_Px"]) for c in chunks), float(sum(c.columns["MET_px"].sum() for c in chunks))))
    assert len(sums) == 1
    assert next(iter(sums))[0] == 2421

"""Public files of every kind, some of them broken: each gives content, or an error that names file and object."""

import signal
from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from utils.errors import CrossfoldError, InputFileError
from utils.logs import captured_log
from utils.readers.root.tree import RootTree

# Trees of each file (a wrong name where it has none), and branches (records and groups too) that cannot be read.
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
    "robustness/uproot-nesteddirs.root": (["one/two/tree", "one/tree", "three/tree"], set()),
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
            for branch in {*tree.branches[:MAX_BRANCHES], *broken}:
                try:
                    n_read = sum(chunk.n_events for chunk in tree.chunks([branch], 1_000_000))
                except CrossfoldError as error:
                    unreadable.add(branch)
                    assert f"'{branch}'" in str(error)
                    assert f"{path}:{tree_name}" in str(error)
                else:
                    assert n_read == tree.n_entries
    # The columns of a record are as broken as the record.
    fields = tuple(f"{branch}." for branch in broken)
    assert {branch for branch in unreadable if branch in broken or not branch.startswith(fields)} == broken


def test_branches_that_only_group_others_are_records_and_no_columns(shared_data: Path) -> None:
    """uproot itself fails on the group of all branches of an event."""
    with RootTree(str(shared_data / "robustness" / "uproot-nesteddirs.root"), "three/tree") as tree:
        assert {"evt", "P3"}.isdisjoint(tree.branches)
        assert {"Beg", "P3.Px", "P3.Py", "P3.Pz", "ArrayI16[10]", "StlVecStr"} <= set(tree.branches)
        columns = tree.read(["evt", "P3", "P3.Px", "Str"], 10, 30)
    assert columns["P3"].fields == ["Px", "Py", "Pz"]
    assert columns["evt"].P3.Px.to_list() == columns["P3"].Px.to_list() == columns["P3.Px"].tolist()
    assert columns["evt"].Str.to_list() == columns["Str"].tolist()


def test_vectors_are_columns_by_the_names_of_their_components(shared_data: Path) -> None:
    with RootTree(str(shared_data / "robustness" / "uproot-HZZ-objects.root"), "events") as tree:
        assert {"muonp4.px", "muonp4.E", "MET.px", "MC_lepton.pz"} <= set(tree.branches)
        assert {"muonp4", "MET"}.isdisjoint(tree.branches)
        assert tree.columns["muonp4.px"].type == "var * float64"
        assert tree.is_flat("MET.px")
        chunks = list(tree.chunks(["muonp4", "muonp4.px", "muonp4.E", "MET.px", "MC_lepton.pz"], 500))
    with uproot.open(shared_data / "robustness" / "uproot-HZZ-objects.root") as file:
        muons, met = (file["events"][name].array() for name in ("muonp4", "MET"))
    assert ak.to_list(ak.concatenate([c.columns["muonp4.px"] for c in chunks])) == ak.to_list(muons.fP.fX)
    assert ak.to_list(ak.concatenate([c.columns["muonp4"] for c in chunks])) == ak.to_list(muons)
    assert np.concatenate([c.columns["MET.px"] for c in chunks]).tolist() == met.fX.to_list()
    assert all(isinstance(c.columns["MC_lepton.pz"], np.ndarray) for c in chunks)


def test_what_one_file_says_of_a_class_is_not_believed_of_another(shared_data: Path) -> None:
    before = set(uproot.classes)
    with RootTree(str(shared_data / "robustness" / "uproot-issue-880.root"), "Z") as tree:
        assert tree.columns["Cluster[6].Eff"].type == "var * 6 * float64"
        assert len(tree.read(["Cluster[6].Eff"], 0, 3)["Cluster[6].Eff"]) == 3
    assert set(uproot.classes) == before


def test_leaf_lists_maps_sets_and_texts(shared_data: Path) -> None:
    with RootTree(str(shared_data / "robustness" / "uproot-leaflist.root"), "tree") as tree:
        assert tree.branches == ("leaflist.x", "leaflist.y", "leaflist.z")
        read = tree.read(["leaflist", "leaflist.x", "leaflist.z"], 0, 5)
        assert read["leaflist.x"].tolist() == [1.1, 2.2, 3.3, 4.0, 5.5]
        assert (read["leaflist.x"].dtype, read["leaflist.z"].dtype) == (np.float64, np.int8)
        assert read["leaflist"].x.to_list() == read["leaflist.x"].tolist()
    with RootTree(str(shared_data / "robustness" / "uproot-stl_containers.root"), "tree") as tree:
        read = tree.read(
            ["string", "vector_string", "set_int32", "map_string_int16.first", "map_string_int16.second"], 1, 3
        )
        assert tree.columns["set_int32"].type == "var * int32"
    assert read["string"].tolist() == ["two", "three"]
    assert ak.to_list(read["vector_string"]) == [["one", "two"], ["one", "two", "three"]]
    assert ak.to_list(read["set_int32"]) == [[1, 2], [1, 2, 3]]
    assert ak.to_list(read["map_string_int16.first"])[0] == ["one", "two"]
    assert ak.to_list(read["map_string_int16.second"])[0] == [1, 2]


def test_the_names_of_delphes(shared_data: Path) -> None:
    with (
        captured_log() as messages,
        RootTree(str(shared_data / "robustness" / "uproot-issue513.root"), "Delphes") as tree,
    ):
        assert {"Jet", "Jet.PT", "Jet.Tau[5]", "Jet.Area.px", "Event.Weight"} <= set(tree.branches)
        read = tree.read(["Jet.PT", "Jet_size"], 0, 10)
        assert tree.columns["Jet.PT"].compression == "ZLIB(1)"
    assert ak.num(read["Jet.PT"]).to_list() == read["Jet_size"].tolist()
    assert any("branches have the names of others" in message and "Particle" in message for message in messages)


def test_one_tree_under_every_compression(shared_data: Path) -> None:
    sums = set()
    for compression in ("lz4", "lzma", "uncompressed", "zlib", "zstd"):
        with RootTree(str(shared_data / "ntuples" / f"uproot-HZZ-{compression}.root"), "events") as tree:
            chunks = list(tree.chunks(["MET_px", "Jet_Px"], 500))
        sums.add((sum(len(c.columns["Jet_Px"]) for c in chunks), float(sum(c.columns["MET_px"].sum() for c in chunks))))
    assert len(sums) == 1
    assert next(iter(sums))[0] == 2421

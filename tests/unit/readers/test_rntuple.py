"""RNTuples as columns: whatever the clusters, the same events; records as a column per field; nothing read too much."""

import functools
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import DataError, InputFileError, MissingColumnError
from utils.readers.places.storage import Source
from utils.readers.root.rntuple import RootNTuple
from utils.readers.root.tree import RootTree, open_root

CLUSTERS = (70, 130, 1, 99)
N = sum(CLUSTERS)


@functools.cache
def columns() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 4, N)
    pt = ak.unflatten(rng.exponential(30, counts.sum()).astype(np.float32), counts)
    return {
        "x": rng.standard_normal(N),
        "flag": np.arange(N) % 70 > 30,
        "evt": np.arange(2**60, 2**60 + N, dtype=np.uint64),
        "jet_pt": pt,
        "tracks": ak.unflatten(ak.unflatten(np.arange(3 * N, dtype=np.int32), np.full(N, 3)), np.ones(N, int)),
        "name": ak.Array([f"event {i}" for i in range(N)]),
        "box": ak.from_numpy(rng.random((N, 3)), regulararray=True),
        "met": ak.zip({"pt": rng.random(N), "phi": rng.random(N)}),
        "jets": ak.zip({"pt": pt, "charge": ak.values_astype(pt > 20, np.int32)}),
        "lepton": ak.zip({"hits": ak.zip({"x": pt}), "w": rng.random(N)}, depth_limit=1),
        "maybe": ak.values_astype(ak.Array([i / 4 if i % 3 else None for i in range(N)]), np.float32),
        "maybe_int": ak.values_astype(ak.Array([i if i % 3 else None for i in range(N)]), np.int32),
    }


def write(path: Path, content: dict[str, Any], clusters: tuple[int, ...] = CLUSTERS) -> Path:
    """A file with one RNTuple, `events`; every part written is a cluster."""
    with uproot.recreate(path, compression=uproot.ZSTD(3)) as file:
        start, ntuple = 0, None
        for n in clusters:
            part = {name: values[start : start + n] for name, values in content.items()}
            if ntuple is None:
                ntuple = file.mkrntuple("events", part)
            else:
                ntuple.extend(part)
            start += n
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rntuple") / "a.root", columns())


TYPES = {
    "x": "float64",
    "flag": "bool",
    "evt": "uint64",
    "jet_pt": "var * float32",
    "tracks": "var * var * int32",
    "name": "string",
    "box": "3 * float64",
    "met.pt": "float64",
    "met.phi": "float64",
    "jets.pt": "var * float32",
    "jets.charge": "var * int32",
    "lepton.hits.x": "var * float32",
    "lepton.w": "float64",
    "maybe": "float32",
    "maybe_int": "float64",
}


@functools.cache
def expected(name: str) -> Any:
    """What reading a column gives, as lists."""
    first, *fields = name.split(".")
    values = columns()[first]
    for field in fields:
        values = values[field]
    return ak.to_list(ak.fill_none(values, np.float32(np.nan)) if first.startswith("maybe") else values)


@settings(max_examples=30, deadline=None)
@given(
    chunk_size=st.integers(1, 2 * N),
    names=st.sets(st.sampled_from([*TYPES, "entry"]), min_size=1, max_size=5),
    borders=st.tuples(st.integers(0, N), st.integers(0, N)).map(sorted),
)
def test_chunks_are_the_events_in_order(path: Path, chunk_size: int, names: set[str], borders: list[int]) -> None:
    start, stop = borders
    with RootNTuple(str(path), "events", file_index=3) as ntuple:
        chunks = list(ntuple.chunks(names, max(chunk_size, (stop - start) // 20), start, stop))
    assert sum(chunk.n_events for chunk in chunks) == stop - start
    assert {chunk.file_index for chunk in chunks} == {3}
    for name in names:
        read = [value for chunk in chunks for value in ak.to_list(chunk.columns[name])]
        wanted = list(range(start, stop)) if name == "entry" else expected(name)[start:stop]
        np.testing.assert_equal(read, wanted)


def test_columns_have_the_types_of_what_is_read(path: Path) -> None:
    with open_root(Source(str(path)), None) as ntuple:
        assert isinstance(ntuple, RootNTuple)
        assert (ntuple.object_name, ntuple.n_entries, ntuple.noun) == ("events", N, "field")
        assert {name: ntuple.columns[name].type for name in ntuple.branches} == TYPES
        read = ntuple.read(TYPES, 0, N)
        for name, kind in TYPES.items():
            if kind == "string":
                assert read[name].dtype == object
            elif "*" not in kind:
                assert (type(read[name]), read[name].dtype) == (np.ndarray, kind)
            else:
                assert str(read[name].type) == f"{N} * {kind}"
        pt = ntuple.columns["jet_pt"]
        # The type is the file's, though nothing is missing here.
        assert ntuple.read(["maybe_int"], 1, 3)["maybe_int"].dtype == np.float64
    assert pt.compression == "ZSTD(3)"
    n_values = int(ak.count(columns()["jet_pt"]))
    assert pt.n_bytes == 4 * n_values + 8 * N
    assert pt.n_stored is not None and 0 < pt.n_stored < pt.n_bytes


def test_a_record_is_read_whole_by_its_name(path: Path) -> None:
    with RootNTuple(str(path)) as ntuple:
        read = ntuple.read(["jets", "lepton", "lepton.hits"], 10, 90)
        assert {"jets", "lepton", "lepton.hits"}.isdisjoint(ntuple.branches)
    for name in ("jets", "lepton"):
        assert ak.to_list(read[name]) == ak.to_list(columns()[name][10:90])
    assert ak.to_list(read["lepton.hits"]) == ak.to_list(columns()["lepton"].hits[10:90])


def test_only_the_clusters_and_fields_that_are_needed_are_read_and_none_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, int]] = []
    original = uproot.models.RNTuple.Model_ROOT_3a3a_RNTuple.read_page

    def counted(self: Any, destination: Any, cluster: int, column: int, page: int, metadata: Any) -> Any:
        read.append((self.field_records[self.column_records[column].field_id].field_name, cluster))
        return original(self, destination, cluster, column, page, metadata)

    monkeypatch.setattr(uproot.models.RNTuple.Model_ROOT_3a3a_RNTuple, "read_page", counted)
    with RootNTuple(str(path), "events") as ntuple:
        ntuple.read(["x"], 0, 70)
        assert read == [("x", 0)]
        read.clear()
        for _ in ntuple.chunks(["x", "jets.pt"], 9):
            pass
    assert {name for name, _ in read} == {"x", "jets", "pt"}
    assert len(read) == len(set(read))


def test_chunks_end_where_clusters_do(path: Path) -> None:
    with RootNTuple(str(path), "events") as ntuple:
        assert [chunk.first_entry for chunk in ntuple.chunks(["x"], 100)] == [0, 70, 200]


def test_no_entries(tmp_path: Path) -> None:
    empty = {name: values[:0] for name, values in columns().items()}
    with RootNTuple(str(write(tmp_path / "a.root", empty, (0,))), "events") as ntuple:
        (chunk,) = ntuple.chunks(TYPES)
    assert chunk.n_events == 0
    assert chunk.columns["evt"].dtype == np.uint64
    assert str(chunk.columns["jets.pt"].type) == "0 * var * float32"


def test_missing_values_that_float64_cannot_hold(tmp_path: Path) -> None:
    content = {
        "large": ak.Array([2**53 + 1, None]),
        "flag": ak.Array([True, None]),
    }
    with RootNTuple(str(write(tmp_path / "a.root", content, (2,))), "events") as ntuple:
        for name, words in (("large", "beyond 2.53"), ("flag", "a bool without a value")):
            with pytest.raises(DataError, match=words) as raised:
                ntuple.read([name], 0, 2)
            assert f"field '{name}'" in str(raised.value)


def test_trees_and_ntuples_of_a_file_are_listed_with_the_nearest_name(path: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.root"
    with uproot.recreate(both) as file:
        file.mktree("tree", {"x": "f4"}).extend({"x": np.zeros(3, np.float32)})
        file.mkrntuple("ntuple", {"x": np.zeros(2)})
    with pytest.raises(InputFileError, match=r"more than one tree or RNTuple.*holds tree, ntuple \(RNTuple\)"):
        open_root(Source(str(both)), None)
    with pytest.raises(InputFileError, match="no tree or RNTuple 'ntuplee'") as raised:
        open_root(Source(str(both)), "ntuplee")
    assert raised.value.nearest == "ntuple"
    for name, kind in (("tree", RootTree), ("ntuple", RootNTuple)):
        with open_root(Source(str(both)), name) as reader:
            assert isinstance(reader, kind)
    with pytest.raises(InputFileError, match="'events' is a ROOT::RNTuple, not a tree"):
        RootTree(str(path), "events")
    with RootNTuple(str(path)) as ntuple, pytest.raises(MissingColumnError, match="no field 'jets.ptt'") as missing:
        ntuple.read(["jets.ptt"], 0, 1)
    assert missing.value.nearest == "jets.pt"


def damage(path: Path, damaged: Path, field: str, cluster: int) -> None:
    """A copy of the file with some bytes changed in the first page of a field."""
    with uproot.open(path) as file:
        (ntuple,) = file.values()
        column = next(c for c in ntuple.column_records if ntuple.field_records[c.field_id].field_name == field)
        page = ntuple.page_link_list[cluster][column.idx].pages[0].locator
    content = bytearray(path.read_bytes())
    for i in range(page.offset + page.num_bytes // 2, page.offset + page.num_bytes):
        content[i] ^= 0x55
    damaged.write_bytes(content)


def test_damaged_pages_are_an_error_that_names_the_field(path: Path, tmp_path: Path) -> None:
    damage(path, tmp_path / "a.root", "evt", 1)
    with RootNTuple(str(tmp_path / "a.root"), "events") as ntuple:
        assert len(ntuple.read(["flag"], 0, N)["flag"]) == N
        with pytest.raises(InputFileError, match=r"of field 'evt' cannot be read.*a\.root:events"):
            ntuple.read(["flag", "evt"], 0, N)


def test_pages_are_held_against_their_checksums(shared_data: Path, tmp_path: Path) -> None:
    """uproot would give wrong numbers where a page is stored without compression."""
    (path,) = (shared_data / "rntuple").glob("ntpl001_staff*.root")
    damage(path, tmp_path / "a.root", "Category", 0)
    with RootNTuple(str(tmp_path / "a.root")) as ntuple:
        with pytest.raises(InputFileError, match=r"field 'Category' cannot be read \(ValueError: a page does not have"):
            ntuple.read(["Category", "Age"], 0, 10)
        assert len(ntuple.read(["Age"], 0, 10)["Age"]) == 10


SHARED = {
    "Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root": ("Events", 1000, 6),
    "cmsopendata2015_ttbar_19980_NANOAOD_RNTupleImporter_rntuple_v1-0-0-1.root": ("Events", 10, 947),
    "ntpl001_staff_rntuple_v1-0-1-0.root": ("Staff", 3354, 11),
}


@pytest.mark.parametrize("name", SHARED)
def test_public_files_are_read_whole(shared_data: Path, name: str) -> None:
    object_name, n_entries, n_columns = SHARED[name]
    with open_root(Source(str(shared_data / "rntuple" / name)), None) as ntuple:
        assert (ntuple.object_name, ntuple.n_entries, len(ntuple.branches)) == (object_name, n_entries, n_columns)
        assert not [info for info in ntuple.columns.values() if info.unreadable]
        read = ntuple.read(ntuple.branches, 0, n_entries)
    with uproot.open(shared_data / "rntuple" / name) as file:
        for branch in ntuple.branches[:: 1 + len(ntuple.branches) // 12]:
            np.testing.assert_equal(ak.to_list(read[branch]), ak.to_list(file[object_name][branch].array()))


def test_converted_collections_appear_by_the_names_of_their_branches(shared_data: Path) -> None:
    """The converter keeps `Muon_pt` both by its own name and inside `_collection0`."""
    path = shared_data / "rntuple" / "Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root"
    with RootNTuple(str(path)) as ntuple:
        assert set(ntuple.branches) == {"nMuon", *(f"Muon_{part}" for part in ("pt", "eta", "phi", "mass", "charge"))}
        read = ntuple.read(["nMuon", "Muon_pt", "_collection0"], 0, 1000)
    assert ak.num(read["Muon_pt"]).to_list() == read["nMuon"].tolist()
    assert ak.to_list(read["_collection0"].Muon_pt) == ak.to_list(read["Muon_pt"])

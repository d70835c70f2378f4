"""ROOT trees as chunks: whatever their borders, the same events; whatever is wrong, an error that names it."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import InputFileError, MissingColumnError
from utils.readers.places.locations import expand_paths
from utils.readers.root.tree import RootTree

N = 1000
BASKETS = (13, 170, N)


def columns() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 4, N)
    return {
        "pt": rng.exponential(40, N).astype(np.float32),
        "evt": np.arange(2**60, 2**60 + N, dtype=np.uint64),
        "is_mc": rng.random(N) > 0.5,
        "jet_pt": ak.unflatten(rng.exponential(30, counts.sum()).astype(np.float32), counts),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, ntuple: Callable[..., Path]) -> dict[int, Path]:
    """The same tree with baskets of every size."""
    folder = tmp_path_factory.mktemp("baskets")
    return {basket: ntuple(folder / f"{basket}.root", columns(), basket=basket) for basket in BASKETS}


@settings(max_examples=30, deadline=None)
@given(
    basket=st.sampled_from(BASKETS),
    chunk_size=st.one_of(st.integers(4, 60), st.integers(100, 1200)),
    names=st.sets(st.sampled_from(["pt", "evt", "is_mc", "jet_pt", "entry"]), min_size=1),
)
def test_chunks_are_the_tree_in_order_wherever_their_borders_are(
    files: dict[int, Path], basket: int, chunk_size: int, names: set[str]
) -> None:
    expected = {**columns(), "entry": np.arange(N)}
    with RootTree(str(files[basket]), "events", file_index=4) as tree:
        chunks = list(tree.chunks(names, chunk_size))
    assert sum(chunk.n_events for chunk in chunks) == N
    assert max(chunk.n_events for chunk in chunks) <= 2 * chunk_size
    assert [chunk.first_entry for chunk in chunks] == np.cumsum([0, *(c.n_events for c in chunks)])[:-1].tolist()
    assert {chunk.file_index for chunk in chunks} == {4}
    for name in names:
        read = [chunk.columns[name] for chunk in chunks]
        if name == "jet_pt":
            assert ak.to_list(ak.concatenate(read)) == ak.to_list(expected[name])
        else:
            assert all(isinstance(values, np.ndarray) for values in read)
            assert read[0].dtype == expected[name].dtype
            assert np.array_equal(np.concatenate(read), expected[name])


def test_chunk_borders_fall_on_basket_borders(files: dict[int, Path]) -> None:
    with RootTree(str(files[170]), "events") as tree:
        first_entries = {
            size: [chunk.first_entry for chunk in tree.chunks(["pt", "jet_pt"], size)] for size in (60, 140, 200, 400)
        }
    assert first_entries[60] == [0, 60, 120, 170, 230, 290, 340, 400, 460, 510, 570, 630, 680, 740, 800, 850, 910, 970]
    assert first_entries[140] == first_entries[200] == [0, 170, 340, 510, 680, 850]
    assert first_entries[400] == [0, 340, 680]


def test_an_early_stop_ends_the_reading(files: dict[int, Path]) -> None:
    with RootTree(str(files[13]), "events") as tree:
        assert next(iter(tree.chunks(["pt"], 50))).n_events < 100


def test_any_range_of_entries(files: dict[int, Path]) -> None:
    with RootTree(str(files[13]), "events") as tree:
        assert np.array_equal(tree.read(["pt"], 25, 90)["pt"], columns()["pt"][25:90])


def test_only_the_named_branches_are_decompressed(tmp_path: Path, ntuple: Callable[..., Path]) -> None:
    path = ntuple(tmp_path / "a.root", {"good": np.arange(100), "broken": np.arange(100)})
    damage(path, "broken")
    with RootTree(str(path), "events") as tree:
        (chunk,) = tree.chunks(["good"])
        assert np.array_equal(chunk.columns["good"], np.arange(100))
        with pytest.raises(InputFileError, match=r"entries 0 to 100 of branch 'broken' cannot be read.*a\.root:events"):
            list(tree.chunks(["good", "broken"]))


def damage(path: Path, branch: str) -> None:
    """Overwrite the compressed bytes of the first basket of a branch."""
    with uproot.open(path) as file:
        seek = int(file["events"][branch].member("fBasketSeek")[0])
    with path.open("r+b") as raw:
        raw.seek(seek + 80)
        raw.write(b"\xff" * 40)


def test_branches_know_whether_they_are_flat(files: dict[int, Path]) -> None:
    with RootTree(str(files[13]), "events") as tree:
        assert tree.n_entries == N
        assert tree.is_flat("pt")
        assert tree.is_flat("evt")
        assert not tree.is_flat("jet_pt")
        assert {"pt", "evt", "is_mc", "jet_pt"} <= set(tree.branches)


def test_a_tree_without_entries_gives_its_types(tmp_path: Path, ntuple: Callable[..., Path]) -> None:
    path = ntuple(tmp_path / "empty.root", {name: values[:0] for name, values in columns().items()})
    with RootTree(str(path), "events") as tree:
        (chunk,) = tree.chunks(["pt", "evt", "jet_pt", "entry"])
    assert (chunk.n_events, chunk.first_entry) == (0, 0)
    assert chunk.columns["evt"].dtype == np.uint64
    assert len(chunk.columns["jet_pt"]) == 0


def test_a_fingerprint_tells_one_file_from_another(tmp_path: Path, ntuple: Callable[..., Path]) -> None:
    prints = []
    for name, n in (("a", 10), ("b", 10), ("c", 20)):
        path = ntuple(tmp_path / f"{name}.root", {"pt": np.zeros(n)})
        with RootTree(str(path), "events") as tree:
            prints.append(tree.fingerprint)
        assert (prints[-1].size, prints[-1].n_entries) == (path.stat().st_size, n)
    assert len({fingerprint.uuid for fingerprint in prints}) == 3


def test_a_nested_tree(tmp_path: Path, ntuple: Callable[..., Path]) -> None:
    path = ntuple(tmp_path / "a.root", {"pt": np.zeros(3)}, tree="nominal/events")
    with RootTree(str(path), "nominal/events") as tree:
        assert tree.n_entries == 3
    with pytest.raises(InputFileError, match="did you mean 'nominal/events'"):
        RootTree(str(path), "nominal/event")


def test_a_missing_branch_has_a_nearest_name(files: dict[int, Path]) -> None:
    with RootTree(str(files[13]), "events") as tree, pytest.raises(MissingColumnError) as raised:
        list(tree.chunks(["pt", "jet_ptt"]))
    assert raised.value.nearest == "jet_pt"
    assert raised.value.where == f"{files[13]}:events"
    assert "no branch 'jet_ptt'" in str(raised.value)


def test_a_missing_tree_has_a_nearest_name(files: dict[int, Path]) -> None:
    with pytest.raises(InputFileError, match="no tree 'event'.*the file holds events") as raised:
        RootTree(str(files[13]), "event")
    assert raised.value.nearest == "events"
    assert raised.value.where == str(files[13])


def test_without_a_name_the_only_tree_is_meant(tmp_path: Path, files: dict[int, Path]) -> None:
    with RootTree(str(files[13])) as tree:
        assert tree.where == f"{files[13]}:events"
    path = tmp_path / "two.root"
    with uproot.recreate(path) as file:
        for name in ("events", "runs"):
            file.mktree(name, {"pt": "f4"}).extend({"pt": np.zeros(2, np.float32)})
    with pytest.raises(InputFileError, match="more than one tree.*the file holds events, runs"):
        RootTree(str(path))


def test_of_several_cycles_the_last_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "cycles.root"
    with uproot.recreate(path) as file:
        file.mktree("events", {"pt": "f4"}).extend({"pt": np.zeros(2, np.float32)})
    with uproot.update(path) as file:
        file.mktree("events", {"pt": "f4"}).extend({"pt": np.ones(3, np.float32)})
    with RootTree(str(path)) as tree:
        assert tree.read(["pt"], 0, 3)["pt"].tolist() == [1, 1, 1]
    with RootTree(str(path), "events;1") as tree:
        assert tree.n_entries == 2


def test_columns_know_their_size_and_compression(tmp_path: Path, ntuple: Callable[..., Path]) -> None:
    content = {"pt": np.zeros(1000, np.float32), "jet_pt": columns()["jet_pt"]}
    for compression, text in ((uproot.ZSTD(5), "ZSTD(5)"), (uproot.LZ4(1), "LZ4(1)"), (None, "")):
        with RootTree(str(ntuple(tmp_path / "a.root", content, compression=compression))) as tree:
            pt, jet_pt = tree.columns["pt"], tree.columns["jet_pt"]
        assert (pt.type, pt.compression, pt.unreadable) == ("float32", text, None)
        assert (jet_pt.type, jet_pt.compression) == ("var * float32", text)
        assert pt.n_bytes is not None and 4000 < pt.n_bytes < 4400
        assert pt.n_stored is not None and (pt.n_stored < 500) == (text != "")


def test_an_object_that_is_no_tree(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["events"] = np.histogram(np.zeros(3))
    with pytest.raises(InputFileError, match="'events' is a TH1D, not a tree.*holds no tree"):
        RootTree(str(tmp_path / "a.root"), "events")


def test_a_missing_file_has_a_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "ggH_M125.root").touch()
    for find in (expand_paths, lambda path: RootTree(path, "events")):
        with pytest.raises(InputFileError, match="no such file") as raised:
            find(str(tmp_path / "ggH_M120.root"))
        assert raised.value.nearest == "ggH_M125.root"


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no such folder: '.*2019'"):
        expand_paths(str(tmp_path / "2019" / "a.root"))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="is a directory, not a file"):
        RootTree(str(tmp_path), "events")


def test_globs_are_sorted_and_must_match(tmp_path: Path) -> None:
    for name in ("ww_10.root", "ww_2.root", "zz.root"):
        (tmp_path / name).touch()
    assert expand_paths(str(tmp_path / "ww_*.root")) == [str(tmp_path / "ww_10.root"), str(tmp_path / "ww_2.root")]
    with pytest.raises(InputFileError, match=r"no file matches '.*wz_\*\.root'"):
        expand_paths(str(tmp_path / "wz_*.root"))


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    (tmp_path / "ww[1].root").touch()
    assert expand_paths(str(tmp_path / "ww[1].root")) == [str(tmp_path / "ww[1].root")]
    with pytest.raises(InputFileError, match="no such file"):
        RootTree(str(tmp_path / "ww[2].root"), "events")


@pytest.mark.parametrize("content", [b"", b"root", b"not a ROOT file" * 100, b"\x00" * 5000, b"root" + b"\xff" * 5000])
def test_a_file_that_is_no_root_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.root").write_bytes(content)
    with pytest.raises(InputFileError, match=r"a\.root' cannot be opened as a ROOT file"):
        RootTree(str(tmp_path / "a.root"), "events")


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("basket", [13, N])
def test_a_truncated_file_is_never_a_shorter_sample(
    files: dict[int, Path], tmp_path: Path, basket: int, fraction: float
) -> None:
    whole = files[basket].read_bytes()
    path = tmp_path / "a.root"
    path.write_bytes(whole[: min(int(fraction * len(whole)), len(whole) - 1)])
    with pytest.raises(InputFileError, match=r"a\.root"):
        RootTree(str(path), "events")


def test_the_last_bytes_of_a_real_file_may_matter_to_nobody_and_are_missed_all_the_same(
    shared_data: Path, tmp_path: Path
) -> None:
    """uproot itself reads these to the end of the tree."""
    whole = (shared_data / "hep-tutorial" / "qcd.root").read_bytes()
    path = tmp_path / "qcd.root"
    for fraction in (0.05, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(fraction * len(whole))])
        with pytest.raises(InputFileError, match=r"qcd\.root"):
            RootTree(str(path), "events")


@pytest.mark.parametrize("n_entries", [2**50, N + 1, -1])
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_damaged_number_of_entries_does_not_keep_us_busy(
    files: dict[int, Path], tmp_path: Path, n_entries: int, everywhere: bool
) -> None:
    """Of the tree alone, or of its branches as well."""
    content = files[170].read_bytes()
    path = tmp_path / "damaged.root"
    number = struct.pack(">q", N)
    assert content.count(number) > 4  # the tree, then its branches
    path.write_bytes(content.replace(number, struct.pack(">q", n_entries), -1 if everywhere else 1))
    with pytest.raises(InputFileError, match=r"damaged\.root"), RootTree(str(path), "events") as tree:
        assert everywhere
        list(tree.chunks(["pt"]))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_an_error_of_ours_or_harmless(
    files: dict[int, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray(files[170].read_bytes())
    start = data.draw(st.integers(0, len(whole) - 1))
    garbage = data.draw(st.binary(min_size=1, max_size=20))
    whole[start : start + len(garbage)] = garbage[: len(whole) - start]
    path = tmp_path_factory.getbasetemp() / "damaged.root"
    path.write_bytes(whole)
    try:
        with RootTree(str(path), "events") as tree:
            n_entries = tree.n_entries
            tree.require(["pt", "jet_pt"])
            assert sum(chunk.n_events for chunk in tree.chunks(["pt", "jet_pt"])) == n_entries
    except (InputFileError, MissingColumnError) as error:
        assert "damaged.root" in str(error)

"""HDF5: skims, pandas and plain datasets as columns; nothing is unpickled; what does not fit together says so."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import hdf5plugin
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.skims import toy_events, write_skim
from utils.errors import InputFileError, MissingColumnError, SkimError
from utils.readers.formats import open_reader
from utils.readers.hdf5 import table as hdf5
from utils.readers.hdf5.table import Hdf5Table
from utils.readers.spec import Access
from utils.writers.jagged import ImageLayout
from utils.writers.skim import SkimSchema, SkimWriter

N = 100


def refusal(path: Path, object_name: str | None = None) -> str:
    with pytest.raises(InputFileError) as caught, Hdf5Table(str(path), object_name) as reader:
        reader.read(reader.branches, 0, reader.n_entries)
    assert str(path) in str(caught.value)
    return str(caught.value)


# --- plain datasets ---


def test_datasets_of_every_kind(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lists = [rng.random(i % 3).astype(np.float32) for i in range(N)]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        events = file.create_group("events")
        events["big_endian"] = np.arange(N, dtype=">f4")
        events["half"] = np.arange(N, dtype=np.float16)
        events["flag"] = np.arange(N) % 2 == 0
        events["image"] = np.arange(N * 6, dtype=np.int16).reshape(N, 2, 3)
        events.create_dataset("colour", data=np.arange(N) % 2, dtype=h5py.enum_dtype({"RED": 0, "BLUE": 1}))
        events["fixed"] = np.array([b"ee", "eµ".encode()] * (N // 2))
        events.create_dataset("text", data=["ee", "eµ"] * (N // 2), dtype=h5py.string_dtype())
        jagged = events.create_dataset("lists", (N,), h5py.vlen_dtype(np.float32))
        for i, values in enumerate(lists):
            jagged[i] = values
        events["phase"] = np.ones(N, np.complex64)
        events["words"] = np.full((N, 2), b"a")
        events["note"] = "no column: it has no length"
        events["nothing"] = h5py.Empty("f4")
    with Hdf5Table(str(tmp_path / "a.h5")) as reader:
        assert reader.object_name == "events"
        infos = reader.columns
        types = {name: info.type for name, info in infos.items() if info.unreadable is None}
        found = reader.read(types, 10, 20)
        assert {name for name, info in infos.items() if info.unreadable} == {"phase", "words"}
        with pytest.raises(InputFileError, match="column 'phase' .*complex64 is neither number nor text"):
            reader.read(["phase"], 0, 1)
    assert types == {
        "big_endian": "float32", "colour": "uint8", "fixed": "string", "flag": "bool", "half": "float16",
        "image": "2 * 3 * int16", "lists": "var * float32", "text": "string",
    }  # fmt: skip
    assert found["big_endian"].dtype == np.dtype("=f4")
    assert found["big_endian"].tolist() == list(range(10, 20))
    assert found["flag"].dtype == bool
    assert found["fixed"].tolist() == found["text"].tolist() == ["ee", "eµ"] * 5
    assert found["text"].dtype == found["fixed"].dtype == object
    assert str(found["image"].type) == "10 * 2 * 3 * int16"
    assert ak.to_numpy(found["image"])[0].tolist() == [[60, 61, 62], [63, 64, 65]]
    assert str(found["lists"].type) == "10 * var * float32"
    assert ak.to_list(found["lists"]) == [values.tolist() for values in lists[10:20]]


def test_compound_datasets_side_by_side_are_records(tmp_path: Path) -> None:
    jets = np.zeros(N, [("pt", "f4"), ("tag", [("b", "f8"), ("good", "?")])])
    jets["pt"], jets["tag"]["b"] = np.arange(N), np.arange(N) / 2
    tracks = np.zeros((N, 4), [("d0", "f4"), ("valid", "?")])
    tracks["d0"] = np.arange(4 * N).reshape(N, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("jets", data=jets, chunks=(30,), compression="lzf")
        file.create_dataset("tracks", data=tracks, chunks=(20, 4), compression="gzip")
    with Hdf5Table(str(tmp_path / "a.h5")) as reader:
        types = {name: info.type for name, info in reader.columns.items()}
        found = reader.read([*types, "jets"], 90, 100)
        chunks = list(reader.chunks(["jets.tag.b", "tracks.d0"], 25))
        assert reader.columns["tracks.d0"].n_bytes == 16 * N
        assert reader.columns["jets.pt"].compression == "lzf"
    assert types == {
        "jets.pt": "float32", "jets.tag.b": "float64", "jets.tag.good": "bool",
        "tracks.d0": "4 * float32", "tracks.valid": "4 * bool",
    }  # fmt: skip
    assert found["jets.tag.b"].tolist() == (np.arange(90, 100) / 2).tolist()
    assert ak.to_numpy(found["tracks.d0"])[0].tolist() == [360, 361, 362, 363]
    assert found["jets"].pt.tolist() == list(range(90, 100))
    assert ak.to_numpy(ak.concatenate([c.columns["tracks.d0"] for c in chunks])).ravel().tolist() == list(range(4 * N))
    with h5py.File(tmp_path / "alone.h5", "w") as file:
        file["jets"] = jets
    with Hdf5Table(str(tmp_path / "alone.h5")) as reader:
        assert reader.branches == ("pt", "tag.b", "tag.good")
    with Hdf5Table(str(tmp_path / "a.h5"), "jets") as reader:
        assert reader.branches == ("pt", "tag.b", "tag.good")
        assert reader.where == f"{tmp_path}/a.h5:jets"


def test_a_name_says_which_table(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, n in (("nominal/events", 5), ("nominal/weights", 7), ("jes_up/events", 6)):
            file[f"{name}/pt"] = np.arange(n)
        file.create_group("empty")
    message = refusal(tmp_path / "a.h5")
    assert "several tables" in message
    assert "Set input_tree_name to one of jes_up/events, nominal/events, nominal/weights." in message
    assert "did you mean 'nominal/events'" in refusal(tmp_path / "a.h5", "nominal/event")
    assert "'empty' holds no datasets" in refusal(tmp_path / "a.h5", "empty")
    for name, n in (("nominal/weights", 7), ("/jes_up/events/", 6), ("nominal/events/pt", 5)):
        with Hdf5Table(str(tmp_path / "a.h5"), name) as reader:
            assert reader.read(["pt"], 0, n)["pt"].tolist() == list(range(n))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["scalar"] = 1.0
    assert "no table" in refusal(tmp_path / "b.h5")


def test_columns_of_different_lengths(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.update({"pt": np.arange(9), "eta": np.arange(9), "cutflow": np.arange(4)})
    assert "columns of different lengths (cutflow: 4, eta, pt: 9)" in refusal(tmp_path / "a.h5")
    with open_reader(str(tmp_path / "a.h5"), access=Access(excluded=("cut*",))) as reader:
        assert (reader.branches, reader.n_entries) == (("eta", "pt"), 9)
    with open_reader(str(tmp_path / "a.h5"), "cutflow") as reader:
        assert reader.n_entries == 4


def test_links_that_lead_nowhere_are_passed_over(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pt"] = np.arange(3)
        file["gone"] = h5py.SoftLink("/nowhere")
        file["circle"] = h5py.SoftLink("/")
    with Hdf5Table(str(tmp_path / "a.h5")) as reader:
        assert reader.branches == ("pt",)


# --- pieces ---


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.sampled_from([None, 1, 7, 40]), chunk_size=st.integers(5, 150), block=st.sampled_from([64, 10**6]))
def test_no_piece_of_storage_is_visible(
    tmp_path: Path, rows: int | None, chunk_size: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "_FEWEST_ROWS", 5)
    monkeypatch.setattr(hdf5, "_BLOCK_BYTES", block)
    records = np.zeros(N, [("a", "f4"), ("b", "i8", (2,))])
    records["a"], records["b"] = np.arange(N), np.arange(2 * N).reshape(N, 2)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("r", data=records, chunks=None if rows is None else (rows,))
        file.create_dataset("m", data=np.arange(N), chunks=(33,))
    with Hdf5Table(str(tmp_path / "a.h5")) as reader:
        chunks = list(reader.chunks(["r.a", "r.b", "m"], chunk_size))
        offsets = reader._offsets("r.a")
    assert list(offsets) == sorted({*offsets, 0, N})
    assert len(offsets) <= N / 5 + 2
    for name, expected in (("r.a", records["a"]), ("m", np.arange(N))):
        assert np.concatenate([chunk.columns[name] for chunk in chunks]).tolist() == expected.tolist()
    assert ak.to_list(ak.concatenate([chunk.columns["r.b"] for chunk in chunks])) == records["b"].tolist()


# --- skims ---


def test_a_skim_is_one_table_and_each_group_another(tmp_path: Path) -> None:
    events = toy_events(300)
    path = write_skim(tmp_path / "train.h5", events)
    with open_reader(str(path)) as reader:
        assert reader.n_entries == 300
        assert {*events.cont, *events.cat, *events.misc, "group_name", "target", "entry"} < set(reader.branches)
        found = reader.read(["x", "njets", "evt", "group_name", "target"], 10, 20)
        (chunk,) = reader.chunks(["entry", "x"])
    for name, expected in {**events.cont, **events.cat, **events.misc, "target": events.target}.items():
        if name in found:
            assert found[name].dtype == expected.dtype
            assert np.array_equal(found[name], expected[10:20])
    assert found["group_name"].tolist() == ["process"] * 10
    assert np.array_equal(chunk.columns["x"], events.cont["x"])
    with open_reader(str(path), "cont_features") as reader:
        assert reader.branches == tuple(events.cont)


def test_jagged_groups_and_images_of_a_skim(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 4, N)
    jets = {name: ak.unflatten(rng.random(counts.sum()).astype(np.float32), counts) for name in ("pt", "eta")}
    images = rng.random((N, 1, 2, 2)).astype(np.float32)
    cells = {"cells": ak.unflatten(np.zeros(N, np.int32), np.ones(N, int)), "e": ak.from_numpy(images[:, 0, :1, 0])}
    cells["e"] = ak.unflatten(ak.flatten(cells["e"]), np.ones(N, int))
    schema = SkimSchema(
        {"cont_features": {"x": np.dtype("f4")}},
        {"jets": {name: np.dtype("f4") for name in jets}},
        {"dense": ImageLayout((1, 2, 2), ("e",), "dense"), "sparse": ImageLayout((1, 2, 2), ("e",), "sparse")},
    )
    with SkimWriter(tmp_path / "a.h5", schema) as writer:
        rows = {"cont_features": {"x": np.arange(N, dtype=np.float32)}, "jagged/jets": jets}
        writer.append({**rows, "images/dense": images, "images/sparse": cells})
        writer.finish({})
    with Hdf5Table(str(tmp_path / "a.h5")) as reader:
        types = {name: info.type for name, info in reader.columns.items()}
        chunks = list(reader.chunks([*types, "jets"], 30))
        assert reader.bytes_per_event(["dense"]) == reader.bytes_per_event(["sparse"]) == 16
        assert reader.bytes_per_event(["jets.pt"]) == (4 * counts.sum() + 8 * N) / N
    assert types == {
        "x": "float32", "jets.pt": "var * float32", "jets.eta": "var * float32", "dense": "1 * 2 * 2 * float32",
        "sparse": "1 * 2 * 2 * float32",
    }  # fmt: skip
    found = {name: ak.concatenate([chunk.columns[name] for chunk in chunks]) for name in chunks[0].columns}
    assert ak.to_list(found["jets.pt"]) == ak.to_list(found["jets"].pt) == ak.to_list(jets["pt"])
    assert str(found["jets"].type.content) == "var * {pt: float32, eta: float32}"
    assert np.array_equal(ak.to_numpy(found["dense"]), images)
    assert np.array_equal(ak.to_numpy(found["sparse"])[:, 0, 0, 0], images[:, 0, 0, 0])
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["jagged/jets/offsets"].resize(N, axis=0)
    with pytest.raises(SkimError, match="its offsets do not fit its values"):
        Hdf5Table(str(tmp_path / "a.h5"))


def test_a_record_in_chunks(tmp_path: Path) -> None:
    jets = np.zeros(N, [("pt", "f4"), ("id", "i4")])
    jets["pt"] = np.arange(N)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["jets"], file["met"] = jets, np.arange(N)
    with Hdf5Table(str(tmp_path / "a.h5")) as reader:
        chunks = list(reader.chunks(["jets", "met"], 30))
    assert ak.concatenate([chunk.columns["jets"] for chunk in chunks]).pt.tolist() == list(range(N))


def test_fingerprints_of_skims_of_one_size_differ(tmp_path: Path) -> None:
    prints = [
        Hdf5Table(
            str(write_skim(tmp_path / f"{seed}.h5", toy_events(seed=seed), metadata={"input_pipe": {}}))
        ).fingerprint
        for seed in (1, 2)
    ]
    assert prints[0].size == prints[1].size
    assert prints[0].uuid != prints[1].uuid


# --- pandas ---


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pt": np.arange(5.0),
            "eta": np.arange(5.0) / 2,
            "n": np.arange(5, dtype=np.int32),
            "good": [True, False, True, True, False],
            "name": ["a", "bb", None, "ccc", "µ"],
        }
    )


@pytest.mark.parametrize("data_columns", [None, True, ["pt"]])
def test_a_pandas_table(tmp_path: Path, data_columns: Any) -> None:
    table = frame()
    table["when"] = pd.date_range("2020", periods=5)
    table["kind"] = pd.Categorical(["x", "y", None, "y", "x"])
    table["level"] = pd.Categorical([10, 20, 20, None, 10])
    table.to_hdf(tmp_path / "a.h5", key="some/events", format="table", data_columns=data_columns)
    with Hdf5Table(str(tmp_path / "a.h5")) as reader:
        assert reader.object_name == "some/events"
        types = {name: info.type for name, info in reader.columns.items() if info.unreadable is None}
        assert set(reader.columns) == set(table.columns)
        found = reader.read(types, 1, 5)
        with pytest.raises(InputFileError, match="column 'when' .*times are no numbers"):
            reader.read(["when"], 0, 1)
    assert types == {
        "pt": "float64", "eta": "float64", "n": "int32", "good": "bool", "name": "string", "kind": "string",
        "level": "float64",
    }  # fmt: skip
    assert found["eta"].tolist() == [0.5, 1.0, 1.5, 2.0]
    assert found["good"].tolist() == [False, True, True, False]
    assert found["good"].dtype == bool
    assert found["name"].tolist() == ["bb", "", "ccc", "µ"]
    assert found["kind"].tolist() == ["y", "", "y", "x"]
    assert np.array_equal(found["level"], [20, 20, np.nan, 10], equal_nan=True)


def test_pandas_fixed_format(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it pickles
        frame().to_hdf(tmp_path / "a.h5", key="events", format="fixed")
    frame()["pt"].to_hdf(tmp_path / "s.h5", key="series")
    frame()[["pt", "n"]][:0].to_hdf(tmp_path / "e.h5", key="events")
    with Hdf5Table(str(tmp_path / "a.h5"), "events") as reader:
        assert reader.branches == tuple(frame().columns)
        found = reader.read(["eta", "n", "good"], 1, 4)
        with pytest.raises(InputFileError, match=r"column 'name' .*pickles are not loaded; use to_hdf"):
            reader.read(["name"], 0, 1)
    assert found["eta"].tolist() == [0.5, 1.0, 1.5]
    assert found["n"].dtype == np.int32
    assert found["good"].tolist() == [False, True, True]
    with Hdf5Table(str(tmp_path / "s.h5")) as reader:
        assert reader.read(["pt"], 0, 5)["pt"].tolist() == [0, 1, 2, 3, 4]
    with Hdf5Table(str(tmp_path / "e.h5")) as reader:
        (chunk,) = reader.chunks(["pt", "n"])
    assert (chunk.n_events, chunk.columns["pt"].dtype, chunk.columns["n"].dtype) == (0, np.float64, np.int32)


class Bomb:
    """What a malicious file would hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path, mark = tmp_path / "a.h5", tmp_path / "exploded"
    frame().drop(columns="name").to_hdf(path, key="events", format="table")
    bomb = pickle.dumps([Bomb(mark)], protocol=0)
    with h5py.File(path, "r+") as file:
        for group in (file["events"], file["events/table"]):
            for name, value in group.attrs.items():
                if isinstance(value, bytes) and value.endswith(b"."):
                    group.attrs[name] = np.bytes_(bomb)
    with Hdf5Table(str(path)) as reader:
        reader.read(reader.branches, 0, 5)
        assert "values_block_0_0" in reader.branches, "without names that can be trusted, columns are numbered"
    frame()[["name"]].to_hdf(tmp_path / "b.h5", key="events", format="fixed")
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["events/block0_values"][0] = np.frombuffer(bomb, np.uint8)
    assert "pickles are not loaded" in refusal(tmp_path / "b.h5")
    assert not mark.exists()


def test_frames_that_are_no_tables(tmp_path: Path) -> None:
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
    pd.DataFrame(np.ones((2, 2)), columns=columns).to_hdf(tmp_path / "a.h5", key="events")
    assert "several levels of column names" in refusal(tmp_path / "a.h5")


def test_names_that_are_numbers(tmp_path: Path) -> None:
    for layout in ("fixed", "table"):
        pd.DataFrame(np.arange(6.0).reshape(2, 3)).to_hdf(tmp_path / "a.h5", key="x", format=layout, mode="w")
        with Hdf5Table(str(tmp_path / "a.h5")) as reader:
            assert reader.branches == ("0", "1", "2")
            assert reader.read(["1"], 0, 2)["1"].tolist() == [1, 4]


# --- storage and damage ---


def test_compression_is_named(tmp_path: Path) -> None:
    filters = {
        "gzip": {"compression": "gzip", "shuffle": True},
        "blosc:lz4": dict(hdf5plugin.Blosc(cname="lz4")),
        "zstd": dict(hdf5plugin.Zstd()),
        "": {},
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, options in filters.items():
            file.create_dataset(f"c_{name}", data=np.zeros(10_000), **options)
    with Hdf5Table(str(tmp_path / "a.h5")) as reader:
        for name in filters:
            info = reader.columns[f"c_{name}"]
            assert info.compression == name
            assert info.n_bytes == 80_000
            assert (info.n_stored == 80_000) if name == "" else (0 < (info.n_stored or 0) < 8000)


def test_a_damaged_piece_names_its_entries(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("pt", data=np.arange(20_000.0), chunks=(5000,), compression="gzip")
        file["eta"] = np.arange(20_000.0)
        where = file["pt"].id.get_chunk_info(2)
    with (tmp_path / "a.h5").open("r+b") as raw:
        raw.seek(where.byte_offset)
        raw.write(b"\x00" * where.size)
    with Hdf5Table(str(tmp_path / "a.h5")) as reader:
        chunks = reader.chunks(["pt", "eta"], 5000)
        assert [next(chunks).n_events, next(chunks).n_events] == [5000, 5000]
        with pytest.raises(InputFileError, match=r"entries 10000 to 15000 of column 'pt' cannot be read.*a\.h5"):
            next(chunks)
        assert len(reader.read(["eta"], 0, 20_000)["eta"]) == 20_000


def test_a_filter_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("pt", data=np.arange(100.0), chunks=(100,), compression="gzip")
    content = (tmp_path / "a.h5").read_bytes()
    at = content.index(b"deflate")
    # The number of the filter lies before its name.
    content = content[: at - 8] + (32999).to_bytes(2, "little") + content[at - 6 :]
    (tmp_path / "a.h5").write_bytes(content)
    assert "entries 0 to 100 of column 'pt' cannot be read" in refusal(tmp_path / "a.h5")


def test_a_missing_column_names_the_table(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["events/pt"] = np.arange(3)
    with (
        Hdf5Table(str(tmp_path / "a.h5")) as reader,
        pytest.raises(MissingColumnError, match=r"no column 'pt1', in .*a\.h5:events; did you mean 'pt'"),
    ):
        reader.read(["pt1"], 0, 1)

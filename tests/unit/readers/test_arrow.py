"""Parquet and Arrow IPC: nested data come back as they were, missing values follow the rules, damage is named."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.errors import DataError, InputFileError, MissingColumnError
from utils.readers.arrow import parquet
from utils.readers.arrow.ipc import ArrowFile
from utils.readers.arrow.parquet import ParquetTable
from utils.readers.formats import open_reader
from utils.readers.reader import Reader
from utils.readers.spec import Access

NESTED = ak.Array(
    [
        {
            "muons": [{"pt": 40.5, "charge": 1, "hits": [1, 2]}, {"pt": 20.0, "charge": -1, "hits": []}],
            "met": {"pt": 12.0, "phi": {"value": 0.5, "is_good": True}},
            "sub": [[1.0], [2.0, 3.0]],
            "words": ["a", "bc"],
            "maybe": [{"x": None, "y": [1, None]}],
        },
        {
            "muons": [],
            "met": {"pt": 13.0, "phi": {"value": 1.5, "is_good": False}},
            "sub": [],
            "words": [],
            "maybe": [{"x": 2, "y": None}, None],
        },
    ]
)
NESTED["cells"] = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
NESTED["named"] = ak.with_name(NESTED.muons, "Momentum")


def feather(array: ak.Array, path: Path) -> None:
    ak.to_feather(array, path)


def stream(array: ak.Array, path: Path) -> None:
    table = ak.to_arrow_table(array)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


@pytest.fixture(params=[ak.to_parquet, feather, stream], ids=["parquet", "feather", "stream"])
def write(request: pytest.FixtureRequest) -> Callable[[ak.Array, Path], None]:
    writer: Callable[[ak.Array, Path], None] = request.param
    return writer


def test_nested_data_make_the_round_trip(write: Callable[[ak.Array, Path], None], tmp_path: Path) -> None:
    write(NESTED, tmp_path / "a")
    with open_reader(str(tmp_path / "a")) as reader:
        found = reader.read(["muons", "met", "maybe", "named", "met.phi", "sub", "words", "cells"], 0, 2)
        parts = list(reader.chunks(["muons"], 1))
        assert reader.bytes_per_event(["muons"]) > 16
        for name in ("muons", "met", "maybe", "named", "sub", "words"):
            assert found[name].type == NESTED[name].type
            assert ak.to_list(found[name]) == ak.to_list(NESTED[name])
        assert ak.array_equal(found["met.phi"], NESTED.met.phi)
        assert ak.array_equal(found["cells"], ak.Array(np.arange(12, dtype=np.float32).reshape(2, 3, 2)))
        assert ak.to_list(ak.concatenate([chunk.columns["muons"] for chunk in parts])) == ak.to_list(NESTED.muons)


def test_fields_of_records_are_columns(write: Callable[[ak.Array, Path], None], tmp_path: Path) -> None:
    write(NESTED, tmp_path / "a")
    with open_reader(str(tmp_path / "a")) as reader:
        types = {name: info.type for name, info in reader.columns.items()}
        found = reader.read(types, 0, 2)
        with pytest.raises(MissingColumnError, match="did you mean 'muons.charge'"):
            reader.read(["muon.charge"], 0, 1)
    assert types == {
        "muons.pt": "var * float64",
        "muons.charge": "var * int64",
        "muons.hits": "var * var * int64",
        "met.pt": "float64",
        "met.phi.value": "float64",
        "met.phi.is_good": "bool",
        "sub": "var * var * float64",
        "words": "var * string",
        "maybe.x": "var * float64",
        "maybe.y": "var * var * float64",
        "cells": "3 * 2 * float32",
        "named.pt": "var * float64",
        "named.charge": "var * int64",
        "named.hits": "var * var * int64",
    }
    assert {name: str(values.type.content) for name, values in found.items() if "*" in types[name]} == {
        name: kind for name, kind in types.items() if "*" in kind
    }
    assert found["met.phi.is_good"].tolist() == [True, False]
    assert ak.to_list(found["muons.hits"]) == [[[1, 2], []], []]
    assert np.array_equal(ak.to_list(found["maybe.x"])[0], [np.nan], equal_nan=True)
    assert ak.to_list(ak.nan_to_num(found["maybe.y"], nan=-1)) == [[[1, -1]], [[], []]]


def test_hidden_fields_hide_their_record(tmp_path: Path) -> None:
    ak.to_parquet(NESTED, tmp_path / "a")
    with open_reader(str(tmp_path / "a"), access=Access(excluded=("muons.hits",))) as reader:
        assert "muons.pt" in reader.branches
        assert "muons.hits" not in reader.branches


def only_these_are_read(path: Path, keep: str, tmp_path: Path) -> Path:
    """A copy of a Parquet file in which every byte of all other columns is destroyed."""
    broken = bytearray(path.read_bytes())
    metadata = pq.ParquetFile(path).metadata
    for i in range(metadata.num_row_groups):
        for j in range(metadata.num_columns):
            column = metadata.row_group(i).column(j)
            if column.path_in_schema != keep:
                start = column.dictionary_page_offset or column.data_page_offset
                broken[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    (tmp_path / "broken").write_bytes(broken)
    return tmp_path / "broken"


@pytest.mark.parametrize(("column", "stored"), [("muons.pt", "muons.list.element.pt"), ("met.phi.value",) * 2])
def test_only_the_wanted_fields_are_decoded(tmp_path: Path, column: str, stored: str) -> None:
    pq.write_table(pa.Table.from_pylist(NESTED[["muons", "met"]].to_list()), tmp_path / "a")
    path = only_these_are_read(tmp_path / "a", stored, tmp_path)
    with ParquetTable(str(path)) as reader:
        found = reader.read([column], 0, 2)[column]
        assert ak.to_list(found) == ak.to_list(NESTED.muons.pt if column == "muons.pt" else NESTED.met.phi.value)
        with pytest.raises(InputFileError, match=r"entries 0 to 2 of column 'muons.hits' cannot be read"):
            reader.read(["muons.hits"], 0, 2)


# --- missing values ---


def write_parts(path: Path, table: pa.Table, kind: str) -> None:
    """Two rows each in a row group or a record batch; `plain` Parquet has no statistics."""
    if kind == "arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    else:
        pq.write_table(table, path, row_group_size=2, write_statistics=kind != "plain")


@pytest.fixture(params=["parquet", "plain", "arrow"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_missing_values(tmp_path: Path, kind: str) -> None:
    table = pa.table(
        {
            "some": pa.array([1, 2, None, 4], pa.int32()),  # missing only in the second part
            "none": pa.array([1, 2, 3, 4], pa.int32()),
            "real": pa.array([1, None, 3, 4], pa.float32()),
            "flag": [True, False, None, True],
            "word": ["a", None, "b", "c"],
            "kind": pa.array(["x", "y", None, "x"]).dictionary_encode(),
            "void": pa.nulls(4),
            "list": [[1, 2], [], None, [3]],
            "gaps": [[1], [], [None, 2], None],
            "flags": [[True], None, [None], []],
            "deci": pa.array([Decimal(1), Decimal("2.5"), None, Decimal(3)]),
        }
    )
    write_parts(tmp_path / "a", table, kind)
    with open_reader(str(tmp_path / "a")) as reader:
        types = {name: info.type for name, info in reader.columns.items()}
        assert types == {
            "some": "float64", "none": "int32", "real": "float32", "flag": "bool", "word": "string", "kind": "string",
            "void": "float64", "list": "var * int64", "gaps": "var * float64", "flags": "var * bool",
            "deci": "float64",
        }  # fmt: skip
        readable = [name for name in types if name not in ("flag", "flags")]
        (first, second) = (chunk.columns for chunk in reader.chunks(readable, 2))
        for name in ("flag", "flags"):
            assert not reader.is_flat(name)
            with pytest.raises(InputFileError, match=f"'{name}' .*some of its bools have no value"):
                reader.read([name], 0, 1)
    # The types are the file's, not the chunk's.
    assert first["some"].dtype == second["some"].dtype == np.float64
    assert str(first["gaps"].type.content) == str(second["gaps"].type.content) == "var * float64"
    assert second["some"].tolist()[1] == 4
    assert np.isnan(second["some"][0])
    assert first["none"].dtype == np.int32
    assert np.isnan(first["real"][1])
    assert first["real"].dtype == np.float32
    assert [*first["word"], *second["kind"]] == ["a", "", "", "x"]
    assert first["word"].dtype == second["kind"].dtype == object
    assert np.isnan(first["void"]).all()
    assert ak.to_list(first["list"]) + ak.to_list(second["list"]) == [[1, 2], [], [], [3]]
    assert ak.to_list(ak.nan_to_num(second["gaps"], nan=-1)) == [[-1, 2], []]
    assert first["deci"].tolist() == [1, 2.5]


def test_a_column_of_missing_arrays(tmp_path: Path) -> None:
    values = pa.array([[1, 2], None, [3, None]], pa.list_(pa.int16(), 2))
    write_parts(tmp_path / "a", pa.table({"a": values}), "arrow")
    with ArrowFile(str(tmp_path / "a")) as reader:
        assert reader.columns["a"].type == "2 * float64"
        assert ak.to_list(ak.nan_to_num(reader.read(["a"], 0, 3)["a"], nan=-1)) == [[1, 2], [-1, -1], [3, -1]]


@pytest.mark.parametrize("values", [[2**53 + 1, None], [[2**53 + 1, None], []]], ids=["flat", "jagged"])
def test_an_integer_that_float64_lacks_is_an_error(tmp_path: Path, kind: str, values: list[Any]) -> None:
    write_parts(tmp_path / "a", pa.table({"evt": values, "fine": [1, 2]}), kind)
    with (
        open_reader(str(tmp_path / "a")) as reader,
        pytest.raises(DataError, match=r"beyond 2\^53.*a, column 'evt'"),
    ):
        reader.read(["evt"], 0, 2)


def test_types_that_are_no_numbers_say_so(tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([1], pa.timestamp("us")),
            "bytes": pa.array([b"a"]),
            "fine": [1],
            "map": pa.array([[(1, 2.0)]], pa.map_(pa.int32(), pa.float32())),
        }
    )
    pq.write_table(table, tmp_path / "a")
    with ParquetTable(str(tmp_path / "a")) as reader:
        assert {name for name, info in reader.columns.items() if info.unreadable} == {"when", "bytes", "map"}
        assert reader.read(["fine"], 0, 1)["fine"].tolist() == [1]
        with pytest.raises(InputFileError, match=r"column 'when' .*datetime64\[us\] is neither number nor text"):
            reader.read(["when"], 0, 1)


def test_the_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    table = pa.table({"pt": [1.0], "__index_level_0__": [7], "eta": [2.0]})
    pq.write_table(table, tmp_path / "a")
    with ParquetTable(str(tmp_path / "a")) as reader:
        assert reader.branches == ("pt", "eta")
        assert reader.read(["eta"], 0, 1)["eta"].tolist() == [2.0], "hidden columns count where columns are numbered"


# --- pieces ---


def test_numbers_are_not_copied(tmp_path: Path) -> None:
    pq.write_table(pa.table({"pt": np.arange(1000.0)}), tmp_path / "a")
    with ParquetTable(str(tmp_path / "a")) as reader:
        values = reader.read(["pt"], 0, 1000)["pt"]
    assert not values.flags.owndata


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_large_row_groups_are_decoded_once_in_pieces(
    tmp_path: Path, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "PIECE_ROWS", 50)
    n = data.draw(st.integers(1, 700))
    table = pa.table({"a": np.arange(n), "b": [[float(i)] * (i % 3) for i in range(n)]})
    pq.write_table(table, tmp_path / "a", row_group_size=data.draw(st.sampled_from([40, 101, 1000])))
    start, stop = sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))
    opened = []
    with ParquetTable(str(tmp_path / "a")) as reader:
        iterate = reader._file.iter_batches

        def counted(*args: Any, **options: Any) -> Any:
            opened.append(args)
            return iterate(*args, **options)

        monkeypatch.setattr(reader._file, "iter_batches", counted)
        chunks = list(reader.chunks(["a", "b"], data.draw(st.integers(5, 300)), start, stop))
        assert len(opened) <= reader._file.num_row_groups
        assert max(np.diff(reader._offsets("a")), default=0) <= 101
        again = reader.read(["a"], start, stop)["a"]
    assert np.concatenate([chunk.columns["a"] for chunk in chunks]).tolist() == list(range(start, stop))
    assert again.tolist() == list(range(start, stop))
    found = [item for chunk in chunks for item in ak.to_list(chunk.columns["b"])]
    assert found == table["b"].to_pylist()[start:stop]


def test_empty_row_groups_and_batches(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2, 3]})
    with pq.ParquetWriter(tmp_path / "p", table.schema) as writer:
        for part in (table[:0], table[:2], table[:0], table[2:], table[:0]):
            writer.write_table(part)
    for name, create in (("f", pa.ipc.new_file), ("s", pa.ipc.new_stream)):
        with create(tmp_path / name, table.schema) as writer:
            for part in (table[:0], table[:2], table[:0], table[2:], table[:0]):
                for batch in part.to_batches() or [pa.record_batch({"a": pa.array([], pa.int64())})]:
                    writer.write_batch(batch)
    for name in "pfs":
        with open_reader(str(tmp_path / name)) as reader:
            assert [i for chunk in reader.chunks(["a"], 1) for i in chunk.columns["a"].tolist()] == [1, 2, 3]
            assert [chunk.columns["a"].tolist() for chunk in reader.chunks(["a"], 2)] == [[1, 2], [3]]


def test_sizes_and_compression_are_known(tmp_path: Path) -> None:
    table = pa.table({"same": np.ones(5000, np.float32), "list": [[1.0, 2.0]] * 5000})
    pq.write_table(table, tmp_path / "a", compression="zstd")
    with ParquetTable(str(tmp_path / "a")) as reader:
        same, many = reader.columns["same"], reader.columns["list"]
    assert same.n_bytes == 20_000, "what is repeated is stored once, and read as often as it occurs"
    assert 0 < (same.n_stored or 0) < 1000
    assert (many.n_bytes or 0) >= 80_000
    assert same.compression == "zstd"


# --- damage ---


def damaged(reader: Callable[[str], Reader], path: Path) -> str:
    with pytest.raises(InputFileError) as caught, reader(str(path)) as opened:
        opened.read(opened.branches, 0, opened.n_entries)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_damage_in_the_middle_names_the_entries(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pq.write_table(
        pa.table({name: rng.integers(0, 9, 900) for name in ("good", "bad")}),
        tmp_path / "a",
        row_group_size=300,
        compression="zstd",
        use_dictionary=False,
    )
    column = pq.ParquetFile(tmp_path / "a").metadata.row_group(1).column(1)
    with (tmp_path / "a").open("r+b") as raw:
        raw.seek(column.data_page_offset + column.total_compressed_size // 2)
        raw.write(b"\xff" * (column.total_compressed_size // 2))
    with ParquetTable(str(tmp_path / "a")) as reader:
        chunks = reader.chunks(["good", "bad"], 300)
        assert next(chunks).n_events == 300
        with pytest.raises(InputFileError, match=r"entries 300 to 600 of column 'bad' cannot be read.*/a\. "):
            next(chunks)


def test_pages_with_a_checksum_are_checked(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(1000.0)})
    pq.write_table(table, tmp_path / "a", compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray((tmp_path / "a").read_bytes())
    content[4000] ^= 1  # in the middle of a number
    (tmp_path / "a").write_bytes(content)
    assert "checksum" in damaged(ParquetTable, tmp_path / "a")


def test_a_stream_without_its_end_is_truncated(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(100)})
    with pa.ipc.new_stream(tmp_path / "a", table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "short").write_bytes(content[:-8])  # whole record batches, and no mark of the end
    (tmp_path / "two").write_bytes(content + content)
    for name in ("short", "two"):
        assert "does not end where its Arrow stream ends" in damaged(ArrowFile, tmp_path / name)


def test_a_file_that_lacks_a_column_of_the_others(tmp_path: Path) -> None:
    pq.write_table(pa.table({"pt_1": [1.0], "eta": [1.0]}), tmp_path / "a")
    pq.write_table(pa.table({"pt1": [1.0], "eta": [1.0]}), tmp_path / "b")
    for name in "ab":
        with ParquetTable(str(tmp_path / name)) as reader:
            if name == "a":
                reader.read(["pt_1"], 0, 1)
            else:
                with pytest.raises(MissingColumnError, match=r"no column 'pt_1', in .*/b; did you mean 'pt1'"):
                    reader.read(["pt_1"], 0, 1)


def test_only_the_wanted_columns_of_a_record_batch_are_decompressed(tmp_path: Path) -> None:
    columns = {name: np.full(5000, ord(name), np.int8).astype(np.float64) for name in "abc"}
    for kind, create in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
        table = pa.table(columns)
        with create(tmp_path / kind, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
        content = (tmp_path / kind).read_bytes()
        at = content.rindex(b"\x28\xb5\x2f\xfd")  # where the last column's data begin
        (tmp_path / kind).write_bytes(content[: at + 4] + b"\xff" * 8 + content[at + 12 :])
        with ArrowFile(str(tmp_path / kind)) as reader:
            assert reader.read(["a", "b"], 0, 9)["b"].tolist() == [ord("b")] * 9
            with pytest.raises(InputFileError, match="entries 0 to 5000 of column 'c' cannot be read"):
                list(reader.chunks(["a", "c"]))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pa.ipc.new_file(tmp_path / "a", table.schema) as writer:
        writer.write_table(table)
    assert "two columns are named 'a'" in damaged(ArrowFile, tmp_path / "a")


def test_feather_with_every_compression(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(1000), "b": np.arange(1000.0)})
    for codec in ("lz4", "zstd", "uncompressed"):
        pyarrow.feather.write_feather(table, tmp_path / codec, compression=codec, chunksize=300)
        with open_reader(str(tmp_path / codec)) as reader:
            assert [chunk.n_events for chunk in reader.chunks(["b"], 300)] == [300, 300, 300, 100]
            assert reader.read(["a"], 299, 302)["a"].tolist() == [299, 300, 301]

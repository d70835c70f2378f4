"""What every format promises to whoever reads it. A new one is a writer of the toy events, and one more line below."""

import bz2
import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import write_ntuple
from utils.errors import InputFileError, MissingColumnError
from utils.readers.formats import detect_format, open_reader
from utils.readers.reader import Reader
from utils.readers.spec import Access
from utils.writers.skim import SkimSchema, SkimWriter

N = 600
PIECE = 70  # events that are stored together, where a format lets us say
Events = Mapping[str, Any]


def toy_events(n: int = N, seed: int = 5) -> dict[str, Any]:
    """Events with a column of every kind that tables have."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    pt = rng.exponential(40, n)
    pt[::50] = np.nan
    return {
        "evt": np.arange(2**40, 2**40 + n),
        "pt": pt,
        "is_mc": rng.random(n) > 0.5,
        "channel": np.array(["ee", "eμ", "µτ, other", ""], dtype=object)[rng.integers(0, 4, n)],
        "jet_pt": ak.unflatten(rng.exponential(30, counts.sum()), counts),
    }


TYPES = {"evt": "int64", "pt": "float64", "is_mc": "bool", "channel": "string", "jet_pt": "var * float64"}
FLAT = ("evt", "pt", "is_mc", "channel")


# --- one writer per format ---


def for_uproot(events: Events) -> dict[str, Any]:
    """uproot writes text from Awkward arrays."""
    columns = dict(events)
    if "channel" in events:
        texts = ak.Array([*events["channel"], ""])  # which tells the type where there is none
        columns["channel"] = texts[:-1]
    return columns


def write_tree(path: Path, events: Events) -> None:
    write_ntuple(path, for_uproot(events), basket=PIECE)


def write_rntuple(path: Path, events: Events) -> None:
    columns = for_uproot(events)
    with uproot.recreate(path) as file:
        table = file.mkrntuple("events", {name: values[:PIECE] for name, values in columns.items()})
        for first in range(PIECE, len(events["evt"]), PIECE):
            table.extend({name: values[first : first + PIECE] for name, values in columns.items()})


def arrow_table(events: Events) -> pa.Table:
    columns = {}
    for name, values in events.items():
        is_jagged = isinstance(values, ak.Array)
        columns[name] = ak.to_arrow(values, extensionarray=False) if is_jagged else pa.array(values)
    columns["channel"] = columns["channel"].cast(pa.string())
    return pa.table(columns)


def write_parquet(path: Path, events: Events) -> None:
    pq.write_table(arrow_table(events), path, row_group_size=PIECE, compression="zstd")


def write_arrow_file(path: Path, events: Events) -> None:
    table = arrow_table(events)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=PIECE)


def write_arrow_stream(path: Path, events: Events) -> None:
    table = arrow_table(events)
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table, max_chunksize=PIECE)


def write_feather(path: Path, events: Events) -> None:
    pyarrow.feather.write_feather(arrow_table(events), path, compression="lz4", chunksize=PIECE)


def plain_rows(events: Events) -> Iterator[dict[str, Any]]:
    for row in zip(*(values.tolist() for values in events.values()), strict=True):
        yield dict(zip(events, row, strict=True))


def csv_text(events: Events) -> bytes:
    lines = [list(events)]
    lines.extend([str(v).lower() if isinstance(v, bool) else v for v in row.values()] for row in plain_rows(events))
    target = io.StringIO()
    csv.writer(target).writerows(lines)
    return target.getvalue().encode()


def json_text(events: Events) -> bytes:
    rows = [{k: None if v != v else v for k, v in row.items()} for row in plain_rows(events)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def compressed(text: Callable[[Events], bytes], codec: str) -> Callable[[Path, Events], None]:
    def write(path: Path, events: Events) -> None:
        content = text(events)
        squeezed = {
            "": lambda: content,
            "gzip": lambda: gzip.compress(content, mtime=0),
            "bz2": lambda: bz2.compress(content),
            "zstd": lambda: pa.compress(content, "zstd", asbytes=True),
        }
        path.write_bytes(squeezed[codec]())

    return write


def write_datasets(path: Path, events: Events) -> None:
    with h5py.File(path, "w") as file:
        for name, values in events.items():
            if isinstance(values, ak.Array):
                dataset = file.create_dataset(name, len(values), h5py.vlen_dtype(np.float64))
                for i, items in enumerate(values):
                    dataset[i] = ak.to_numpy(items)
            else:
                dtype = h5py.string_dtype() if values.dtype == object else values.dtype
                storage = {"chunks": (PIECE,), "compression": "gzip"} if len(values) else {}
                file.create_dataset(name, data=values, dtype=dtype, **storage)


def write_compound(path: Path, events: Events) -> None:
    kinds = [(name, "S16" if values.dtype == object else values.dtype) for name, values in events.items()]
    records = np.zeros(len(events["evt"]), kinds)
    for name, values in events.items():
        records[name] = np.char.encode(values.astype(str), "utf-8") if values.dtype == object else values
    with h5py.File(path, "w") as file:
        file["events"] = records


def write_pandas(path: Path, events: Events, layout: str) -> None:
    pd.DataFrame(dict(events)).to_hdf(
        path, key="events", format=layout, min_itemsize={"channel": 16} if (layout == "table") else None
    )


def write_skim(path: Path, events: Events) -> None:
    groups = {
        "cont_features": {"pt": np.dtype("f8")},
        "misc_features": {"evt": np.dtype("i8")},
        "targets": {"channel": np.dtype("S16")},
    }
    with SkimWriter(path, SkimSchema(groups)) as writer:
        text = np.char.encode(events["channel"].astype(str), "utf-8")
        columns = {**events, "channel": text}
        writer.append({group: {name: columns[name] for name in names} for group, names in groups.items()})
        writer.finish({})


@dataclass(frozen=True)
class Case:
    """A format as it is written.

    Parameters
    ----------
    id : for the name of the test.
    format : what `detect_format` says.
    write : `(path, events)`.
    columns : that it can hold.
    object_name : of the table; None where a file holds one table without a name.
    holds_nothing : whether a table without rows has types; else it may be an error.
    extra : columns that writing adds.
    """

    id: str
    format: str
    write: Callable[[Path, Events], None]
    columns: tuple[str, ...] = tuple(TYPES)
    object_name: str | None = None
    holds_nothing: bool = True
    extra: tuple[str, ...] = ()

    def events(self, n: int = N, seed: int = 5) -> dict[str, Any]:
        return {name: values for name, values in toy_events(n, seed).items() if name in self.columns}


CASES = [
    Case("ttree", "root", write_tree, object_name="events", extra=("njet_pt",)),
    Case("rntuple", "root", write_rntuple, object_name="events"),
    Case("parquet", "parquet", write_parquet),
    Case("arrow", "arrow", write_arrow_file),
    Case("arrow-stream", "arrow", write_arrow_stream),
    Case("feather", "arrow", write_feather),
    Case("csv", "csv", compressed(csv_text, ""), FLAT, holds_nothing=False),
    Case("csv.gz", "csv", compressed(csv_text, "gzip"), FLAT, holds_nothing=False),
    Case("csv.bz2", "csv", compressed(csv_text, "bz2"), FLAT, holds_nothing=False),
    Case("csv.zst", "csv", compressed(csv_text, "zstd"), FLAT, holds_nothing=False),
    Case("jsonl", "json", compressed(json_text, ""), holds_nothing=False),
    Case("jsonl.zst", "json", compressed(json_text, "zstd"), holds_nothing=False),
    Case("hdf5-datasets", "hdf5", write_datasets),
    Case("hdf5-compound", "hdf5", write_compound, FLAT, "events"),
    Case("pandas-fixed", "hdf5", lambda p, e: write_pandas(p, e, "fixed"), ("evt", "pt", "is_mc"), "events"),
    Case("pandas-table", "hdf5", lambda p, e: write_pandas(p, e, "table"), FLAT, "events", False),
    Case("skim", "hdf5", write_skim, ("evt", "pt", "channel")),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.id)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def path(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy events, under a name that says nothing about the format."""
    path = tmp_path_factory.mktemp("events") / "events.dat"
    case.write(path, case.events())
    return path


def opened(case: Case, path: Path, **access: Any) -> Reader:
    return open_reader(str(path), case.object_name, file_index=3, access=Access(**access))


def assert_equal(found: Any, expected: Any) -> None:
    """Equal in kind, type and every value."""
    if isinstance(expected, ak.Array):
        assert isinstance(found, ak.Array)
        assert str(found.type) == str(expected.type)
        assert ak.to_list(found) == ak.to_list(expected)
    else:
        assert isinstance(found, np.ndarray)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def joined(parts: list[Any]) -> Any:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else ak.concatenate(parts)


def test_the_format_is_told_by_the_content(case: Case, path: Path) -> None:
    with opened(case, path) as reader:
        assert detect_format(reader.source) == case.format
    with opened(case, path, format=case.format) as reader:
        assert reader.n_entries == N
    other = "parquet" if case.format != "parquet" else "root"
    with pytest.raises(InputFileError, match=rf"format is '{other}', but .* is {case.format}, in .*events\.dat"):
        opened(case, path, format=other)


def test_a_schema_before_anything_is_read(case: Case, path: Path) -> None:
    with opened(case, path) as reader:
        assert reader.n_entries == N
        assert set(reader.branches) == {*case.columns, *case.extra} == set(reader.columns)
        for name in case.columns:
            info = reader.columns[name]
            assert (info.name, info.type) == (name, TYPES[name])
            assert info.unreadable is None
            assert info.is_flat == reader.is_flat(name) == (name != "jet_pt")
            assert info.is_text == (name == "channel")
            assert info.is_jagged == (name == "jet_pt")
            assert info.n_bytes is None or info.n_bytes > 0
            assert info.n_stored is None or info.n_stored > 0
        assert reader.bytes_per_event(case.columns) > 16
        assert reader.require(["pt", "entry", "evt", "pt"]) == ["evt", "pt"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_chunks_are_the_table_wherever_their_borders_are(case: Case, path: Path, data: st.DataObject) -> None:
    names = data.draw(st.sets(st.sampled_from([*case.columns, "entry"]), min_size=1))
    chunk_size = data.draw(st.one_of(st.integers(5, 60), st.integers(61, 2 * N)))
    start = data.draw(st.integers(0, N))
    stop = data.draw(st.one_of(st.none(), st.integers(start, N + 10)))
    with opened(case, path) as reader:
        chunks = list(reader.chunks(names, chunk_size, start, stop))
    last = N if stop is None else min(stop, N)
    sizes = [chunk.n_events for chunk in chunks]
    assert sum(sizes) == last - start
    assert max(sizes) <= 2 * chunk_size
    assert [chunk.first_entry for chunk in chunks] == (start + np.cumsum([0, *sizes[:-1]])).tolist()
    assert {chunk.file_index for chunk in chunks} == {3}
    expected = {**case.events(), "entry": np.arange(N)}
    for name in names:
        assert_equal(joined([chunk.columns[name] for chunk in chunks]), expected[name][start:last])
    assert {name for chunk in chunks for name in chunk.columns} == names


@pytest.mark.parametrize(
    ("start", "stop"), [(0, N), (0, 1), (N - 1, N), (PIECE - 1, 3 * PIECE + 1), (250, 250), (N, N)]
)
def test_any_range_of_entries(case: Case, path: Path, start: int, stop: int) -> None:
    with opened(case, path) as reader:
        columns = reader.read(case.columns, start, stop)
        again = reader.read(["pt"], start, stop)
    for name, expected in case.events().items():
        assert_equal(columns[name], expected[start:stop])
    assert_equal(again["pt"], columns["pt"])


def test_only_the_wanted_columns_are_loaded(case: Case, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: set[str] = set()
    with opened(case, path) as reader:
        load = reader._load
        monkeypatch.setattr(reader, "_load", lambda names, *args: loaded.update(names) or load(names, *args))
        for chunk in reader.chunks(["pt", "entry"], 100):
            assert set(chunk.columns) == {"pt", "entry"}
    assert loaded == {"pt"}


def test_a_missing_column_has_a_nearest_name(case: Case, path: Path) -> None:
    with opened(case, path) as reader, pytest.raises(MissingColumnError) as caught:
        next(iter(reader.chunks(["pt", "evtt"])))
    assert caught.value.nearest == "evt"
    assert "evtt" in caught.value.what
    assert str(path) in str(caught.value.where)


def test_config_hides_columns(case: Case, path: Path) -> None:
    with opened(case, path, selected=("e*", "p*"), excluded=("pt",)) as reader:
        assert reader.branches == ("evt",)
        assert_equal(reader.read(["evt"], 0, 9)["evt"], case.events()["evt"][:9])
        with pytest.raises(MissingColumnError, match="selected_branches or exclude_branches hide it"):
            reader.read(["pt"], 0, 9)
    # On opening, or at the first question.
    with (
        pytest.raises(MissingColumnError, match="did you mean 'evt'"),
        opened(case, path, selected=("evtt",)) as reader,
    ):
        reader.require(["evt"])


def test_a_column_that_is_missing_can_be_filled(case: Case, path: Path) -> None:
    with opened(case, path) as reader:
        reader.fill("weight", "float32", 1.0)
        columns = reader.read(["weight", "evt"], 3, 9)
    assert columns["weight"].tolist() == [1.0] * 6
    assert_equal(columns["evt"], case.events()["evt"][3:9])


@pytest.mark.filterwarnings("ignore:Writing an empty DataFrame")
def test_a_table_without_rows_gives_one_chunk_of_its_types(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path / "empty", case.events(0))
    try:
        with opened(case, tmp_path / "empty") as reader:
            (chunk,) = reader.chunks([*case.columns, "entry"])
            types = {name: reader.columns[name].type for name in case.columns}
    except InputFileError as error:
        assert not case.holds_nothing, error
        return
    assert (chunk.n_events, chunk.first_entry) == (0, 0)
    if not case.holds_nothing:
        return
    assert types == {name: TYPES[name] for name in case.columns}
    for name, expected in {**case.events(0), "entry": np.arange(0)}.items():
        assert_equal(chunk.columns[name], expected)


def test_a_file_that_is_not_there(case: Case, path: Path) -> None:
    with pytest.raises(InputFileError, match="no such file.*did you mean 'events.dat'"):
        opened(case, path.with_name("event.dat"))
    with pytest.raises(InputFileError, match="is a directory"):
        opened(case, path.parent)


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_a_file_that_lost_its_end_is_an_error(case: Case, path: Path, tmp_path: Path, kept: float) -> None:
    content = path.read_bytes()
    cut = tmp_path / "cut.dat"
    cut.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputFileError, match=r"cut\.dat"), opened(case, cut) as reader:
        reader.read(case.columns, 0, reader.n_entries)


def test_a_fingerprint_tells_contents_apart(case: Case, path: Path, tmp_path: Path) -> None:
    case.write(tmp_path / "other", case.events(seed=6))
    with opened(case, path) as first, opened(case, path) as again, opened(case, tmp_path / "other") as other:
        assert first.fingerprint == again.fingerprint
        assert first.fingerprint.uuid != other.fingerprint.uuid
        assert (first.fingerprint.n_entries, first.fingerprint.size) == (N, path.stat().st_size)


def test_a_closed_reader_holds_no_file(case: Case, path: Path) -> None:
    def held() -> list[str]:
        links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
        return [str(link) for link in links if link.is_symlink() and os.path.realpath(link) == str(path)]

    with opened(case, path) as reader:
        next(iter(reader.chunks(["pt"], 100)))
    assert held() == []
    reader.close()  # once more does no harm


def test_two_readers_in_two_threads(case: Case, path: Path) -> None:
    def values(chunk_size: int) -> Any:
        with opened(case, path) as reader:
            return joined([chunk.columns["pt"] for chunk in reader.chunks(["pt"], chunk_size)])

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(values, (37, 130)):
            assert_equal(found, case.events()["pt"])


def test_reading_while_chunks_are_read_ahead(case: Case, path: Path) -> None:
    expected = case.events()
    with opened(case, path) as reader:
        for chunk in reader.chunks(["pt"], 50):
            first = max(chunk.first_entry - 30, 0)
            assert_equal(reader.read(["evt"], first, first + 40)["evt"], expected["evt"][first : first + 40])
            assert_equal(chunk.columns["pt"], expected["pt"][chunk.first_entry :][: chunk.n_events])

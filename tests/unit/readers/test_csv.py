"""CSV: whatever the blocks and chunks, the same columns; whatever is wrong, an error with its line."""

import bz2
import csv
import gzip
import io
import math
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.servers import file_server
from utils.errors import DataError, InputFileError, MissingColumnError, OutputError
from utils.logs import captured_log
from utils.readers.spec import Access
from utils.readers.text.csv_file import CsvFile


class SmallBlocks(CsvFile):
    """A row or two per block."""

    block_bytes = 20


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Callable[..., CsvFile]]:
    """A reader for a text."""

    def read(text: str | bytes, kind: type[CsvFile] = CsvFile) -> CsvFile:
        path = tmp_path / "data.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return stack.enter_context(kind(str(path)))

    with ExitStack() as stack:
        yield read


def values(reader: CsvFile, name: str) -> list[Any]:
    column = reader.read([name], 0, reader.n_entries)[name]
    assert isinstance(column, np.ndarray)
    assert str(column.dtype) == {"string": "object"}.get(reader.columns[name].type, reader.columns[name].type)
    return [None if isinstance(v, float) and math.isnan(v) else v for v in column.tolist()]


INTEGER = st.integers(-(2**62), 2**62) | st.integers(-9, 9)
BIG = st.integers(2**63, 2**64 - 1)
HUGE = st.integers(2**64, 2**70)
FLOAT = st.floats(allow_nan=False)
MISSING = st.sampled_from(["", "nan", "NA", " "])
BOOL = st.sampled_from(["true", "False"])
TEXT = st.text(st.sampled_from("ab#,;\"\n 'é"), max_size=6)
FIELDS = [INTEGER, FLOAT, BOOL, TEXT, BIG, HUGE, MISSING]


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """Columns of any mixture of fields, as text."""
    n_rows = draw(st.integers(1, 12))
    columns = []
    for _ in range(draw(st.integers(2, 4))):
        field = st.one_of(draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2)))
        columns.append([str(v) for v in draw(st.lists(field, min_size=n_rows, max_size=n_rows))])
    return columns


@settings(max_examples=150, deadline=None)
@given(
    columns=tables(),
    block=st.integers(1, 60),
    chunk_size=st.integers(1, 15),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    quote_all=st.booleans(),
)
def test_blocks_and_chunks_are_invisible(
    tmp_path_factory: pytest.TempPathFactory,
    columns: list[list[str]],
    block: int,
    chunk_size: int,
    delimiter: str,
    end: str,
    quote_all: bool,
) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    names = [f"c{i}" for i in range(len(columns))]
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    )
    # A text that begins with # would be a comment; csv.writer does not quote it.
    rows = [[f"x{row[0]}" if row[0].startswith("#") else row[0], *row[1:]] for row in zip(*columns, strict=True)]
    writer.writerows([names, *rows])
    path.write_text(text.getvalue(), newline="", encoding="utf-8")
    small = type("Small", (CsvFile,), {"block_bytes": block, "longest_row": 1000})
    with CsvFile(str(path)) as whole, small(str(path)) as parts:
        assert kinds(parts) == kinds(whole)
        assert whole.n_entries == parts.n_entries == len(rows)
        for name, expected in zip(names, zip(*rows, strict=True), strict=True):
            check(whole, name, list(expected))
            info = whole.columns[name]
            if info.unreadable is not None or whole._facts[name].is_inexact:
                continue
            read = [chunk.columns[name] for chunk in parts.chunks([name], chunk_size)]
            assert {column.dtype for column in read} == {whole.read([name], 0, 1)[name].dtype}
            np.testing.assert_array_equal(np.concatenate(read), whole.read([name], 0, len(rows))[name])


def kinds(reader: CsvFile) -> dict[str, tuple[str, str | None]]:
    return {name: (info.type, info.unreadable) for name, info in reader.columns.items()}


def check(reader: CsvFile, name: str, expected: list[str]) -> None:
    """The values are those of Python's own conversion."""
    info = reader.columns[name]
    present = [text for text in expected if text.strip(" ") not in ("", "nan", "NA")]
    if info.type == "string":
        assert values(reader, name) == expected
        assert any(not is_float(text) for text in present) or any(abs(int(text)) > 2**62 for text in present)
    elif info.type == "bool":
        assert {text.lower() for text in present} <= {"true", "false"}
        assert (info.unreadable is not None) == (len(present) < len(expected))
    elif info.type in ("int64", "uint64"):
        assert values(reader, name) == [int(text) for text in expected]
    elif not reader._facts[name].is_inexact:
        assert values(reader, name) == [float(text) if text in present else None for text in expected]


def is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("fields", "type_text", "expected"),
    [
        (["1", "2"], "int64", [1, 2]),
        (["1", "2.5"], "float64", [1.0, 2.5]),
        (["1", "nan"], "float64", [1.0, None]),
        (["1", "-inf", "+3", "1.", ".5"], "float64", [1.0, -math.inf, 3.0, 1.0, 0.5]),
        (["18446744073709551615", "1"], "uint64", [2**64 - 1, 1]),
        (["18446744073709551615", "-1"], "string", ["18446744073709551615", "-1"]),
        (["18446744073709551616", "1"], "string", ["18446744073709551616", "1"]),
        (["18446744073709551616", "1.5"], "float64", [2.0**64, 1.5]),
        (["true", "FALSE"], "bool", [True, False]),
        (["true", "1"], "string", ["true", "1"]),
        (["ww", "NA"], "string", ["ww", "NA"]),
        (["2020-01-01", "2020-01-02"], "string", ["2020-01-01", "2020-01-02"]),
        (["0x1F", "1", "1.5"], "string", ["0x1F", "1", "1.5"]),
        (["", "nan", "   "], "float64", [None, None, None]),
    ],
)
@pytest.mark.parametrize("kind", [CsvFile, SmallBlocks])
def test_the_type_holds_every_value(
    table: Callable[..., CsvFile], kind: type[CsvFile], fields: list[str], type_text: str, expected: list[Any]
) -> None:
    rows = [f"padding to fill blocks,{field}" for field in fields]
    reader = table("\n".join(["a,b", *rows]) + "\n", kind)
    assert reader.columns["b"].type == type_text
    assert values(reader, "b") == expected


@pytest.mark.parametrize("kind", [CsvFile, SmallBlocks])
def test_comments_blank_lines_a_byte_order_mark_and_spaces_around_names(
    table: Callable[..., CsvFile], kind: type[CsvFile]
) -> None:
    text = '\ufeff# made by "us\n\n pt ;eta\r\n1;"a # b"\r\n# it\'s "open\r\n\r\n2;"line\n# no comment"\n#end'
    reader = table(text, kind)
    assert reader.branches == ("pt", "eta")
    assert values(reader, "pt") == [1, 2]
    assert values(reader, "eta") == ["a # b", "line\n# no comment"]


def test_names_in_a_comment_as_numpy_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    np.savetxt(path, [[1.5, 2.5], [3.5, 4.5]], delimiter=",", header="pt, eta")
    with CsvFile(str(path)) as reader:
        assert values(reader, "eta") == [2.5, 4.5]


def test_columns_are_told_by_their_names(table: Callable[..., CsvFile]) -> None:
    reader = table("z,a,m\n1,2,3\n4,5,6\n")
    read = reader.read(["m", "z"], 0, 2)
    assert {name: column.tolist() for name, column in read.items()} == {"m": [3, 6], "z": [1, 4]}
    with pytest.raises(MissingColumnError, match="no column 'zz'.*'z'"):
        reader.read(["zz"], 0, 2)


def test_pandas_index_and_a_file_without_rows(table: Callable[..., CsvFile]) -> None:
    assert table(",pt\n0,1.5\n").branches == ("index", "pt")
    empty = table("pt,eta\n")
    assert (empty.n_entries, empty.columns["pt"].type) == (0, "float64")
    assert [chunk.columns["pt"].dtype for chunk in empty.chunks(["pt"])] == [np.float64]


def test_old_line_ends(table: Callable[..., CsvFile]) -> None:
    assert values(table("a,b\r1,2\r3,4\r"), "b") == [2, 4]


def test_one_text_among_numbers_is_named(table: Callable[..., CsvFile]) -> None:
    with captured_log() as messages:
        table("pt,sample\n1,ww\n2,zz\n3?,zz\n")
    assert next(m for m in messages if "is text" in m).endswith("'pt' is text, not numbers: entry 2 is '3?'")
    assert not any("'sample' is text" in m for m in messages)


@pytest.mark.parametrize("kind", [CsvFile, SmallBlocks])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n5,6\n", "line 3 has 1 field instead of 2 ('3')"),
        ('a,b\n1,2\n# c\n\n"x\ny",5\n3,4,5\n', "line 7 has 3 fields instead of 2 ('3,4,5')"),
        ('a,b\n1,"open\n3,4\n', "the quote that opens in line 2 is never closed"),
        ("a,b,a\n1,2,3\n", "several columns are named 'a', line 1"),
        ("a,b,\n1,2,3\n", "column 3 of 3 has no name, line 1"),
        ("0.5,2\n3,4\n", "line 1 should name the 2 columns, but holds numbers only"),
        ("# a comment\n0.5,2\n3,4\n", "line 2 should name the 2 columns"),
        ("pt eta\n1 2\n", "line 1 has no comma, semicolon, tab or bar"),
        ("# nothing\n\n", "there is no line with the columns' names"),
        (b"a,b\n1,2\n1,\xff\n", "line 3 is not UTF-8 (byte 0xff)"),
        (b"a\xff,b\n1,2\n", "line 1 is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "the text is UTF-16"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    table: Callable[..., CsvFile], kind: type[CsvFile], text: str | bytes, message: str
) -> None:
    with pytest.raises(InputFileError) as caught:
        table(text, kind)
    assert message in str(caught.value)
    assert str(caught.value.where).endswith("data.csv")
    assert caught.value.remedy


def test_missing_values_that_have_no_type(table: Callable[..., CsvFile]) -> None:
    reader = table("flag,event,pt\ntrue,9007199254740993,1\n,,2\n")
    with pytest.raises(InputFileError, match="'flag'.*bools have no value"):
        reader.read(["flag"], 0, 1)
    with pytest.raises(DataError, match="'event'.*beyond 2\\^53"):
        reader.read(["event"], 0, 1)
    assert values(reader, "pt") == [1, 2]


def test_a_row_that_never_ends_does_not_fill_the_memory(table: Callable[..., CsvFile]) -> None:
    with pytest.raises(InputFileError, match="the row that begins in line 2 does not end within"):
        table('a,b\n1,"' + "x" * 1000, SmallBlocks)


# --- compressed ---

CONTENT = ("pt,eta\n" + "".join(f"{i},{i / 7}\n" for i in range(20_000))).encode()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content),
    "bz2": lambda content: bz2.compress(content),
    "zstd": lambda content: bytes(pa.Codec("zstd").compress(content, asbytes=True)),
}


@pytest.mark.parametrize("name", COMPRESS)
def test_compression_is_told_by_content_and_read_to_the_end(tmp_path: Path, name: str) -> None:
    half = len(CONTENT) // 2
    path = tmp_path / "data.txt"
    path.write_bytes(COMPRESS[name](CONTENT[:half]) + COMPRESS[name](CONTENT[half:]))
    with CsvFile(str(path)) as reader:
        assert reader.n_entries == 20_000
        assert reader.columns["eta"].compression == name
        assert reader.read(["eta"], 19_990, 19_999)["eta"].tolist() == [i / 7 for i in range(19_990, 19_999)]


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("damage", ["last byte", "half", "first byte", "garbage"])
def test_damaged_compressed_files(tmp_path: Path, name: str, damage: str) -> None:
    whole = COMPRESS[name](CONTENT)
    n = {"last byte": -1, "half": len(whole) // 2, "first byte": 12, "garbage": None}[damage]
    path = tmp_path / "data.csv.gz"
    path.write_bytes(whole[:n] + (b"garbage here" if n is None else b""))
    with pytest.raises(InputFileError, match=rf"the {name} data end early or are damaged after .*data.csv.gz"):
        CsvFile(str(path))


def test_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(CONTENT))
    whole[len(whole) // 2] ^= 4
    path = tmp_path / "data.csv.gz"
    path.write_bytes(whole)
    with pytest.raises(InputFileError, match="damaged"):
        CsvFile(str(path))


def test_no_room_for_the_decompressed_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(CONTENT))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"no room for the decompressed copy.*data.csv.gz.*TMPDIR") as caught:
            CsvFile(str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.where == str(scratch)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["plain", "gzip"])
def test_a_remote_file_is_copied_once_and_read_like_a_local_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "data.csv").write_bytes(CONTENT if name == "plain" else COMPRESS[name](CONTENT))
    with file_server(tmp_path) as served:
        reader = CsvFile(f"{served.address}/data.csv")
        served.fault = lambda _: "500"
        with reader:
            assert reader.source.local_path is None
            assert reader.read(["eta"], 19_990, 19_999)["eta"].tolist() == [i / 7 for i in range(19_990, 19_999)]


@pytest.mark.parametrize("name", ["plain", "gzip"])
def test_a_server_that_dies_is_named_not_the_compression(tmp_path: Path, name: str) -> None:
    (tmp_path / "data.csv").write_bytes(CONTENT if name == "plain" else COMPRESS[name](CONTENT))
    with file_server(tmp_path) as served:
        served.fault = lambda _: "die"
        with pytest.raises(InputFileError) as caught:
            CsvFile(f"{served.address}/data.csv", access=Access(retries=0, timeout=5))
    assert "damaged" not in str(caught.value)
    assert served.address in str(caught.value)


def test_real_events(shared_data: Path) -> None:
    with CsvFile(str(shared_data / "higgs" / "higgs.csv")) as reader:
        assert (reader.n_entries, len(reader.columns)) == (10_984, 29)
        assert reader.columns["label"].type == "int64"
        expected = np.genfromtxt(shared_data / "higgs" / "higgs.csv", delimiter=",", names=True)
        chunks = list(reader.chunks(["m_bb", "label"], 3000))
        for name in ("m_bb", "label"):
            assert np.array_equal(np.concatenate([chunk.columns[name] for chunk in chunks]), expected[name])


def test_a_first_column_may_begin_like_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("BZh,x\n1,2\n3,4\n")
    with CsvFile(str(path)) as reader:
        assert reader.branches == ("BZh", "x")
        assert reader.n_entries == 2

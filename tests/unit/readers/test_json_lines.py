"""JSON lines: nested records become columns, whatever the blocks; what does not fit is named with both lines."""

import gzip
import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import DataError, InputFileError
from utils.readers.text.json_lines import JsonLines


class SmallBlocks(JsonLines):
    """A record or two per block."""

    block_bytes = 20


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Callable[..., JsonLines]]:
    """A reader for records, or for a text as it is."""

    def read(content: list[dict[str, Any]] | str | bytes, kind: type[JsonLines] = JsonLines) -> JsonLines:
        path = tmp_path / "data.jsonl"
        if isinstance(content, list):
            content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return stack.enter_context(kind(str(path)))

    with ExitStack() as stack:
        yield read


def as_written(column: Any) -> Any:
    """Values as JSON has them: null for NaN."""
    if isinstance(column, list):
        return [as_written(value) for value in column]
    return None if isinstance(column, float) and math.isnan(column) else column


def all_of(reader: JsonLines, name: str) -> Any:
    return as_written(reader.read([name], 0, reader.n_entries)[name].tolist())


INTEGER = st.integers(-(2**53), 2**53)
FLOAT = st.floats(allow_nan=False, allow_infinity=False, width=32)
LEAF = st.sampled_from(
    [
        INTEGER,
        FLOAT,
        INTEGER | st.none(),
        INTEGER | FLOAT | st.none(),
        st.none(),
        st.booleans(),
        st.text('anul é\n"#{}', max_size=6),
        st.sampled_from(["null", "2020-01-01", "2020-01-01 00:00:00"]),
        st.integers(0, 2**64 - 1),
    ]
)


def shapes(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Strategies of lists and records of what there is."""
    as_list = values.map(lambda inner: st.lists(inner, max_size=3))
    as_record = st.dictionaries(st.sampled_from(["x", "y", "null"]), values, min_size=1, max_size=2)
    return as_list | as_record.map(st.fixed_dictionaries)


RECORDS = st.dictionaries(
    st.sampled_from(["a", "b", "muon"]), st.recursive(LEAF, shapes, max_leaves=4), min_size=1, max_size=3
).flatmap(lambda fields: st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=10))


def flattened(records: list[Any], path: list[str]) -> list[Any]:
    """The column of a path by plain Python."""

    def pick(value: Any, path: list[str]) -> Any:
        if isinstance(value, list):
            return [pick(item, path) for item in value]
        return pick(value[path[0]], path[1:]) if path else value

    return [pick(record, path) for record in records]


@settings(max_examples=150, deadline=None)
@given(
    rows=RECORDS, block=st.integers(1, 200), chunk_size=st.integers(1, 12), end=st.sampled_from(["\n", "\r\n", "\n\n"])
)
def test_blocks_and_chunks_are_invisible(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], block: int, chunk_size: int, end: str
) -> None:
    path = tmp_path_factory.mktemp("json") / "data.json"
    path.write_text(end.join(json.dumps(row) for row in rows), encoding="utf-8", newline="")
    small = type("Small", (JsonLines,), {"block_bytes": block, "longest_row": 10_000})
    with JsonLines(str(path)) as whole, small(str(path)) as parts:
        assert {n: (i.type, i.unreadable) for n, i in parts.columns.items()} == {
            n: (i.type, i.unreadable) for n, i in whole.columns.items()
        }
        assert whole.n_entries == parts.n_entries == len(rows)
        for name, info in whole.columns.items():
            if info.unreadable is not None:
                continue
            column = whole.read([name], 0, len(rows))[name]
            assert isinstance(column, np.ndarray) == ("*" not in info.type)
            assert as_written(column.tolist()) == flattened(rows, name.split("."))
            chunks = [chunk.columns[name] for chunk in parts.chunks([name], chunk_size)]
            assert {str(ak.type(ak.Array(c[:0])).content) for c in chunks if "*" in info.type} <= {info.type}
            assert {c.dtype for c in chunks if "*" not in info.type} <= {getattr(column, "dtype", None)}
            assert as_written([value for c in chunks for value in c.tolist()]) == as_written(column.tolist())


@pytest.mark.parametrize("kind", [JsonLines, SmallBlocks])
@pytest.mark.parametrize(
    ("values", "type_text", "expected"),
    [
        ([1, 2], "int64", [1, 2]),
        ([1, 2.5], "float64", [1.0, 2.5]),
        ([1, None], "float64", [1.0, None]),
        ([None, None], "float64", [None, None]),
        ([2**64 - 1, 1], "uint64", [2**64 - 1, 1]),
        ([2**64, 1.5], "float64", [2.0**64, 1.5]),
        (["x", None], "string", ["x", ""]),
        (["2020-01-01", "x"], "string", ["2020-01-01", "x"]),
        ([[], []], "var * float64", [[], []]),
        ([[], [1]], "var * int64", [[], [1]]),
        ([[None, 1], None], "var * float64", [[None, 1.0], []]),
        ([[[1], []], []], "var * var * int64", [[[1], []], []]),
        ([["é"], []], "var * string", [["é"], []]),
    ],
)
def test_the_type_holds_every_value(
    records: Callable[..., JsonLines], kind: type[JsonLines], values: list[Any], type_text: str, expected: list[Any]
) -> None:
    reader = records([{"padding": "to fill blocks", "a": value} for value in values], kind)
    assert reader.columns["a"].type == type_text
    assert all_of(reader, "a") == expected


def test_records_become_columns_and_can_be_read_as_they_are(records: Callable[..., JsonLines]) -> None:
    rows = [
        {"met": 1.5, "muon": [{"pt": 3.0, "hits": [1, 2]}, {"pt": 4.0, "hits": []}]},
        {"met": 2.5, "muon": []},
    ]
    reader = records(rows, SmallBlocks)
    assert reader.branches == ("met", "muon.pt", "muon.hits")
    assert all_of(reader, "muon.pt") == [[3.0, 4.0], []]
    assert all_of(reader, "muon.hits") == [[[1, 2], []], []]
    assert all_of(reader, "muon") == [row["muon"] for row in rows]
    assert set(reader.read(["met", "muon.pt"], 1, 2)) == {"met", "muon.pt"}


def test_nan_and_infinity_as_python_writes_them(records: Callable[..., JsonLines]) -> None:
    reader = records('{"a":NaN}\n{"a":-Infinity}\n{"a":Infinity}\n')
    assert all_of(reader, "a") == [None, -math.inf, math.inf]


def test_a_missing_bool_and_an_inexact_integer(records: Callable[..., JsonLines]) -> None:
    reader = records([{"flag": True, "event": 2**53 + 1}, {"flag": None, "event": None}])
    with pytest.raises(InputFileError, match="'flag'.*bools have no value"):
        reader.read(["flag"], 0, 1)
    with pytest.raises(DataError, match="beyond 2\\^53.*'event'"):
        reader.read(["event"], 0, 1)


@pytest.mark.parametrize("kind", [JsonLines, SmallBlocks])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1,"b":2}\n{"a":1,"b":2}\n{"a":1}\n', "line 3 lacks 'b', which line 1 has"),
        ('{"a":1}\n\n{"a":1,"c":2}\n', "line 3 has 'c', which line 1 lacks"),
        ('{"a":1}\n{"b":1}\n', "line 2 lacks 'a', which line 1 has, and has 'b', which line 1 lacks"),
        ('{"a":1,"b":null}\n{"a":1}\n', "line 2 lacks 'b', which line 1 has"),
        ('{"a":"null","b":1}\n{"a":null}\n{"a":null,"b":2}\n', "line 2 lacks 'b', which line 1 has"),
        ('{"m":[]}\n{"m":[{"x":1,"y":2}]}\n{"m":[{"x":1}]}\n', "'m' in line 3 lacks 'y', which line 2 has"),
        ('{"m":{"x":1}}\n{"m":null}\n{"m":{"x":1,"y":null}}\n', "'m' in line 3 has 'y', which line 1 lacks"),
        ('{"a":null}\n{"a":1}\n{"a":"x"}\n', "'a' is text in line 3, and a number in line 2"),
        ('{"a":[1]}\n{"a":[[1]]}\n', "'a' is a list in line 2, and a number in line 1"),
        ('{"a":[{"b":1}]}\n{"a":[2]}\n', "'a' is a number in line 2, and a record in line 1"),
        ('{"a":1}\n{"a":true}\n', "'a' is true or false in line 2, and a number in line 1"),
        ('{"a":1}\n{"a":,}\n', "line 2 is no JSON, at column 6"),
        ('{"a":1}\n{"a":2', "line 2 ends within a record"),
        ('{\n"a":1\n}\n', "line 1 ends within a record"),
        ('{"a":1}\n{"a":2} {"a":3}\n', "line 2 goes on after its record ends, at column 9"),
        ('{"a":1}\n[2]\n', "line 2 is a list, not a record"),
        ('{"a":1}\n{"a":2,"a":3}\n', "line 2 has the key 'a' twice in one record"),
        ('{"a":1}\n{"a":1e400}\n', "line 2 cannot be read (ArrowInvalid: JSON parse error: Number too big"),
        (b'{"a":"x"}\n{"a":"\xff"}\n', "line 2 is not UTF-8 (byte 0xff)"),
        ('[{"a":1},{"a":2}]', "one JSON array, which would have to be read as a whole"),
        ('{"a":1}\n{"a":18446744073709551616}\n', "'a' in line 2 is an integer that does not fit into 64 bits"),
        ('{"a":-1}\n{"a":18446744073709551615}\n', "'a' has integers below 0 and others of 2^63 and more"),
        ('{"":1}\n', "a key without a name"),
        ("{}\n{}\n", "the records from line 1 on have no keys"),
        ("\n\n", "there is no record in it"),
    ],
)
def test_what_is_wrong_is_said_with_its_lines(
    records: Callable[..., JsonLines], kind: type[JsonLines], text: str | bytes, message: str
) -> None:
    with pytest.raises(InputFileError) as caught:
        records(text, kind)
    assert message in str(caught.value)
    assert str(caught.value.where).endswith("data.jsonl")
    assert caught.value.remedy


def test_a_gzip_that_ends_early_is_no_short_sample(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    whole = gzip.compress(b"".join(b'{"a":%d}\n' % (i * i) for i in range(10_000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputFileError, match="the gzip data end early"):
        JsonLines(str(path))

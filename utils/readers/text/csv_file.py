"""CSV files, plain or compressed: columns by the names in their first line, types from all their rows.

The delimiter is a comma, a semicolon, a tab or a bar, whichever splits the first line. Fields may be quoted ("), with
doubled quotes and line ends inside. Lines that are empty or begin with `#` are skipped; a `#` line right above the
numbers may hold the names, as NumPy writes them. Missing values (nothing, nan, NA, null …) are NaN, integers become
floating point numbers where there are any; what is not a number, true or false is text.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from utils.errors import DataError, InputFileError
from utils.events import Column
from utils.logs import get_logger
from utils.readers.columns import ColumnInfo
from utils.readers.reader import short_text
from utils.readers.text.blocks import BOM, Block, TextReader
from utils.readers.text.csv_types import NULLS, NUMBER, ColumnFacts, is_number

logger = get_logger(__name__)

DELIMITERS = ",;\t|"
# What pandas' unnamed first column is called here.
INDEX_COLUMN = "index"
_COMMENT = re.compile(rb"(?m)^#[^\n]*+\n?")
_NOTHING = re.compile(rb"[\r\n]*")
_INNER_BYTES = 1 << 20
_TYPES = {
    pa.string(): "string",
    pa.bool_(): "bool",
    pa.float64(): "float64",
    pa.int64(): "int64",
    pa.uint64(): "uint64",
}


class CsvFile(TextReader):
    """One CSV file, indexed when it is opened.

    Raises
    ------
    InputFileError : a row with too many or too few fields, an open quote, names that are missing or not unique, text
        that is not UTF-8; with the line.
    DataError : a column is read that has integers beyond 2^53 beside missing values.
    """

    def _begin(self, head: bytes) -> tuple[int, int]:
        start = len(BOM) if head.startswith(BOM) else 0
        comment = ""
        # Old Macs end a line by a carriage return alone.
        rows = io.BytesIO(head[start:]) if b"\n" in head else head[start:].splitlines(keepends=True)
        for line, row in enumerate(rows, start=1):
            begin, start = start, start + len(row)
            text = self._decoded(row, line).strip("\r\n")
            if text.startswith("#"):
                comment = text.lstrip("# ")
            elif text.strip():
                delimiter, fields = _split(text)
                if all(is_number(field) for field in fields):
                    # No names, unless the comment above is them.
                    self._check_names(comment, fields, line)
                    self._settle(*_split(comment), line - 1)
                    return begin, line
                self._settle(delimiter, fields, line)
                return start, line + 1
        raise self._bad("there is no line with the columns' names", remedy="Name the columns in the first line.")

    def _settle(self, delimiter: str, fields: Sequence[str], line: int) -> None:
        """Keep the delimiter and the names."""
        names = [field.strip() for field in fields]
        if names[0] == "" and INDEX_COLUMN not in names:
            names[0] = INDEX_COLUMN  # as pandas writes it, unless told otherwise
        for i, name in enumerate(names, start=1):
            if not name:
                raise self._bad(f"column {i} of {len(names)} has no name, line {line}")
        if len(names) == 1 and " " in names[0]:
            raise self._bad(
                f"line {line} has no comma, semicolon, tab or bar between its names",
                remedy="Separate the columns by commas, for example: tr -s ' ' ',' < OLD > NEW.",
            )
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            raise self._bad(f"several columns are named {', '.join(repr(name) for name in twice)}, line {line}")
        self._names = names
        self._delimiter = delimiter
        self._facts = {name: ColumnFacts() for name in names}
        self._odd: dict[str, tuple[int, str]] = {}
        self._n_seen = 0
        mark = re.escape(delimiter.encode())
        # A comment, or a quoted field; without its closing quote where the data end first.
        self._token = re.compile(
            rb"(?<![^\n])(?P<comment>#[^\n]*+\n?)|(?<![^\n\r" + mark + rb'])"[^"]*+(?:""[^"]*+)*+(?P<end>"?)'
        )

    def _check_names(self, comment: str, fields: Sequence[str], line: int) -> None:
        if comment and len(_split(comment)[1]) == len(fields):
            return
        raise self._bad(
            f"line {line} should name the {len(fields)} columns, but holds numbers only",
            remedy="Put the names above it, separated by commas, for example: (echo 'NAME_1,NAME_2,…'; cat OLD) > NEW.",
        )

    # --- blocks ---

    def _cut(self, data: bytes) -> int:
        if b'"' not in data:
            return data.rfind(b"\n") + 1
        # The last line end outside of quotes; an open quote reaches to the end of the data.
        stop = len(data)
        for token in reversed(list(self._token.finditer(data))):
            if token["comment"] is None:
                end = data.rfind(b"\n", token.end(), stop) + 1
                if end > 0:
                    return end
                stop = token.start()
        return data.rfind(b"\n", 0, stop) + 1

    def _learn(self, data: bytes, examined: Any, block: Block) -> int:
        if b'"' in data:
            self._check_quotes(data, block.line)
        rows = self._without_comments(data)
        try:
            table = self._infer(rows)
        except pa.ArrowInvalid as error:
            raise self._ragged(data, block.line) or self._bad(
                f"the lines from {block.line:,} on cannot be read ({short_text(error)})"
            ) from error
        has_hexadecimal = b"x" in data or b"X" in data  # a single byte is found much faster than 0x
        for name, values in zip(self._names, table.columns, strict=True):
            again = partial(self._column, rows, name)
            if pa.types.is_binary(values.type):
                raise self._not_utf8(data, block.line)
            if has_hexadecimal and pa.types.is_integer(values.type):
                # pyarrow reads 0x1F as an integer, but not as a floating point number: it is text.
                texts = again(pa.string())
                values = texts if pc.any(pc.match_substring(texts, "x", ignore_case=True)).as_py() else values
            if pa.types.is_string(values.type) and not self._facts[name].has_text:
                self._note_odd(name, values)
            self._facts[name].learn(values, again)
        self._n_seen += table.num_rows
        return int(table.num_rows)

    def _infer(self, rows: bytes) -> pa.Table:
        """All columns of a block, with the types that they had so far if these fit, else with those they have."""
        expected = {name: facts.expected for name, facts in self._facts.items()}
        try:
            return self._read_csv(rows, {name: kind for name, kind in expected.items() if kind is not None})
        except pa.ArrowInvalid:
            return self._read_csv(rows)

    def _column(self, rows: bytes, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        return self._read_csv(rows, {name: kind}, [name])[name]

    def _note_odd(self, name: str, texts: pa.ChunkedArray) -> None:
        """Remember the text among a column's numbers: a user may not know that it is there."""
        is_fine = pc.or_(pc.match_substring_regex(texts, NUMBER), pc.is_in(texts, pa.array(NULLS)))
        facts = self._facts[name]
        if facts.has_int or facts.has_float or 2 * pc.sum(is_fine).as_py() >= len(texts):
            row = pc.index(is_fine, False).as_py()
            if row >= 0:
                self._odd[name] = (self._n_seen + row, texts[row].as_py())

    def _finish(self) -> None:
        for name, (entry, text) in self._odd.items():
            logger.warning(
                "%s: '%s' is text, not numbers: entry %s is %r", self.path, name, f"{entry:,}", _shortened(text)
            )

    # --- reading ---

    @cached_property
    def _columns(self) -> Mapping[str, ColumnInfo]:
        return {
            name: ColumnInfo(
                name,
                _TYPES[facts.kind],
                facts.n_bytes,
                compression=self.compression,
                unreadable="some of its bools have no value" if facts.lacks_bools else None,
            )
            for name, facts in self._facts.items()
        }

    def _load(self, names: Sequence[str], start: int, stop: int, threads: Executor | None) -> dict[str, Column]:
        for name in names:
            if self._facts[name].is_inexact:
                raise DataError(
                    f"column '{name}' has integers with missing values, which become float64, and one is beyond 2^53, "
                    "where not every integer exists",
                    where=self.path,
                    remedy="Fill the missing values in the file.",
                )
        kinds = {name: self._facts[name].kind for name in names}
        table = self._rows(lambda data: self._read_csv(self._without_comments(data), kinds, names), start, stop)
        columns = {}
        for name in names:
            values = table[name].to_numpy()
            # What pyarrow shares is read-only, and would keep the whole block in memory.
            columns[name] = values if values.flags.writeable else values.copy()
        return columns

    def _read_csv(
        self, rows: bytes, kinds: Mapping[str, pa.DataType] | None = None, names: Sequence[str] = ()
    ) -> pa.Table:
        """The named columns of rows, or all, with given types or with those that pyarrow infers."""
        if _NOTHING.fullmatch(rows):
            return pa.schema({name: (kinds or {}).get(name, pa.null()) for name in names or self._names}).empty_table()
        convert = pa.csv.ConvertOptions(
            column_types=kinds,
            include_columns=list(names),
            null_values=NULLS,
            # 1 and 0 are numbers.
            true_values=["true", "True", "TRUE"],
            false_values=["false", "False", "FALSE"],
        )
        parse = pa.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=b'"' in rows)
        for n_bytes in (_INNER_BYTES, len(rows) + 1):
            read = pa.csv.ReadOptions(
                column_names=self._names, block_size=n_bytes, use_threads=self.access.n_threads > 1
            )
            try:
                return pa.csv.read_csv(pa.BufferReader(rows), read, parse, convert)
            except pa.ArrowInvalid as error:
                # A row longer than the pieces that pyarrow's threads work on.
                if "straddling" not in str(error):
                    raise
        raise AssertionError("one piece holds all rows")

    def _without_comments(self, data: bytes) -> bytes:
        if b"#" not in data:
            return data
        if b'"' not in data:
            return _COMMENT.sub(b"", data)
        return self._token.sub(lambda token: b"" if token["comment"] is not None else token[0], data)

    # --- what is wrong with a block ---

    def _check_quotes(self, data: bytes, line: int) -> None:
        for token in self._token.finditer(data):
            if token["comment"] is None and not token["end"]:
                line += data.count(b"\n", 0, token.start())
                raise self._bad(f"the quote that opens in line {line:,} is never closed")

    def _ragged(self, data: bytes, line: int) -> InputFileError | None:
        """The first row with too many or too few fields."""
        try:
            for number, fields in _rows(data.decode(errors="replace"), self._delimiter):
                if len(fields) != len(self._names):
                    n_fields = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
                    return self._bad(
                        f"line {line + number:,} has {n_fields} instead of {len(self._names)} "
                        f"('{_shortened(self._delimiter.join(fields))}')"
                    )
        except csv.Error:  # such as a field that is very long
            pass
        return None

    def _not_utf8(self, data: bytes, line: int) -> InputFileError:
        for number, row in enumerate(data.split(b"\n"), start=line):
            self._decoded(row, number)
        raise AssertionError("all lines are UTF-8")

    def _decoded(self, row: bytes, line: int) -> str:
        try:
            return row.decode()
        except UnicodeDecodeError as error:
            raise self._bad(
                f"line {line:,} is not UTF-8 (byte {row[error.start]:#x})",
                remedy="Convert it, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW.",
            ) from error


def _split(text: str) -> tuple[str, list[str]]:
    """The delimiter that splits a line into most fields, and these."""
    fields = {delimiter: next(csv.reader([text], delimiter=delimiter), [""]) for delimiter in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: len(fields[mark]))
    return delimiter, fields[delimiter]


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a text, each with the number of its first line, from 0."""
    first, is_new = 0, True

    def lines() -> Iterator[str]:
        nonlocal first, is_new
        for number, line in enumerate(io.StringIO(text, newline="")):
            if is_new:
                if line.startswith("#") or not line.strip("\r\n"):
                    continue
                first, is_new = number, False
            yield line

    for fields in csv.reader(lines(), delimiter=delimiter):
        yield first, fields
        is_new = True


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"

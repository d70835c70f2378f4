"""ROOT files: the fields of an RNTuple, decompressed in threads."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import awkward as ak
import uproot
import xxhash
from uproot.behaviors.RNTuple import _fill_container_dict

from utils.events import Column
from utils.readers.columns import ColumnInfo, LazyColumns
from utils.readers.places.storage import Source
from utils.readers.reader import Reader, short_text
from utils.readers.records import leaves, pick, records, without_missing
from utils.readers.root.file import NTUPLES, RootFile
from utils.readers.spec import Access

# What the converter from TTree calls the collections that it finds; their fields also appear under their own names.
_CONVERTED = re.compile(r"_collection\d+")
_CHECKSUM_BYTES = 8
_OPTION = re.compile(r"\?|option\[")
_ALGORITHMS = {
    uproot.const.kZLIB: "ZLIB",
    uproot.const.kLZMA: "LZMA",
    uproot.const.kLZ4: "LZ4",
    uproot.const.kZSTD: "ZSTD",
}


@dataclass(frozen=True)
class _Place:
    """Where a column or a record lies: its field at the top, what is needed of that, and the way down."""

    field_id: int
    keys: tuple[str, ...]
    path: tuple[str, ...]
    type: str
    is_column: bool
    unreadable: str | None = None


class RootNTuple(Reader):
    """One RNTuple of one ROOT file, opened once. A field of records is a column per field: `jets.pt`.

    Parameters
    ----------
    source : the file.
    object_name : the RNTuple's name, which may be nested.
    file : the file, where it is open already.
    """

    noun = "field"

    def __init__(
        self,
        source: Source | str,
        object_name: str | None = None,
        *,
        file_index: int = 0,
        access: Access = Access(),
        file: RootFile | None = None,
    ) -> None:
        super().__init__(source, object_name, file_index=file_index, access=access)
        self._forms: dict[str, Any] = {}
        self._with_checksum: set[int] = set()  # places of pages in the file
        self._file = RootFile(self.source) if file is None else file
        try:
            self.object_name = self._file.choose(object_name, NTUPLES)
            self._ntuple = self._file.get(self.object_name)
            self._ntuple.read_locator = self._read_checked
        except BaseException:
            self.close()
            raise

    @property
    def n_entries(self) -> int:
        """Number of entries of the RNTuple."""
        return int(self._ntuple.num_entries)

    # --- columns ---

    @cached_property
    def _children(self) -> Mapping[int, Sequence[int]]:
        """The fields below every field. uproot looks through all fields for those of one."""
        children: dict[int, list[int]] = {}
        for i, record in enumerate(self._ntuple.field_records):
            if record.parent_field_id != i:
                children.setdefault(record.parent_field_id, []).append(i)
        return children

    def _keys(self, field_id: int) -> list[str]:
        """The paths of a field and of all below it."""
        path = self._ntuple.all_fields[field_id].path
        below = (key for child in self._children.get(field_id, ()) for key in self._keys(child))
        return [*([path] if path else []), *below]

    @cached_property
    def _places(self) -> Mapping[str, _Place]:
        """Where every column lies, and every record."""
        places: dict[str, _Place] = {}
        names = {field.name for field in self._ntuple.fields}
        for field in self._ntuple.fields:
            keys = tuple(self._keys(field.field_id))
            try:
                kind = self._ntuple.field_form(field.field_id, keys).type
                found = list(leaves(field.name, kind))
            except Exception as error:  # noqa: BLE001 (whatever it is, the column says why it cannot be read)
                reason = short_text(error)
                places[field.name] = _Place(field.field_id, keys, (), str(field.typename), True, reason)
                continue
            for column, type_text, path in found:
                is_repeated = bool(path) and _CONVERTED.fullmatch(field.name) is not None and path[0] in names
                pruned = self._pruned(field.field_id, keys, path)
                if column not in places:
                    places[column] = _Place(field.field_id, pruned, path, type_text, not is_repeated)
                for name, outer in records(field.name, column, path):
                    if name not in names or name == field.name:
                        places.setdefault(name, _Place(field.field_id, keys, outer, "", False))
        return places

    def _pruned(self, field_id: int, keys: Sequence[str], path: Sequence[str]) -> tuple[str, ...]:
        """Those of the keys that reading a path needs; all, where fields have other names than their records show."""
        if not path:
            return tuple(keys)
        names = (f"_{part}" if part.isdigit() else part for part in path)
        wanted = ".".join([self._ntuple.all_fields[field_id].path, *names])
        return tuple(key for key in keys if key == wanted or key.startswith(f"{wanted}.")) or tuple(keys)

    def _is_record(self, name: str) -> bool:
        return name in self._places and not self._places[name].is_column

    @cached_property
    def _columns(self) -> Mapping[str, ColumnInfo]:
        return LazyColumns([name for name, place in self._places.items() if place.is_column], self._describe)

    def _describe(self, name: str) -> ColumnInfo:
        place = self._places[name]
        if place.unreadable is not None:
            return ColumnInfo(name, place.type, unreadable=place.unreadable)
        n_bytes = n_stored = 0
        compressions = set()
        for number in {_column_number(key) for key in _form_keys(self._form(name))}:
            bits = int(self._ntuple.column_records[number].nbits)
            for cluster in self._ntuple.page_link_list:
                pages = cluster[number] if number < len(cluster) else None
                if pages is None or pages.suppressed:
                    continue
                compressions.add(_compression(int(pages.compression_settings)))
                n_bytes += sum(int(page.num_elements) for page in pages.pages) * bits // 8
                n_stored += sum(int(page.locator.num_bytes) for page in pages.pages)
        number_type = place.type.rpartition("* ")[2]
        is_float = self._lacks_values(name) and "int" in number_type
        return ColumnInfo(
            name,
            place.type.removesuffix(number_type) + "float64" if is_float else place.type,
            n_bytes,
            n_stored,
            "+".join(sorted(compressions - {""})),
        )

    def _lacks_values(self, name: str) -> bool:
        """Whether the type allows values to be missing (`std::optional`)."""
        return bool(_OPTION.search(str(self._form(name).type)))

    # --- values ---

    def _form(self, name: str) -> Any:
        """uproot's form of what is needed for a column."""
        if name not in self._forms:
            place = self._places[name]
            self._forms[name] = self._ntuple.field_form(place.field_id, place.keys)
        return self._forms[name]

    @cached_property
    def _starts(self) -> list[int]:
        """First entries of the clusters."""
        return [int(cluster.num_first_entry) for cluster in self._ntuple.cluster_summaries]

    def _offsets(self, name: str) -> Sequence[int]:
        return sorted({0, *self._starts, self.n_entries})

    def _load(self, names: Sequence[str], start: int, stop: int, threads: Executor | None) -> dict[str, Column]:
        forms = {name: self._form(name) for name in names}
        if start >= stop:
            return {name: self._finished(name, ak.Array(form.length_zero_array())) for name, form in forms.items()}
        # `RNTuple.arrays` would read one cluster too many where `stop` is a border, and with a single thread.
        clusters = bisect_right(self._starts, start) - 1, bisect_left(self._starts, stop)
        first = self._starts[clusters[0]]
        last = self._starts[clusters[1]] if clusters[1] < len(self._starts) else self.n_entries
        keys = {key: _column_number(key) for form in forms.values() for key in _form_keys(form)}

        def read(number: int) -> Any:
            # A field that was added while the file was written has no elements before that.
            padding = max(int(self._ntuple.column_records[number].first_element_index) - first, 0)
            return self._ntuple.read_cluster_range(number, *clusters, missing_element_padding=padding)

        numbers = sorted(set(keys.values()))
        for cluster in self._ntuple.page_link_list[slice(*clusters)]:
            for number in numbers:
                pages = cluster[number].pages if number < len(cluster) and not cluster[number].suppressed else ()
                self._with_checksum.update(page.locator.offset for page in pages if page.has_checksum)
        contents = dict(
            zip(numbers, map(read, numbers) if threads is None else threads.map(read, numbers), strict=True)
        )
        buffers: dict[str, Any] = {}
        for key, number in keys.items():
            _fill_container_dict(buffers, contents[number], key, self._ntuple.column_records[number].type, None)
        return {
            name: self._finished(name, ak.from_buffers(form, last - first, buffers)[start - first : stop - first])
            for name, form in forms.items()
        }

    def _read_checked(self, locator: Any, n_bytes: int) -> Any:
        """What uproot's `read_locator` gives, after a look at the checksum behind a page, which uproot ignores."""
        if locator.offset not in self._with_checksum:
            return type(self._ntuple).read_locator(self._ntuple, locator, n_bytes)
        chunk = self._ntuple.file.source.chunk(locator.offset, locator.offset + locator.num_bytes + _CHECKSUM_BYTES)
        content = chunk.raw_data
        expected = int.from_bytes(bytes(content[-_CHECKSUM_BYTES:]), "little")
        if xxhash.xxh3_64_intdigest(content[:-_CHECKSUM_BYTES]) != expected:
            raise ValueError("a page does not have the content of which it has the checksum")
        cursor = uproot.source.cursor.Cursor(locator.offset)
        if locator.num_bytes < n_bytes:
            chunk = uproot.compression.decompress(chunk, cursor, {}, locator.num_bytes, n_bytes, block_info=None)
            cursor.move_to(0)
        return chunk, cursor

    def _finished(self, name: str, values: Any) -> Column:
        place = self._places[name]
        values = pick(values, place.path)
        if not place.is_column or not self._lacks_values(name):
            return values
        return pick(without_missing(values, f"{self.where}, {self.noun} '{name}'"), ())

    def _identifier(self) -> str:
        return self._file.uuid

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _form_keys(form: Any) -> Iterator[str]:
    """The keys of uproot's forms that stand for stored columns: `column-3`, `column-3-cardinality`, …"""
    for key in form.expected_from_buffers():
        if key.startswith("column-"):
            yield key.rpartition("-")[0]


def _column_number(key: str) -> int:
    return int(key.split("-")[1])


def _compression(settings: int) -> str:
    """ROOT's setting, such as 505, in words: `ZSTD(5)`; nothing where there is none."""
    algorithm, level = divmod(settings, 100)
    return f"{_ALGORITHMS.get(algorithm, algorithm)}({level})" if level > 0 else ""

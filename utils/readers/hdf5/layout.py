"""Where the columns of an HDF5 file lie: in pandas' fixed and table formats, in our skims, in datasets side by side.

Nothing in a file is ever unpickled. pandas keeps some names of columns as pickled lists of text; these are picked out
of the pickle's tokens, of which none is obeyed. Columns of Python objects are pickles, and cannot be read.
"""

import pickletools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import h5py
import numpy as np

from utils.errors import InputFileError, nearest_name
from utils.readers.jagged import OFFSETS, JaggedGroup, StoredImages

_SKIM_METADATA = "metadata"
_INDEX = "index"
# What PyTables keeps beside a table; no data of their own.
_INDEX_FOLDER = "_i_"
_FILTERS = {
    1: "gzip",
    4: "szip",
    307: "bz2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32015: "zstd",
    32026: "blosc2",
}
_BLOSC_CODECS = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
# The tokens of a pickle that carry a name.
_NAME_TOKENS = {
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG"),
}


@dataclass(frozen=True)
class Place:
    """One column, and where it lies.

    Parameters
    ----------
    name : of the column.
    dataset : that holds it, and perhaps others.
    n_rows : events.
    fields : fields of a compound type, from the outside in.
    column : of a dataset whose second axis are columns; None where all of a row is one value.
    shape : of one event's value.
    kind : how it is made from what h5py gives.
    value : NumPy's name of the type of a single number.
    missing : the text that stands for a missing one.
    categories : what codes mean.
    lists : reads the column, where it is of a jagged group or of the images of a skim.
    unreadable : why it cannot be read.
    """

    name: str
    dataset: Any
    n_rows: int
    fields: tuple[str, ...] = ()
    column: int | None = None
    shape: tuple[int, ...] = ()
    kind: Literal["number", "bool", "text", "jagged"] = "number"
    value: str = ""
    missing: str | None = None
    categories: Any = None
    lists: JaggedGroup | StoredImages | None = None
    unreadable: str | None = None

    @property
    def type(self) -> str:
        """Of one event's value, as Awkward writes it."""
        inner = "string" if self.kind == "text" else self.value
        return "".join(f"{n} * " for n in self.shape) + ("var * " if self.kind == "jagged" else "") + inner


def find_columns(file: Any, path: str, object_name: str | None) -> tuple[str | None, list[Place]]:
    """The table that a name means, under its own name, and its columns.

    Parameters
    ----------
    file : open HDF5 file.
    path : of it, for messages.
    object_name : a group or a dataset; None: all of a skim, the datasets at the top, or the only group that holds any.
    """
    tables = list(_tables(file))
    if object_name is None:
        if _SKIM_METADATA in file and any(_pandas_type(file[name]) for name in tables if name != "/"):
            groups = [name for name in tables if _pandas_type(file[name])]
            places = [place for name in groups for place in _columns_of(file[name])]
            return None, [*places, *_lists_of_skim(file, path, places[0].n_rows)]
        if len(tables) != 1 and "/" not in tables:
            what = "several tables" if tables else "no table: no group with datasets"
            raise InputFileError(f"the file holds {what}", where=path, remedy=_remedy(tables))
        object_name = "/" if "/" in tables else tables[0]
    name = "/" if object_name == "/" else object_name.strip("/")
    found = file.get(name)
    if isinstance(found, h5py.Dataset) and found.shape:
        return name, list(_of_dataset(found, ""))
    if name not in tables:
        what = f"no group or dataset '{name}'" if found is None else f"'{name}' holds no datasets"
        raise InputFileError(what, where=path, nearest=nearest_name(name, tables), remedy=_remedy(tables))
    return None if name == "/" else name, list(_columns_of(file[name]))


def compression(dataset: Any) -> str:
    """The filters of a dataset that compress."""
    settings = dataset.id.get_create_plist()
    names = []
    for i in range(settings.get_nfilters()):
        code, _, values, text = settings.get_filter(i)
        if code in (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32):
            continue
        name = _FILTERS.get(code, text.decode(errors="replace") or str(code))
        names.append(f"{name}:{_BLOSC_CODECS[values[6]]}" if code == 32001 and len(values) > 6 else name)
    return "+".join(names)


def _remedy(tables: Sequence[str]) -> str:
    shown = ", ".join(tables[:20]) + (", …" if len(tables) > 20 else "")
    return f"Set input_tree_name to one of {shown}." if tables else "Name a file with a table."


def _tables(file: Any) -> Iterator[str]:
    """Names of the groups that hold a table; `/` is the top."""
    groups = [("/", file)]
    file.visititems(lambda name, found: groups.append((name, found)) if isinstance(found, h5py.Group) else None)
    inside: tuple[str, ...] = ()  # pandas keeps more than one dataset for a table
    for name, group in groups:
        if name.startswith(inside) and inside:
            continue
        if _pandas_type(group):
            inside = (*inside, f"{name}/")
            yield name
        elif not name.rpartition("/")[2].startswith(_INDEX_FOLDER) and any(_datasets(group)):
            yield name


def _datasets(group: Any) -> Iterator[tuple[str, Any]]:
    for name in group:
        found = group.get(name)
        if isinstance(found, h5py.Dataset) and found.shape:
            yield name, found


def _pandas_type(group: Any) -> str:
    return _text(group.attrs, "pandas_type")


def _text(attributes: Any, name: str) -> str:
    value = attributes.get(name, b"")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _columns_of(group: Any) -> Iterator[Place]:
    pandas_type = _pandas_type(group)
    if pandas_type == "frame":
        return _fixed_frame(group)
    if pandas_type == "series":
        name = _text(group.attrs, "name")
        return iter([_fixed_column(group["values"], "values" if name in ("", "N.") else name, None)])
    if pandas_type in ("frame_table", "series_table"):
        return _pandas_table(group["table"])
    if pandas_type:
        raise InputFileError(
            f"'{group.name}' is a {pandas_type} of pandas, which has no columns of events",
            where=group.file.filename,
            remedy="Store a DataFrame.",
        )
    return _side_by_side(group)


def _lists_of_skim(file: Any, path: str, n_rows: int) -> Iterator[Place]:
    """The columns of jagged groups, as `GROUP.COLUMN`, and the images of a skim."""
    for name, group in file.get("jagged", {}).items():
        stored = JaggedGroup(group, n_rows, f"{path}:jagged/{name}")
        for column, dtype in stored.dtypes.items():
            place = Place(f"{name}.{column}", group[column], n_rows, (column,), kind="jagged", value=dtype.name)
            yield replace(place, lists=stored)
    for name, item in file.get("images", {}).items():
        images = StoredImages.open(item, n_rows, f"{path}:images/{name}")
        dataset = item if isinstance(item, h5py.Dataset) else item[OFFSETS]
        yield Place(name, dataset, n_rows, shape=images.shape, value="float32", lists=images)


# --- pandas ---


def _fixed_frame(group: Any) -> Iterator[Place]:
    """A DataFrame in pandas' fixed format: a matrix for the columns of each type."""
    if "axis0" not in group:
        raise InputFileError(
            "a DataFrame with several levels of column names",
            where=f"{group.file.filename}:{group.name}",
            remedy="Give its columns plain names.",
        )
    places = {}
    i = 0
    while f"block{i}_items" in group:
        for j, name in enumerate(_labels(group[f"block{i}_items"])):
            places[name] = _fixed_column(group[f"block{i}_values"], name, j)
        i += 1
    order = _labels(group["axis0"])
    n_rows = _n_rows(group["axis1"]) if "axis1" in group else 0
    for name in order:
        # A column of pickles is one value to HDF5.
        yield places[name] if places[name].unreadable is None else replace(places[name], n_rows=n_rows)


def _fixed_column(values: Any, name: str, column: int | None) -> Place:
    stored = _text(values.attrs, "value_type")
    if _text(values.attrs, "PSEUDOATOM") == "object":
        reason = "pandas' fixed format pickles text and objects, and pickles are not loaded; use to_hdf(format='table')"
        return Place(name, values, 0, column=column, value="object", unreadable=reason)
    if stored.startswith(("datetime", "timedelta")):
        return Place(name, values, _n_rows(values), column=column, value=stored, unreadable="times are no numbers")
    found = _place(name, values, values.dtype, values.id.get_type(), ())
    if "shape" in values.attrs and stored != "object":  # no rows, and one of another type in their place
        found = replace(found, kind="bool" if stored == "bool" else "number", value=stored)
    return replace(found, n_rows=_n_rows(values), column=column, shape=())


def _n_rows(values: Any) -> int:
    """Rows; pandas stores one where there is none, and notes the shape."""
    return 0 if "shape" in values.attrs else int(values.shape[0])


def _labels(items: Any) -> list[str]:
    return [item.decode() if isinstance(item, bytes) else str(item) for item in items[()].tolist()][: items.shape[0]]


def _pandas_table(table: Any) -> Iterator[Place]:
    """A DataFrame in pandas' table format: a compound, with columns of a type in one field."""
    for field in table.dtype.names:
        if field == _INDEX:
            continue
        names = _names_in_pickle(table.attrs.get(f"{field}_kind", b""))
        dtype = table.dtype[field]
        width = dtype.shape[0] if dtype.shape else 1
        if len(names) != width:  # whatever that is, it does not name these columns
            names = [field] if width == 1 else [f"{field}_{j}" for j in range(width)]
        base = _place(field, table, dtype.base, _member_type(table.id.get_type(), field), (field,))
        stored, meta = _text(table.attrs, f"{field}_dtype"), _text(table.attrs, f"{field}_meta")
        if stored.startswith(("datetime", "timedelta")):
            base = replace(base, value=stored, unreadable="times are no numbers")
        if base.kind == "text":
            base = replace(base, missing="nan")  # as pandas writes and reads it
        if meta == "category":
            base = _with_categories(base, table.parent.get(f"meta/{field}/meta/table"))
        for j, name in enumerate(names):
            yield replace(base, name=name, column=j if dtype.shape else None, shape=())


def _with_categories(codes: Place, table: Any) -> Place:
    if table is None or "values" not in table.dtype.names:
        return replace(codes, unreadable="its categories are missing")
    values = table["values"].reshape(-1)
    if values.dtype.kind == "S":
        return replace(codes, kind="text", categories=np.array([*np.char.decode(values, "utf-8"), ""], dtype=object))
    return replace(codes, value="float64", categories=np.array([*values, np.nan], dtype=np.float64))


def _names_in_pickle(content: Any) -> list[str]:
    """The texts and integers in a pickled list of names. Its tokens are listed; nothing is loaded."""
    try:
        tokens = list(pickletools.genops(bytes(content)))
    except (TypeError, ValueError):
        return []
    return [str(argument) for opcode, argument, _ in tokens if opcode.name in _NAME_TOKENS]


# --- plain HDF5 ---


def _side_by_side(group: Any) -> Iterator[Place]:
    """Every dataset of a group is a column; a compound dataset is one per field: `jets.pt`, or `pt` if it is alone."""
    datasets = list(_datasets(group))
    for name, dataset in datasets:
        is_alone = len(datasets) == 1 and dataset.dtype.names
        yield from _of_dataset(dataset, "" if is_alone else name)


def _of_dataset(dataset: Any, name: str) -> Iterator[Place]:
    short = dataset.name.rpartition("/")[2]
    yield from _fields(
        name if dataset.dtype.names else name or short, dataset, dataset.dtype, dataset.id.get_type(), ()
    )


def _fields(name: str, dataset: Any, dtype: Any, stored: Any, fields: tuple[str, ...]) -> Iterator[Place]:
    if dtype.base.names is None:
        yield _place(name, dataset, dtype, stored, fields)
        return
    for field in dtype.base.names:
        inner = f"{name}.{field}" if name else field
        yield from _fields(inner, dataset, dtype.base[field], _member_type(stored, field), (*fields, field))


def _place(name: str, dataset: Any, dtype: Any, stored: Any, fields: tuple[str, ...]) -> Place:
    base = dtype.base
    # Axes beyond the first are the value's, as are those of an array inside of a compound.
    shape = tuple(int(n) for n in (*dataset.shape[1:], *dtype.shape))
    place = Place(name, dataset, int(dataset.shape[0]), fields, shape=shape, value=base.newbyteorder("=").name)
    items = h5py.check_vlen_dtype(base)
    if h5py.check_string_dtype(base) is not None or base.kind == "S":
        unreadable = "arrays of text" if shape else None
        return replace(place, kind="text", unreadable=unreadable)
    if items is not None:
        unreadable = "arrays of arrays of different lengths" if shape or items.kind not in "iufb" else None
        return replace(place, kind="jagged", value=np.dtype(items).newbyteorder("=").name, unreadable=unreadable)
    if _is_bit_field(stored) and base.itemsize == 1:
        return replace(place, kind="bool", value="bool")
    if base.kind not in "iufb" or base.itemsize > 8:
        return replace(place, value=str(base), unreadable=f"{base} is neither number nor text")
    return replace(place, kind="bool" if base.kind == "b" else "number")


def _member_type(stored: Any, field: str) -> Any:
    if stored.get_class() == h5py.h5t.ARRAY:
        stored = stored.get_super()
    return stored.get_member_type(stored.get_member_index(field.encode()))


def _is_bit_field(stored: Any) -> bool:
    """Whether PyTables stored bools here."""
    if stored.get_class() == h5py.h5t.ARRAY:
        stored = stored.get_super()
    return bool(stored.get_class() == h5py.h5t.BITFIELD)

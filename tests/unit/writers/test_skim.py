"""Skims open with plain pandas, keep every type, and are the same under every compression."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tables
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import OutputError
from utils.readers.skim import SkimFile
from utils.writers.skim import SkimSchema, SkimWriter

COMPRESSIONS = ["none", "blosc:lz4", "blosc:zstd"]
GROUPS: dict[str, dict[str, str]] = {
    "cont_features": {"pt_1": "f4", "m_vis": "f4"},
    "cat_features": {"njets": "i4"},
    "misc_features": {"evt": "u8", "run": "u4", "lumi": "i8", "weight": "f8", "is_mc": "u1", "q": "i1"},
    "targets": {"group_name": "S6", "target": "i8"},
    "origin": {"file_index": "i4", "entry": "i8", "identity": "u8"},
}
SCHEMA = SkimSchema({group: {n: np.dtype(t) for n, t in columns.items()} for group, columns in GROUPS.items()})
NAMES = np.array(["H_sig", "ttbar", "ΔΦ"])


def rows(n: int, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Rows whose integers need all their bits."""
    rng = np.random.default_rng(seed)

    def values(dtype: str) -> Any:
        if dtype.startswith("f"):
            return rng.normal(size=n).astype(dtype)
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, n, dtype, endpoint=True)

    content = {
        group: {name: values(t) for name, t in columns.items() if t[0] != "S"} for group, columns in GROUPS.items()
    }
    content["targets"]["group_name"] = np.char.encode(NAMES[rng.integers(0, 3, n)], "utf-8")
    return content


def write(path: Path, pieces: list[dict[str, dict[str, Any]]], **options: Any) -> Path:
    with SkimWriter(path, SCHEMA, **options) as writer:
        for piece in pieces:
            writer.append(piece)
        writer.finish({"node": "train"})
    return path


def expected(group: str, pieces: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    columns = {name: np.concatenate([piece[group][name] for piece in pieces]) for name in GROUPS[group]}
    if "group_name" in columns:
        columns["group_name"] = np.char.decode(columns["group_name"], "utf-8").astype(object)
    return columns


def check_with_pandas(path: Path, pieces: list[dict[str, dict[str, Any]]]) -> None:
    for group, columns in GROUPS.items():
        frame = pd.read_hdf(path, key=group)
        wanted = expected(group, pieces)
        assert list(frame.columns) == list(columns)
        assert frame.index.tolist() == list(range(len(frame)))
        for name, dtype in columns.items():
            if dtype[0] != "S":
                assert frame[name].dtype == np.dtype(dtype), name
            assert np.array_equal(frame[name].to_numpy(), wanted[name]), name


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_group_opens_with_pandas(tmp_path: Path, compression: str) -> None:
    pieces = [rows(500), rows(0), rows(1, 1), rows(2000, 2)]
    path = write(tmp_path / "train.h5", pieces, compression=compression)
    check_with_pandas(path, pieces)
    with tables.open_file(str(path)) as file:
        assert file.root.targets.table._v_attrs["NROWS"] == 2501
    assert pd.read_hdf(path, key="misc_features")["evt"].max() > 2**53


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), max_size=5), compression=st.sampled_from(COMPRESSIONS))
def test_how_rows_are_appended_does_not_show(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], compression: str
) -> None:
    pieces = [rows(n, seed) for seed, n in enumerate(sizes)]
    path = tmp_path_factory.getbasetemp() / "pieces.h5"
    write(path, pieces, compression=compression, overwrite=True)
    with SkimFile(path) as skim:
        assert skim.n_rows == sum(sizes)
        for group, columns in GROUPS.items():
            assert skim.groups[group] == tuple(columns)
            read = skim.read(list(columns))
            for name, dtype in columns.items():
                wanted = expected(group, pieces)[name] if pieces else np.empty(0)
                assert np.array_equal(read[name], wanted), name
                assert skim.dtype(name) == (np.dtype(object) if dtype[0] == "S" else np.dtype(dtype))


def test_a_skim_without_rows_opens_with_pandas(tmp_path: Path) -> None:
    path = write(tmp_path / "test.h5", [])
    for group, columns in GROUPS.items():
        frame = pd.read_hdf(path, key=group)
        assert list(frame.columns) == list(columns)
        assert len(frame) == 0


def test_pandas_needs_no_plugin_of_ours(tmp_path: Path) -> None:
    """In a process that has never heard of hdf5plugin."""
    path = write(tmp_path / "train.h5", [rows(3)], compression="blosc:zstd")
    code = (
        "import sys, pandas as pd\n"
        f"for group in {list(GROUPS)}: assert len(pd.read_hdf(sys.argv[1], key=group)) == 3\n"
        "assert 'hdf5plugin' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)


def test_compression_compresses(tmp_path: Path) -> None:
    content = [stacked(rows(1), 20_000)]
    sizes = [write(tmp_path / f"{i}.h5", content, compression=c).stat().st_size for i, c in enumerate(COMPRESSIONS)]
    assert sizes[0] > 3 * sizes[1]
    assert sizes[0] > 3 * sizes[2]


def stacked(one: dict[str, dict[str, Any]], n: int) -> dict[str, dict[str, Any]]:
    return {group: {name: np.repeat(values, n) for name, values in columns.items()} for group, columns in one.items()}


def test_what_was_written_can_be_read_and_filled_in(tmp_path: Path) -> None:
    with SkimWriter(tmp_path / "train.h5", SCHEMA) as writer:
        content = rows(100)
        writer.append(content)
        assert np.array_equal(writer.read("misc_features", "evt", 10, 500), content["misc_features"]["evt"][10:])
        assert np.array_equal(writer.read("targets", "target", 0, 7), content["targets"]["target"][:7])
        writer.fill("misc_features", "weight", 40, np.arange(60.0))
        writer.finish({})
    with SkimFile(tmp_path / "train.h5") as skim:
        read = skim.read(["weight", "evt"])
    assert np.array_equal(read["weight"][40:], np.arange(60.0))
    assert np.array_equal(read["weight"][:40], content["misc_features"]["weight"][:40])
    assert np.array_equal(read["evt"], content["misc_features"]["evt"])


def test_a_group_of_one_type_takes_a_matrix(tmp_path: Path) -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(6, 2)
    content = {**rows(6), "cont_features": matrix}
    with SkimWriter(tmp_path / "train.h5", SCHEMA) as writer:
        writer.append(content)
        assert np.array_equal(writer.read_matrix("cont_features", 1, 99), matrix[1:])
        writer.finish({})
    assert np.array_equal(pd.read_hdf(tmp_path / "train.h5", key="cont_features").to_numpy(), matrix)


def test_an_empty_group_is_left_out(tmp_path: Path) -> None:
    schema = SkimSchema({**SCHEMA.groups, "cat_features": {}})
    with SkimWriter(tmp_path / "train.h5", schema) as writer:
        writer.append(rows(4))
        writer.finish({})
    with SkimFile(tmp_path / "train.h5") as skim:
        assert "cat_features" not in skim.groups
        assert skim.n_rows == 4


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), SkimWriter(tmp_path / "train.h5", SCHEMA) as writer:
        writer.append(rows(10))
        raise KeyError("broken")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_skim_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "train.h5", [rows(3)])
    with pytest.raises(OutputError, match="exists already"):
        write(path, [rows(5)])
    with SkimFile(path) as skim:
        assert skim.n_rows == 3
    write(path, [rows(5)], overwrite=True)
    with SkimFile(path) as skim:
        assert skim.n_rows == 5

"""Reading a skim: any rows, any columns, and nothing that a stranger put into it is ever executed."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tables

from utils.errors import MissingColumnError, SkimError
from utils.readers.skim import SkimFile
from utils.writers.skim import SkimSchema, SkimWriter

N = 50
PT = np.linspace(0, 1, N, dtype=np.float32)
ETA = -PT
EVT = np.arange(2**60, 2**60 + N, dtype=np.uint64)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    schema = SkimSchema(
        {
            "cont_features": {"pt": np.dtype("f4"), "eta": np.dtype("f4")},
            "misc_features": {"evt": np.dtype("u8"), "w": np.dtype("f8")},
            "targets": {"group_name": np.dtype("S5"), "target": np.dtype("i8")},
        }
    )
    with SkimWriter(tmp_path / "train.h5", schema) as writer:
        writer.append(
            {
                "cont_features": np.stack([PT, ETA], axis=1),
                "misc_features": {"evt": EVT, "w": np.ones(N)},
                "targets": {"group_name": np.full(N, b"H_sig"), "target": np.zeros(N, np.int64)},
            }
        )
        writer.finish({"node": "train", "n_rows": N})
    return tmp_path / "train.h5"


@pytest.fixture
def skim(path: Path) -> Iterator[SkimFile]:
    with SkimFile(path) as opened:
        yield opened


def test_what_a_skim_holds(skim: SkimFile) -> None:
    assert skim.n_rows == N
    assert skim.metadata == {"node": "train", "n_rows": N}
    assert skim.groups["cont_features"] == ("pt", "eta")
    assert set(skim.columns) == {"pt", "eta", "evt", "w", "group_name", "target"}


@pytest.mark.parametrize(("start", "stop"), [(0, None), (10, 20), (40, 999), (50, 60), (7, 7)])
def test_any_range_of_rows(skim: SkimFile, start: int, stop: int | None) -> None:
    columns = skim.read(["evt", "eta", "group_name"], start, stop)
    assert np.array_equal(columns["evt"], EVT[start:stop])
    assert columns["evt"].dtype == np.uint64
    assert np.array_equal(columns["eta"], ETA[start:stop])
    assert columns["group_name"].tolist() == ["H_sig"] * len(EVT[start:stop])


@pytest.mark.parametrize("names", [["pt", "eta"], ["eta", "pt"], ["eta"], ["w", "pt"], ["evt", "eta", "w"], []])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_matrix_has_the_asked_columns_in_the_asked_order(skim: SkimFile, names: list[str], dtype: Any) -> None:
    columns = {"pt": PT, "eta": ETA, "w": np.ones(N), "evt": EVT}
    matrix = skim.matrix(names, 5, 20, dtype)
    assert matrix.shape == (15, len(names))
    assert matrix.dtype == dtype
    assert matrix.flags.c_contiguous
    for j, name in enumerate(names):
        assert np.array_equal(matrix[:, j], columns[name][5:20].astype(dtype))


def test_a_missing_column_has_a_nearest_name(skim: SkimFile) -> None:
    for ask in (lambda: skim.read(["ptt"]), lambda: skim.matrix(["ptt"]), lambda: skim.dtype("ptt")):
        with pytest.raises(MissingColumnError, match="no column 'ptt'") as raised:
            ask()
        assert raised.value.nearest == "pt"
        assert raised.value.where == str(skim.path)


def test_an_unfinished_skim_is_refused(path: Path) -> None:
    part = path.rename(path.with_name("train.h5.part"))
    with pytest.raises(SkimError, match="unfinished"):
        SkimFile(part)
    with pytest.raises(SkimError, match="no such skim"):
        SkimFile(path)


def test_a_missing_skim_has_a_nearest_name(path: Path) -> None:
    with pytest.raises(SkimError, match="no such skim") as raised:
        SkimFile(path.with_name("trian.h5"))
    assert raised.value.nearest == "train.h5"


@pytest.mark.parametrize("keep", [0, 100, 5000, -1])
def test_a_truncated_skim_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SkimError, match=r"train\.h5"):
        SkimFile(path)


def test_other_hdf5_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pt"] = PT
    with pytest.raises(SkimError, match="not a skim of ours"):
        SkimFile(tmp_path / "a.h5")


@pytest.mark.parametrize("metadata", [b"{", b"\xff\xfe", b""])
def test_damaged_metadata_are_refused(path: Path, metadata: bytes) -> None:
    with h5py.File(path, "r+") as file:
        del file["metadata"]
        file["metadata"] = np.frombuffer(metadata, np.uint8)
    with pytest.raises(SkimError, match=r"damaged skim.*train\.h5"):
        SkimFile(path)


def test_a_damaged_layout_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["cont_features/axis0"]
    with pytest.raises(SkimError, match=r"damaged skim.*train\.h5"):
        SkimFile(path)


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_pickles_in_a_skim_are_never_loaded(path: Path, tmp_path: Path) -> None:
    blast = tmp_path / "executed"
    payload = pickle.dumps(Bomb(blast), protocol=0)
    with tables.open_file(str(path), "a") as file:
        for node in file.walk_nodes("/"):
            node._v_attrs["bomb"] = Bomb(blast)
            node._v_attrs["info"] = Bomb(blast)
        file.create_vlarray("/", "objects", tables.ObjectAtom()).append(Bomb(blast))
        group = file.create_group("/", "extra")
        file.create_array(group, "axis0", [payload])
    if blast.exists():  # PyTables looks at attributes while it walks
        blast.rmdir()

    with SkimFile(path) as skim:
        assert skim.n_rows == N
        skim.read(skim.columns)
        skim.matrix(["pt", "eta"])
    assert not blast.exists()

    with tables.open_file(str(path)) as file:
        _ = file.root.cont_features._v_attrs["bomb"]
    assert blast.exists(), "the bomb of this test does not go off"

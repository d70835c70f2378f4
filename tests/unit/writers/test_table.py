"""Tables hold every value as it was, in CSV too."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from utils.errors import OutputError
from utils.writers import table
from utils.writers.table import TableWriter

SUFFIXES = [".csv", ".csv.gz", ".parquet"]


def write(path: Path, columns: dict[str, np.ndarray], batches: int = 1) -> None:
    n_rows = len(next(iter(columns.values())))
    bounds = np.linspace(0, n_rows, batches + 1).astype(int)
    types = {name: str if values.dtype.kind == "U" else values.dtype for name, values in columns.items()}
    with TableWriter(path, types, overwrite=True) as writer:
        for start, stop in itertools.pairwise(bounds):
            writer.write({name: values[start:stop] for name, values in columns.items()})


def read(path: Path, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, dtype={name: values.dtype for name, values in columns.items() if values.dtype.kind != "U"})


@pytest.fixture
def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "evt": np.array([0, 1, 2**53 + 1, 2**64 - 1], dtype=np.uint64),
        "target": np.array([-(2**31), -1, 0, 3], dtype=np.int32),
        "is_valid": np.array([0, 1, 1, 1], dtype=np.uint8),
        "selected": np.array([True, False, True, True]),
        "pred_class_0_proba": np.array([-1.0, 1e-30, 0.1, rng.random()], dtype=np.float32),
        "w_class_imbalance": np.array([np.nan, 0.1, 1 / 3, 1e300]),
        "group_name": np.array(["H_sig", 'a "quoted", comma', "Fakes", "τ"]),
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("batches", [1, 3])
def test_every_value_comes_back(tmp_path: Path, columns: dict[str, np.ndarray], suffix: str, batches: int) -> None:
    path = tmp_path / f"test{suffix}"
    write(path, columns, batches)
    frame = read(path, columns)
    assert list(frame.columns) == list(columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(frame[name].to_numpy(dtype=values.dtype), values, err_msg=name)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@settings(max_examples=50, deadline=None)
@given(values_N=hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32, allow_nan=False)))
def test_any_float32_survives_csv(tmp_path_factory: pytest.TempPathFactory, values_N: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("csv") / "test.csv"
    write(path, {"score": values_N})
    read_N = np.array([np.float32(line) for line in path.read_text().splitlines()[1:]])
    np.testing.assert_array_equal(read_N, values_N)


def test_parquet_row_groups_do_not_follow_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_BATCH_ROWS", 100)
    write(tmp_path / "test.parquet", {"evt": np.arange(250)}, batches=50)
    metadata = table.pa_parquet.read_metadata(tmp_path / "test.parquet")
    assert metadata.num_rows == 250
    assert metadata.num_row_groups == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_without_rows_has_its_columns(tmp_path: Path, columns: dict[str, np.ndarray], suffix: str) -> None:
    path = tmp_path / f"test{suffix}"
    empty = {name: values[:0] for name, values in columns.items()}
    write(path, empty)
    frame = read(path, empty)
    assert list(frame.columns) == list(columns)
    assert len(frame) == 0


def test_a_name_with_a_comma_stays_one_column(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", {"max(a,b)": np.arange(2), "c": np.arange(2)})
    assert list(pd.read_csv(tmp_path / "test.csv").columns) == ["max(a,b)", "c"]


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"'\.txt'.*\.csv, \.csv\.gz or \.parquet"):
        TableWriter(tmp_path / "test.txt", {"evt": "uint64"}, overwrite=False)


def test_a_jagged_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"column 'Jet_pt' is of type var \* float32.*misc_features"):
        TableWriter(tmp_path / "test.csv", {"Jet_pt": "var * float32"}, overwrite=False)


def test_a_value_that_overflows_its_column_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="column 'run' does not fit its type int32"),
        TableWriter(tmp_path / "test.csv", {"run": np.int32}, overwrite=False) as writer,
    ):
        writer.write({"run": np.array([2**40])})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_job_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    def fail() -> None:
        with TableWriter(tmp_path / f"test{suffix}", {"evt": "uint64"}, overwrite=False) as writer:
            writer.write({"evt": np.arange(10)})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_table_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("mine")
    with (
        pytest.raises(OutputError, match="overwrite=true"),
        TableWriter(path, {"evt": "uint64"}, overwrite=False),
    ):
        pytest.fail("work began although the output exists")
    assert path.read_text() == "mine"

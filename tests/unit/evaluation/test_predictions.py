"""Tables of a prediction read back as scores, CSV or Parquet, whatever columns else they have."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from utils.errors import MissingColumnError
from utils.evaluation.predictions import read_overtraining, read_predictions
from utils.writers.table import TableWriter

K = 3
N = 40


def written(path: Path, n: int = N, without: str = "", **more: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    scores_NK = rng.dirichlet(np.ones(K), n).astype(np.float32)
    columns = {
        "evt": rng.integers(0, 2**62, n).astype(np.uint64),
        "target": rng.integers(0, K, n),
        "weight": rng.normal(size=n),
        **{f"pred_class_{i}_proba": scores_NK[:, i] for i in range(K)},
        "fold": (np.arange(n) % 2).astype(np.int32),
        **more,
    }
    columns.pop(without, None)
    with TableWriter(path, {name: values.dtype for name, values in columns.items()}, overwrite=True) as writer:
        writer.write(columns)
    return columns


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_table_is_read_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    columns = written(tmp_path / f"train{suffix}")
    table = read_predictions(tmp_path / f"train{suffix}", K, "weight")
    np.testing.assert_array_equal(
        table.scores_NK, np.stack([columns[f"pred_class_{i}_proba"] for i in range(K)], axis=1)
    )
    assert table.scores_NK.dtype == np.float32
    np.testing.assert_array_equal(table.target_N, columns["target"])
    np.testing.assert_array_equal(table.event_weight_N, columns["weight"])
    np.testing.assert_array_equal(table.fold_N, columns["fold"])
    assert read_predictions(tmp_path / f"train{suffix}", K, None).event_weight_N is None


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_dataset_without_events_is_read_as_well(tmp_path: Path, suffix: str) -> None:
    written(tmp_path / f"test{suffix}", n=0)
    table = read_predictions(tmp_path / f"test{suffix}", K, "weight")
    assert table.scores_NK.shape == (0, K)
    assert table.target_N.shape == table.event_weight_N.shape == (0,)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("missing", "nearest"), [("target", "targets"), ("pred_class_2_proba", "pred_class_1_proba"), ("weight", "weigh")]
)
def test_a_missing_column_is_an_error_with_the_remedy(tmp_path: Path, suffix: str, missing: str, nearest: str) -> None:
    more = {} if nearest.startswith("pred") else {nearest: np.zeros(N)}
    written(tmp_path / f"train{suffix}", without=missing, **more)
    with pytest.raises(
        MissingColumnError, match=f"no column '{missing}', in train{suffix}.*add it to misc_features|Add it"
    ):
        read_predictions(tmp_path / f"train{suffix}", K, "weight")
    with pytest.raises(MissingColumnError) as raised:
        read_predictions(tmp_path / f"train{suffix}", K, "weight")
    assert raised.value.nearest in (nearest, "pred_class_0_proba")
    assert "misc_features of for_evaluation" in str(raised.value)


def test_samples_against_overtraining_come_apart_by_fold(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    columns = {
        "fold": rng.integers(0, 3, N).astype(np.int32),
        "in_training": (rng.random(N) > 0.5).astype(np.uint8),
        "target": rng.integers(0, 2, N).astype(np.int32),
        "event_weight": rng.normal(size=N),
        "score_0": rng.random(N, dtype=np.float32),
        "score_1": rng.random(N, dtype=np.float32),
    }
    pa_parquet.write_table(pa.table(columns), tmp_path / "overtraining.parquet")
    folds = read_overtraining(tmp_path / "overtraining.parquet", 2)
    assert [fold.fold for fold in folds] == [0, 1, 2]
    for fold in folds:
        for table, in_training in ((fold.train, 1), (fold.held_out, 0)):
            of_fold = (columns["fold"] == fold.fold) & (columns["in_training"] == in_training)
            np.testing.assert_array_equal(table.scores_NK[:, 1], columns["score_1"][of_fold])
            np.testing.assert_array_equal(table.target_N, columns["target"][of_fold])
            np.testing.assert_array_equal(table.event_weight_N, columns["event_weight"][of_fold])

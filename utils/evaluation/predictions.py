"""The tables that predict.py writes for evaluation, and the samples that training keeps, read back as scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from utils.errors import MissingColumnError, nearest_name
from utils.evaluation.tables import FoldScores, LossTable, ScoreTable, ValueTable
from utils.outputs import Outputs

TARGET = "target"
FOLD = "fold"
IN_TRAINING = "in_training"


def read_predictions(path: Path, n_classes: int, event_weight: str | None) -> ScoreTable:
    """A `pred/{sample}.csv` or `.parquet` of a run.

    Parameters
    ----------
    path : the table.
    n_classes : K; columns `pred_class_{i}_proba` for i < K.
    event_weight : column of the signed event weight; None where there is none.

    Raises
    ------
    MissingColumnError : the table lacks the target, a score or the weight.
    """
    scores = [f"pred_class_{i}_proba" for i in range(n_classes)]
    wanted = [TARGET, FOLD, *scores, *([event_weight] if event_weight else [])]
    columns = _read(path, wanted)
    scores_NK = np.stack([columns[name].astype(np.float32) for name in scores], axis=1)
    return ScoreTable(
        scores_NK,
        columns[TARGET].astype(np.int32),
        columns[event_weight].astype(np.float64) if event_weight else None,
        columns[FOLD].astype(np.int32),
    )


def read_values(path: Path, outputs: Outputs, event_weight: str | None) -> ValueTable:
    """The same of a regression: columns `{target}` and `pred_{target}`."""
    columns = _read(path, [*outputs.names, *outputs.columns, FOLD, *([event_weight] if event_weight else [])])
    return ValueTable(
        np.stack([columns[name].astype(np.float64) for name in outputs.columns], axis=1),
        np.stack([columns[name].astype(np.float64) for name in outputs.names], axis=1),
        columns[event_weight].astype(np.float64) if event_weight else None,
        columns[FOLD].astype(np.int32),
    )


def read_losses(path: Path, outputs: Outputs, event_weight: str | None) -> LossTable:
    """The same of an autoencoder: columns `target`, the class, and `pred_loss`."""
    (loss,) = outputs.columns
    columns = _read(path, [TARGET, loss, *([event_weight] if event_weight else [])])
    return LossTable(
        columns[loss].astype(np.float32),
        columns[TARGET].astype(np.int32),
        columns[event_weight].astype(np.float64) if event_weight else None,
    )


def read_overtraining(path: Path, n_classes: int) -> tuple[FoldScores, ...]:
    """The samples that the training kept of each fold: what its model says of events it saw, and of its fold."""
    scores = [f"score_{i}" for i in range(n_classes)]
    columns = _read(path, [FOLD, IN_TRAINING, TARGET, "event_weight", *scores])
    scores_NK = np.stack([columns[name] for name in scores], axis=1)
    table = ScoreTable(scores_NK, columns[TARGET], columns["event_weight"], columns[FOLD])
    seen_N = columns[IN_TRAINING].astype(bool)
    return tuple(
        FoldScores(
            int(fold), table.select(seen_N & (columns[FOLD] == fold)), table.select(~seen_N & (columns[FOLD] == fold))
        )
        for fold in np.unique(columns[FOLD])
    )


def _read(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    parquet = path.suffix == ".parquet"
    present = pa_parquet.read_schema(path).names if parquet else path_header(path)
    for name in names:
        if name not in present:
            raise MissingColumnError(
                f"no column '{name}'",
                where=path.name,
                nearest=nearest_name(name, present),
                remedy="Add it to misc_features of for_evaluation, and predict again.",
            )
    if parquet:
        table = pa_parquet.read_table(path, columns=list(names))
    else:
        table = pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(include_columns=list(names)))
    return {name: table[name].to_numpy() for name in names}


def path_header(path: Path) -> list[str]:
    """Column names of a CSV file, compressed or not."""
    with pa_csv.open_csv(path) as reader:
        return list(reader.schema.names)

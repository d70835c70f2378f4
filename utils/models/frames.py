"""Scores of a frame with features by name: what a served model, a notebook or a test asks for."""

import numpy as np
import pandas as pd

from utils.errors import MissingColumnError, nearest_name
from utils.models.ensemble import RoutedEnsemble
from utils.writers.friend import prediction_columns


def predict_frame(ensemble: RoutedEnsemble, frame: pd.DataFrame) -> pd.DataFrame:
    """`pred_class_{i}_proba`, `pred_class` and `pred_class_proba`; or `pred_{target}`; or `pred_loss`. A row per event.

    Events are routed by the split feature where the frame has it; without it, all models are averaged.

    Parameters
    ----------
    ensemble : the models.
    frame : the raw features by name, in physical units, and where it is known the split feature.
    """
    for name in ensemble.features:
        if name not in frame:
            raise MissingColumnError(
                f"no column '{name}'", where="the input", nearest=nearest_name(name, map(str, frame.columns))
            )
    raw_NF = np.ascontiguousarray(frame[list(ensemble.features)].to_numpy(dtype=np.float32))
    split = ensemble.rule.column
    fold_N = None
    if ensemble.rule.n_splits == 1:
        fold_N = np.zeros(len(frame), np.int32)
    elif split in frame and bool(frame[split].notna().all()):
        fold_N = ensemble.rule.assign(frame[split].to_numpy())
    columns = prediction_columns(ensemble.predict(raw_NF, fold_N), np.ones(len(frame), bool), ensemble.outputs)
    del columns["is_valid"]
    return pd.DataFrame(columns, index=frame.index)

"""Features that most events do not have: models that take NaN, those that do not, and a value in its place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.skims import open_skim, toy_events
from utils.errors import ConfigError
from utils.loading import EventSource, SkimData, source
from utils.models.lightgbm import LightGBMEstimator
from utils.models.sklearn import SklearnEstimator
from utils.preprocessing.minmax import FillPadding
from utils.preprocessing.pipe import Step

N = 400
HISTGB = {"_target_": "sklearn.ensemble.HistGradientBoostingClassifier", "max_iter": 5}
MLP = {"_target_": "sklearn.neural_network.MLPClassifier", "max_iter": 5}


def padded_data(folder: Path, steps: Sequence[tuple[str, Step]] = ()) -> SkimData:
    """`x` tells the classes apart, where an event has it."""
    events = toy_events(N, n_classes=2)
    for name in ("x", "noise"):
        events.cont[name][::3] = np.nan
    return SkimData.open(open_skim(folder / "train.h5", events, steps=steps))


def fitted(estimator: Any, data: SkimData) -> Any:
    rows_N = np.arange(N)
    estimator.fit(EventSource(data, rows_N[::2]), EventSource(data, rows_N[1::2]), lambda step, values: None)
    return estimator


@pytest.mark.parametrize(
    "estimator",
    [
        LightGBMEstimator({"num_iterations": 5, "num_threads": 1, "verbose": -1}),
        SklearnEstimator(HISTGB),
    ],
    ids=["lightgbm", "histgb"],
)
def test_trees_take_what_is_missing(estimator: Any, tmp_path: Path) -> None:
    data = padded_data(tmp_path)
    features_NF = data.features(0, N)
    assert np.isnan(features_NF).any()
    scores_NK = fitted(estimator, data).predict(features_NF)
    assert np.isfinite(scores_NK).all()
    assert (scores_NK.argmax(axis=1) == data.target_N).mean() > 0.7


def test_a_network_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be trained \(Input X contains NaN\.?\).*fill_padding=0"):
        fitted(SklearnEstimator(MLP), padded_data(tmp_path))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_network_takes_a_value_in_its_place(tmp_path: Path) -> None:
    data = padded_data(tmp_path, steps=(("fill_padding", FillPadding(0.0)),))
    features_NF = data.features(0, N)
    assert (features_NF[::3, [0, 2]] == 0).all()
    assert np.isfinite(fitted(SklearnEstimator(MLP), data).predict(features_NF)).all()


def test_wide_events_come_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = padded_data(tmp_path)
    monkeypatch.setattr(source, "BATCH_VALUES", 40)
    everything = EventSource(data, np.arange(N))
    assert max(len(batch.features_NF) for batch in everything.batches()) == 10
    assert np.array_equal(everything.whole().features_NF, data.features(0, N), equal_nan=True)

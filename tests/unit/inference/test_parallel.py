"""Predictions whose rows are scored by workers: the same files come out, and an interrupted one goes on."""


import numpy as np
import pytest

from utils.folds import FoldRule
from utils.inference.scoring import TrainingInputs
from utils.models.ensemble import RoutedEnsemble
from utils.models.sklearn import SklearnEstimator
from utils.preprocessing.pipe import FittedPipe, Scaler
from utils.readers.spec import ReadingKeys

NOWHERE = TrainingInputs(frozenset(), 0.8, 0)
SAMPLES = {"ww": (150, 80), "zz": (40,)}
READING = ReadingKeys(chunk_size=30)


@pytest.fixture(scope="module")
def ensemble() -> RoutedEnsemble:
    """Two small models on two features."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(1)
    models = []
    for _ in range(2):
        features = rng.normal(0, 1, (200, 2)).astype(np.float32)
        target = (features[:, 0] + rng.normal(0, 1, 200) > 0).astype(int)
        fitted = HistGradientBoostingClassifier(max_iter=5).fit(features, target)
        models.append(SklearnEstimator.of(fitted, 2) if hasattr(SklearnEstimator, "of") else fitted)
    pipe = FittedPipe(("pt", "eta"), (("scaler", Scaler(mean=(50.0, 0.0), scale=(10.0, 1.0))),))
    return RoutedEnsemble(tuple(models), FoldRule(2, "modulo", "evt"), pipe, (), ("a", "b"), "route")

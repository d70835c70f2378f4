"""One figure of each kind, from a small sample with negative weights and an empty class."""

import numpy as np
import pytest

from utils.metrics import confusion, precision_recall, roc
from utils.metrics.distributions import category_scores, compare_fold
from utils.plots.classes import default_classes
from utils.plots.curves import pr_figure, rejection_figure, roc_figure
from utils.plots.matrices import confusion_figure
from utils.plots.scores import density_figure, overtraining_figure
from utils.plots.training import LearningCurve, importance_figure, learning_figure

NAMES = ("H_sig", "fakes & <b>others</b> $x$", "Z→ττ", "nothing")


@pytest.fixture(scope="session")
def classes():
    return default_classes(NAMES)


@pytest.fixture(scope="session")
def events():
    rng = np.random.default_rng(11)
    target = rng.integers(0, 3, 600)
    logits = rng.normal(size=(600, 4))
    logits[np.arange(600), target] += 1.5
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return scores.astype(np.float32), target, np.where(rng.random(600) < 0.1, -1.0, 1.0)


@pytest.fixture(scope="session")
def figures(classes, events):
    scores, target, weight = events
    pred, top = scores.argmax(axis=1), scores.max(axis=1)
    curves = [roc(scores[:, k], target == k, weight) for k in range(4)]
    prs = [precision_recall(scores[:, k], target == k, weight) for k in range(4)]
    half = np.arange(600) % 2 == 0
    first, second = ((scores[m, 0], target[m], weight[m]) for m in (half, ~half))
    rounds = np.linspace(1.0, 0.5, 20)
    drawn = [
        roc_figure(curves, classes, "test"),
        rejection_figure(curves, classes, "test"),
        pr_figure(prs, classes, "test"),
        confusion_figure(confusion(target, pred, 4, weight, "true"), classes, "test"),
        confusion_figure(confusion(target, pred, 4, weight, "pred"), classes, "test"),
        *(density_figure(category_scores(k, top, pred, target, weight, [0.05] * 4), classes) for k in range(4)),
        overtraining_figure(compare_fold(0, 1, first, second), classes),
        learning_figure("multi_logloss", [LearningCurve(i, rounds, rounds + 0.1 * i, 15) for i in range(2)]),
        importance_figure(["a", "b", "c"], [[1.0, 2.0, 1.0], [3.0, 6.0, 3.0]], top=2),
    ]
    return {figure.name: figure for figure in drawn}

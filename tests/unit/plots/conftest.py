"""One figure of each kind, from a small sample with negative weights and an empty class."""

import numpy as np
import pytest

from utils.metrics import (
    confusion,
    histogram,
    precision_recall,
    residual_histogram,
    residuals,
    response_profile,
    roc,
    value_plane,
)
from utils.metrics.distributions import category_scores, compare_fold
from utils.plots.anomaly import loss_figure
from utils.plots.classes import default_classes
from utils.plots.curves import pr_figure, rejection_figure, roc_figure
from utils.plots.matrices import confusion_figure
from utils.plots.regression import plane_figure, residual_figure, response_figure
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


def loss_share(loss):
    return histogram(loss, None, np.geomspace(1e-3, 1, 20))


def regression_figures():
    rng = np.random.default_rng(3)
    true = rng.exponential(30, 800) + 10
    both = (true * rng.normal(1, 0.1, 800), true, np.where(rng.random(800) < 0.1, -1.0, 1.0))
    name = "p_T & <b>$x$</b>"
    return [
        residual_figure(name, residual_histogram(*both), residuals(*both), "test"),
        response_figure(name, response_profile(*both), "test"),
        plane_figure(name, value_plane(*both), "test"),
    ]


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
        *regression_figures(),
        loss_figure([loss_share(scores[:, 0]), None], classes[:2], "test"),
        importance_figure(["a", "b", "c"], [[1.0, 2.0, 1.0], [3.0, 6.0, 3.0]], top=2),
    ]
    return {figure.name: figure for figure in drawn}

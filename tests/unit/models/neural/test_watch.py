"""Which epoch is kept, and when a training ends."""

import json
import math

import numpy as np
import pytest

from utils.models.neural.watch import BestEpoch, macro_auc


def test_the_smallest_loss_and_the_largest_area_are_best() -> None:
    loss, area = BestEpoch("loss", None), BestEpoch("auc", None)
    for epoch, value in enumerate([0.5, 0.3, 0.3, 0.4], start=1):
        loss.update(epoch, value)
        area.update(epoch, value)
    assert (loss.epoch, loss.value) == (2, 0.3), "the first of equals"
    assert (area.epoch, area.value) == (1, 0.5)
    assert not loss.is_over


def test_it_ends_after_so_many_epochs_without_an_improvement() -> None:
    best, over = BestEpoch("loss", 2), []
    for epoch, value in enumerate([0.5, 0.6, 0.4, 0.5, 0.4], start=1):
        best.update(epoch, value)
        over.append(best.is_over)
    assert over == [False, False, False, False, True]


def test_nan_is_best_only_where_nothing_else_came() -> None:
    best = BestEpoch("auc", None)
    assert [best.update(epoch, value) for epoch, value in enumerate([math.nan, math.nan, 0.5, math.nan], 1)] == [
        True,
        False,
        True,
        False,
    ]


def test_it_survives_a_checkpoint() -> None:
    best = BestEpoch("auc", 3)
    for epoch, value in enumerate([0.5, 0.7, 0.6], 1):
        best.update(epoch, value)
    again = BestEpoch.from_state(json.loads(json.dumps(best.state())))
    assert again == best
    assert not again.update(4, 0.65)
    assert again.since == 2


def test_the_area_is_that_of_each_class_against_all_others() -> None:
    target_N = np.array([0, 0, 1, 1, 2, 2], np.int32)
    perfect_NK = np.eye(3, dtype=np.float32)[target_N]
    assert macro_auc(perfect_NK, target_N) == pytest.approx(1)
    assert macro_auc(np.full((6, 3), 1 / 3, np.float32), target_N) == pytest.approx(0.5)
    assert math.isnan(macro_auc(perfect_NK[:4], target_N[:4]))

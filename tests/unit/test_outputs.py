"""What a model's numbers are called."""

import numpy as np

from utils.outputs import Outputs


def test_columns_follow_from_the_task() -> None:
    classes, targets = ("H_sig", "ztt"), ("pt", "gen.mass")
    told = {task: Outputs.of(task, classes, targets) for task in ("classification", "regression", "autoencoder")}
    assert told["classification"].columns == ("pred_class_0_proba", "pred_class_1_proba")
    assert told["regression"].columns == ("pred_pt", "pred_gen.mass")
    assert told["autoencoder"].columns == ("pred_loss",)
    assert [outputs.n for outputs in told.values()] == [2, 2, 1]
    assert Outputs.of_classes(2).columns == told["classification"].columns


def test_only_where_minus_one_is_a_value_does_nan_stand_for_none() -> None:
    assert Outputs.of("classification", ("a", "b"), ()).unscored == -1
    assert Outputs.of("autoencoder", (), ()).unscored == -1
    assert np.isnan(Outputs.of("regression", (), ("pt",)).unscored)

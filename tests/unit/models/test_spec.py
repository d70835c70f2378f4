"""What a training config may not say."""

import pytest

from utils.errors import ConfigError
from utils.folds import FoldRule
from utils.models.spec import FoldsSpec, TrainSpec


@pytest.mark.parametrize(
    ("options", "where", "text"),
    [
        ({"n_splits": 0}, "n_splits", "n_splits is 0"),
        ({"validation": "next_fold"}, "validation", "leaves nothing to train on with n_splits=2.*n_splits=3"),
        ({"validation": "next_fold", "n_splits": 1}, "validation", "n_splits=1"),
        ({"train_size": 0.0}, "train_size", "train_size is 0.0"),
        ({"train_size": 1.0}, "train_size", "train_size is 1.0"),
        ({"cont_features": (), "cat_features": None}, "cont_features", "no features"),
        ({"task": "regresion"}, "task", "did you mean 'regression'"),
        ({"task": "regression"}, "targets", "a regression has no targets"),
        ({"targets": ("pt",)}, "targets", "task=classification has no use for targets"),
        ({"task": "autoencoder", "targets": ("pt",)}, "targets", "task=autoencoder has no use for targets"),
        ({"task": "regression", "targets": ("pt", "pt")}, "targets", "'pt' is listed twice"),
        ({"gpus": (0, 0)}, "gpus", r"gpus are \[0, 0\].*each once"),
        ({"gpus": (-1,)}, "gpus", r"gpus are \[-1\]"),
        ({"n_processes": 0}, "n_processes", "n_processes is 0.*Use 1 or more"),
        ({"gpus": (0, 1), "n_processes": 3}, "n_processes", "n_processes is 3 for 2 GPUs.*leave it out"),
        ({"fast_dev_run": True, "resume": "1234"}, "resume", "keeps nothing to go on from"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, where: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as raised:
        TrainSpec(train_file="train.h5", **options)
    assert raised.value.where == where


def test_the_rule_of_the_folds() -> None:
    assert TrainSpec(train_file="a", n_splits=3, xtrain_split_feature="event").fold_rule == FoldRule(
        3, "modulo", "event"
    )
    assert TrainSpec(train_file="a", folds=FoldsSpec(by="hash")).fold_rule.column == "identity"

"""Who trains, who is watched, who is left to be predicted; and with which weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.skims import open_skim, toy_events
from utils.errors import DataError, FoldError, MissingColumnError, SkimError, WeightError
from utils.loading import EventSource, SkimData
from utils.logs import captured_log
from utils.models.crosstrain import TrainedFold, cross_train, event_weights, open_training_set, predict_rows
from utils.models.estimator import FitContext
from utils.models.spec import FoldsSpec, TrainSpec

N = 240
LOOSE = FoldsSpec(tolerance=100.0)


class Spy:
    """Remembers what it was given; its score for class 0 is a number of its own."""

    made = 0

    def __init__(self) -> None:
        Spy.made += 1
        self.number = Spy.made

    def fit(self, train: EventSource, valid: EventSource, monitor: Any, context: FitContext) -> None:
        self.train, self.valid, self.monitor, self.context = train, valid, monitor, context
        monitor(1, {"valid-loss": 0.5})

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        scores_NK = np.zeros((len(features_NF), 3), np.float32)
        scores_NK[:, 0] = self.number
        scores_NK[:, 1] = features_NF[:, 0]
        return scores_NK


def weights(seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 3.0, N) * np.where(rng.random(N) < 0.2, -1, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    events = toy_events(N, n_classes=3, misc={"signed": weights(), "one": np.ones(N), "bad": np.arange(N) - 3})
    with open_skim(tmp_path_factory.mktemp("skim") / "train.h5", events) as skim:
        yield SkimData.open(skim)


def spec(**options: Any) -> TrainSpec:
    return TrainSpec(train_file="train.h5", **options)


def trained(data: SkimData, **options: Any) -> list[TrainedFold]:
    monitors: dict[int, Any] = {}

    def monitor_of(fold: int) -> Any:
        return monitors.setdefault(fold, lambda step, values: None)

    made = spec(**options)
    folds = list(cross_train(open_training_set(data, made), made, Spy, monitor_of))
    for fold in folds:
        assert fold.estimator.monitor is monitors[fold.fold], "a fold reports to its own monitor"
    return folds


def rows(*sources: EventSource) -> set[int]:
    return {int(row) for source in sources for row in source.rows_N}


@settings(max_examples=40)
@given(n_splits=st.integers(2, 7), by=st.sampled_from(["modulo", "hash"]), next_fold=st.booleans())
def test_a_model_never_sees_its_fold(data: SkimData, n_splits: int, by: str, next_fold: bool) -> None:
    next_fold = next_fold and n_splits > 2
    folds = trained(
        data,
        n_splits=n_splits,
        folds=FoldsSpec(by=by, tolerance=100.0),
        validation="next_fold" if next_fold else "held_out",
    )
    assert [fold.fold for fold in folds] == list(range(n_splits))
    held_out = [set(fold.held_out_rows.tolist()) for fold in folds]
    assert set().union(*held_out) == set(range(N))
    assert sum(map(len, held_out)) == N, "every event is predicted by one model"
    for i, fold in enumerate(folds):
        assert not rows(fold.train) & held_out[i], "model i never trains on fold i"
        assert not rows(fold.train) & rows(fold.valid), "nor on what it is watched on"
        watched = (i + 1) % n_splits if next_fold else i
        assert rows(fold.valid) == held_out[watched]
        assert rows(fold.train) | rows(fold.valid) | held_out[i] == set(range(N))
    if by == "modulo":
        assert held_out == [{row for row in range(N) if row % n_splits == i} for i in range(n_splits)]


def test_next_fold_leaves_the_fold_untouched_until_prediction(data: SkimData) -> None:
    for i, fold in enumerate(trained(data, n_splits=3, validation="next_fold")):
        seen = rows(fold.train, fold.valid)
        assert not seen & set(fold.held_out_rows.tolist())
        assert rows(fold.valid) == set(range((i + 1) % 3, N, 3))
        assert rows(fold.train) == set(range((i + 2) % 3, N, 3))


@pytest.mark.parametrize("train_size", [0.5, 0.9])
def test_a_single_model_trains_on_the_train_size(data: SkimData, train_size: float) -> None:
    (fold,) = trained(data, n_splits=1, train_size=train_size)
    assert rows(fold.train) | rows(fold.valid) == set(range(N))
    assert not rows(fold.train) & rows(fold.valid)
    sigma = np.sqrt(train_size * (1 - train_size) / N)
    assert fold.train.n_events / N == pytest.approx(train_size, abs=5 * sigma)
    assert set(fold.held_out_rows.tolist()) == rows(fold.valid)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_single_models_split_is_not_the_one_that_made_the_skim(data: SkimData, seed: int) -> None:
    """Else a skim of the first 80% would leave nothing to watch with a train_size of 0.9."""
    from utils.events import in_training_split

    identity_N = data.skim.read(["identity"])["identity"]
    in_skim_N = in_training_split(identity_N, 0.8, seed)
    (fold,) = trained(data, n_splits=1, train_size=0.9)
    watched_N = np.zeros(N, bool)
    watched_N[fold.valid.rows_N] = True
    assert 0 < watched_N[in_skim_N].mean() < 0.25


def test_scores_go_back_to_their_rows(data: SkimData) -> None:
    folds = trained(data, n_splits=4)
    scores_N = np.full(N, np.nan)
    for fold in folds:
        scores_NK = predict_rows(fold.estimator, data, fold.held_out_rows)
        scores_N[fold.held_out_rows] = scores_NK[:, 0]
        np.testing.assert_array_equal(scores_NK[:, 1], data.features(0, N)[fold.held_out_rows, 0])
    numbers = [fold.estimator.number for fold in folds]
    np.testing.assert_array_equal(scores_N, [numbers[row % 4] for row in range(N)])


def test_prediction_in_blocks_is_the_same(data: SkimData, monkeypatch: pytest.MonkeyPatch) -> None:
    model, some_rows = Spy(), np.array([0, 5, 6, 100, 239])
    whole_NK = predict_rows(model, data, some_rows)
    monkeypatch.setattr("utils.models.crosstrain.PREDICT_ROWS", 50)
    np.testing.assert_array_equal(predict_rows(model, data, some_rows), whole_NK)
    assert predict_rows(model, data, some_rows[:0]).shape == (0, 3)


@pytest.mark.parametrize("policy", ["abs", "zero", "drop"])
@pytest.mark.parametrize("n_splits", [1, 2, 3])
def test_one_factor_per_fold_gives_a_mean_of_one_and_keeps_ratios(data: SkimData, policy: Any, n_splits: int) -> None:
    raw_N = data.skim.read(["signed"])["signed"]
    usable_N = np.abs(raw_N) if policy == "abs" else np.where(raw_N < 0, 0, raw_N)
    for fold in trained(data, n_splits=n_splits, weight_name="signed", negative_weights=policy, folds=LOOSE):
        for source in (fold.train, fold.valid):
            np.testing.assert_allclose(source.weight_N, usable_N[source.rows_N] * fold.weight_factor, rtol=1e-6)
        assert fold.train.weight_N.mean(dtype=np.float64) == pytest.approx(1.0, rel=1e-6)
        sums = np.bincount(fold.train.target_N, weights=fold.train.weight_N)
        raw_sums = np.bincount(fold.train.target_N, weights=usable_N[fold.train.rows_N])
        np.testing.assert_allclose(sums / sums[0], raw_sums / raw_sums[0], rtol=1e-6)


def test_dropped_events_are_not_trained_on_but_are_predicted(data: SkimData) -> None:
    negative = set(np.flatnonzero(data.skim.read(["signed"])["signed"] < 0).tolist())
    folds = trained(data, n_splits=3, weight_name="signed", negative_weights="drop")
    for fold in folds:
        assert not rows(fold.train) & negative
        assert not rows(fold.valid) & negative
    assert set().union(*(fold.held_out_rows.tolist() for fold in folds)) == set(range(N))
    kept = trained(data, n_splits=3, weight_name="signed", negative_weights="zero")
    assert negative <= rows(*(fold.train for fold in kept))


def test_negative_weights_are_an_error_unless_told_otherwise(data: SkimData) -> None:
    with pytest.raises(WeightError, match="weight 'signed' is negative"):
        trained(data, weight_name="signed")


def test_without_a_weight_there_are_none(data: SkimData) -> None:
    for fold in trained(data):
        assert fold.train.weight_N is None
        assert fold.weight_factor == 1.0
    assert event_weights(data.skim, None) is None
    np.testing.assert_array_equal(event_weights(data.skim, "signed"), weights())


def test_unknown_columns_are_errors_with_the_nearest_name(data: SkimData) -> None:
    with pytest.raises(MissingColumnError, match="'wieght'.*did you mean 'weight'"):
        trained(data, weight_name="wieght")
    with pytest.raises(MissingColumnError, match="'evnt'.*xtrain_split_feature.*did you mean 'evt'"):
        trained(data, xtrain_split_feature="evnt")
    with pytest.raises(MissingColumnError, match="'wheight'.*event_weight"):
        event_weights(data.skim, "wheight")


def test_a_split_feature_that_is_none_is_an_error(data: SkimData) -> None:
    with pytest.raises(FoldError, match="'bad' holds negative values"):
        trained(data, xtrain_split_feature="bad")
    with pytest.raises(DataError, match="'signed' must be an integer"):
        trained(data, xtrain_split_feature="signed")
    with pytest.raises(FoldError, match="folds"):
        trained(data, xtrain_split_feature="one")


def test_folds_that_differ_a_little_are_a_warning(tmp_path: Path) -> None:
    events = toy_events(100, n_classes=2)
    events.misc["evt"][:] = np.arange(100) * 2
    events.misc["evt"][:44] += 1
    with open_skim(tmp_path / "train.h5", events) as skim, captured_log() as messages:
        open_training_set(SkimData.open(skim), spec())
    assert any("56 events where 50 are expected" in message for message in messages)


def test_a_class_that_misses_a_fold_is_an_error(tmp_path: Path) -> None:
    events = toy_events(100, n_classes=2)
    events.target[:] = events.misc["evt"] % 2  # fold 0 is class 0 alone
    with open_skim(tmp_path / "train.h5", events) as skim:
        data = SkimData.open(skim)
        with pytest.raises(
            DataError, match=r"class 0 \(class_0\) has no events among the 50 training events of fold 0"
        ):
            trained(data)


def test_nothing_to_watch_is_an_error(data: SkimData) -> None:
    with pytest.raises(DataError, match="no events are left to watch.*smaller train_size"):
        trained(data, n_splits=1, train_size=0.999999)


def test_an_empty_skim_is_an_error(tmp_path: Path) -> None:
    events = toy_events(4, n_classes=2)
    empty = type(events)(
        {k: v[:0] for k, v in events.cont.items()},
        {k: v[:0] for k, v in events.cat.items()},
        {k: v[:0] for k, v in events.misc.items()},
        events.target[:0],
        2,
    )
    skim = open_skim(tmp_path / "train.h5", empty, steps=())
    with skim, pytest.raises(SkimError, match="the skim is empty"):
        open_training_set(SkimData.open(skim), spec())


def test_folds_know_what_they_were_made_from(data: SkimData) -> None:
    training = open_training_set(data, spec(n_splits=3, weight_name="signed", negative_weights="abs"))
    assert training.fold_counts == [80, 80, 80]
    assert training.weight_report is not None
    assert training.weight_report.n_negative == int((weights() < 0).sum())
    for fold in trained(data, n_splits=3):
        assert fold.class_counts == np.bincount(fold.train.target_N, minlength=3).tolist()
        assert fold.seconds >= 0


def test_a_fresh_model_for_every_fold(data: SkimData) -> None:
    numbers = [fold.estimator.number for fold in trained(data, n_splits=4)]
    assert len(set(numbers)) == 4


def test_a_fit_is_told_its_fold_and_what_it_may_use(data: SkimData) -> None:
    made = spec(n_splits=3)
    training = open_training_set(data, made)
    folds = list(cross_train(training, made, Spy, lambda _: Nothing()))
    assert [fold.estimator.context for fold in folds] == [FitContext(fold=i) for i in range(3)]
    given = [FitContext(fold=i, gpus=(i,), freeze=("a",)) for i in range(3)]
    folds = list(cross_train(training, made, Spy, lambda _: Nothing(), lambda i: given[i]))
    assert [fold.estimator.context for fold in folds] == given


def test_a_finished_fold_is_taken_as_it_is(data: SkimData) -> None:
    made = spec(n_splits=3)
    known = Spy()
    training = open_training_set(data, made)
    folds = list(cross_train(training, made, Spy, lambda _: Nothing(), finished=lambda i: known if i == 1 else None))
    assert [fold.restored for fold in folds] == [False, True, False]
    assert folds[1].estimator is known
    assert not hasattr(known, "train"), "it is not fitted again"
    whole = list(cross_train(training, made, Spy, lambda _: Nothing()))
    for fold, other in zip(folds, whole, strict=True):
        np.testing.assert_array_equal(fold.held_out_rows, other.held_out_rows)
        np.testing.assert_array_equal(fold.train.rows_N, other.train.rows_N)


def test_a_fast_dev_run_has_few_events_of_every_class(data: SkimData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.models.crosstrain.FAST_EVENTS", 5)
    whole = trained(data, n_splits=3, weight_name="one")
    for few, all_of_it in zip(trained(data, n_splits=3, weight_name="one", fast_dev_run=True), whole, strict=True):
        for part, of in ((few.train, all_of_it.train), (few.valid, all_of_it.valid)):
            assert set(part.rows_N) < set(of.rows_N)
            counts = np.bincount(data.target_N[part.rows_N], minlength=3)
            assert (counts >= 3).all()
            assert (counts <= 5).all()
            assert len(part.weight_N) == part.n_events
        assert set(few.held_out_rows) < set(all_of_it.held_out_rows)


class Nothing:
    """A monitor that does not listen."""

    def __call__(self, step: int, values: Any) -> None: ...

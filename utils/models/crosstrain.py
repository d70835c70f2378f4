"""N-fold cross-training: which events train, which are watched, which are left for the model to predict."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError, SkimError
from utils.events import in_training_split, salted
from utils.folds import IDENTITY_COLUMN, check_balance
from utils.loading import EventSource, SkimData, WeightReport, training_weights
from utils.logs import get_logger
from utils.models.estimator import Estimator, FitContext, Monitor
from utils.models.spec import TrainSpec
from utils.readers.skim import SkimFile

logger = get_logger(__name__)

PREDICT_ROWS = 200_000
FAST_EVENTS = 4_096  # of a class, in a fast_dev_run


@dataclass(frozen=True)
class TrainingSet:
    """A skim with the fold and the weight of every event.

    Parameters
    ----------
    data : the skim.
    fold_N : (N,) folds.
    weight_N : (N,) weights after the policy for negative ones, not yet scaled; None for all ones.
    may_train_N : (N,) False for events that the policy drops from training.
    weight_report : what the policy changed; None without weights.
    """

    data: SkimData
    fold_N: NDArray[np.int32]
    weight_N: NDArray[np.float64] | None
    may_train_N: NDArray[np.bool_]
    weight_report: WeightReport | None

    @property
    def fold_counts(self) -> list[int]:
        """Events of each fold."""
        return [int(n) for n in np.bincount(self.fold_N, minlength=int(self.fold_N.max(initial=0)) + 1)]


@dataclass(frozen=True)
class TrainedFold:
    """One model, and what it was made from.

    Parameters
    ----------
    fold : its number i; the model has not trained on fold i.
    estimator : the fitted model.
    train, valid : events it was trained on, and watched on.
    held_out_rows : (N,) rows that it is the one to predict.
    weight_factor : by which all weights were multiplied, so that their mean over `train` is one.
    seconds : training time [s].
    restored : it was trained before, and only taken from where it was kept.
    """

    fold: int
    estimator: Estimator
    train: EventSource
    valid: EventSource
    held_out_rows: NDArray[np.int64]
    weight_factor: float
    seconds: float
    restored: bool = False

    @property
    def class_counts(self) -> list[int]:
        """Training events of each class."""
        data = self.train.data
        return [int(n) for n in np.bincount(data.class_N[self.train.rows_N], minlength=data.n_classes)]


def open_training_set(data: SkimData, spec: TrainSpec) -> TrainingSet:
    """Assign folds and weights to all events of the skim.

    Raises
    ------
    SkimError, MissingColumnError, FoldError, WeightError, DataError
    """
    skim = data.skim
    if skim.n_rows == 0:
        raise SkimError("the skim is empty", where=str(skim.path), remedy="Loosen the cuts.")
    rule = spec.fold_rule
    where = str(skim.path)
    if spec.n_splits == 1:
        skim.require([IDENTITY_COLUMN], "the event identity")
        # Salted, because the skim itself is what an earlier split of the same identities has left.
        identity_N = salted(skim.read([IDENTITY_COLUMN])[IDENTITY_COLUMN], "n_splits=1")
        train_N = in_training_split(identity_N, spec.train_size, seed=1)
        fold_N = np.where(train_N, 1, 0).astype(np.int32)  # fold 0 is watched, the rest is trained on
    else:
        skim.require([rule.column], "xtrain_split_feature")
        fold_N = rule.assign(skim.read([rule.column])[rule.column], where)
        warning = check_balance(
            [int(n) for n in np.bincount(fold_N, minlength=spec.n_splits)], spec.folds.tolerance, spec.folds.max_sigmas
        )
        if warning is not None:
            logger.warning("%s", warning)
    if spec.weight_name is None:
        return TrainingSet(data, fold_N, None, np.ones(skim.n_rows, bool), None)
    skim.require([spec.weight_name], "weight_name")
    raw_N = skim.read([spec.weight_name])[spec.weight_name].astype(np.float64)
    weight_N, may_train_N, report = training_weights(raw_N, spec.negative_weights, spec.weight_name)
    return TrainingSet(data, fold_N, weight_N, may_train_N, report)


def cross_train(
    training: TrainingSet,
    spec: TrainSpec,
    make_estimator: Callable[[], Estimator],
    monitor_of: Callable[[int], Monitor],
    context_of: Callable[[int], FitContext] = FitContext,
    finished: Callable[[int], Estimator | None] = lambda _: None,
) -> Iterator[TrainedFold]:
    """Train the models in turn.

    Parameters
    ----------
    training : events with folds and weights.
    spec : `n_splits` and `validation` decide who trains and who watches.
    make_estimator : gives a fresh, unfitted estimator.
    monitor_of : fold → what its fit reports to.
    context_of : fold → what its fit may use besides its events. With `fast_dev_run`, few events are left of every fold.
    finished : fold → its model where it was trained before; None where it is to be trained.
    """
    for fold in range(spec.n_splits):
        started = time.perf_counter()
        held_out_N = training.fold_N == fold
        watched = (fold + 1) % spec.n_splits if spec.validation == "next_fold" else fold
        valid_N = training.fold_N == watched
        train_N = ~held_out_N & ~valid_N & training.may_train_N
        train, factor = _source(training, train_N, None)
        valid, _ = _source(training, valid_N & training.may_train_N, factor)
        held_out = np.flatnonzero(held_out_N)
        if spec.fast_dev_run:
            train, valid, held_out = _few(train), _few(valid), _few(EventSource(training.data, held_out)).rows_N
        train.check_classes(f"training events of fold {fold}")
        if valid.n_events == 0:
            raise DataError(
                f"no events are left to watch the training of model {fold} with",
                where=str(training.data.skim.path),
                remedy="Use fewer folds, or with n_splits=1 a smaller train_size.",
            )
        known = finished(fold)
        estimator = make_estimator() if known is None else known
        if known is None:
            estimator.fit(train, valid, monitor_of(fold), context_of(fold))
        seconds = time.perf_counter() - started
        yield TrainedFold(fold, estimator, train, valid, held_out, factor, seconds, known is not None)


def _few(source: EventSource) -> EventSource:
    """At most FAST_EVENTS events of each class, evenly spread over the skim."""
    class_N = source.data.class_N[source.rows_N]
    keep_N = np.zeros(source.n_events, bool)
    for k in np.unique(class_N):
        of_class = np.flatnonzero(class_N == k)
        keep_N[of_class[:: -(-len(of_class) // FAST_EVENTS)]] = True
    return source.take(keep_N)


def event_weights(skim: SkimFile, name: str | None) -> NDArray[np.float64] | None:
    """(N,) signed physics weights of a skim for figures of merit, or None where no column is named."""
    if name is None:
        return None
    skim.require([name], "event_weight")
    return skim.read([name])[name].astype(np.float64)


def _source(training: TrainingSet, chosen_N: NDArray[np.bool_], factor: float | None) -> tuple[EventSource, float]:
    rows_N = np.flatnonzero(chosen_N)
    if training.weight_N is None:
        return EventSource(training.data, rows_N), 1.0
    weight_N = training.weight_N[rows_N]
    if factor is None:
        mean = float(weight_N.mean()) if len(weight_N) else 1.0
        factor = 1.0 / mean if mean > 0 else 1.0
    return EventSource(training.data, rows_N, (weight_N * factor).astype(np.float32)), factor


def predict_rows(estimator: Estimator, data: SkimData, rows_N: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, K) scores of some rows of a skim, a column for each of its outputs, in bounded memory."""
    scores_NK = np.empty((len(rows_N), data.n_outputs), np.float32)
    position = 0
    for batch in EventSource(data, rows_N).batches(PREDICT_ROWS):
        stop = position + len(batch.features_NF)
        scores_NK[position:stop] = estimator.predict(batch.features_NF)
        position = stop
    return scores_NK

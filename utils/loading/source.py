"""A training skim as estimators see it: streamed in batches, or taken whole."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError, DataError, SkimError
from utils.factory import Factory
from utils.outputs import Outputs, Task
from utils.preprocessing.jagged_spec import padded_names
from utils.preprocessing.pipe import BUILT_IN, FittedPipe, Step
from utils.readers.skim import SkimFile

Names = tuple[str, ...]

BATCH_ROWS = 50_000
BATCH_VALUES = 2**24  # at most, for wide events


@dataclass(frozen=True)
class Batch:
    """(N, F) float32 features with the input pipe applied, targets, and (N,) weights or None for all ones.

    Targets are (N,) classes for a classification, (N, T) float32 values for a regression, (N, 0) for an autoencoder.

    `mask_NF` is True where a feature stands for an object that the event does not have; networks see zero there.

    `share` is what the mean over this batch counts in a step for which several processes make a batch each: its size
    over the mean of their sizes.
    """

    features_NF: NDArray[np.float32]
    target_N: NDArray[Any]
    weight_N: NDArray[np.float32] | None
    mask_NF: NDArray[np.bool_] | None = None
    share: float = 1.0


@dataclass(frozen=True)
class SkimData:
    """An open skim, the features a model uses of it, and the pipe they go through.

    Parameters
    ----------
    skim : open for reading.
    cont_features, cat_features : names, in the model's order.
    pipe : for the continuous features.
    task : what the model is to tell.
    targets : columns of the skim that a regression is to tell; else empty.
    """

    skim: SkimFile
    cont_features: tuple[str, ...]
    cat_features: tuple[str, ...]
    pipe: FittedPipe
    task: Task = "classification"
    targets: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
        skim: SkimFile,
        cont_features: tuple[str, ...] | None = None,
        cat_features: tuple[str, ...] | None = None,
        user_steps: Mapping[str, type[Step]] | None = None,
        task: Task = "classification",
        targets: tuple[str, ...] = (),
    ) -> "SkimData":
        """Check features and targets against the skim and restrict its pipe; None means all features the skim has."""
        metadata = skim.metadata
        if metadata.get("input_pipe") is None or not metadata.get("for_training"):
            raise SkimError(
                "the skim was made to predict on, not to train on",
                where=str(skim.path),
                remedy="Train on a skim made with for_training=true.",
            )
        cont = tuple(metadata["cont_features"]) if cont_features is None else cont_features
        cat = tuple(metadata["cat_features"]) if cat_features is None else cat_features
        skim.require([*cont, *cat], "a feature of the model")
        pipe = FittedPipe.from_dict(metadata["input_pipe"], user_steps, str(skim.path)).restricted(cont)
        _check_targets(skim, (*cont, *cat), task, targets)
        return cls(skim, cont, cat, pipe, task, targets)

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, it opens the skim there."""
        pipe = self.pipe.to_dict()
        return _reopened, (self.skim.path, self.cont_features, self.cat_features, pipe, self.task, self.targets)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of the feature matrix: what comes out of the pipe, then the categorical features."""
        return (*self.pipe.outputs, *self.cat_features)

    @property
    def categorical_indices(self) -> tuple[int, ...]:
        """Columns of the feature matrix that are categorical."""
        n_cont = len(self.pipe.outputs)
        return tuple(range(n_cont, n_cont + len(self.cat_features)))

    @property
    def padded_indices(self) -> tuple[int, ...]:
        """Columns of the feature matrix that are NaN where an event has fewer objects."""
        padded = padded_names(self.skim.metadata.get("padded_features", {}))
        return tuple(i for i, name in enumerate(self.pipe.outputs) if name in set(padded))

    @property
    def n_classes(self) -> int:
        """Number of classes the skim was made with."""
        return len(self.skim.metadata["class_names"])

    @property
    def outputs(self) -> Outputs:
        """What a model of these events gives for each."""
        return Outputs.of(self.task, self.skim.metadata["class_names"], self.targets)

    @property
    def n_outputs(self) -> int:
        """Columns of what `Estimator.predict` gives: K classes, T targets, or 1 loss."""
        return self.outputs.n

    @cached_property
    def class_N(self) -> NDArray[np.int32]:  # noqa: N802
        """(N,) classes of all events, whatever the task."""
        return self.skim.read(["target"])["target"].astype(np.int32)

    @cached_property
    def target_N(self) -> NDArray[Any]:  # noqa: N802
        """What all events are to be told as: (N,) int32 classes, (N, T) float32 values, or (N, 0) for an autoencoder.

        Raises
        ------
        DataError : a target is NaN or infinite.
        """
        if self.task == "classification":
            return self.class_N
        target_NT = np.empty((self.skim.n_rows, len(self.targets)), np.float32)
        for t, values_N in enumerate(self.skim.read(self.targets).values() if self.targets else ()):
            target_NT[:, t] = values_N
            n_bad = int((~np.isfinite(target_NT[:, t])).sum())
            if n_bad:
                raise DataError(
                    f"target '{self.targets[t]}' is NaN or infinite for {n_bad:,} of {self.skim.n_rows:,} events",
                    where=str(self.skim.path),
                    remedy="Cut these events in preprocessing, or give the target another value there.",
                )
        return target_NT

    def features(self, start: int, stop: int) -> NDArray[np.float32]:
        """(N, F) features of the rows in [start, stop), pipe applied."""
        return piped_features(self.skim, self.pipe, self.cat_features, start, stop)


def _put_rows(features_MF: NDArray[np.float32], rows_N: NDArray[np.int64], into_NF: NDArray[np.float32]) -> None:
    np.take(features_MF, rows_N, axis=0, out=into_NF, mode="clip")  # any other mode copies once more


def _reopened(
    path: Path, cont_features: Names, cat_features: Names, pipe: Mapping[str, Any], task: Task, targets: Names
) -> SkimData:
    """The same of an own opening of the file. Its sender has loaded the user's steps: their names are trusted."""
    names = {entry["step"] for entry in pipe["steps"]} - set(BUILT_IN)
    steps: dict[str, Any] = {name: Factory(name).load() for name in names}
    fitted = FittedPipe.from_dict(pipe, steps, str(path))
    return SkimData(SkimFile(path), cont_features, cat_features, fitted, task, targets)


def _check_targets(skim: SkimFile, features: tuple[str, ...], task: Task, targets: tuple[str, ...]) -> None:
    n_classes = len(skim.metadata["class_names"])
    if task == "classification" and n_classes < 2:
        raise SkimError(
            f"there is nothing to tell apart: the skim has {n_classes} class",
            where=str(skim.path),
            remedy="Give its processes two classes or more, or set task=regression or task=autoencoder.",
        )
    skim.require(targets, "targets")
    for name in targets:
        if name in features:
            raise ConfigError(
                f"'{name}' is a target, and the model is given it as a feature",
                where="targets",
                remedy="Leave it out of cont_features and cat_features (of the training, or of the skim).",
            )
        if skim.dtype(name).kind not in "biuf":
            raise ConfigError(f"target '{name}' holds no numbers", where="targets", remedy="Choose another column.")


def piped_features(
    skim: SkimFile, pipe: FittedPipe, cat_features: tuple[str, ...], start: int, stop: int
) -> NDArray[np.float32]:
    """(N, F) float32: the pipe's outputs, then the categorical features as they are."""
    cont_NF = pipe.transform(skim.matrix(pipe.inputs, start, stop))
    if not cat_features:
        return cont_NF
    return np.hstack([cont_NF, skim.matrix(cat_features, start, stop)])


@dataclass(frozen=True)
class EventSource:
    """Some rows of a skim with weights: what `Estimator.fit` is given.

    Parameters
    ----------
    data : the skim.
    rows_N : (N,) ascending row numbers.
    weight_N : (N,) weights, or None for all ones.
    """

    data: SkimData
    rows_N: NDArray[np.int64]
    weight_N: NDArray[np.float32] | None = None

    @property
    def n_events(self) -> int:
        """N."""
        return len(self.rows_N)

    @property
    def target_N(self) -> NDArray[Any]:  # noqa: N802
        """(N,) classes, (N, T) values, or (N, 0), see `SkimData.target_N`."""
        return self.data.target_N[self.rows_N]

    def batches(self, batch_rows: int = BATCH_ROWS) -> Iterator[Batch]:
        """All events in the order of the skim, at most `batch_rows` rows of the skim at a time."""
        for features_MF, local_N, position in self._pieces(batch_rows):
            features_NF = features_MF if len(local_N) == len(features_MF) else features_MF[local_N]
            which = slice(position, position + len(local_N))
            target_N = self.data.target_N[self.rows_N[which]]
            yield Batch(features_NF, target_N, None if self.weight_N is None else self.weight_N[which])

    def _pieces(self, batch_rows: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], int]]:
        """(M, F) features of consecutive rows of the skim, which of them are events of ours, and the first's number."""
        batch_rows = min(batch_rows, max(1, BATCH_VALUES // max(1, len(self.data.feature_names))))
        if self.n_events == 0:
            return
        first, end = int(self.rows_N[0]), int(self.rows_N[-1]) + 1  # the rest of the skim is not read
        for start in range(first, end, batch_rows):
            stop = min(start + batch_rows, end)
            low, high = np.searchsorted(self.rows_N, [start, stop])
            if low < high:
                yield self.data.features(start, stop), self.rows_N[low:high] - start, int(low)

    def whole(self) -> Batch:
        """All events at once, for estimators that cannot stream: N · F · 4 bytes."""
        features_NF = np.empty((self.n_events, len(self.data.feature_names)), np.float32)
        # Memory that is used for the first time is as slow as the file: a thread writes while the next piece is read.
        with ThreadPoolExecutor(1) as writer:
            written: Future[None] = writer.submit(lambda: None)
            for features_MF, local_N, position in self._pieces(BATCH_ROWS):
                written.result()
                into_NF = features_NF[position : position + len(local_N)]
                written = writer.submit(_put_rows, features_MF, local_N, into_NF)
            written.result()
        return Batch(features_NF, self.target_N, self.weight_N)

    def take(self, which: slice | NDArray[np.bool_] | NDArray[np.int64]) -> "EventSource":
        """Some of the events: a range, a mask, or their numbers, ascending."""
        weight_N = None if self.weight_N is None else self.weight_N[which]
        return replace(self, rows_N=self.rows_N[which], weight_N=weight_N)

    def check_classes(self, what: str) -> None:
        """DataError where a class that is to be told has no events."""
        if self.data.task != "classification":
            return
        counts = np.bincount(self.target_N, minlength=self.data.n_classes)
        for missing in np.flatnonzero(counts == 0):
            name = self.data.skim.metadata["class_names"][missing]
            raise DataError(
                f"class {missing} ({name}) has no events among the {self.n_events:,} {what}",
                where=str(self.data.skim.path),
                remedy="Use fewer folds, or give the class more events.",
            )

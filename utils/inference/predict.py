"""Predictions per sample: friend trees of the ntuples, or tables of the skims."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.inference.originals import Originals
from utils.inference.parallel import Scorer
from utils.inference.scoring import (
    EntryRange,
    ScoredBlock,
    TrainingInputs,
    by_entry,
    check_skim,
    rows_to_score,
    scored_blocks,
)
from utils.logs import get_logger, progress
from utils.models.ensemble import RoutedEnsemble
from utils.outputs import Outputs
from utils.readers.skim import SkimFile
from utils.readers.spec import ReadingKeys
from utils.writers.friend import FriendTreeWriter, prediction_columns
from utils.writers.table import TableWriter

logger = get_logger(__name__)


@dataclass(frozen=True)
class SamplePrediction:
    """What was written for one sample.

    Parameters
    ----------
    sample : its name.
    path : the file.
    n_entries : rows of the output.
    n_scored : rows with scores.
    per_class : (K,) scored events per predicted class; empty where classes are not what is told.
    missing_folds : folds without events in this sample; normal in a small one.
    seconds : time it took [s].
    """

    sample: str
    path: Path
    n_entries: int
    n_scored: int
    per_class: tuple[int, ...]
    missing_folds: tuple[int, ...]
    seconds: float


def default_misc(skim_path: str, train_config: Mapping[str, Any]) -> tuple[str, ...]:
    """What an evaluation needs besides scores: truth, split feature and weights, as far as the skim has them."""
    split, event_weight, weight = (train_config.get(k) for k in ("xtrain_split_feature", "event_weight", "weight_name"))
    with SkimFile(skim_path) as skim:
        known = set(skim.columns)
    targets = train_config.get("targets") or ()
    wanted = [split, *targets, "target", "group_name", event_weight, weight, "w_class_imbalance"]
    return tuple(dict.fromkeys(str(name) for name in wanted if name in known))


@dataclass
class _Tally:
    """Counts that a prediction reports."""

    outputs: Outputs
    n_folds: int

    def __post_init__(self) -> None:
        self.per_class = np.zeros(self.outputs.n if self.outputs.task == "classification" else 0, np.int64)
        self.per_fold = np.zeros(self.n_folds, np.int64)

    def add(self, scores_NK: NDArray[np.float32], fold_N: NDArray[np.int32]) -> None:
        if len(scores_NK):
            if len(self.per_class):
                self.per_class += np.bincount(scores_NK.argmax(axis=1), minlength=len(self.per_class))
            self.per_fold += np.bincount(fold_N, minlength=self.n_folds)

    def result(self, sample: str, path: Path, started: float, n_entries: int | None = None) -> SamplePrediction:
        """The report; `n_entries` where the output has more rows than were scored."""
        missing = tuple(int(fold) for fold in np.flatnonzero(self.per_fold == 0))
        seconds = time.perf_counter() - started
        counts = tuple(int(n) for n in self.per_class)
        n_scored = int(self.per_fold.sum())
        n_entries = n_scored if n_entries is None else n_entries
        return SamplePrediction(sample, path, n_entries, n_scored, counts, missing, seconds)


def predict_table(
    sample: str,
    skim_path: str,
    output: Path,
    ensemble: RoutedEnsemble,
    training: TrainingInputs,
    misc_features: Sequence[str],
    *,
    reading: ReadingKeys = ReadingKeys(),
    scorer: Scorer | None = None,
    overwrite: bool,
) -> SamplePrediction:
    """Scores of every event of a skim as CSV or Parquet, with the misc features and the fold.

    `scorer` has workers that score; without one, it is done here.

    Raises
    ------
    SkimError, MissingColumnError : the skim does not fit the model.
    """
    started = time.perf_counter()
    with SkimFile(skim_path) as skim:
        check_skim(skim, ensemble)
        skim.require(misc_features, "misc_features")
        if ensemble.rule.n_splits == 1 and skim.metadata["node"] == training.node:
            logger.warning("%s: with n_splits=1 the model has seen most of these events; nothing is held out", sample)
        empty = prediction_columns(np.empty((0, ensemble.outputs.n)), np.empty(0, bool), ensemble.outputs)
        types: dict[str, Any] = {
            **{name: str if skim.dtype(name).kind == "O" else skim.dtype(name) for name in misc_features},
            **{name: values.dtype for name, values in empty.items() if name != "is_valid"},
            "fold": np.dtype(np.int32),
        }
        tally = _Tally(ensemble.outputs, ensemble.rule.n_splits)
        bar_of = progress(rows_to_score(skim, reading), sample, "events")
        with TableWriter(output, types, overwrite=overwrite) as writer, bar_of as bar:
            for block in _scored(skim, ensemble, training, reading, scorer):
                columns: dict[str, Any] = skim.read(misc_features, block.start, block.stop)
                valid_N = np.ones(len(block.scores_NK), bool)
                columns |= prediction_columns(block.scores_NK, valid_N, ensemble.outputs)
                del columns["is_valid"]
                writer.write({**columns, "fold": block.fold_N})
                tally.add(block.scores_NK, block.fold_N)
                bar.update(len(block.scores_NK))
        return tally.result(sample, output, started)


def predict_friend(
    sample: str,
    skim_path: str,
    ntuples: str | None,
    output: Path,
    ensemble: RoutedEnsemble,
    training: TrainingInputs,
    *,
    tree_name: str | None,
    friend_tree_name: str | None,
    misc_features: Sequence[str] | None,
    reading: ReadingKeys = ReadingKeys(),
    scorer: Scorer | None = None,
    overwrite: bool,
) -> SamplePrediction:
    """A friend tree with an entry for every entry of the sample's ntuples, scored or not.

    Parameters
    ----------
    sample, skim_path : whose skim.
    ntuples : path, glob or list of the files that were skimmed; None: where they were then.
    output : the friend tree's file.
    ensemble, training : the models, and what they may have seen.
    tree_name : of the ntuples; None: as when they were skimmed.
    friend_tree_name : of the friend; None: as `tree_name`, or `predictions` where the ntuples have no trees.
    misc_features : branches to copy; None: those the skim was configured with, as far as the ntuples have them.
    reading : how the ntuples are read, and how many events are scored.
    scorer : has workers that score; None: it is done here.

    Raises
    ------
    SkimError : the skim does not fit the model, or the ntuples are not those it was made from.
    OutputError : the finished friend did not match the ntuples; it was deleted.
    """
    started = time.perf_counter()
    with SkimFile(skim_path) as skim:
        check_skim(skim, ensemble)
        originals = Originals.of_skim(
            skim, ntuples, object_name=tree_name, misc_features=misc_features, access=reading.access
        )
        n_entries = sum(originals.n_entries)
        tally = _Tally(ensemble.outputs, ensemble.rule.n_splits)
        blocks = (_tallied(block, tally) for block in _scored(skim, ensemble, training, reading, scorer))
        writer = FriendTreeWriter(
            output,
            tree_name=friend_tree_name or originals.object_name or "predictions",
            originals=originals.openers,
            n_entries=n_entries,
            outputs=ensemble.outputs,
            misc=originals.types,
            identity_branches=originals.identity,
            overwrite=overwrite,
        )
        with writer, progress(n_entries, sample, "events") as bar:
            ranges = by_entry(blocks, originals.indices, originals.n_entries, ensemble.outputs.n)
            _write_friend(writer, ranges, originals, bar)
        return tally.result(sample, output, started, n_entries)


def _scored(
    skim: SkimFile,
    ensemble: RoutedEnsemble,
    training: TrainingInputs,
    reading: ReadingKeys,
    scorer: Scorer | None,
) -> Iterator[ScoredBlock]:
    return scored_blocks(skim, ensemble, training, reading) if scorer is None else scorer.blocks(skim)


def _tallied(block: ScoredBlock, tally: _Tally) -> ScoredBlock:
    tally.add(block.scores_NK, block.fold_N)
    return block


def _write_friend(writer: FriendTreeWriter, ranges: Iterator[EntryRange], originals: Originals, bar: Any) -> None:
    offsets = np.concatenate([[0], np.cumsum(originals.n_entries)])
    for file, pieces in groupby(ranges, key=lambda piece: piece.file):
        with originals.openers[file]() as reader:
            for piece in pieces:
                columns = reader.read(originals.copied, piece.start, piece.stop)
                originals.check_pairs(piece, columns)
                first = int(offsets[file]) + piece.start
                copied = {name: columns[name] for name in originals.copied}
                writer.write(first, piece.scores_NK, piece.is_valid_N, copied)
                bar.update(piece.stop - piece.start)

"""Predictions per sample: friend trees of the ntuples, or tables of the skims."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import SkimError
from utils.events import hash_identity
from utils.events.identity import as_integers
from utils.inference.scoring import EntryRange, TrainingInputs, by_entry, check_skim, scored_blocks
from utils.logs import get_logger, progress
from utils.models.ensemble import RoutedEnsemble
from utils.preprocessing.spec import ADDED_COLUMNS
from utils.readers.formats import open_reader
from utils.readers.locations import expand_paths
from utils.readers.reader import Reader
from utils.readers.skim import SkimFile
from utils.writers.friend import FriendTreeWriter, prediction_columns
from utils.writers.friend_check import branch_types
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
    per_class : (K,) scored events per predicted class.
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
    wanted = [split, "target", "group_name", event_weight, weight, "w_class_imbalance"]
    return tuple(dict.fromkeys(str(name) for name in wanted if name in known))


@dataclass
class _Tally:
    """Counts that a prediction reports."""

    n_classes: int
    n_folds: int

    def __post_init__(self) -> None:
        self.per_class = np.zeros(self.n_classes, np.int64)
        self.per_fold = np.zeros(self.n_folds, np.int64)

    def add(self, scores_NK: NDArray[np.float32], fold_N: NDArray[np.int32]) -> None:
        if len(scores_NK):
            self.per_class += np.bincount(scores_NK.argmax(axis=1), minlength=self.n_classes)
            self.per_fold += np.bincount(fold_N, minlength=self.n_folds)

    def result(self, sample: str, path: Path, n_entries: int, started: float) -> SamplePrediction:
        missing = tuple(int(fold) for fold in np.flatnonzero(self.per_fold == 0))
        seconds = time.perf_counter() - started
        counts = tuple(int(n) for n in self.per_class)
        return SamplePrediction(sample, path, n_entries, sum(counts), counts, missing, seconds)


def predict_table(
    sample: str,
    skim_path: str,
    output: Path,
    ensemble: RoutedEnsemble,
    training: TrainingInputs,
    misc_features: Sequence[str],
    *,
    overwrite: bool,
) -> SamplePrediction:
    """Scores of every event of a skim as CSV or Parquet, with the misc features and the fold.

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
        empty = prediction_columns(np.empty((0, ensemble.n_classes)), np.empty(0, bool))
        types: dict[str, Any] = {
            **{name: str if skim.dtype(name).kind == "O" else skim.dtype(name) for name in misc_features},
            **{name: values.dtype for name, values in empty.items() if name != "is_valid"},
            "fold": np.dtype(np.int32),
        }
        tally = _Tally(ensemble.n_classes, ensemble.rule.n_splits)
        with TableWriter(output, types, overwrite=overwrite) as writer, progress(skim.n_rows, sample, "events") as bar:
            for block in scored_blocks(skim, ensemble, training):
                columns: dict[str, Any] = skim.read(misc_features, block.start, block.stop)
                columns |= prediction_columns(block.scores_NK, np.ones(len(block.scores_NK), bool))
                del columns["is_valid"]
                writer.write({**columns, "fold": block.fold_N})
                tally.add(block.scores_NK, block.fold_N)
                bar.update(len(block.scores_NK))
        return tally.result(sample, output, skim.n_rows, started)


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
    overwrite: bool,
) -> SamplePrediction:
    """A friend tree with an entry for every entry of the sample's ntuples, scored or not.

    Parameters
    ----------
    sample, skim_path : whose skim.
    ntuples : path or glob of the files that were skimmed; None: where they were then.
    output : the friend tree's file.
    ensemble, training : the models, and what they may have seen.
    tree_name : of the ntuples; None: as when they were skimmed.
    friend_tree_name : of the friend; None: as `tree_name`.
    misc_features : branches to copy; None: those the skim was configured with, as far as the ntuples have them.

    Raises
    ------
    SkimError : the skim does not fit the model, or the ntuples are not those it was made from.
    OutputError : the finished friend did not match the ntuples; it was deleted.
    """
    started = time.perf_counter()
    with SkimFile(skim_path) as skim:
        check_skim(skim, ensemble)
        tree = tree_name or str(skim.metadata["input_tree_name"])
        recorded = [str(file["path"]) for file in skim.metadata["inputs"]]
        files = _matching_files(skim, recorded if ntuples is None else expand_paths(ntuples), tree)
        n_entries = [n for _, _, n in files]
        identity = tuple(skim.metadata["identity"])
        copied = _copied_branches(skim, files[0][1], tree, misc_features, identity)
        tally = _Tally(ensemble.n_classes, ensemble.rule.n_splits)
        blocks = (_tallied(block, tally) for block in scored_blocks(skim, ensemble, training))
        writer = FriendTreeWriter(
            output,
            tree_name=friend_tree_name or tree,
            input_files=[path for _, path, _ in files],
            input_tree=tree,
            n_entries=sum(n_entries),
            n_classes=ensemble.n_classes,
            misc=branch_types(files[0][1], tree, copied),
            identity_branches=identity,
            overwrite=overwrite,
        )
        with writer, progress(sum(n_entries), sample, "events") as bar:
            ranges = by_entry(blocks, [index for index, _, _ in files], n_entries, ensemble.n_classes)
            _write_friend(writer, ranges, [path for _, path, _ in files], n_entries, tree, copied, identity, bar)
        return tally.result(sample, output, sum(n_entries), started)


def _tallied(block: Any, tally: _Tally) -> Any:
    tally.add(block.scores_NK, block.fold_N)
    return block


def _write_friend(
    writer: FriendTreeWriter,
    ranges: Any,
    paths: Sequence[str],
    n_entries: Sequence[int],
    tree_name: str,
    copied: Sequence[str],
    identity: Sequence[str],
    bar: Any,
) -> None:
    offsets = np.concatenate([[0], np.cumsum(n_entries)])
    tree: Reader | None = None
    current = -1
    try:
        for piece in ranges:
            if piece.file != current:
                if tree is not None:
                    tree.close()
                tree, current = open_reader(paths[piece.file], tree_name), piece.file
            assert tree is not None
            columns = tree.read(copied, piece.start, piece.stop)
            _check_pairs(piece, columns, identity, paths[piece.file])
            first = int(offsets[piece.file]) + piece.start
            writer.write(first, piece.scores_NK, piece.is_valid_N, {name: columns[name] for name in copied})
            bar.update(piece.stop - piece.start)
    finally:
        if tree is not None:
            tree.close()


def _check_pairs(piece: EntryRange, columns: Mapping[str, Any], identity: Sequence[str], path: str) -> None:
    """Every scored entry must be the event that was skimmed."""
    if not identity or not len(piece.identity_V):
        return
    scored = piece.is_valid_N.astype(bool)
    found_V = hash_identity([as_integers(columns[name], name, path)[scored] for name in identity])
    wrong = np.flatnonzero(found_V != piece.identity_V)
    if len(wrong):
        entry = piece.start + int(np.flatnonzero(scored)[wrong[0]])
        raise SkimError(
            f"{len(wrong)} events differ between the skim and the ntuples, the first at entry {entry}",
            where=path,
            remedy="The ntuples changed since they were skimmed: run preprocess.py again.",
        )


def _matching_files(skim: SkimFile, paths: Sequence[str], tree_name: str) -> list[tuple[int, str, int]]:
    """(number in the skim, path, entries) of every ntuple, after checking that it is the file that was skimmed."""
    inputs = skim.metadata["inputs"]
    if len(inputs) != len(paths):
        raise SkimError(
            f"the skim was made from {len(inputs)} files, but there are {len(paths)} now",
            where=str(skim.path),
            remedy="Run preprocess.py again, or check orig_path.",
        )
    files = []
    for path, recorded in zip(paths, inputs, strict=True):
        fingerprint = recorded["fingerprint"]
        with open_reader(path, tree_name) as tree:
            now = tree.fingerprint
        for what in ("n_entries", "uuid", "size"):
            if getattr(now, what) != fingerprint[what]:
                raise SkimError(
                    f"the file changed since it was skimmed: {what} was {fingerprint[what]}, is {getattr(now, what)}",
                    where=path,
                    remedy="Run preprocess.py again.",
                )
        files.append((int(recorded["index"]), path, now.n_entries))
    return files


def _copied_branches(
    skim: SkimFile, path: str, tree_name: str, wanted: Sequence[str] | None, identity: Sequence[str]
) -> list[str]:
    """The branches to copy: those asked for, and what identifies an event, so that the finished tree can be checked."""
    with open_reader(path, tree_name) as tree:
        if wanted is None:
            configured = skim.metadata["config"].get("misc_features") or skim.groups.get("misc_features", ())
            present = set(tree.branches)
            wanted = [name for name in configured if name in present and name not in ADDED_COLUMNS]
        else:
            tree.require(wanted)
    return list(dict.fromkeys([*wanted, *identity]))

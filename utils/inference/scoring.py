"""Scores of a skim, block by block, and where they belong among the entries of the ntuples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import SkimError
from utils.events import in_training_split
from utils.logs import get_logger
from utils.models.ensemble import RoutedEnsemble
from utils.preprocessing.pipe import BUILT_IN, FittedPipe, Step
from utils.readers.skim import SkimFile
from utils.readers.spec import ChunkSize, ReadingKeys

BLOCK_ROWS = 200_000  # entries of the ntuples at a time
BYTES_PER_VALUE = 8  # of a feature while a model looks at it
logger = get_logger(__name__)
UNSCORED = -1


@dataclass(frozen=True)
class TrainingInputs:
    """What tells whether a model may have seen an event: the files that were trained on, and the rule of the split.

    Parameters
    ----------
    uuids : of the ROOT files.
    train_size, seed : of the split.
    node : name of the skim that was trained on.
    """

    uuids: frozenset[str]
    train_size: float
    seed: int
    node: str = "train"

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "TrainingInputs":
        """From the metadata of the training skim."""
        uuids = frozenset(file["fingerprint"]["uuid"] for file in metadata["inputs"])
        return cls(uuids, float(metadata["train_size"]), int(metadata["seed"]), str(metadata["node"]))

    def seen(
        self, skim: SkimFile, file_index_N: NDArray[np.int32], identity_N: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """(N,) whether the event is of a file trained on and falls into the training split."""
        trained = {int(f["index"]): f["fingerprint"]["uuid"] in self.uuids for f in skim.metadata["inputs"]}
        indices, inverse = np.unique(file_index_N, return_inverse=True)
        of_file_N = np.array([trained[int(i)] for i in indices], bool)[inverse]
        return of_file_N & in_training_split(identity_N, self.train_size, self.seed)


def check_skim(skim: SkimFile, ensemble: RoutedEnsemble) -> None:
    """SkimError or MissingColumnError unless the skim has the model's features, and no other pipe than the model's."""
    skim.require(ensemble.features, "a feature of the model")
    if ensemble.rule.n_splits > 1:
        skim.require([ensemble.rule.column], "the run's xtrain_split_feature")
    content = skim.metadata.get("input_pipe")
    if content is not None:
        remedy = "It was made for another training: preprocess it with the input_pipe_file of this one."
        _check_pipe(
            FittedPipe.from_dict(content, _user_steps(ensemble), str(skim.path)), ensemble, str(skim.path), remedy
        )


def check_pipe_file(path: str | None, ensemble: RoutedEnsemble) -> None:
    """SkimError unless the pipe file, where one is given, is the pipe the run was trained with."""
    if path is not None:
        pipe = FittedPipe.load(path, _user_steps(ensemble))
        _check_pipe(pipe, ensemble, path, "Leave input_pipe_file out: the run carries its pipe.")


def _user_steps(ensemble: RoutedEnsemble) -> dict[str, type[Step]]:
    """Classes of the user's own steps: taken from the run, which is trusted, never from a file."""
    return {name: type(step) for name, step in ensemble.pipe.steps if name not in BUILT_IN}


def _check_pipe(pipe: FittedPipe, ensemble: RoutedEnsemble, where: str, remedy: str) -> None:
    missing = [name for name in ensemble.pipe.inputs if name not in pipe.inputs]
    if missing or pipe.restricted(ensemble.pipe.inputs).to_dict() != ensemble.pipe.to_dict():
        raise SkimError("the input pipe differs from the one the run was trained with", where=where, remedy=remedy)


@dataclass(frozen=True)
class ScoredBlock:
    """Scores of consecutive rows of a skim.

    Parameters
    ----------
    start, stop : row range.
    scores_NK : (N, K) float32.
    fold_N : (N,) folds.
    origin : file_index, entry and identity, (N,) each.
    """

    start: int
    stop: int
    scores_NK: NDArray[np.float32]
    fold_N: NDArray[np.int32]
    origin: Mapping[str, NDArray[Any]]


def rows_to_score(skim: SkimFile, reading: ReadingKeys) -> int:
    """Rows of the skim that `nevts` lets through."""
    return skim.n_rows if reading.nevts < 0 else min(reading.nevts, skim.n_rows)


def scored_blocks(
    skim: SkimFile, ensemble: RoutedEnsemble, training: TrainingInputs, reading: ReadingKeys = ReadingKeys()
) -> Iterator[ScoredBlock]:
    """The rows of the skim in order: the first `nevts` of them, `chunk_size` at a time."""
    block_rows = rows_of_block(ensemble, reading)
    n_rows = rows_to_score(skim, reading)
    if n_rows < skim.n_rows:
        logger.warning("%s: nevts leaves %s of %s rows unscored", skim.path, skim.n_rows - n_rows, skim.n_rows)
    for start in range(0, n_rows, block_rows):
        yield score(skim, ensemble, training, start, min(start + block_rows, n_rows))


def rows_of_block(ensemble: RoutedEnsemble, reading: ReadingKeys) -> int:
    """Rows that are scored at a time."""
    return ChunkSize.of(reading.chunk_size).events(BYTES_PER_VALUE * len(ensemble.features))


def score(skim: SkimFile, ensemble: RoutedEnsemble, training: TrainingInputs, start: int, stop: int) -> ScoredBlock:
    """The rows in [start, stop) of a skim."""
    raw_NF = skim.matrix(ensemble.features, start, stop)
    split = ensemble.rule.column
    columns = skim.read(["file_index", "entry", "identity"], start, stop)
    if ensemble.rule.n_splits > 1:
        fold_N = ensemble.rule.assign(skim.read([split], start, stop)[split], str(skim.path))
    else:
        fold_N = np.zeros(stop - start, np.int32)
    seen_N = None
    if ensemble.unseen == "average":
        seen_N = training.seen(skim, columns["file_index"], columns["identity"])
    return ScoredBlock(start, stop, ensemble.predict(raw_NF, fold_N, seen_N), fold_N, columns)


@dataclass(frozen=True)
class EntryRange:
    """Consecutive entries of one ntuple with their scores.

    Parameters
    ----------
    file : position in the list of ntuples.
    start, stop : entry range.
    scores_NK : (N, K) float32, −1 where the entry is not in the skim.
    is_valid_N : (N,) uint8, 1 where it is.
    identity_V : (V,) identities of the valid entries, in order.
    """

    file: int
    start: int
    stop: int
    scores_NK: NDArray[np.float32]
    is_valid_N: NDArray[np.uint8]
    identity_V: NDArray[np.uint64]


def by_entry(
    blocks: Iterator[ScoredBlock], file_indices: Sequence[int], n_entries: Sequence[int], n_outputs: int
) -> Iterator[EntryRange]:
    """Scatter scored rows to the entries they came from: every entry of every file exactly once, in order.

    Parameters
    ----------
    blocks : scored rows, ascending in (file, entry), each entry at most once.
    file_indices : the skim's number of every file, in order.
    n_entries : of every file.
    n_outputs : K, the columns of the scores.

    Raises
    ------
    SkimError : an entry comes twice, out of order, or does not exist.
    """
    file = position = 0
    for block in blocks:
        entry_N = block.origin["entry"]
        order_N = _file_order(block, file_indices)
        _check_order(block, order_N, (file, position), n_entries)
        done = 0
        while done < len(entry_N):
            while order_N[done] != file:
                yield from _empty(file, position, n_entries[file], n_outputs)
                file, position = file + 1, 0
            of_file = int(np.searchsorted(order_N, file, side="right"))
            # At most BLOCK_ROWS entries at a time, however few of them are in the skim.
            limit = min(position + BLOCK_ROWS, int(entry_N[of_file - 1]) + 1)
            stop = done + int(np.searchsorted(entry_N[done:of_file], limit))
            yield _scatter(file, position, limit, block, slice(done, stop), n_outputs)
            position, done = limit, stop
    for last in range(file, len(n_entries)):
        yield from _empty(last, position, n_entries[last], n_outputs)
        position = 0


def _file_order(block: ScoredBlock, file_indices: Sequence[int]) -> NDArray[np.intp]:
    """(N,) positions in the list of files; SkimError where the skim has a file that the list has not."""
    order = {index: position for position, index in enumerate(file_indices)}
    indices, inverse_N = np.unique(block.origin["file_index"], return_inverse=True)
    for index in indices:
        if int(index) not in order:
            raise SkimError(f"the skim has events of file {index}, which it does not list", remedy="Make it again.")
    return np.array([order[int(index)] for index in indices], np.intp)[inverse_N]


def _check_order(
    block: ScoredBlock, order_N: NDArray[np.intp], next_entry: tuple[int, int], n_entries: Sequence[int]
) -> None:
    """Every row must come after the one before it, the first not before `next_entry` (file, entry)."""
    entry_N = block.origin["entry"]
    file, position = next_entry
    step_N = np.diff(order_N, prepend=file)
    wrong_N = (step_N < 0) | ((step_N == 0) & (np.diff(entry_N, prepend=position - 1) <= 0))
    if wrong_N.any():
        raise SkimError(
            "the skim holds an entry twice, or out of order",
            where=f"entry {entry_N[np.argmax(wrong_N)]}",
            remedy="Make the skim to predict with for_training=false: one process per sample.",
        )
    beyond_N = entry_N >= np.asarray(n_entries)[order_N]
    if beyond_N.any():
        raise SkimError(
            f"the skim holds entry {entry_N[np.argmax(beyond_N)]}, which its file does not have",
            remedy="The ntuples changed since they were skimmed: run preprocess.py again.",
        )


def _empty(file: int, start: int, end: int, n_outputs: int) -> Iterator[EntryRange]:
    for first in range(start, end, BLOCK_ROWS):
        stop = min(first + BLOCK_ROWS, end)
        scores_NK = np.full((stop - first, n_outputs), UNSCORED, np.float32)
        yield EntryRange(file, first, stop, scores_NK, np.zeros(stop - first, np.uint8), np.empty(0, np.uint64))


def _scatter(file: int, start: int, stop: int, block: ScoredBlock, rows: slice, n_outputs: int) -> EntryRange:
    local_V = block.origin["entry"][rows] - start
    scores_NK = np.full((stop - start, n_outputs), UNSCORED, np.float32)
    is_valid_N = np.zeros(stop - start, np.uint8)
    scores_NK[local_V] = block.scores_NK[rows]
    is_valid_N[local_V] = 1
    return EntryRange(file, start, stop, scores_NK, is_valid_N, block.origin["identity"][rows])

"""Scores find the entries they belong to: every entry of every file once, in order, whatever was cut."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.skims import Events, open_skim, toy_events, toy_pipe
from utils.errors import DataError, FoldError, MissingColumnError, SkimError
from utils.events import hash_identity, in_training_split
from utils.folds import FoldRule
from utils.inference import scoring
from utils.inference.scoring import EntryRange, ScoredBlock, TrainingInputs, by_entry, check_skim, scored_blocks
from utils.logs import captured_log
from utils.models.ensemble import RoutedEnsemble
from utils.preprocessing.pipe import FittedPipe, Scaler
from utils.readers.spec import ReadingKeys

K = 2


def block(start: int, files: np.ndarray, entries: np.ndarray) -> ScoredBlock:
    """Rows whose score for class 0 is `1000 · file + entry`."""
    value_N = (1000 * files + entries).astype(np.float32)
    origin = {
        "file_index": files.astype(np.int32),
        "entry": entries.astype(np.int64),
        "identity": value_N.astype(np.uint64),
    }
    scores_NK = np.stack([value_N, np.zeros_like(value_N)], axis=1)
    return ScoredBlock(start, start + len(files), scores_NK, np.zeros(len(files), np.int32), origin)


def blocks_of(files: list[list[int]], indices: list[int], size: int) -> Iterator[ScoredBlock]:
    """The kept entries of the files, `size` rows at a time."""
    file_N = np.concatenate([np.full(len(kept), index) for kept, index in zip(files, indices, strict=True)] or [[]])
    entry_N = np.concatenate([np.array(kept, int) for kept in files] or [[]])
    for start in range(0, len(entry_N), size):
        yield block(start, file_N[start : start + size], entry_N[start : start + size])


def run(blocks: Iterator[ScoredBlock], indices: list[int], n_entries: list[int]) -> list[EntryRange]:
    return list(by_entry(blocks, indices, n_entries, K))


@st.composite
def samples(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    """Numbers of entries, and which of them were kept, of up to four files, some empty, some cut away altogether."""
    n_entries = draw(st.lists(st.integers(0, 12), max_size=4))
    return n_entries, [sorted(draw(st.sets(st.integers(0, n - 1)))) if n else [] for n in n_entries]


@given(sample=samples(), rows=st.integers(1, 13), size=st.integers(1, 20), first=st.integers(0, 3))
def test_every_entry_of_every_file_once_in_order(
    sample: tuple[list[int], list[list[int]]], rows: int, size: int, first: int
) -> None:
    n_entries, kept = sample
    indices = [first + 2 * i for i in range(len(n_entries))]  # the skim's numbers need not be 0, 1, 2 …
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "BLOCK_ROWS", rows)
        ranges = run(blocks_of(kept, indices, size), indices, n_entries)
    position = dict.fromkeys(range(len(n_entries)), 0)
    last = 0
    for piece in ranges:
        assert piece.file >= last, "files come one after the other"
        last = piece.file
        assert piece.start == position[piece.file]
        assert 0 < piece.stop - piece.start <= rows
        position[piece.file] = piece.stop
        entry_N = np.arange(piece.start, piece.stop)
        valid_N = np.isin(entry_N, kept[piece.file])
        np.testing.assert_array_equal(piece.is_valid_N, valid_N)
        assert piece.is_valid_N.dtype == np.uint8
        value_N = 1000 * indices[piece.file] + entry_N
        np.testing.assert_array_equal(piece.scores_NK[:, 0], np.where(valid_N, value_N, -1))
        np.testing.assert_array_equal(piece.scores_NK[:, 1], np.where(valid_N, 0, -1))
        assert piece.scores_NK.dtype == np.float32
        np.testing.assert_array_equal(piece.identity_V, value_N[valid_N])
    assert list(position.values()) == n_entries


def is_out_of_order(entries: list[int]) -> bool:
    return any(second <= first for first, second in itertools.pairwise(entries))


@given(
    entries=st.lists(st.integers(0, 6), min_size=2, max_size=8).filter(is_out_of_order),
    rows=st.integers(1, 9),
    size=st.integers(1, 9),
)
def test_an_entry_twice_or_out_of_order_is_an_error(entries: list[int], rows: int, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "BLOCK_ROWS", rows)
        with pytest.raises(SkimError, match="twice, or out of order.*for_training=false"):
            run(blocks_of([entries], [0], size), [0], [7])


@given(
    files=st.lists(st.integers(0, 2), min_size=2, max_size=8).filter(lambda f: f != sorted(f)), size=st.integers(1, 9)
)
def test_files_out_of_order_are_an_error(files: list[int], size: int) -> None:
    file_N, entry_N = np.array(files), np.arange(len(files))
    pieces = [block(i, file_N[i : i + size], entry_N[i : i + size]) for i in range(0, len(files), size)]
    with pytest.raises(SkimError, match="twice, or out of order"):
        run(iter(pieces), [0, 1, 2], [9, 9, 9])


def test_an_entry_or_a_file_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(SkimError, match="entry 5"):
        run(iter([block(0, np.zeros(2), np.array([1, 5]))]), [0], [5])
    with pytest.raises(SkimError, match="file 3"):
        run(iter([block(0, np.array([0, 3]), np.array([1, 1]))]), [0, 1], [5, 5])


class Constant:
    """The number of its fold for class 0, the first feature for class 1."""

    def __init__(self, number: float) -> None:
        self.number = number

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        return np.stack([np.full(len(features_NF), self.number), features_NF[:, 0]], axis=1).astype(np.float32)


N = 50
EVENTS = toy_events(N, n_classes=2)


def ensemble(events: Events = EVENTS, n: int = 3, unseen: str = "route", feature: str = "evt") -> RoutedEnsemble:
    rule = FoldRule(n, "modulo", feature)
    return RoutedEnsemble(tuple(map(Constant, range(n))), rule, toy_pipe(events), ("njets",), ("a", "b"), unseen)


ALL = TrainingInputs(frozenset({"uuid-0"}), 0.8, 0)


def test_nevts_leaves_the_rest_unscored(tmp_path: Path) -> None:
    with open_skim(tmp_path / "sample.h5", EVENTS) as skim, captured_log() as messages:
        blocks = list(scored_blocks(skim, ensemble(), ALL, ReadingKeys(nevts=5, chunk_size=2)))
    assert [(b.start, b.stop) for b in blocks] == [(0, 2), (2, 4), (4, 5)]
    assert any("leaves" in message and "unscored" in message for message in messages)


@pytest.mark.parametrize("rows", [1, 7, N, 1000])
def test_blocks_are_the_skim_in_order_each_event_by_its_own_model(tmp_path: Path, rows: int) -> None:
    with open_skim(tmp_path / "sample.h5", EVENTS) as skim:
        blocks = list(scored_blocks(skim, ensemble(), ALL, ReadingKeys(chunk_size=rows)))
        assert [b.start for b in blocks] == list(range(0, N, rows))
        assert max(b.stop - b.start for b in blocks) <= rows
        scores_NK = np.concatenate([b.scores_NK for b in blocks])
        np.testing.assert_array_equal(np.concatenate([b.fold_N for b in blocks]), np.arange(N) % 3)
        np.testing.assert_array_equal(scores_NK[:, 0], np.arange(N) % 3)
        cont_NF = np.stack(list(EVENTS.cont.values()), axis=1)
        np.testing.assert_array_equal(scores_NK[:, 1], toy_pipe(EVENTS).transform(cont_NF)[:, 0])
        np.testing.assert_array_equal(np.concatenate([b.origin["entry"] for b in blocks]), np.arange(N))


def test_a_sample_that_misses_a_fold_or_is_empty_is_normal(tmp_path: Path) -> None:
    even = toy_events(4, n_classes=2, misc={"evt": np.array([3, 6, 9, 12], np.uint64)})
    with open_skim(tmp_path / "even.h5", even) as skim:
        (only,) = scored_blocks(skim, ensemble(even), ALL)
        assert set(only.fold_N) == {0}
    nothing = Events(
        *({k: v[:0] for k, v in group.items()} for group in (even.cont, even.cat, even.misc)), even.target[:0], 2
    )
    with open_skim(tmp_path / "empty.h5", nothing, steps=(), metadata={"input_pipe": None}) as skim:
        assert list(scored_blocks(skim, ensemble(), ALL)) == []


def test_average_is_for_events_that_no_model_trained_on(tmp_path: Path) -> None:
    with open_skim(tmp_path / "sample.h5", EVENTS) as skim:
        trained_N = in_training_split(hash_identity([EVENTS.misc["evt"]]), 0.8, 0)
        assert 0 < trained_N.sum() < N
        (routed,) = scored_blocks(skim, ensemble(), ALL)
        np.testing.assert_array_equal(routed.scores_NK[:, 0], np.arange(N) % 3)
        (averaged,) = scored_blocks(skim, ensemble(unseen="average"), ALL)
        np.testing.assert_array_equal(averaged.scores_NK[:, 0], np.where(trained_N, np.arange(N) % 3, 1.0))
        # Files that were not trained on: no event of theirs was seen.
        elsewhere = TrainingInputs(frozenset({"uuid-7"}), 0.8, 0)
        (new,) = scored_blocks(skim, ensemble(unseen="average"), elsewhere)
        np.testing.assert_array_equal(new.scores_NK[:, 0], np.ones(N))


def test_training_inputs_come_from_the_skims_metadata(tmp_path: Path) -> None:
    with open_skim(tmp_path / "train.h5", EVENTS) as skim:
        assert TrainingInputs.of(skim.metadata) == ALL


def test_the_split_feature_is_checked_where_it_is_used(tmp_path: Path) -> None:
    misc = {"negative": np.arange(N) - 3, "real": np.linspace(0, 1, N)}
    with open_skim(tmp_path / "sample.h5", toy_events(N, n_classes=2, misc=misc)) as skim:
        with pytest.raises(FoldError, match="'negative' holds negative values"):
            list(scored_blocks(skim, ensemble(feature="negative"), ALL))
        with pytest.raises(DataError, match="'real' must be an integer"):
            list(scored_blocks(skim, ensemble(feature="real"), ALL))
        with pytest.raises(MissingColumnError, match="no column 'event'.*xtrain_split_feature"):
            check_skim(skim, ensemble(feature="event"))


def test_a_single_model_needs_no_split_feature(tmp_path: Path) -> None:
    with open_skim(tmp_path / "sample.h5", EVENTS) as skim:
        check_skim(skim, ensemble(n=1, feature="event"))
        (only,) = scored_blocks(skim, ensemble(n=1, feature="event"), ALL)
        assert set(only.fold_N) == {0}


def test_a_skim_that_does_not_fit_the_model_is_an_error(tmp_path: Path) -> None:
    for metadata in ({}, {"input_pipe": None}):
        with open_skim(tmp_path / "fits.h5", EVENTS, metadata=metadata) as skim:
            check_skim(skim, ensemble())
    cont = dict(zip(("x", "y", "noize"), EVENTS.cont.values(), strict=True))
    skim = open_skim(tmp_path / "renamed.h5", replace(EVENTS, cont=cont))
    with skim, pytest.raises(MissingColumnError, match="'noise' .a feature of the model.*did you mean 'noize'"):
        check_skim(skim, ensemble())
    for scaler in ((("scaler", Scaler(with_mean=False)),), (("scaler", Scaler(with_std=False)),), ()):
        skim = open_skim(tmp_path / "pipe.h5", EVENTS, steps=scaler)
        with skim, pytest.raises(SkimError, match="input pipe differs from the one the run .*input_pipe_file"):
            check_skim(skim, ensemble())


def test_the_pipe_is_compared_for_the_features_of_the_model(tmp_path: Path) -> None:
    pipe = toy_pipe(EVENTS).restricted(("y", "x"))
    some = RoutedEnsemble((Constant(0),), FoldRule(1, "modulo", "evt"), pipe, (), ("a", "b"), "route")
    assert isinstance(some.pipe, FittedPipe)
    with open_skim(tmp_path / "sample.h5", EVENTS) as skim:
        check_skim(skim, some)
        (only,) = scored_blocks(skim, some, ALL)
        np.testing.assert_array_equal(
            only.scores_NK[:, 1], pipe.transform(np.stack([EVENTS.cont["y"], EVENTS.cont["x"]], axis=1))[:, 0]
        )

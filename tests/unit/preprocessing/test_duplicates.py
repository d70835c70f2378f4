"""Duplicated events are counted exactly, in bounded memory, and nothing stays on disk."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.preprocessing import duplicates
from utils.preprocessing.duplicates import DuplicateAudit, DuplicateReport
from utils.preprocessing.spec import Process, Sample


def brute_force(samples: dict[str, list[Any]]) -> DuplicateReport:
    """Surplus events of every sample, and identities that two samples share."""
    counts = {name: Counter(events) for name, events in samples.items()}
    within = {name: sum(count.values()) - len(count) for name, count in counts.items()}
    across = {(a, b): len(set(counts[a]) & set(counts[b])) for a, b in combinations(samples, 2)}
    return DuplicateReport(
        sum(map(len, samples.values())),
        {name: n for name, n in within.items() if n},
        {pair: n for pair, n in across.items() if n},
    )


def audited(samples: dict[str, list[int]], n_pieces: int) -> DuplicateReport:
    with DuplicateAudit() as audit:
        for name, events in samples.items():
            for piece in np.array_split(np.array(events, np.uint64), n_pieces):
                audit.add(name, piece)
        return audit.report()


IDENTITIES = st.lists(st.one_of(st.integers(0, 20), st.integers(2**64 - 10, 2**64 - 1)), max_size=60)


@given(a=IDENTITIES, b=IDENTITIES, c=IDENTITIES, n_pieces=st.integers(1, 4))
def test_the_count_is_exact(a: list[int], b: list[int], c: list[int], n_pieces: int) -> None:
    samples = {"a": a, "b": b, "c": c}
    assert audited(samples, n_pieces) == brute_force(samples)


@pytest.mark.parametrize("partition_size", [1, 7, 50])
def test_the_count_is_exact_in_many_partitions(monkeypatch: pytest.MonkeyPatch, partition_size: int) -> None:
    monkeypatch.setattr(duplicates, "PARTITION_SIZE", partition_size)
    monkeypatch.setattr(duplicates, "READ_SIZE", 11)
    rng = np.random.default_rng(partition_size)
    samples = {name: rng.integers(0, 150, 100).tolist() for name in ("a", "b", "c")}
    report = audited(samples, 3)
    assert report == brute_force(samples)
    assert report.within
    assert len(report.across) == 3


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), chunk_size=st.integers(10, 300), partition_size=st.sampled_from([40, 4_000_000]))
def test_duplicates_among_the_selected_events_of_ntuples(
    tmp_path_factory: pytest.TempPathFactory,
    ntuple: Callable[..., Path],
    skims: Callable[..., Any],
    seed: int,
    chunk_size: int,
    partition_size: int,
) -> None:
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("duplicates")
    selected: dict[str, list[Any]] = {"a": [], "b": []}
    for file in ("a_0", "a_1", "b_0"):
        columns = {
            "run": rng.integers(1, 3, 80).astype(np.uint32),
            "luminosityBlock": rng.integers(1, 3, 80).astype(np.uint32),
            "event": rng.integers(2**60, 2**60 + 25, 80),
            "x": rng.normal(size=80),
        }
        ntuple(folder / f"{file}.root", columns, basket=29)
        keep = columns["x"] > -0.5
        keys = zip(*(columns[name][keep].tolist() for name in ("run", "luminosityBlock", "event")), strict=True)
        selected[file[0]] += list(keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "PARTITION_SIZE", partition_size)
        run = skims(
            folder,
            input_filename_template="{sample_name}_*.root",
            # An event that feeds two processes is one event.
            input_samples=(
                Sample("a", (Process("A", "x>-0.5", 0), Process("A2", "x>0", 1))),
                Sample("b", (Process("B", "x>-0.5", 1),)),
            ),
            cont_features=("x",),
            cat_features=None,
            misc_features=None,
            weight_name=None,
            chunk_size=chunk_size,
        )
    expected = brute_force(selected)
    assert run.result.duplicates == expected
    stored = run.metadata["train"]["duplicates"]
    assert stored["within"] == expected.within
    assert stored["across"] == [[*pair, n] for pair, n in expected.across.items()]


def test_the_same_file_in_two_samples_is_found_without_event_numbers(
    toy_file: Callable[..., Any], ntuple: Callable[..., Path], skims: Callable[..., Any], tmp_path: Path
) -> None:
    for name in ("ww_1", "ww_2"):
        ntuple(tmp_path / f"{name}.root", toy_file(50, 1))
    run = skims(
        tmp_path,
        input_filename_template="{sample_name}.root",
        input_samples=(Sample("ww_*", (Process("W", None, 0),)), Sample("ww_2", (Process("W2", None, 1),))),
        identity="entry",
    )
    assert run.result.duplicates == DuplicateReport(150, {}, {("ww_*", "ww_2"): 50})


def test_the_spilled_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with DuplicateAudit() as audit:
        audit.add("a", np.arange(10, dtype=np.uint64))
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), DuplicateAudit():
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_no_events_no_duplicates() -> None:
    assert audited({}, 1) == DuplicateReport(0, {}, {})
    assert audited({"a": [], "b": []}, 1) == DuplicateReport(0, {}, {})

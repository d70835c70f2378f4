"""A chunk knows where every row came from."""

import numpy as np

from utils.events import Chunk


def test_entries_continue_from_the_first() -> None:
    chunk = Chunk({"pt": np.zeros(3)}, file_index=2, first_entry=1_000_000_000_000, n_events=3)
    assert chunk.entry.dtype == np.int64
    assert chunk.entry.tolist() == [1_000_000_000_000, 1_000_000_000_001, 1_000_000_000_002]


def test_an_empty_chunk_has_no_entries() -> None:
    assert Chunk({}, 0, 5, 0).entry.shape == (0,)

"""What every process of a training has of the events that are watched, and what all of them add up to."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.skims import open_skim, toy_events
from utils.loading import EventSource, SkimData
from utils.models.neural.world import ALONE, World


@dataclass(frozen=True)
class Told(World):
    """One that is told what the others have."""

    others: tuple[Any, ...] = ()

    def gathered(self, value: Any) -> list[Any]:
        values = list(self.others)
        values.insert(self.rank, value)
        return values


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_event_is_watched_once_in_order(tmp_path: Any, size: int) -> None:
    with open_skim(tmp_path / "train.h5", toy_events(20)) as skim:
        rows_N = np.arange(0, 20, 4)
        source = EventSource(SkimData.open(skim), rows_N, rows_N.astype(np.float32))
        shares = [World(rank, size).share(source) for rank in range(size)]
    np.testing.assert_array_equal(np.concatenate([share.rows_N for share in shares]), rows_N)
    np.testing.assert_array_equal(np.concatenate([share.weight_N for share in shares if share.n_events]), rows_N)
    assert np.ptp([share.n_events for share in shares]) <= 1


def test_sums_are_the_same_in_every_process() -> None:
    """To the last digit: added in the order of the ranks, wherever."""
    values = [(0.1, 1), (0.7, 2), (1e16, 3)]
    totals = [
        Told(rank, 3, tuple(values[:rank] + values[rank + 1 :])).total(*values[rank]).tolist() for rank in range(3)
    ]
    assert totals[0] == totals[1] == totals[2] == [0.1 + 0.7 + 1e16, 6]
    assert ALONE.total(0.1, 2).tolist() == [0.1, 2.0]
    assert ALONE.speaks and not World(1, 2).speaks

"""The processes that train one network together: each on its share of the events, all of them in step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.loading import EventSource


@dataclass(frozen=True)
class World:
    """A training in one process; what several need besides, they override.

    Parameters
    ----------
    rank : number of this process among all of them, on whatever machine, from 0.
    size : of how many.
    """

    rank: int = 0
    size: int = 1

    @property
    def speaks(self) -> bool:
        """Whether this is the process that reports, and writes checkpoints."""
        return self.rank == 0

    def gathered(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks, for each of them."""
        return [value]

    def total(self, *values: float) -> NDArray[np.float64]:
        """Sums over all processes, the same to the last digit in each: added in the order of the ranks."""
        sums: NDArray[np.float64] = np.asarray(self.gathered(values), np.float64).sum(axis=0)
        return sums

    def share(self, source: EventSource) -> EventSource:
        """This process' events of those that are watched: as many as the others have, or one more."""
        first, last = (source.n_events * rank // self.size for rank in (self.rank, self.rank + 1))
        return source.take(slice(first, last))


ALONE = World()

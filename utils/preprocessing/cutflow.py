"""How many events, and which yield, are left after every step of every process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from utils.preprocessing.moments import BlockSums


@dataclass(frozen=True)
class CutflowStep:
    """One line: events, yield Σw and its uncertainty √Σw²."""

    sample: str
    process: str
    step: str
    n_events: int
    sum_w: float
    sqrt_sum_w2: float


@dataclass
class Cutflow:
    """Sums per (sample, process, step), independent of how the input was chunked.

    Parameters
    ----------
    keep_blocks : as in :class:`BlockSums`.
    """

    keep_blocks: bool = False
    _sums: dict[tuple[str, str], BlockSums] = field(default_factory=dict)
    _processes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(
        self,
        sample: str,
        processes: Sequence[str],
        step: str,
        file_index: int,
        entry_N: NDArray[np.int64],
        process_N: NDArray[np.integer] | None,
        weight_N: NDArray[np.float64],
    ) -> None:
        """Add events of a sample that pass a step.

        Parameters
        ----------
        sample, processes, step : names; a step's processes are always the sample's.
        file_index, entry_N : where the events come from, entries ascending.
        process_N : (N,) number of the process; None where an event counts for each of them.
        weight_N : (N,) signed weights.
        """
        n_kinds = 1 if process_N is None else len(processes)
        sums = self._step(sample, processes, step, n_kinds)
        kind_N = np.zeros(len(weight_N)) if process_N is None else process_N
        sums.add(file_index, entry_N, np.stack([kind_N, weight_N], axis=1))

    def _step(self, sample: str, processes: Sequence[str], step: str, n_kinds: int) -> BlockSums:
        self._processes[sample] = tuple(processes)
        if (sample, step) not in self._sums:
            self._sums[sample, step] = BlockSums(partial(_sums, n_kinds), keep_blocks=self.keep_blocks)
        return self._sums[sample, step]

    def blocks(self) -> dict[tuple[str, str], Sequence[NDArray[np.float64]]]:
        """(sample, step) → sums of every block; needs `keep_blocks`."""
        return {key: sums.blocks for key, sums in self._sums.items()}

    def add_blocks(
        self, sample: str, processes: Sequence[str], step: str, blocks: Sequence[NDArray[np.float64]]
    ) -> None:
        """Add the blocks of a step that come next, from elsewhere."""
        self._step(sample, processes, step, len(processes)).add_sums(blocks)

    def steps(self) -> tuple[CutflowStep, ...]:
        """All lines, step by step in the order in which they were first met."""
        lines = []
        for (sample, step), sums in self._sums.items():
            total = sums.total()
            processes = self._processes[sample]
            counts = np.zeros((3, 1)) if total is None else total.reshape(3, -1)
            n_P, sum_w_P, sum_w2_P = np.broadcast_to(counts, (3, len(processes)))
            for name, n, sum_w, sum_w2 in zip(processes, n_P, sum_w_P, sum_w2_P, strict=True):
                lines.append(CutflowStep(sample, name, step, int(n), float(sum_w), float(np.sqrt(sum_w2))))
        return tuple(lines)


def _sums(n_kinds: int, rows_N2: NDArray[np.generic]) -> NDArray[np.float64]:
    """(3 · kinds,) events, Σw and Σw² of every kind from (N, 2) kinds and weights."""
    kind_N, weight_N = rows_N2[:, 0].astype(np.intp), rows_N2[:, 1].astype(np.float64)
    count = partial(np.bincount, kind_N, minlength=n_kinds)
    return np.concatenate([count(), count(weights=weight_N), count(weights=np.square(weight_N))])


def as_records(steps: tuple[CutflowStep, ...]) -> list[Mapping[str, str | int | float]]:
    """Plain mappings, for JSON."""
    return [vars(step) for step in steps]

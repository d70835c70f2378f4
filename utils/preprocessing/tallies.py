"""What a pass counts beside the rows it writes, and how that travels from a worker to the job."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.preprocessing.cutflow import Cutflow
from utils.preprocessing.moments import MomentsAccumulator
from utils.preprocessing.spec import Sample


class Tallies:
    """The cutflow, the moments of the training split, what did not fit into lists, and the events that were dropped.

    Parameters
    ----------
    moments : of the kind that the input pipe needs; an accumulator that is empty.
    keep_blocks : hold the sums of every block, for `save`.
    """

    def __init__(self, moments: MomentsAccumulator, *, keep_blocks: bool = False) -> None:
        self.cutflow = Cutflow(keep_blocks)
        self.moments = replace(moments, keep_blocks=keep_blocks)
        self.lists: Counter[str] = Counter()
        self.n_dropped = 0

    def count(
        self, sample: Sample, file_index: int, step: str, entry_N: Any, process_N: Any, weight_N: NDArray[np.float64]
    ) -> None:
        """Add events of a sample that pass a step; see :meth:`Cutflow.add`."""
        self.cutflow.add(sample.name, _names(sample), step, file_index, entry_N, process_N, weight_N)

    def save(self, path: Path) -> None:
        """Write everything to an NPZ file."""
        blocks = self.cutflow.blocks()
        content = {"steps": [list(key) for key in blocks], "lists": self.lists, "n_dropped": self.n_dropped}
        arrays: dict[str, Any] = {f"step_{i}": _stacked(sums) for i, sums in enumerate(blocks.values())}
        text = np.frombuffer(json.dumps(content).encode(), np.uint8)
        np.savez(path, content=text, moments=_stacked(self.moments.sums.blocks), **arrays)

    def add_saved(self, path: Path, samples: Mapping[str, Sample]) -> None:
        """Add what `save` wrote, of the entries that come next."""
        with np.load(path, allow_pickle=False) as saved:
            content = json.loads(saved["content"].tobytes())
            for i, (sample, step) in enumerate(content["steps"]):
                self.cutflow.add_blocks(sample, _names(samples[sample]), step, saved[f"step_{i}"])
            self.moments.sums.add_sums(saved["moments"])
        self.lists.update(content["lists"])
        self.n_dropped += content["n_dropped"]


def _names(sample: Sample) -> list[str]:
    return [process.name for process in sample.processes]


def _stacked(blocks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.stack(blocks) if blocks else np.empty((0, 0))

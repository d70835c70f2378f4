"""The unit in which data moves: named columns, and for every row the input file and entry it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# A NumPy array (flat branch) or an Awkward array (jagged branch). Awkward has no static type that fits both.
Column: TypeAlias = Any


@dataclass(frozen=True)
class Chunk:
    """Consecutive entries of one input file.

    Parameters
    ----------
    columns : branch name → (N,) NumPy array, or Awkward array of length N for a jagged branch.
    file_index : position of the file in the list of inputs.
    first_entry : entry number of row 0 in its tree.
    n_events : number of rows N.
    """

    columns: Mapping[str, Column]
    file_index: int
    first_entry: int
    n_events: int

    @property
    def entry(self) -> NDArray[np.int64]:
        """(N,) entry numbers in the tree of the input file."""
        return np.arange(self.first_entry, self.first_entry + self.n_events, dtype=np.int64)

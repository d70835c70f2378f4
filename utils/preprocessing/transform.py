"""A user's own work on the columns of a chunk, between reading and selecting: `chunk_transform` of a config."""

from collections.abc import Mapping
from typing import Protocol

from utils.events import Chunk, Column


class ChunkTransform(Protocol):
    """Makes columns of columns. It must look at every event by itself: chunks begin and end anywhere.

    Attributes
    ----------
    uses : columns that it is given; these are read.
    produces : columns that it gives; they take the place of what was read under their names.
    """

    uses: tuple[str, ...]
    produces: tuple[str, ...]

    def __call__(self, chunk: Chunk, where: str) -> Mapping[str, Column]:
        """All of `produces`, NumPy (N,) or Awkward of length N; `where` names the file for messages."""
        ...

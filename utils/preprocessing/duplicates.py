"""Exact counts of events that occur twice, within and across samples, in bounded memory.

Identity hashes are spilled to disk, a file per sample, and looked at one partition of hash values at a time.
"""

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

PARTITION_SIZE = 2_000_000  # hashes sorted at a time: 16 MB, and as much again while sorting
READ_SIZE = 500_000


@dataclass(frozen=True)
class DuplicateReport:
    """Surplus events: those beyond the first of each identity.

    Parameters
    ----------
    n_events : events looked at.
    within : sample → surplus events in it.
    across : (sample, sample) → identities that both hold.
    """

    n_events: int
    within: dict[str, int]
    across: dict[tuple[str, str], int]


class DuplicateAudit:
    """Collects identities; use as a context manager, which removes the spilled files."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crossfold-duplicates-")
        self._samples: list[str] = []
        self._counts: Counter[str] = Counter()

    def add(self, sample: str, identity_N: NDArray[np.uint64]) -> None:
        """Spill the identities of events of `sample`."""
        if sample not in self._counts:
            self._samples.append(sample)
        self._counts[sample] += len(identity_N)
        with self._path(sample).open("ab") as file:
            identity_N.tofile(file)

    def _path(self, sample: str) -> Path:
        return Path(self._folder.name) / f"{self._samples.index(sample)}.u64"

    def _partition(self, sample: str, part: int, bits: int) -> NDArray[np.uint64]:
        """The sample's hashes whose first `bits` bits are `part`, sorted."""
        shift = np.uint64(64 - bits)
        pieces = [hashes if bits == 0 else hashes[hashes >> shift == part] for hashes in self._read(sample)]
        hashes = np.concatenate(pieces) if pieces else np.empty(0, np.uint64)
        hashes.sort()
        return hashes

    def _read(self, sample: str) -> Iterator[NDArray[np.uint64]]:
        with self._path(sample).open("rb") as file:
            while len(hashes := np.fromfile(file, np.uint64, READ_SIZE)):
                yield hashes

    def report(self) -> DuplicateReport:
        """Count, partition by partition."""
        total = sum(self._counts.values())
        bits = (total // PARTITION_SIZE).bit_length()
        within: Counter[str] = Counter()
        across: Counter[tuple[str, str]] = Counter()
        for part in range(2**bits):
            distinct = {}
            for sample in self._samples:
                hashes = self._partition(sample, part, bits)
                new = np.ones(len(hashes), bool)
                new[1:] = hashes[1:] != hashes[:-1]
                distinct[sample] = hashes[new]
                within[sample] += len(hashes) - int(new.sum())
            for first, second in itertools.combinations(self._samples, 2):
                common = len(np.intersect1d(distinct[first], distinct[second], assume_unique=True))
                across[first, second] += common
        return DuplicateReport(total, {k: v for k, v in within.items() if v}, {k: v for k, v in across.items() if v})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

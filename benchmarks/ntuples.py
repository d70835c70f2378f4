"""Ntuples for the benchmarks: 45 branches, ZSTD, two processes in one sample, written once and kept."""

from pathlib import Path

import numpy as np
import uproot

N_FILES = 5
N_FEATURES = 28
N_SPARE = 12
TREE = "events"
FEATURES = [f"x_{i:02d}" for i in range(N_FEATURES)]


def _batch(rng: np.random.Generator, n_events: int, first_event: int) -> dict[str, np.ndarray]:
    """Float branches with a mantissa cut to 12 bits, as experiments store them, and the bookkeeping of an event."""
    category = rng.integers(0, 4, n_events).astype(np.int32)
    columns: dict[str, np.ndarray] = {}
    for i in range(N_FEATURES + N_SPARE):
        name = FEATURES[i] if i < N_FEATURES else f"spare_{i - N_FEATURES:02d}"
        shift = category * (0.25 if i % 3 == 0 else 0.05)
        values = (rng.standard_normal(n_events, dtype=np.float32) + shift).astype(np.float32)
        columns[name] = (values.view(np.uint32) & np.uint32(0xFFFFF800)).view(np.float32)
    columns["category"] = category
    columns["run"] = np.full(n_events, 1, dtype=np.uint32)
    columns["lumi"] = ((first_event + np.arange(n_events)) // 1000).astype(np.uint32)
    columns["evt"] = (first_event + np.arange(n_events)).astype(np.uint64)
    columns["weight"] = np.where(rng.random(n_events) < 0.1, -1, 1).astype(np.float32)
    return columns


def make_ntuples(folder: Path, n_events: int, batch: int = 200_000) -> list[Path]:
    """`N_FILES` files with `n_events` in all; files that exist already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    per_file = n_events // N_FILES
    for i_file in range(N_FILES):
        path = folder / f"sample_{i_file}.root"
        paths.append(path)
        if path.exists():
            continue
        rng = np.random.default_rng(i_file)
        part = path.with_suffix(".part")
        with uproot.recreate(part, compression=uproot.ZSTD(5)) as file:
            tree = None
            for first in range(0, per_file, batch):
                n = min(batch, per_file - first)
                columns = _batch(rng, n, i_file * per_file + first)
                if tree is None:
                    tree = file.mktree(TREE, {name: values.dtype for name, values in columns.items()})
                tree.extend(columns)
        part.rename(path)
    return paths

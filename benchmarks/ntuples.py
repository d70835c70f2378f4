"""Ntuples for the benchmarks: 45 branches, ZSTD, two processes in one sample, written once and kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def make_ntuples(folder: Path, n_events: int, batch: int = 200_000, n_files: int = N_FILES) -> list[Path]:
    """`n_files` files with `n_events` in all; files that exist already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    per_file = n_events // n_files
    for i_file in range(n_files):
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


def make_misaligned_ntuples(folder: Path, n_events: int) -> list[Path]:
    """The same, but every branch has one of eight sizes of baskets, between 30,000 and 200,000 entries."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"sample_{i_file}.root" for i_file in range(N_FILES)]
    sizes = np.linspace(30_000, 200_000, 8).astype(int).tolist()
    for i_file, path in enumerate(paths):
        if not path.exists():
            n = n_events // N_FILES
            columns = _batch(np.random.default_rng(i_file), n, i_file * n)
            part = path.with_suffix(".part")
            write_misaligned(part, TREE, columns, {name: sizes[i % len(sizes)] for i, name in enumerate(columns)})
            part.rename(path)
    return paths


def write_misaligned(path: Path, tree: str, columns: Mapping[str, Any], baskets: Mapping[str, int]) -> Path:
    """A tree whose branches have baskets of different sizes, as ROOT writes them where it does not flush them together.

    uproot gives all branches of a tree the same baskets. So the branches are written once, in a tree for every size
    (`TREE_SIZE`), and the tree itself is made to point to their baskets.

    Parameters
    ----------
    columns : name → (N,) NumPy array, or Awkward array.
    baskets : name → entries per basket.
    """
    types = {name: v.dtype if isinstance(v, np.ndarray) else str(v.type.content) for name, v in columns.items()}
    n_entries = len(next(iter(columns.values())))
    with uproot.recreate(path, compression=uproot.ZSTD(5)) as file:
        parts, stored = [], {}
        for size in sorted(set(baskets.values())):
            names = [name for name in columns if baskets[name] == size]
            part = file.mktree(f"{tree}_{size}", {name: types[name] for name in names})
            for start in range(0, n_entries, size):
                part.extend({name: columns[name][start : start + size] for name in names})
            parts.append(part._cascading)
            stored.update({branch["fName"]: branch for branch in part._cascading._branch_data})
        whole = file.mktree(tree, types)._cascading
        whole._num_entries = n_entries
        whole._num_baskets = max(part._num_baskets for part in parts)
        whole._basket_capacity = max(part._basket_capacity for part in parts)
        for branch in whole._branch_data:
            source = stored[branch["fName"]]
            for member in ("fBasketBytes", "fBasketEntry", "fBasketSeek"):
                branch[member] = np.zeros(whole._basket_capacity, source[member].dtype)
                branch[member][: len(source[member])] = source[member]
            branch["fBasketEntry"][np.count_nonzero(branch["fBasketSeek"]) :] = n_entries
            branch.update({member: source[member] for member in ("fTotBytes", "fZipBytes")})
        whole._relocate(file.file, file.file.sink)
    return path

"""Jagged branches to a padded matrix with its mask, in the shape of MLaaS4HEP's published example.

66 branches make about 1,800 columns: 21 flat ones, and 45 of five collections that are padded to 24 … 60 objects. Both
sides read the same ROOT file from a warm page cache with the same number of threads, in chunks of the same size, and
make of every chunk an (N, F) float32 matrix with NaN and a boolean mask. The reference is the usual way in NumPy:
`mask = arange(L) < counts[:, None]`, `padded[mask] = values`, and `concatenate`.

MLaaS4HEP's authors measured about 1,000 events/s for building such chunks.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.sides import Options, Result, Row, Run, parser, run_benchmark, seconds, speedup

N_FLAT = 21
# Collection: branches, length to pad to, mean number of objects.
COLLECTIONS = {
    "Part": (9, 60, 12.0),
    "FatPart": (9, 45, 8.0),
    "Jet": (9, 40, 5.0),
    "Lepton": (9, 30, 2.5),
    "Vertex": (9, 24, 2.0),
}
N_COLUMNS = N_FLAT + sum(n * length for n, length, _ in COLLECTIONS.values())
CHUNK = 10_000
BASKET = 20_000
TREE = "events"
TARGET = 100_000  # events/s


def _path(options: Options) -> Path:
    return Path(options.folder) / f"jagged_{options.events}.root"


def _lengths() -> dict[str, int]:
    return {f"{name}_x{i}": length for name, (n, length, _) in COLLECTIONS.items() for i in range(n)}


def prepare(options: Options) -> Result:
    """Write the file where it is missing, and read it once into the page cache."""
    import awkward as ak
    import numpy as np
    import uproot

    started = time.perf_counter()
    path = _path(options)
    rng = np.random.default_rng(0)

    def values(n: int) -> np.ndarray:
        """Float branches with a mantissa cut to 12 bits, as experiments store them."""
        return (rng.standard_normal(n, dtype=np.float32).view(np.uint32) & np.uint32(0xFFFFF800)).view(np.float32)

    if not path.exists():
        part = path.with_suffix(".part")
        with uproot.recreate(part, compression=uproot.ZSTD(5)) as file:
            tree = None
            for first in range(0, options.events, BASKET):
                n = min(BASKET, options.events - first)
                columns = {f"flat_{i:02d}": values(n) for i in range(N_FLAT)}
                for name, (n_branches, length, mean) in COLLECTIONS.items():
                    counts = np.minimum(rng.poisson(mean * rng.gamma(4, 0.25, n)), length)
                    fields = {f"x{i}": ak.unflatten(values(counts.sum()), counts) for i in range(n_branches)}
                    columns[name] = ak.zip(fields)
                if tree is None:
                    tree = file.mktree(
                        TREE,
                        {
                            name: ak.type(c).content if isinstance(c, ak.Array) else c.dtype
                            for name, c in columns.items()
                        },
                    )
                tree.extend(columns)
        part.rename(path)
    with path.open("rb") as file:
        while file.read(2**24):
            pass
    return Result(time.perf_counter() - started, options.events)


def ours(options: Options) -> Result:
    """Our reader, and `filled_matrix`."""
    import numpy as np

    import utils.readers.root.tree  # noqa: F401 (imports are not timed)
    from utils.preprocessing.jagged import objects_of
    from utils.preprocessing.padding import Kept, fill_matrix
    from utils.readers.formats import open_reader
    from utils.readers.spec import Access

    flat, lengths = [f"flat_{i:02d}" for i in range(N_FLAT)], _lengths()
    n_events, n_masked = 0, 0
    values, masks = np.empty((0, N_COLUMNS), np.float32), np.empty((0, N_COLUMNS), bool)
    started = time.perf_counter()
    with open_reader(str(_path(options)), TREE, access=Access(n_threads=options.threads)) as reader:
        for chunk in reader.chunks([*flat, *lengths], CHUNK):
            columns = chunk.columns
            padded = [Kept.of(objects_of(columns[name], name, ""), length) for name, length in lengths.items()]
            if len(values) < chunk.n_events:  # the memory of a chunk is used again for the next one
                values, masks = (
                    np.empty((chunk.n_events, N_COLUMNS), np.float32),
                    np.empty((chunk.n_events, N_COLUMNS), bool),
                )
            matrix, mask = values[: chunk.n_events], masks[: chunk.n_events]
            fill_matrix(matrix, [columns[name] for name in flat], padded, mask)
            n_events += len(matrix)
            n_masked += int(np.count_nonzero(mask[::1000]))
    return Result(time.perf_counter() - started, n_events, {"columns": matrix.shape[1], "masked": n_masked})


def _in_numpy(options: Options, *, pad: bool) -> Result:
    from concurrent.futures import ThreadPoolExecutor

    import awkward as ak
    import numpy as np
    import uproot

    flat, lengths = [f"flat_{i:02d}" for i in range(N_FLAT)], _lengths()
    n_events, n_masked, n_columns = 0, 0, 0
    started = time.perf_counter()
    with uproot.open(_path(options), array_cache=None) as file, ThreadPoolExecutor(options.threads) as threads:
        names = [*flat, *lengths]
        for arrays in file[TREE].iterate(names, step_size=CHUNK, library="ak", decompression_executor=threads):
            n_events += len(arrays)
            if not pad:
                continue
            parts = [np.stack([ak.to_numpy(arrays[name]) for name in flat], axis=1)]
            masks = [np.zeros(parts[0].shape, bool)]
            for name, length in lengths.items():
                counts = ak.to_numpy(ak.num(arrays[name]))
                present = np.arange(length) < counts[:, None]
                padded = np.full(present.shape, np.nan, np.float32)
                padded[present] = ak.to_numpy(ak.flatten(arrays[name]))
                parts.append(padded)
                masks.append(~present)
            matrix, mask = np.concatenate(parts, axis=1), np.concatenate(masks, axis=1)
            n_masked += int(np.count_nonzero(mask[::1000]))
            n_columns = matrix.shape[1]
    return Result(time.perf_counter() - started, n_events, {"columns": n_columns, "masked": n_masked})


SIDES = {
    "prepare": prepare,
    "ours": ours,
    "read and NumPy mask": lambda options: _in_numpy(options, pad=True),
    "read alone": lambda options: _in_numpy(options, pad=False),
}


def compare(runs: Mapping[str, list[Run]]) -> Iterator[Row]:
    """The speed by itself, and against the usual way."""
    speed = runs["ours"][0].n_rows / seconds(runs["ours"])
    yield Row(
        f"padding to {N_COLUMNS:,} columns: events/s / 100,000", f"{speed:,.0f}/s", f"{TARGET:,}/s", speed / TARGET, 1
    )
    yield speedup("padding: speed / read and NumPy mask", runs["ours"], runs["read and NumPy mask"], 0.5)


if __name__ == "__main__":
    run_benchmark("padding", parser(__doc__ or "", 200_000).parse_args(), SIDES, compare, prepare=["prepare"])

"""Reading flat branches against `uproot.iterate`, and the memory of reading more files and larger ones.

Both sides read the 45 branches of the same ntuples from a warm page cache, with the same size of chunks and the same
number of threads that decompress, and look at one column of every chunk. Neither does anything else with the events.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.sides import Options, Result, Row, Run, memory, parser, run_benchmark, speedup

CHUNK_MB = 50
# Where memory is measured, even the smallest input has many chunks: its baskets are of a chunk's size.
SMALL_CHUNK_MB = 10
SMALL_BASKET = 50_000
# A number of files and, of the events that were asked for, a part.
ALL = 16
SIZES = {
    "memory, a sixteenth": (1, 1),
    "memory, 4 files": (4, 4),
    "memory, 16 files": (16, 16),
    "memory, a quarter in one file": (1, 4),
    "memory, all in one file": (1, 16),
}


def _ntuples(options: Options, kind: str) -> list[Path]:
    """The files of one kind, made where they are missing."""
    from benchmarks.ntuples import make_misaligned_ntuples, make_ntuples

    folder = options.folder / f"reading_{kind.replace(' ', '_').replace(',', '')}_{options.events}"
    if kind == "aligned":
        return make_ntuples(folder, options.events)
    if kind == "misaligned":
        return make_misaligned_ntuples(folder, options.events)
    n_files, part = SIZES[kind]
    return make_ntuples(folder, options.events * part // ALL, SMALL_BASKET, n_files)


def prepare(options: Options) -> Result:
    """Make the ntuples where they are missing, and read them once into the page cache."""
    started = time.perf_counter()
    for kind in ("aligned", "misaligned", *SIZES):
        for path in _ntuples(options, kind):
            with path.open("rb") as file:
                while file.read(2**24):
                    pass
    return Result(time.perf_counter() - started, options.events)


def _ours(kind: str, options: Options) -> Result:
    from benchmarks.ntuples import TREE
    from utils.readers.root.tree import RootTree
    from utils.readers.spec import Access, ChunkSize

    paths, n_rows, total = _ntuples(options, kind), 0, 0.0
    access = Access(n_threads=options.threads)
    chunk_size = ChunkSize(n_bytes=(SMALL_CHUNK_MB if kind in SIZES else CHUNK_MB) * 1_000_000)
    started = time.perf_counter()
    for path in paths:
        with RootTree(str(path), TREE, access=access) as tree:
            for chunk in tree.chunks(_branches(), chunk_size):
                n_rows += chunk.n_events
                total += float(chunk.columns["weight"].sum())
    return Result(time.perf_counter() - started, n_rows, {"sum": total})


def _uproot(kind: str, options: Options) -> Result:
    from concurrent.futures import ThreadPoolExecutor

    import uproot

    from benchmarks.ntuples import TREE

    paths, n_rows, total = _ntuples(options, kind), 0, 0.0
    started = time.perf_counter()
    with ThreadPoolExecutor(options.threads) as threads:
        chunks = uproot.iterate(
            [{str(path): TREE} for path in paths],
            _branches(),
            step_size=f"{CHUNK_MB} MB",
            library="np",
            decompression_executor=threads,
        )
        for columns in chunks:
            n_rows += len(columns["weight"])
            total += float(columns["weight"].sum())
    return Result(time.perf_counter() - started, n_rows, {"sum": total})


def _branches() -> Sequence[str]:
    from benchmarks.ntuples import FEATURES, N_SPARE

    return [*FEATURES, *(f"spare_{i:02d}" for i in range(N_SPARE)), "category", "run", "lumi", "evt", "weight"]


SIDES = {
    "prepare": prepare,
    "ours": partial(_ours, "aligned"),
    "uproot.iterate": partial(_uproot, "aligned"),
    "ours, misaligned": partial(_ours, "misaligned"),
    "uproot.iterate, misaligned": partial(_uproot, "misaligned"),
    **{kind: partial(_ours, kind) for kind in SIZES},
}


def compare(runs: Mapping[str, list[Run]]) -> Iterator[Row]:
    """The ratios that are asked for."""
    yield speedup("reading: speed / uproot.iterate", runs["ours"], runs["uproot.iterate"], 0.85)
    yield speedup(
        "reading, misaligned baskets: speed / uproot.iterate",
        runs["ours, misaligned"],
        runs["uproot.iterate, misaligned"],
        0.85,
    )
    one = runs["memory, a sixteenth"]
    yield memory("reading, 4 files: peak memory / 1 file", runs["memory, 4 files"], one, 1.1)
    yield memory("reading, 16 files: peak memory / 1 file", runs["memory, 16 files"], one, 1.1)
    yield memory("reading, 4 times the events: peak memory / once", runs["memory, a quarter in one file"], one, 1.1)
    yield memory("reading, 16 times the events: peak memory / once", runs["memory, all in one file"], one, 1.1)


if __name__ == "__main__":
    run_benchmark("reading", parser(__doc__ or "", 10_000_000).parse_args(), SIDES, compare, prepare=["prepare"])

"""Describe on a NanoAOD of 1,500 branches against reading the same arrays with uproot.

The file has 600 trigger bits, 500 further flat branches and 400 jagged ones in 20 collections. The floor is
`tree.arrays`, all branches at once, with as many threads for decompression. Ours reads the same entries, counts, fills
a histogram of every branch, and writes the page and the JSON files.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.sides import Options, Result, Row, Run, memory, parser, run_benchmark, slowdown

N_BITS, N_FLAT, N_COLLECTIONS, N_EACH = 600, 480, 20, 20
TREE = "Events"


def _path(options: Options) -> Path:
    return Path(options.folder) / f"nanoaod_{options.events}.root"


def prepare(options: Options) -> Result:
    """The file, written once."""
    import awkward as ak
    import numpy as np
    import uproot

    started = time.perf_counter()
    path, n_events = _path(options), options.events
    if path.exists():
        return Result(0.0, n_events)
    rng = np.random.default_rng(1)

    def short(values: np.ndarray) -> np.ndarray:
        """With a mantissa of 12 bits, as experiments store it."""
        return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFF800)).view(np.float32)

    columns: dict[str, object] = {f"HLT_path{i:03d}": rng.random(n_events) < 0.3 * rng.random() for i in range(N_BITS)}
    for i in range(N_FLAT):
        scale = 10.0 ** rng.uniform(-3, 3)
        if i % 4 == 3:
            columns[f"Flat{i // 16:02d}_count{i:03d}"] = rng.integers(0, 40, n_events, dtype=np.int32)
        else:
            columns[f"Flat{i // 16:02d}_value{i:03d}"] = short(scale * rng.standard_normal(n_events))
    for i in range(N_COLLECTIONS):
        counts = rng.poisson(1 + i % 6, n_events)
        n = int(counts.sum())
        fields = {
            f"f{j:02d}": rng.integers(-1, 8, n, dtype=np.int32)
            if j % 5 == 4
            else short(rng.exponential(30.0, n) if j % 2 else rng.standard_normal(n))
            for j in range(N_EACH)
        }
        jagged = ak.unflatten(ak.zip(fields), counts)
        columns[f"Coll{i:02d}"] = jagged
    with uproot.recreate(path.with_suffix(".part"), compression=uproot.ZSTD(5)) as file:
        types = {
            name: values.dtype if isinstance(values, np.ndarray) else str(ak.type(values).content)
            for name, values in columns.items()
        }
        tree = file.mktree(TREE, types)
        tree.extend(columns)
    path.with_suffix(".part").rename(path)
    return Result(time.perf_counter() - started, n_events)


def arrays(options: Options) -> Result:
    """What reading alone takes."""
    import uproot

    from utils.readers.threads import thread_pool

    started = time.perf_counter()
    with uproot.open(_path(options), array_cache=None) as file, thread_pool(options.threads) as threads:
        tree = file[TREE]
        read = tree.arrays(library="ak", how=dict, decompression_executor=threads)
    return Result(time.perf_counter() - started, len(read["nColl00"]), {"branches": len(read)})


def describe(options: Options) -> Result:
    """The stage, as the command runs it."""
    from utils.describing.run import run_describe
    from utils.describing.spec import DescribeSpec

    folder = tempfile.mkdtemp(dir=options.folder)
    started = time.perf_counter()
    spec = DescribeSpec(input=str(_path(options)), output_path=folder, n_threads=options.threads)
    described = run_describe(spec).description
    seconds = time.perf_counter() - started
    shutil.rmtree(folder)
    return Result(seconds, described.n_read, {"branches": len(described.branches), "pass [s]": described.seconds})


def compare(runs: Mapping[str, list[Run]]) -> Iterator[Row]:
    """The lines of the table."""
    yield slowdown("describe, 1,500 branches: time / reading the arrays", runs["describe"], runs["arrays"], 3.0)
    yield memory("describe, 1,500 branches: peak memory / reading the arrays", runs["describe"], runs["arrays"], 1.0)


SIDES = {"prepare": prepare, "arrays": arrays, "describe": describe}

if __name__ == "__main__":
    options = parser(__doc__.splitlines()[0], 10_000).parse_args()
    run_benchmark("describe", options, SIDES, compare, prepare=["prepare"])

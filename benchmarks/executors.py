"""Preprocessing by one worker and by two, in processes and in Dask, and the memory of workers as files multiply.

The work is that of an analysis of NanoAOD: jets and muons are jagged, ten variables are made of them, and a cut leaves
three events in ten. A worker has one core and no threads; the job itself puts the parts together. Starting the workers
is in the time.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.sides import Options, Result, Row, Run, memory, parser, run_benchmark, speedup

TREE = "Events"
N_FILES = 8
BATCH = 100_000
COLLECTIONS = {"Jet": ("pt", "eta", "phi", "mass", "btag"), "Muon": ("pt", "eta", "phi", "mass", "charge")}
MEAN_OBJECTS = {"Jet": 5.0, "Muon": 1.5}
N_FLAT = 20
CUT = "(count(Muon_pt[Muon_pt>15])>=1) & (n_jets>=3)"
PROCESSES = {"low": (f"{CUT} & (MET_pt<40)", 0), "high": (f"{CUT} & (MET_pt>=40)", 1)}
NEW_VARIABLES = {
    "n_jets": "count(Jet_pt[(Jet_pt>30) & (abs(Jet_eta)<2.5)])",
    "ht": "sum(Jet_pt[Jet_pt>30])",
    "jet_1_pt": "nth(Jet_pt, 0, default=-10)",
    "jet_2_pt": "nth(Jet_pt, 1, default=-10)",
    "jet_1_eta": "nth(Jet_eta, 0, default=-10)",
    "best_btag": "max(Jet_btag[Jet_pt>30], default=-1)",
    "mu_1_pt": "nth(Muon_pt, 0, default=-10)",
    "mu_1_eta": "nth(Muon_eta, 0, default=-10)",
    "mt": "sqrt(2*nth(Muon_pt, 0, default=0)*MET_pt*(1-cos(nth(Muon_phi, 0, default=0)-MET_phi)))",
    "dr": "delta_r(nth(Jet_eta, 0), nth(Jet_phi, 0), nth(Muon_eta, 0), nth(Muon_phi, 0))",
}
MISC = ("event", "run", "weight")
MULTIPLES = (1, 4, 16)  # of the files of the smallest input


def _whole(options: Options) -> Path:
    return Path(options.folder) / f"nanoaod_{options.events}"


def _multiple(options: Options, times: int) -> Path:
    return Path(options.folder) / f"nanoaod_{options.events}_times_{times}"


def make_ntuples(folder: Path, n_events: int) -> list[Path]:
    """`N_FILES` files with `n_events` in all; files that exist already are kept."""
    import numpy as np
    import uproot

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"sample_{i}.root" for i in range(N_FILES)]
    for i, path in enumerate(paths):
        if path.exists():
            continue
        rng = np.random.default_rng(i)
        part = path.with_suffix(".part")
        with uproot.recreate(part, compression=uproot.ZSTD(5)) as file:
            tree = None
            for first in range(0, n_events // N_FILES, BATCH):
                columns = _batch(rng, min(BATCH, n_events // N_FILES - first), i * (n_events // N_FILES) + first)
                if tree is None:
                    types = {
                        name: getattr(values, "dtype", None) or values.type.content for name, values in columns.items()
                    }
                    tree = file.mktree(TREE, types)
                tree.extend(columns)
        part.rename(path)
    return paths


def _batch(rng: Any, n_events: int, first_event: int) -> dict[str, Any]:
    """Branches of some events, with a mantissa cut to 12 bits, as experiments store them."""
    import awkward as ak
    import numpy as np

    def cut(values: Any) -> Any:
        return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFF800)).view(np.float32)

    columns: dict[str, Any] = {
        "run": np.ones(n_events, np.uint32),
        "event": np.arange(first_event, first_event + n_events, dtype=np.uint64),
        "weight": np.where(rng.random(n_events) < 0.1, -1, 1).astype(np.float32),
        "MET_pt": cut(rng.exponential(40, n_events)),
        "MET_phi": cut(rng.uniform(-np.pi, np.pi, n_events)),
    }
    columns.update({f"flat_{i:02d}": cut(rng.standard_normal(n_events)) for i in range(N_FLAT)})
    for name, quantities in COLLECTIONS.items():
        counts = rng.poisson(MEAN_OBJECTS[name], n_events)
        for quantity in quantities:
            scale = 40.0 if quantity == "pt" else 1.5
            values = rng.exponential(scale, counts.sum()) if quantity == "pt" else rng.normal(0, scale, counts.sum())
            columns[f"{name}_{quantity}"] = ak.unflatten(cut(values), counts)
    return columns


def prepare(options: Options) -> Result:
    """The ntuples, and folders in which a small set of them appears once, 4 and 16 times under different names."""
    started = time.perf_counter()
    for path in make_ntuples(_whole(options), options.events):
        with path.open("rb") as file:
            while file.read(2**24):
                pass
    few = make_ntuples(options.folder / f"nanoaod_{options.events // MULTIPLES[-1]}", options.events // MULTIPLES[-1])
    for times in MULTIPLES:
        folder = _multiple(options, times)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for i in range(times):
            for path in few:
                (folder / f"{path.stem}_{i:02d}.root").symlink_to(path.resolve())
    return Result(time.perf_counter() - started, options.events)


def _preprocess(options: Options, inputs: Path, executor: str, workers: int) -> Result:
    from utils.preprocessing.flow import run_preprocessing
    from utils.preprocessing.spec import NonFinite, PreprocessSpec, Process, Sample, ScalerSpec

    output = Path(options.folder) / "output"
    shutil.rmtree(output, ignore_errors=True)
    spec = PreprocessSpec(
        input_path=str(inputs),
        input_filename_template="{sample_name}_*.root",
        input_tree_name=TREE,
        input_samples=(Sample("sample", tuple(Process(name, cut, k) for name, (cut, k) in PROCESSES.items())),),
        cont_features=(*NEW_VARIABLES, "MET_pt", *(f"flat_{i:02d}" for i in range(N_FLAT))),
        new_variables=NEW_VARIABLES,
        misc_features=(*MISC, "w_class_imbalance"),
        non_finite=NonFinite("fill", -10.0),
        weight_name="weight",
        scaler=ScalerSpec(),
        output_path=str(output),
        n_threads=options.threads,
        executor=executor,  # type: ignore[arg-type]
        workers=workers,
    )
    started = time.perf_counter()
    result = run_preprocessing(spec)
    seconds = time.perf_counter() - started
    checks = {"kept": float(sum(result.n_rows.values()))}
    if result.peak_bytes:
        checks["largest worker [MB]"] = max(result.peak_bytes.values()) / 1e6
    return Result(seconds, result.n_read, checks)


SIDES = {
    "prepare": prepare,
    "serial": lambda options: _preprocess(options, _whole(options), "serial", 1),
    "processes, 1": lambda options: _preprocess(options, _whole(options), "processes", 1),
    "processes, 2": lambda options: _preprocess(options, _whole(options), "processes", 2),
    "dask, 1": lambda options: _preprocess(options, _whole(options), "dask", 1),
    "dask, 2": lambda options: _preprocess(options, _whole(options), "dask", 2),
    "files": lambda options: _preprocess(options, _multiple(options, 1), "processes", 2),
    "files, 4 times": lambda options: _preprocess(options, _multiple(options, 4), "processes", 2),
    "files, 16 times": lambda options: _preprocess(options, _multiple(options, 16), "processes", 2),
}


def compare(runs: Mapping[str, list[Run]]) -> Iterator[Row]:
    """The ratios that are asked for."""
    for kind in ("processes", "dask"):
        yield speedup(f"preprocess, {kind}: speed of 2 workers / 1", runs[f"{kind}, 2"], runs[f"{kind}, 1"], 1.6)
    for times in (4, 16):
        what = f"preprocess, 2 processes: peak memory, {times} times the files / once"
        yield memory(what, runs[f"files, {times} times"], runs["files"], 1.1)
    yield _worker_memory("preprocess, 2 processes: memory of a worker, 16 times the files / once", runs)


def _worker_memory(what: str, runs: Mapping[str, list[Run]]) -> Row:
    many, few = (max(run.checks["largest worker [MB]"] for run in runs[side]) for side in ("files, 16 times", "files"))
    return Row(what, f"{many:,.0f} MB", f"{few:,.0f} MB", many / few, -1.1)


if __name__ == "__main__":
    run_benchmark("executors", parser(__doc__ or "", 4_000_000).parse_args(), SIDES, compare, prepare=["prepare"])

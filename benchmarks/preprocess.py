"""Preprocessing against the load-everything way and against the floor of reading and writing alone.

All sides read the same ntuples from a warm page cache and end with HDF5 files. Load-everything is what analyses do:
`arrays(library="pd")` per process, concatenate, split, scale, `to_hdf`, uncompressed; it is spared the names of the
processes, which pandas would pickle. The floor reads the needed branches and writes the columns that we keep with our
writer, one thread, without looking at them.
"""

import itertools
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.sides import Options, Result, Row, Run, memory, parser, run_benchmark, slowdown, speedup

PROCESSES = {"low": ("category < 2", 0), "high": ("category >= 2", 1)}
MISC = ("evt", "run", "lumi", "weight")
TRAIN_SIZE = 0.8
SMALLER = 5  # the memory of a fifth of the events should be the same


def ntuples(folder: Path, n_events: int) -> Path:
    """The folder of the ntuples with that many events."""
    return folder / f"ntuples_{n_events}"


def prepare(options: Options) -> Result:
    """Make the ntuples of both sizes where they are missing, and read them once into the page cache."""
    from benchmarks.ntuples import make_ntuples

    started = time.perf_counter()
    for n_events in (options.events // SMALLER, options.events):
        for path in make_ntuples(ntuples(options.folder, n_events), n_events):
            with path.open("rb") as file:
                while file.read(2**24):
                    pass
    return Result(time.perf_counter() - started, options.events)


def _output(options: Options) -> Path:
    """An empty folder for the output; what was in it is removed before the clock starts."""
    folder: Path = options.folder / "output"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _ours(options: Options, n_events: int, compression: str) -> Result:
    from benchmarks.ntuples import FEATURES, TREE
    from utils.preprocessing.flow import run_preprocessing
    from utils.preprocessing.spec import PreprocessSpec, Process, Sample, ScalerSpec

    spec = PreprocessSpec(
        input_path=str(ntuples(options.folder, n_events)),
        input_filename_template="{sample_name}_*.root",
        input_tree_name=TREE,
        input_samples=(Sample("sample", tuple(Process(name, cut, k) for name, (cut, k) in PROCESSES.items())),),
        cont_features=tuple(FEATURES),
        misc_features=(*MISC, "w_class_imbalance"),
        weight_name="weight",
        train_size=TRAIN_SIZE,
        scaler=ScalerSpec(),
        output_path=str(_output(options)),
        compression=compression,  # type: ignore[arg-type]
        n_threads=options.threads,
    )
    started = time.perf_counter()
    result = run_preprocessing(spec)
    elapsed = time.perf_counter() - started
    return Result(elapsed, sum(result.n_rows.values()), {"train": result.n_rows["train"]})


def _load_everything(options: Options) -> Result:
    import pandas as pd
    import uproot
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    from benchmarks.ntuples import FEATURES, TREE

    output = _output(options)
    branches = [*FEATURES, *MISC, "category"]
    started = time.perf_counter()
    frames = []
    for cut, target in PROCESSES.values():
        for path in sorted(ntuples(options.folder, options.events).glob("*.root")):
            with uproot.open(path) as file:
                frame = file[TREE].arrays(branches, library="pd")
            frame = frame[frame.eval(cut)]
            frames.append(frame.assign(target=target))
    data = pd.concat(frames, ignore_index=True)
    del frames, frame
    nodes = train_test_split(data, train_size=TRAIN_SIZE, random_state=1)
    del data
    scaler = StandardScaler().fit(nodes[0][FEATURES])
    n_rows = {}
    for node in ("train", "test"):
        part = nodes.pop(0)
        counts = part["target"].value_counts()
        part["w_class_imbalance"] = len(part) / part["target"].map(counts)
        part[FEATURES] = scaler.transform(part[FEATURES])
        file_name = output / f"{node}.h5"
        part[FEATURES].to_hdf(file_name, key="cont_features")
        part[[*MISC, "w_class_imbalance"]].to_hdf(file_name, key="misc_features")
        part[["target"]].to_hdf(file_name, key="targets")
        n_rows[node] = len(part)
    return Result(time.perf_counter() - started, sum(n_rows.values()), {"train": n_rows["train"]})


def _floor(options: Options, compression: str) -> Result:
    import numpy as np

    from benchmarks.ntuples import FEATURES
    from utils.preprocessing.nodes import ORIGIN
    from utils.writers.skim import SkimSchema, SkimWriter

    misc = {"evt": "u8", "run": "u4", "lumi": "u4", "weight": "f4", "w_class_imbalance": "f8"}
    schema = SkimSchema(
        {
            "cont_features": {name: np.dtype(np.float32) for name in FEATURES},
            "misc_features": {name: np.dtype(kind) for name, kind in misc.items()},
            "targets": {"group_name": np.dtype("S4"), "target": np.dtype(np.int64)},
            "origin": ORIGIN,
        }
    )
    path = _output(options) / "all.h5"
    started = time.perf_counter()
    with SkimWriter(path, schema, compression=compression) as writer:
        for columns in _columns(ntuples(options.folder, options.events)):
            n_rows = len(columns["evt"])
            matrix = np.empty((n_rows, len(FEATURES)), np.float32)
            for j, name in enumerate(FEATURES):
                matrix[:, j] = columns[name]
            writer.append(
                {
                    "cont_features": matrix,
                    "misc_features": {**{name: columns[name] for name in MISC}, "w_class_imbalance": np.ones(n_rows)},
                    "targets": {"group_name": np.full(n_rows, b"high"), "target": columns["category"]},
                    "origin": {
                        "file_index": np.zeros(n_rows, np.int32),
                        "entry": columns["evt"],
                        "identity": columns["evt"],
                    },
                }
            )
        writer.finish({})
    return Result(time.perf_counter() - started, writer.n_rows)


def _columns(folder: Path) -> Iterator[Mapping[str, object]]:
    """The needed branches, a basket of every branch at a time."""
    import uproot

    from benchmarks.ntuples import FEATURES, TREE

    for path in sorted(folder.glob("*.root")):
        with uproot.open(path, array_cache=None) as file:
            tree = file[TREE]
            borders = tree.common_entry_offsets()
            for start, stop in itertools.pairwise(borders):
                yield tree.arrays([*FEATURES, *MISC, "category"], library="np", entry_start=start, entry_stop=stop)


SIDES = {
    "prepare": prepare,
    "ours, none": lambda options: _ours(options, options.events, "none"),
    "load everything": _load_everything,
    "floor, none": lambda options: _floor(options, "none"),
    "ours, lz4": lambda options: _ours(options, options.events, "blosc:lz4"),
    "floor, lz4": lambda options: _floor(options, "blosc:lz4"),
    "ours, a fifth": lambda options: _ours(options, options.events // SMALLER, "none"),
}


def compare(runs: Mapping[str, list[Run]]) -> Iterator[Row]:
    """The ratios that are asked for."""
    everything = runs["load everything"]
    yield speedup("preprocess, none: speed / load-everything", runs["ours, none"], everything, 4)
    yield speedup("preprocess, lz4: speed / load-everything", runs["ours, lz4"], everything, 2.5)
    yield slowdown("preprocess, none: time / floor", runs["ours, none"], runs["floor, none"], 1.6)
    yield slowdown("preprocess, lz4: time / floor", runs["ours, lz4"], runs["floor, lz4"], 1.6)
    yield memory("preprocess, none: peak memory / 1 GB", runs["ours, none"], 1000.0, 1)
    yield memory("preprocess, lz4: peak memory / 1 GB", runs["ours, lz4"], 1000.0, 1)
    yield memory(
        "preprocess, none: peak memory / a fifth of the events", runs["ours, none"], runs["ours, a fifth"], 1.1
    )


if __name__ == "__main__":
    run_benchmark("preprocess", parser(__doc__ or "", 10_000_000).parse_args(), SIDES, compare, prepare=["prepare"])

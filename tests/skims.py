"""Small training skims with known content, written as preprocessing writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.events import hash_identity
from utils.preprocessing.fitting import fit_pipe
from utils.preprocessing.moments import MomentsAccumulator
from utils.preprocessing.pipe import FittedPipe, Scaler, Step
from utils.readers.skim import SkimFile
from utils.writers.skim import SkimSchema, SkimWriter

ORIGIN = {"file_index": np.dtype(np.int32), "entry": np.dtype(np.int64), "identity": np.dtype(np.uint64)}


@dataclass(frozen=True)
class Events:
    """What goes into a skim: (N, F) continuous features by name, integer categories, misc columns and classes."""

    cont: Mapping[str, np.ndarray]
    cat: Mapping[str, np.ndarray]
    misc: Mapping[str, np.ndarray]
    target: np.ndarray
    n_classes: int

    @property
    def n_events(self) -> int:
        return len(self.target)


def toy_events(n: int = 400, n_classes: int = 4, seed: int = 7, misc: Mapping[str, np.ndarray] | None = None) -> Events:
    """Events whose classes can be told apart by `x`, `y` and the category `njets`; `noise` says nothing."""
    rng = np.random.default_rng(seed)
    target = (np.arange(n) % n_classes)[rng.permutation(n)]
    angle = 2 * np.pi * target / n_classes
    return Events(
        cont={
            "x": (50 + 14 * np.cos(angle) + rng.normal(0, 12, n)).astype(np.float32),
            "y": (14 * np.sin(angle) + rng.normal(0, 12, n)).astype(np.float32),
            "noise": rng.normal(0, 1, n).astype(np.float32),
        },
        cat={"njets": ((target + 2 * rng.integers(0, 2, n) + (rng.random(n) < 0.2)) % 4).astype(np.int32)},
        misc={"evt": np.arange(n, dtype=np.uint64), "weight": rng.uniform(0.5, 1.5, n)} | dict(misc or {}),
        target=target.astype(np.int64),
        n_classes=n_classes,
    )


def write_skim(
    path: Path,
    events: Events,
    *,
    steps: Sequence[tuple[str, Step]] = (("scaler", Scaler()),),
    file_index: np.ndarray | None = None,
    entry: np.ndarray | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """A training skim with these events, in this order; `metadata` replaces what preprocessing would have stored."""
    n = events.n_events
    entry = np.arange(n) if entry is None else entry
    cont_NF = np.stack(list(events.cont.values()), axis=1) if events.cont else np.empty((n, 0), np.float32)
    schema = SkimSchema(
        {
            "cont_features": {name: np.dtype(np.float32) for name in events.cont},
            "cat_features": {name: np.dtype(np.int32) for name in events.cat},
            "misc_features": {name: values.dtype for name, values in events.misc.items()},
            "targets": {"group_name": np.dtype("S8"), "target": np.dtype(np.int64)},
            "origin": ORIGIN,
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with SkimWriter(path, schema, overwrite=True) as writer:
        writer.append(
            {
                "cont_features": cont_NF,
                "cat_features": events.cat,
                "misc_features": events.misc,
                "targets": {"group_name": np.full(n, b"process"), "target": events.target},
                "origin": {
                    "file_index": np.zeros(n, np.int32) if file_index is None else file_index.astype(np.int32),
                    "entry": entry.astype(np.int64),
                    "identity": hash_identity([np.asarray(events.misc.get("evt", entry))]),
                },
            }
        )
        fingerprint = {"path": "sample.root", "size": 1, "n_entries": n, "uuid": "uuid-0"}
        content = {
            "format": "crossfold-skim-1",
            "for_training": True,
            "config": {},
            "inputs": [{"index": 0, "path": "sample.root", "relative_path": "sample.root", "fingerprint": fingerprint}],
            "input_tree_name": "events",
            "identity": ["evt"] if "evt" in events.misc else [],
            "cont_features": list(events.cont),
            "cat_features": list(events.cat),
            "class_names": [f"class_{i}" for i in range(events.n_classes)],
            "train_size": 0.8,
            "node": "train",
            "seed": 0,
            "cutflow": [],
            "input_pipe": toy_pipe(events, steps).to_dict(),
        }
        writer.finish(content | dict(metadata or {}))
    return path


def toy_pipe(events: Events, steps: Sequence[tuple[str, Step]] = (("scaler", Scaler()),)) -> FittedPipe:
    """The pipe fitted on all of the events."""
    if not steps:
        return FittedPipe(tuple(events.cont))
    accumulator = MomentsAccumulator(len(events.cont), with_covariance=True)
    cont_NF = np.stack(list(events.cont.values()), axis=1)
    accumulator.add(0, np.arange(events.n_events), cont_NF)
    return fit_pipe(
        tuple(events.cont),
        steps,
        accumulator.result(),
        lambda: iter([(0, np.arange(events.n_events), cont_NF)]),
    )


def open_skim(path: Path, events: Events, **options: Any) -> SkimFile:
    """Write the skim and open it."""
    return SkimFile(write_skim(path, events, **options))

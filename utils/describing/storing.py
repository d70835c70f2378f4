"""What was found in a part of a file, as a file: numbers and JSON, nothing that runs when it is loaded."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from utils.describing.files import FilePart, PartResult, Reading
from utils.describing.histogram import SparseHistogram
from utils.describing.statistics import ColumnStatistics
from utils.executors.call import code_hash
from utils.readers.columns import ColumnInfo
from utils.readers.places.storage import Source
from utils.readers.reader import Fingerprint
from utils.writers.atomic import atomic_output


def part_name(part: FilePart, reading: Reading) -> str:
    """A name that nothing else has: it changes with the file, with what is read of it, and with our code."""
    source = Source(part.path, reading.access)
    changed = Path(source.local_path).stat().st_mtime_ns if source.local_path is not None else None
    seen = reading.access.format, reading.access.selected, reading.access.excluded, reading.hists
    content = [asdict(part), seen, source.size, changed, code_hash()]
    text = json.dumps(content, sort_keys=True, default=str)
    return f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.npz"


def save_part(result: PartResult, path: Path) -> None:
    """Write it, whole or not at all."""
    histograms = [statistics.histogram for statistics in result.statistics.values()]
    content = {
        "part": asdict(result.part),
        "where": result.where,
        "noun": result.noun,
        "fingerprint": asdict(result.fingerprint),
        "columns": [asdict(info) for info in result.columns.values()],
        "statistics": {name: _plain(statistics) for name, statistics in result.statistics.items()},
        "unreadable": result.unreadable,
        "n_read": result.n_read,
        "n_bytes": result.n_bytes,
        "seconds": result.seconds,
    }
    nothing = [np.empty(0, np.int64)]
    with atomic_output(path, overwrite=True) as target, target.open("wb") as file:
        np.savez(
            file,
            content=np.frombuffer(json.dumps(content).encode(), np.uint8),
            levels=np.array([h.level for h in histograms], np.int64),
            n_bins=np.array([len(h.bins) for h in histograms], np.int64),
            bins=np.concatenate([h.bins for h in histograms] + nothing),
            counts=np.concatenate([h.counts for h in histograms] + nothing),
        )


def load_part(path: Path) -> PartResult:
    """Read it again."""
    with np.load(path, allow_pickle=False) as stored:
        content = json.loads(stored["content"].tobytes())
        ends = np.cumsum(stored["n_bins"])[:-1]
        bins, counts = np.split(stored["bins"], ends), np.split(stored["counts"], ends)
        parts = zip(stored["levels"], bins, counts, strict=False)  # of no histograms, split makes one piece
        histograms = [SparseHistogram(int(level), *both) for level, *both in parts]
    statistics = {
        name: _restored(values, histogram)
        for (name, values), histogram in zip(content.pop("statistics").items(), histograms, strict=True)
    }
    columns = {info["name"]: ColumnInfo(**info) for info in content.pop("columns")}
    part, fingerprint = FilePart(**content.pop("part")), Fingerprint(**content.pop("fingerprint"))
    return PartResult(part=part, fingerprint=fingerprint, columns=columns, statistics=statistics, **content)


def _plain(statistics: ColumnStatistics) -> dict[str, Any]:
    return {name: value for name, value in vars(statistics).items() if name != "histogram"}


def _restored(values: dict[str, Any], histogram: SparseHistogram) -> ColumnStatistics:
    texts = None if values["texts"] is None else Counter(values["texts"])
    return ColumnStatistics(**{**values, "lengths": tuple(values["lengths"]), "texts": texts, "histogram": histogram})

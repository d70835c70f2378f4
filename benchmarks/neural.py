"""Training a network from a skim against a bare torch loop over tensors in memory.

The network is a perceptron 28 → 256 → 256 → 4, trained with AdamW in batches of 4,096. The clock of all sides runs
while training events are gone through: reading them from the skim is in ours, and not in the bare loop's, whose tensors
are in memory before, so that the first of the three epochs waits for it. Watching the validation events is in neither.
`torch, streamed` has a buffer of a tenth of the training events, so that every epoch reads the skim anew.
"""

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.sides import Options, Result, Row, Run, parser, run_benchmark
from benchmarks.training import SPLIT, prepare, skim_file

EPOCHS = 3
BATCH_SIZE = 4096
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
HIDDEN = [256, 256]
VALID_EVERY = 10  # of ten events one is watched, nine are trained on
KEPT, STREAMED = 2.0, 0.1  # size of the buffer over that of the events


def buffer_bytes(options: Options, share: float) -> int:
    """A share of the memory of all training events."""
    return int(share * options.events * (4 * 28 + 16))


def parameters(options: Options, share: float) -> dict[str, Any]:
    """`model_param`, with a buffer for a share of the events."""
    return {
        "network": {"hidden": HIDDEN},
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "optimizer": "adamw",
        "early_stopping": None,
        "threads": options.threads,
        "buffer": f"{max(1, buffer_bytes(options, share) // 1000)} kB",
    }


def sources(data: Any) -> tuple[Any, Any]:
    """The events to train on, and those to watch."""
    import numpy as np

    from utils.loading import EventSource

    rows_N = np.arange(data.skim.n_rows)
    watched_N = data.skim.read([SPLIT])[SPLIT] % VALID_EVERY == 0
    return EventSource(data, rows_N[~watched_N]), EventSource(data, rows_N[watched_N])


def ours(options: Options, share: float) -> Result:
    """The estimator as `train.py` uses it."""
    from utils.loading import SkimData
    from utils.models.pytorch.estimator import TorchEstimator
    from utils.readers.skim import SkimFile

    watched: list[float] = []
    with SkimFile(skim_file(options.folder, options.events)) as skim:
        data = SkimData.open(skim)
        train, valid = sources(data)
        estimator = TorchEstimator(parameters(options, share))
        started = time.perf_counter()
        estimator.fit(train, valid, lambda _, values: watched.append(values["valid-loss"]))
        whole = time.perf_counter() - started
    numbers = estimator.description().numbers
    n_events = train.n_events * EPOCHS
    seconds = n_events / numbers["events_per_second"]
    checks = {
        "events/s": numbers["events_per_second"],
        "wait_share": numbers["wait_share"],
        "whole_fit_seconds": whole,
        "valid_loss": watched[-1],
        "buffer_bytes": buffer_bytes(options, share),
    }
    return Result(seconds, n_events, checks)


def bare(options: Options) -> Result:
    """The loop that a tutorial would write."""
    import torch
    from torch import nn

    from utils.loading import SkimData
    from utils.readers.skim import SkimFile

    torch.set_num_threads(options.threads)
    with SkimFile(skim_file(options.folder, options.events)) as skim:
        data = SkimData.open(skim)
        train, valid = (source.whole() for source in sources(data))
        n_classes = data.n_classes
    features, target = torch.from_numpy(train.features_NF), torch.from_numpy(train.target_N).long()
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    width = features.shape[1]
    for size in HIDDEN:
        layers, width = [*layers, nn.Linear(width, size), nn.ReLU()], size
    network = nn.Sequential(*layers, nn.Linear(width, n_classes))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    loss_of = nn.CrossEntropyLoss()
    started = time.perf_counter()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(features)).split(BATCH_SIZE):
            loss = loss_of(network(features[rows]), target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        watched = float(loss_of(network(torch.from_numpy(valid.features_NF)), torch.from_numpy(valid.target_N).long()))
    n_events = len(features) * EPOCHS
    return Result(seconds, n_events, {"events/s": n_events / seconds, "valid_loss": watched})


SIDES = {
    "prepare": prepare,
    "torch": lambda options: ours(options, KEPT),
    "torch, streamed": lambda options: ours(options, STREAMED),
    "torch, bare loop": bare,
}


def speed(what: str, mine: list[Run], reference: list[Run], target: float) -> Row:
    """Events per second over those of the reference, medians of the runs."""
    values = [statistics.median(run.checks["events/s"] for run in runs) for runs in (mine, reference)]
    return Row(what, f"{values[0]:,.0f}/s", f"{values[1]:,.0f}/s", values[0] / values[1], target)


def waiting(what: str, runs: list[Run]) -> Row:
    """The share of an epoch that is spent waiting for data, against 5%."""
    share = statistics.median(run.checks["wait_share"] for run in runs)
    return Row(what, f"{share:.1%}", "5%", share / 0.05, -1)


def bounded(what: str, streamed: list[Run], kept: list[Run]) -> Row:
    """What streaming saves of the memory of a fit, against the memory of the events."""
    saved = min(run.peak_bytes for run in kept) - min(run.peak_bytes for run in streamed)
    events = kept[0].checks["buffer_bytes"] / KEPT
    return Row(what, f"{saved / 1e6:,.0f} MB", f"{events / 1e6:,.0f} MB", saved / events, 0.7)


def rows(what: str, kept: list[Run], streamed: list[Run], bare: list[Run], than: str) -> Iterator[Row]:
    """Speed, waiting, memory of a library's network."""
    yield speed(f"{what}: events/s / {than}", kept, bare, 0.85)
    yield speed(f"the same, streamed: events/s / {than}", streamed, bare, 0.85)
    yield waiting(f"{what}: time spent waiting for data", kept)
    yield waiting("the same, streamed", streamed)
    yield bounded(f"{what}: memory that streaming saves / that of the events", streamed, kept)


def compare(runs: Mapping[str, list[Run]]) -> Iterator[Row]:
    """Ours against the bare loop."""
    yield from rows("network in torch", runs["torch"], runs["torch, streamed"], runs["torch, bare loop"], "bare loop")


if __name__ == "__main__":
    run_benchmark("neural", parser(__doc__ or "", 2_000_000).parse_args(), SIDES, compare, prepare=["prepare"])

"""Training a network in Keras from a skim against a bare `model.fit` on arrays in memory.

The network and its training are those of `benchmarks.neural`. The clock of all sides runs while training events are
gone through: reading them from the skim is in ours, and not in the bare side's, whose arrays are in memory before; its
first step, which TensorFlow compiles, is in all. Watching the validation events is in none. `keras, streamed` has a
buffer of a tenth of the training events, so that every epoch reads the skim anew.
"""

import time
from collections.abc import Iterator, Mapping

from benchmarks.neural import (
    BATCH_SIZE,
    EPOCHS,
    HIDDEN,
    KEPT,
    LEARNING_RATE,
    STREAMED,
    WEIGHT_DECAY,
    buffer_bytes,
    parameters,
    rows,
    sources,
)
from benchmarks.sides import Options, Result, Row, Run, parser, run_benchmark
from benchmarks.training import prepare, skim_file


def ours(options: Options, share: float) -> Result:
    """The estimator as `train.py` uses it."""
    from utils.loading import SkimData
    from utils.models.keras_network.estimator import KerasEstimator
    from utils.readers.skim import SkimFile

    watched: list[float] = []
    with SkimFile(skim_file(options.folder, options.events)) as skim:
        train, valid = sources(SkimData.open(skim))
        estimator = KerasEstimator(parameters(options, share))
        started = time.perf_counter()
        estimator.fit(train, valid, lambda _, values: watched.append(values["valid-loss"]))
        whole = time.perf_counter() - started
    numbers = estimator.description().numbers
    n_events = train.n_events * EPOCHS
    checks = {
        "events/s": numbers["events_per_second"],
        "wait_share": numbers["wait_share"],
        "whole_fit_seconds": whole,
        "valid_loss": watched[-1],
        "buffer_bytes": buffer_bytes(options, share),
    }
    return Result(n_events / numbers["events_per_second"], n_events, checks)


def bare(options: Options) -> Result:
    """The lines that a tutorial would write."""
    from utils.loading import SkimData
    from utils.models.keras_network.devices import limit_threads
    from utils.models.keras_network.library import keras
    from utils.readers.skim import SkimFile

    limit_threads(options.threads)
    with SkimFile(skim_file(options.folder, options.events)) as skim:
        data = SkimData.open(skim)
        train, valid = (source.whole() for source in sources(data))
        n_classes = data.n_classes
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(size, activation="relu") for size in HIDDEN]
    model = keras.Sequential([*layers, keras.layers.Dense(n_classes)])
    model.compile(
        keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    started = time.perf_counter()
    model.fit(train.features_NF, train.target_N, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    seconds = time.perf_counter() - started
    watched = float(model.evaluate(valid.features_NF, valid.target_N, batch_size=BATCH_SIZE, verbose=0))
    n_events = len(train.features_NF) * EPOCHS
    return Result(seconds, n_events, {"events/s": n_events / seconds, "valid_loss": watched})


SIDES = {
    "prepare": prepare,
    "keras": lambda options: ours(options, KEPT),
    "keras, streamed": lambda options: ours(options, STREAMED),
    "keras, bare fit": bare,
}


def compare(runs: Mapping[str, list[Run]]) -> Iterator[Row]:
    """Ours against `model.fit`."""
    fit = runs["keras, bare fit"]
    yield from rows("network in Keras", runs["keras"], runs["keras, streamed"], fit, "bare model.fit")


if __name__ == "__main__":
    run_benchmark("neural_keras", parser(__doc__ or "", 2_000_000).parse_args(), SIDES, compare, prepare=["prepare"])

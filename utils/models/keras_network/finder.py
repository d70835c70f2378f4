"""The learning-rate finder: a few hundred steps of a network made for that alone, while the rate grows."""

import itertools

import numpy as np

from utils.models.keras_network.loop import Training
from utils.models.neural.finder import LearningRateCurve, rates_of
from utils.models.neural.loop import CHECK_EVERY
from utils.models.neural.plan import LearningRateRange


def find_learning_rate(trial: Training, asked: LearningRateRange) -> LearningRateCurve:
    """The loss at each rate; the network of `trial` is of no use afterwards."""
    rates, losses = rates_of(asked), list[float]()
    batches = (batch for number in itertools.count() for batch in trial.batches.epoch(number))
    pending = []
    for learning_rate, batch in zip(rates, batches, strict=False):
        pending.append(trial.step(batch, float(learning_rate)))
        if len(pending) == CHECK_EVERY or len(losses) + len(pending) == len(rates):
            losses += [float(loss) for loss in pending]
            pending = []
            if not np.isfinite(losses[-1]):
                break
    batches.close()
    return LearningRateCurve.of(rates[: len(losses)], np.asarray(losses))

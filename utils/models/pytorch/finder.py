"""The learning-rate finder: a few hundred steps on a copy of the network, while the rate grows."""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace

import torch

from utils.loading import Batch
from utils.loading.shuffled import ShuffledBatches
from utils.models.neural.finder import LearningRateCurve, rates_of
from utils.models.neural.loop import CHECK_EVERY
from utils.models.neural.plan import LearningRateRange
from utils.models.pytorch.beginning import train_mode
from utils.models.pytorch.loop import Training


def find_learning_rate(training: Training, batches: ShuffledBatches, asked: LearningRateRange) -> LearningRateCurve:
    """The loss at each rate, in whole batches. The training is left as it is."""
    plan = replace(training.plan, schedule="none", schedule_param={}, ema=None, compile=False)
    network = copy.deepcopy(training.network)
    trial = Training(
        plan=plan,
        network=network,
        batches=batches,
        objective=training.objective,
        device=training.device,
        epochs=1,
    )
    train_mode(network)
    rates, losses = rates_of(asked), list[torch.Tensor]()
    for rate, batch in zip(rates, endless(batches), strict=False):
        for group in trial.optimizer.param_groups:
            group["lr"] = float(rate)
        losses.append(trial.step(batch))
        if len(losses) % CHECK_EVERY == 0 and not bool(torch.isfinite(losses[-1])):
            break
    batches.meter.waited = batches.meter.total = 0.0
    values = trial.fetched(losses)
    return LearningRateCurve.of(rates[: len(values)], values)


def endless(batches: ShuffledBatches) -> Iterator[Batch]:
    """One epoch after the other."""
    for number in itertools.count():
        yield from batches.epoch(number)

"""From skims to what an estimator eats: piped features, targets and weights, in bounded memory."""

from utils.loading.source import Batch, EventSource, SkimData
from utils.loading.weights import NegativeWeights, WeightReport, training_weights

__all__ = ["Batch", "EventSource", "NegativeWeights", "SkimData", "WeightReport", "training_weights"]

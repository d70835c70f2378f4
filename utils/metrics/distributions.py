"""Score distributions, in each predicted category and of training against held-out events.

Shapes: N events, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.metrics.checks import AnyArray, FloatArray
from utils.metrics.comparison import KsResult, weighted_ks
from utils.metrics.histograms import Histogram, histogram
from utils.metrics.weights import effective_events


@dataclass(frozen=True, eq=False)
class CategoryScores:
    """The largest probability of the events predicted as one class, split by true class.

    Attributes
    ----------
    category : the predicted class.
    densities : per true class, of unit area; None where it has no events here, or weights that sum to zero or less.
    shares : per true class, its part of the category's weight; NaN where that is zero or less.
    n_events : per true class.
    """

    category: int
    densities: tuple[Histogram | None, ...]
    shares: tuple[float, ...]
    n_events: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class FoldComparison:
    """One class's probability for its own events and for all others, in training and in the fold held out.

    `class_*` are densities of events of the class, `rest_*` of all others, None where there are no usable events.
    """

    class_index: int
    fold: int
    class_train: Histogram | None
    class_held_out: Histogram | None
    rest_train: Histogram | None
    rest_held_out: Histogram | None
    class_ks: KsResult
    rest_ks: KsResult


def category_scores(
    category: int,
    top_score_N: AnyArray,
    pred_N: AnyArray,
    target_N: AnyArray,
    weight_N: FloatArray,
    bin_sizes_K: Sequence[float | None],
) -> CategoryScores:
    """Densities of the largest probability in one predicted category.

    Parameters
    ----------
    category : events with this `pred_N` are taken.
    top_score_N : the probability of the predicted class; at least 1/K where probabilities sum to one.
    bin_sizes_K : per true class; None chooses it from the effective number of events. Where a class has too few
        events here to fill such bins, a multiple of up to 0.1 is taken.
    """
    n_classes = len(bin_sizes_K)
    in_category = pred_N == category
    scores, targets, weights = top_score_N[in_category], target_N[in_category], weight_N[in_category]
    total = float(np.sum(weights))
    lowest = min(1.0 / n_classes, float(np.min(scores, initial=1.0)))
    highest = max(1.0, float(np.max(scores, initial=0.0)))
    densities, shares, counts = [], [], []
    for k in range(n_classes):
        of_class = targets == k
        densities.append(_density(scores[of_class], weights[of_class], bin_sizes_K[k], (lowest, highest)))
        shares.append(float(np.sum(weights[of_class])) / total if total > 0 else float("nan"))
        counts.append(int(np.count_nonzero(of_class)))
    return CategoryScores(category, tuple(densities), tuple(shares), tuple(counts))


def compare_fold(
    class_index: int,
    fold: int,
    train: tuple[AnyArray, AnyArray, FloatArray],
    held_out: tuple[AnyArray, AnyArray, FloatArray],
) -> FoldComparison:
    """Densities and weighted KS of one class's probability in one fold.

    Parameters
    ----------
    train : probabilities, targets and weights of the events that the fold's model trained on.
    held_out : the same of the fold it never saw.
    """
    parts = []
    for inside in (True, False):
        sample = []
        for score_N, target_N, weight_N in (train, held_out):
            mask_N = (target_N == class_index) == inside
            sample.append((score_N[mask_N], weight_N[mask_N]))
        (train_scores, train_weights), (held_scores, held_weights) = sample
        # One binning for both, chosen for the smaller sample, so that its points can be read.
        size = automatic_bin_size(min(effective_events(train_weights), effective_events(held_weights)))
        ks = weighted_ks(train_scores, train_weights, held_scores, held_weights)
        parts.append(
            (
                _density(train_scores, train_weights, size, (0.0, 1.0)),
                _density(held_scores, held_weights, size, (0.0, 1.0)),
                ks,
            )
        )
    (class_train, class_held, class_ks), (rest_train, rest_held, rest_ks) = parts
    return FoldComparison(class_index, fold, class_train, class_held, rest_train, rest_held, class_ks, rest_ks)


def automatic_bin_size(n_effective: float) -> float:
    """A round bin width with about twice the cube root of the events as bins (Rice's rule), between 0.02 and 0.1."""
    wanted = 1.0 / max(2.0 * n_effective ** (1 / 3), 1.0)
    return next(size for size in (0.1, 0.05, 0.04, 0.025, 0.02) if size <= wanted or size == 0.02)


def _filled_bin_size(bin_size: float | None, n_effective: float, width: float) -> float:
    """The size asked for, times the smallest of 1, 2, 4 … that leaves eight effective events per bin on average.

    Finer bins would show nothing but single events, as high spikes in a density.
    """
    if bin_size is None:
        return automatic_bin_size(n_effective)
    multiples = [m for m in (1, 2, 4, 5, 10, 20, 50) if m == 1 or m * bin_size <= 0.1 + 1e-9]
    return bin_size * next((m for m in multiples if n_effective * m * bin_size >= 8 * width), multiples[-1])


def _density(
    scores: npt.NDArray[np.floating], weights: FloatArray, bin_size: float | None, limits: tuple[float, float]
) -> Histogram | None:
    bin_size = _filled_bin_size(bin_size, effective_events(weights), limits[1] - limits[0])
    # Counted down from the top, so that the last bin ends at 1 and is never a sliver.
    n_bins = max(int(np.ceil((limits[1] - limits[0]) / bin_size - 1e-6)), 1)
    edges = limits[1] - bin_size * np.arange(n_bins, -1, -1)
    filled = histogram(scores, weights, edges)
    density = filled.density()
    return density if np.all(np.isfinite(density.values)) else None

"""Do two weighted samples follow one distribution? Shapes: A and B events."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.metrics.checks import AnyArray, FloatArray, as_scores, as_weights, is_positive


@dataclass(frozen=True)
class KsResult:
    """Largest distance of two cumulative distributions, and how often chance alone would exceed it.

    `statistic` is that distance, `p_value` its probability under one common distribution, `n_effective_a` and
    `n_effective_b` the effective numbers of events behind it; `reason` says why the first two are NaN.
    """

    statistic: float
    p_value: float
    n_effective_a: float
    n_effective_b: float
    reason: str | None = None


def weighted_ks(
    values_A: npt.ArrayLike,
    weight_A: npt.ArrayLike | None,
    values_B: npt.ArrayLike,
    weight_B: npt.ArrayLike | None,
) -> KsResult:
    """Two-sample Kolmogorov-Smirnov test with weights.

    The statistic is max |F_a - F_b| over all values, with F the normalised cumulative sums of weights. The p-value
    takes n = n_a n_b / (n_a + n_b) with n_a = (Σw)²/Σw², as ROOT's `TH1::KolmogorovTest` does, in Kolmogorov's series
    with Stephens' small-sample term, λ = (√n + 0.12 + 0.11/√n) D (J. R. Stat. Soc. B 32 (1970) 115; Numerical Recipes
    14.3).

    Caveats. With signed weights F need not be monotonic and D may exceed one; the p-value is then an indication, no
    probability. Many ties, such as a small tree ensemble gives, make it conservative. In a sample of millions a
    difference that nobody would care about has p near 0: look at the statistic as well.

    Parameters
    ----------
    values_A, values_B : NaN and infinities are an error.
    weight_A, weight_B : signed weights, or None.
    """
    a, b = as_scores(values_A, "first sample"), as_scores(values_B, "second sample")
    weights_a = as_weights(weight_A, a.size, "weights of the first sample")
    weights_b = as_weights(weight_B, b.size, "weights of the second sample")
    sorted_a, cumulative_a, n_a, reason_a = _cumulative(a, weights_a)
    sorted_b, cumulative_b, n_b, reason_b = _cumulative(b, weights_b)
    if reason_a or reason_b:
        which = "first" if reason_a else "second"
        return KsResult(np.nan, np.nan, n_a, n_b, f"{which} sample: {reason_a or reason_b}")
    distance = max(
        _largest_distance(sorted_a, cumulative_a, sorted_b, cumulative_b),
        _largest_distance(sorted_b, cumulative_b, sorted_a, cumulative_a),
    )
    root = np.sqrt(n_a * n_b / (n_a + n_b))
    return KsResult(distance, _kolmogorov((root + 0.12 + 0.11 / root) * distance), n_a, n_b)


def _cumulative(values: AnyArray, weights: FloatArray | None) -> tuple[AnyArray, FloatArray, float, str | None]:
    """Sorted values, F after 0 … n of them, the effective number of events, and why there is none."""
    if values.size == 0:
        return values, np.zeros(1), 0.0, "no events"
    if weights is None:
        return np.sort(values), np.arange(values.size + 1) / values.size, float(values.size), None
    order = np.argsort(values)
    running = np.concatenate([[0.0], np.cumsum(weights[order])])
    total, squares = running[-1], float(np.sum(weights * weights))
    n_effective = float(total**2 / squares) if squares > 0 else 0.0
    if not is_positive(total, squares):
        return values[order], running, n_effective, f"its weights sum to {total:.4g}"
    return values[order], running / total, n_effective, None


def _largest_distance(at: AnyArray, cumulative: FloatArray, other: AnyArray, other_cumulative: FloatArray) -> float:
    """max |F - G| at the values of the first sample, each tie group taken whole."""
    is_last = np.append(at[1:] != at[:-1], True)
    mine = cumulative[1:][is_last]
    theirs = other_cumulative[np.searchsorted(other, at[is_last], side="right")]
    return float(np.max(np.abs(mine - theirs)))


def _kolmogorov(lam: float) -> float:
    """Q(λ) = 2 Σ (-1)^(k-1) exp(-2 k² λ²)."""
    if lam < 0.2:
        # The series converges too slowly here, and Q differs from one by less than 1e-11.
        return 1.0
    k = np.arange(1, 101)
    terms = np.where(k % 2 == 1, 2.0, -2.0) * np.exp(-2.0 * (k * lam) ** 2)
    return float(min(max(np.sum(terms), 0.0), 1.0))

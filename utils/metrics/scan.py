"""One pass over the sorted scores, from which every curve is read. Shapes: N events, T distinct scores."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.errors import DataError
from utils.metrics.checks import AnyArray, FloatArray, as_scores, as_weights, is_positive, same_length


@dataclass(frozen=True, eq=False)
class ScoreScan:
    """What passes `score >= threshold`, for every distinct score from the highest down.

    All arrays have T+1 entries: the first, at a threshold of +inf, is the cut that nothing passes. Events with equal
    scores pass together, so that the order among ties cannot matter. Sums are signed.

    Attributes
    ----------
    thresholds : descending, first +inf.
    signal, background : Σw of what passes.
    signal2, background2 : Σw² of what passes.
    n_signal, n_background : numbers of events, whatever their weight.
    """

    thresholds: AnyArray
    signal: FloatArray
    background: FloatArray
    signal2: FloatArray
    background2: FloatArray
    n_signal: int
    n_background: int

    @property
    def n_effective(self) -> tuple[float, float]:
        """Effective numbers of signal and background events, (Σw)² / Σw²."""
        return _effective(self.signal, self.signal2), _effective(self.background, self.background2)

    def undefined(self, background_needed: bool = True) -> str | None:
        """Why curves cannot be normalised, or None where they can."""
        parts = [("signal", self.n_signal, self.signal, self.signal2)]
        if background_needed:
            parts.append(("background", self.n_background, self.background, self.background2))
        for name, n_events, sums, squares in parts:
            if n_events == 0:
                return f"no {name} events"
            if not is_positive(sums[-1], squares[-1]):
                return f"the weights of the {name} events sum to {sums[-1]:.4g}"
        return None


def scan_scores(score_N: npt.ArrayLike, is_signal_N: npt.ArrayLike, weight_N: npt.ArrayLike | None = None) -> ScoreScan:
    """Sort once and sum signal and background from the highest score down.

    Parameters
    ----------
    score_N : higher is more signal-like; NaN and infinities are an error.
    is_signal_N : bool.
    weight_N : signed event weights; None counts events.
    """
    scores = as_scores(score_N, "score")
    is_signal = np.asarray(is_signal_N)
    if is_signal.dtype != np.bool_:
        if not np.all((is_signal == 0) | (is_signal == 1)):
            raise DataError("is_signal holds values other than 0 and 1", where="is_signal", remedy="Pass target == k.")
        is_signal = is_signal.astype(np.bool_)
    same_length(scores.size, is_signal, "is_signal")
    weights = as_weights(weight_N, scores.size)
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    is_signal = is_signal[order]
    is_last = np.ones(ordered.size, dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_last[:-1])
    ends = np.flatnonzero(is_last)
    ordered_weights = None if weights is None else weights[order]
    signal = _passing(ordered_weights, is_signal, ends)
    background = _passing(ordered_weights, ~is_signal, ends)
    signal2, background2 = signal, background
    if ordered_weights is not None:
        squares = ordered_weights * ordered_weights
        signal2 = _passing(squares, is_signal, ends)
        background2 = _passing(squares, ~is_signal, ends)
    n_signal = int(np.count_nonzero(is_signal))
    return ScoreScan(
        thresholds=np.concatenate([np.array([np.inf], dtype=ordered.dtype), ordered[ends]]),
        signal=signal,
        background=background,
        signal2=signal2,
        background2=background2,
        n_signal=n_signal,
        n_background=scores.size - n_signal,
    )


def _passing(weights: FloatArray | None, selected: npt.NDArray[np.bool_], ends: npt.NDArray[np.intp]) -> FloatArray:
    running = np.cumsum(selected if weights is None else np.where(selected, weights, 0.0), dtype=np.float64)
    return np.concatenate([[0.0], running[ends]])


def _effective(sums: FloatArray, squares: FloatArray) -> float:
    return float(sums[-1] ** 2 / squares[-1]) if squares[-1] > 0 else 0.0


def fraction_error(fraction: FloatArray, inside2: FloatArray, outside2: FloatArray, total: FloatArray) -> FloatArray:
    r"""Uncertainty of a weighted fraction p = P / (P + F), from the Σw² of its two parts.

    σ² = [(1-p)² ΣPw² + p² ΣFw²] / (P + F)², the linear propagation of two independent sums (ROOT's
    `TH1::Divide` with option B). Without weights it is the binomial p(1-p)/N, with one common weight p(1-p)/n_eff with
    n_eff = (Σw)²/Σw²; it stays meaningful where signed weights take p out of [0, 1].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = ((1 - fraction) ** 2 * inside2 + fraction**2 * outside2) / total**2
    return np.asarray(np.sqrt(variance), dtype=np.float64)

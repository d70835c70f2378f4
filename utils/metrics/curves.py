"""ROC and precision-recall curves from signed sums. Shapes: N events, T distinct scores."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.metrics.checks import AnyArray, FloatArray
from utils.metrics.scan import ScoreScan, fraction_error, scan_scores


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Signal against background efficiency of the cut `score >= threshold`, and the area under it.

    The arrays have T+1 entries, from (0, 0) at +inf to (1, 1). With signed weights the efficiencies are the signed
    cumulative sums as they are: they may leave [0, 1] and need not be monotonic.

    Attributes
    ----------
    background_efficiency, signal_efficiency : false and true positive rates.
    background_error, signal_error : one standard deviation of each, from the weights (`fraction_error`).
    thresholds : descending, first +inf.
    auc, auc_error : area from the whole curve, and one standard deviation; the error is NaN with one effective event
        or less in a class, which tell nothing about their spread.
    n_signal, n_background : numbers of events.
    n_effective_signal, n_effective_background : (Σw)² / Σw².
    reason : why everything is NaN, else None.
    """

    background_efficiency: FloatArray
    signal_efficiency: FloatArray
    background_error: FloatArray
    signal_error: FloatArray
    thresholds: AnyArray
    auc: float
    auc_error: float
    n_signal: int
    n_background: int
    n_effective_signal: float
    n_effective_background: float
    reason: str | None = None

    @property
    def fpr(self) -> FloatArray:
        """False positive rate: the background efficiency."""
        return self.background_efficiency

    @property
    def tpr(self) -> FloatArray:
        """True positive rate: the signal efficiency."""
        return self.signal_efficiency


@dataclass(frozen=True, eq=False)
class PrCurve:
    """Precision (purity) against recall (signal efficiency) of the cut `score >= threshold`.

    Attributes
    ----------
    recall, precision : T entries, from the tightest cut down. Precision is NaN where the passing weights sum to zero.
    recall_error, precision_error : one standard deviation of each.
    thresholds : descending.
    average_precision, average_precision_error : Σ (R_t - R_t-1) P_t, and one standard deviation.
    prevalence : the signal's share of all weights, what a random score would reach.
    n_signal, n_background : numbers of events.
    reason : why everything is NaN, else None.
    """

    recall: FloatArray
    precision: FloatArray
    recall_error: FloatArray
    precision_error: FloatArray
    thresholds: AnyArray
    average_precision: float
    average_precision_error: float
    prevalence: float
    n_signal: int
    n_background: int
    reason: str | None = None


def roc(score_N: npt.ArrayLike, is_signal_N: npt.ArrayLike, weight_N: npt.ArrayLike | None = None) -> RocCurve:
    """ROC curve and area of one score.

    >>> roc([0.9, 0.6, 0.4, 0.2], [1, 0, 1, 0], [1.0, 1.0, -0.5, 1.0]).auc
    1.5

    The area is Σ w_i w_j [1(s_i > s_j) + ½ 1(s_i = s_j)] / (Σw_i Σw_j) over signal i and background j: the trapezoids
    under the signed curve, and for unweighted events the Mann-Whitney statistic. Its variance is that of DeLong, DeLong
    and Clarke-Pearson (Biometrics 44 (1988) 837), with every event's placement entering by its squared weight:
    σ² = Σ w_i² (F_b(s_i) - A)² / (Σw_i)² · n_eff/(n_eff - 1), plus the same for the background. Above, the negative
    signal event lies where background would: it takes away where it should add, and the area exceeds one.

    Parameters
    ----------
    score_N : higher is more signal-like; ties are handled exactly; NaN and infinities are an error.
    is_signal_N : bool, or 0 and 1.
    weight_N : signed event weights; None counts events.
    """
    return roc_from_scan(scan_scores(score_N, is_signal_N, weight_N))


def roc_from_scan(scan: ScoreScan) -> RocCurve:
    """`roc` of scores that are sorted already."""
    reason = scan.undefined()
    n_sig, n_bkg = scan.n_effective
    if reason is not None:
        nothing = np.full(1, np.nan)
        return RocCurve(
            nothing, nothing, nothing, nothing, scan.thresholds[:1], np.nan, np.nan,
            scan.n_signal, scan.n_background, n_sig, n_bkg, reason,
        )  # fmt: skip
    sum_sig, sum_bkg = scan.signal[-1], scan.background[-1]
    tpr, fpr = scan.signal / sum_sig, scan.background / sum_bkg
    # Where an event's tie group begins and ends on the curve: half of the ties count as lower.
    mean_tpr, mean_fpr = (tpr[1:] + tpr[:-1]) / 2, (fpr[1:] + fpr[:-1]) / 2
    auc = float(np.sum(np.diff(fpr) * mean_tpr))
    variance_sig = float(np.sum(np.diff(scan.signal2) * (1 - mean_fpr - auc) ** 2)) / sum_sig**2
    variance_bkg = float(np.sum(np.diff(scan.background2) * (mean_tpr - auc) ** 2)) / sum_bkg**2
    auc_error = float(np.sqrt(_unbiased(variance_sig, n_sig) + _unbiased(variance_bkg, n_bkg)))
    return RocCurve(
        background_efficiency=fpr,
        signal_efficiency=tpr,
        background_error=fraction_error(fpr, scan.background2, scan.background2[-1] - scan.background2, sum_bkg),
        signal_error=fraction_error(tpr, scan.signal2, scan.signal2[-1] - scan.signal2, sum_sig),
        thresholds=scan.thresholds,
        auc=auc,
        auc_error=auc_error,
        n_signal=scan.n_signal,
        n_background=scan.n_background,
        n_effective_signal=n_sig,
        n_effective_background=n_bkg,
    )


def _unbiased(variance: float, n_effective: float) -> float:
    return variance * n_effective / (n_effective - 1) if n_effective > 1 else float("nan")


def precision_recall(
    score_N: npt.ArrayLike, is_signal_N: npt.ArrayLike, weight_N: npt.ArrayLike | None = None
) -> PrCurve:
    """Precision-recall curve and average precision of one score.

    The average precision is Σ (R_t - R_t-1) P_t over the distinct scores, without interpolation, as scikit-learn has
    it. Its variance is Σ w² I² over all events, with I the derivative of the average precision by an event's weight.
    Precision depends on the mixture: under class-balanced weights it is the purity of a balanced sample, not of data.
    Where the passing weights sum to zero, the precision is NaN and that step adds nothing.

    Parameters
    ----------
    score_N : higher is more signal-like; ties are handled exactly; NaN and infinities are an error.
    is_signal_N : bool, or 0 and 1.
    weight_N : signed event weights; None counts events. Steps close to a passing sum of zero can dominate the average:
        read it together with its error.
    """
    return pr_from_scan(scan_scores(score_N, is_signal_N, weight_N))


def pr_from_scan(scan: ScoreScan) -> PrCurve:
    """`precision_recall` of scores that are sorted already."""
    passing = (scan.signal + scan.background)[1:]
    reason = scan.undefined(background_needed=False)
    if reason is None and not passing[-1] > 0:
        reason = f"the weights of all events sum to {passing[-1]:.4g}"
    if reason is not None:
        nothing = np.full(1, np.nan)
        return PrCurve(
            nothing, nothing, nothing, nothing, scan.thresholds[:1], np.nan, np.nan, np.nan,
            scan.n_signal, scan.n_background, reason,
        )  # fmt: skip
    sum_sig = scan.signal[-1]
    recall = scan.signal[1:] / sum_sig
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(passing != 0, scan.signal[1:] / passing, np.nan)
    value, error = _average_precision(scan, precision, passing)
    return PrCurve(
        recall=recall,
        precision=precision,
        recall_error=fraction_error(recall, scan.signal2[1:], scan.signal2[-1] - scan.signal2[1:], sum_sig),
        precision_error=fraction_error(precision, scan.signal2[1:], scan.background2[1:], passing),
        thresholds=scan.thresholds[1:],
        average_precision=value,
        average_precision_error=error,
        prevalence=float(sum_sig / passing[-1]),
        n_signal=scan.n_signal,
        n_background=scan.n_background,
    )


def _average_precision(scan: ScoreScan, precision: FloatArray, passing: FloatArray) -> tuple[float, float]:
    sum_sig = scan.signal[-1]
    at_step = np.diff(scan.signal) / sum_sig
    usable = np.isfinite(precision)
    precision = np.where(usable, precision, 0.0)
    square = np.where(usable, passing, 1.0) ** 2
    value = float(np.sum(at_step * precision))
    # An event changes the precision at its own threshold and at every looser one: sums from the loose end.
    by_signal = np.cumsum((at_step * np.where(usable, scan.background[1:], 0.0) / square)[::-1])[::-1]
    by_background = np.cumsum((at_step * np.where(usable, scan.signal[1:], 0.0) / square)[::-1])[::-1]
    signal_part = np.sum(np.diff(scan.signal2) * ((precision - value) / sum_sig + by_signal) ** 2)
    background_part = np.sum(np.diff(scan.background2) * by_background**2)
    return value, float(np.sqrt(signal_part + background_part))

"""What a training looked like: learning curves and feature importances. Shapes: R rounds, M models, F features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.errors import DataError
from utils.plots.classes import file_name, palette
from utils.plots.description import Axis, Bars, Figure, FloatArray, Layer, Line, Points


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """One metric of one fold, round by round.

    `train` and `valid` are (R,), either may be empty; `best_round` counts from 1 and is None without early stopping.
    """

    fold: int
    train: FloatArray
    valid: FloatArray
    best_round: int | None = None


def learning_figure(metric: str, curves: Sequence[LearningCurve]) -> Figure:
    """Training (dashed) and validation (solid) of every fold, the best marked; named `learning_{metric}`."""
    layers: list[Layer] = []
    for curve, color in zip(curves, palette(len(curves)), strict=True):
        layers += _one_fold(curve, color)
    if any(len(curve.train) for curve in curves):
        nothing = np.array([np.nan])
        layers.append(Line(nothing, nothing, "#5a5a5a", "Training events", "dash"))
    return Figure(
        name=f"learning_{file_name(metric)}",
        title=f"Learning curves: {metric}",
        x_axis=Axis("Boosting round or epoch", _round_limits(curves)),
        y_axis=Axis(metric),
        layers=tuple(layers),
        legend="lower right" if _rises(curves) else "upper right",
        caption="Dashed: training events of the fold's model. Solid: events it is monitored on. Star: the best.",
        message=None if layers else "Nothing was monitored",
        headroom=0.1,
    )


def _one_fold(curve: LearningCurve, color: str) -> list[Layer]:
    group = f"fold {curve.fold}"
    train, valid = np.asarray(curve.train, dtype=np.float64), np.asarray(curve.valid, dtype=np.float64)
    layers: list[Layer] = []
    if train.size:
        # Named in the legend only where it is all there is: one grey entry explains the dashes of every fold.
        layers.append(
            Line(_rounds(train), train, color, None if valid.size else f"Fold {curve.fold}", "dash", group=group)
        )
    best = curve.best_round
    has_best = best is not None and 1 <= best <= valid.size
    if valid.size:
        label = f"Fold {curve.fold}, best at {best}" if has_best else f"Fold {curve.fold}"
        layers.append(Line(_rounds(valid), valid, color, label, group=group))
    if best is not None and has_best:
        at = np.array([float(best)])
        layers.append(Points(at, valid[best - 1 : best], color, symbol="star", size=2.0, group=group))
    return layers


def _rounds(values: FloatArray) -> FloatArray:
    return np.arange(1, values.size + 1, dtype=np.float64)


def _rises(curves: Sequence[LearningCurve]) -> bool:
    """Whether the metric grows, as an area does and a loss does not: the legend goes where the curves are not."""
    first = [float(curve.valid[0]) for curve in curves if len(curve.valid)]
    last = [float(curve.valid[-1]) for curve in curves if len(curve.valid)]
    return bool(first) and float(np.mean(last)) > float(np.mean(first))


def _round_limits(curves: Sequence[LearningCurve]) -> tuple[float, float]:
    rounds = max([1, *(max(len(curve.train), len(curve.valid)) for curve in curves)])
    return (0.0, 1.02 * rounds)


def importance_figure(names: Sequence[str], importance_MF: npt.ArrayLike, kind: str = "gain", top: int = 25) -> Figure:
    """Mean importance over the models, its spread as error bars, largest first; named `importance_{kind}`.

    Parameters
    ----------
    names : F feature names.
    importance_MF : (M, F), a row per model. Each row is drawn as shares of its sum, so that models of different size
        can be averaged; a row without any gain stays zero.
    kind : what was counted, e.g. `gain` or `split`.
    top : draw no more than the first so many; the caption tells how many are left out.
    """
    values_MF = np.atleast_2d(np.asarray(importance_MF, dtype=np.float64))
    if values_MF.shape[1] != len(names):
        raise DataError(f"{len(names)} feature names but importances of shape {values_MF.shape}")
    sums_M = np.sum(np.abs(values_MF), axis=1, keepdims=True)
    shares_MF = values_MF / np.where(sums_M > 0, sums_M, 1.0)
    mean_F = np.mean(shares_MF, axis=0)
    n_models = values_MF.shape[0]
    spread_F = np.std(shares_MF, axis=0, ddof=1) if n_models > 1 else None
    # By name where equal, so that the figure does not depend on the order of the features.
    order = sorted(range(len(names)), key=lambda f: (-mean_F[f], names[f]))[:top]
    left_out = len(names) - len(order)
    caption = f"Share of the total {kind}; mean" + (f" and spread of {n_models} models." if n_models > 1 else ".")
    if left_out:
        caption += f" {left_out} features of lower importance are not shown."
    return Figure(
        name=f"importance_{file_name(kind)}",
        title=f"Feature importance ({kind})",
        x_axis=Axis(f"Share of the total {kind}"),
        y_axis=Axis(""),
        layers=(
            Bars(
                tuple(names[f] for f in order),
                mean_F[order],
                palette(1)[0],
                None if spread_F is None else spread_F[order],
            ),
        ),
        caption=caption,
        message=None if order else "The model has no features",
    )

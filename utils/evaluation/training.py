"""What a training shows of itself: learning curves, importances, held-out metrics, and samples against overtraining."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from utils.evaluation.anomaly import named_losses
from utils.evaluation.predictions import FOLD, IN_TRAINING, TARGET
from utils.evaluation.values import named_residuals, value_weights
from utils.metrics.curves import roc
from utils.metrics.regression import residuals
from utils.metrics.weights import evaluation_weights
from utils.models.crosstrain import TrainedFold, TrainingSet, predict_rows
from utils.models.estimator import Monitor
from utils.plots.classes import file_name
from utils.plots.description import Figure
from utils.plots.html import write_html
from utils.plots.pdf import to_pdf
from utils.plots.training import LearningCurve, importance_figure, learning_figure

SAMPLE_ROWS = 50_000  # per fold and kind: enough for a KS distance of 1%, and small beside any model


@dataclass
class Curves:
    """Collects what the folds report, and hands it on as stepped metrics `train_{i}-METRIC` and `valid_{i}-METRIC`."""

    forward: Monitor
    _values: dict[tuple[int, str], dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def monitor_of(self, fold: int) -> Monitor:
        """What the fit of a fold reports to."""

        def report(step: int, values: Mapping[str, float]) -> None:
            named = {}
            for name, value in values.items():
                kind, _, metric = name.partition("-")
                named[f"{kind}_{fold}-{metric}"] = value
                self._values[fold, name][step] = value
            self.forward(step, named)

        return report

    def restore(self, logged: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Take in the stepped metrics of before an interruption; what is reported again replaces them."""
        for step, values in logged:
            for name, value in values.items():
                kind, _, metric = name.partition("-")
                kind, _, fold = kind.rpartition("_")
                self._values[int(fold), f"{kind}-{metric}"][step] = value

    def figures(self, best_rounds: Mapping[int, int | None]) -> tuple[Figure, ...]:
        """One figure per metric that was reported for more than one round."""
        metrics = sorted({name.partition("-")[2] for _, name in self._values})
        figures = []
        for metric in metrics:
            folds = sorted({fold for fold, name in self._values if name.endswith(f"-{metric}")})
            curves = [
                LearningCurve(
                    fold, self._of(fold, f"train-{metric}"), self._of(fold, f"valid-{metric}"), best_rounds[fold]
                )
                for fold in folds
            ]
            if any(max(len(curve.train), len(curve.valid)) > 1 for curve in curves):
                figures.append(learning_figure(metric, curves))
        return tuple(figures)

    def _of(self, fold: int, name: str) -> NDArray[np.float64]:
        steps = self._values.get((fold, name), {})
        return np.array([steps[step] for step in sorted(steps)], dtype=np.float64)


@dataclass
class HeldOut:
    """The scores of every event by the model that has not seen it: N · K · 4 bytes.

    Parameters
    ----------
    training : the training set.
    event_weight_N : (N,) signed physics weights, or None.
    """

    training: TrainingSet
    event_weight_N: NDArray[np.float64] | None

    def __post_init__(self) -> None:
        data = self.training.data
        self._scores_NK = np.full((data.skim.n_rows, data.n_outputs), np.nan, np.float32)
        self._samples: list[pa.Table] = []
        self._class_names = data.skim.metadata["class_names"]

    def add(self, fold: TrainedFold) -> dict[str, float]:
        """Score the fold, keep samples for the overtraining figures, and give the fold's own metrics.

        These are the macro area; or of every target of a regression what `named_residuals` names; or the mean loss of
        an autoencoder.
        """
        data = self.training.data
        self._scores_NK[fold.held_out_rows] = predict_rows(fold.estimator, data, fold.held_out_rows)
        if data.task == "classification":
            seen_rows = _thinned(fold.train.rows_N)
            self._keep(fold.fold, True, seen_rows, predict_rows(fold.estimator, data, seen_rows))
            unseen_rows = _thinned(fold.held_out_rows)
            self._keep(fold.fold, False, unseen_rows, self._scores_NK[unseen_rows])
        return self._metrics(f"fold_{fold.fold}", fold.held_out_rows, "none", per_class=False)

    def areas(self) -> dict[str, float]:
        """Metrics of all held-out events: unweighted `cv/…`, class-balanced `cv_class/…`, event-weighted `cv_event/…`.

        A regression has no classes to balance.
        """
        rows = np.flatnonzero(~np.isnan(self._scores_NK[:, 0]))
        metrics = self._metrics("cv", rows, "none")
        if self.training.data.task != "regression":
            metrics |= self._metrics("cv_class", rows, "class")
        if self.event_weight_N is not None:
            metrics |= self._metrics("cv_event", rows, "event")
        return metrics

    def headline(self, metrics: Mapping[str, float], prefix: str) -> str:
        """The metrics of a fold or of all, in a few words."""
        outputs = self.training.data.outputs
        if outputs.task == "classification":
            return f"AUC {metrics[f'{prefix}/roc_auc_macro']:.4f}"
        if outputs.task == "autoencoder":
            return f"mean loss {metrics[f'{prefix}/loss_mean']:.4g}"
        names = {target: file_name(target) for target in outputs.names}
        return ", ".join(
            f"{target}: bias {metrics[f'{prefix}/bias_{name}']:.3g}, "
            f"resolution {metrics[f'{prefix}/resolution_{name}']:.4g}"
            for target, name in names.items()
        )

    def _metrics(self, prefix: str, rows: NDArray[np.int64], scheme: str, per_class: bool = True) -> dict[str, float]:
        data = self.training.data
        if data.task == "classification":
            return self._areas(prefix, rows, scheme, per_class)
        event_weight_N = None if self.event_weight_N is None else self.event_weight_N[rows]
        scores_NK = self._scores_NK[rows]
        metrics: dict[str, float] = {}
        if data.task == "regression":
            weight_N = value_weights(scheme, event_weight_N)
            for t, target in enumerate(data.targets):
                found = residuals(scores_NK[:, t], data.target_N[rows, t], weight_N)
                metrics |= {name: value for name, (value, _) in named_residuals(target, found).items()}
        else:
            weight_N = evaluation_weights(scheme, data.class_N[rows], event_weight_N, len(self._class_names))
            names = self._class_names if per_class else ()
            metrics = named_losses(names, scores_NK[:, 0], data.class_N[rows], weight_N)
        return {f"{prefix}/{name}": value for name, value in metrics.items()}

    def _areas(self, prefix: str, rows: NDArray[np.int64], scheme: str, per_class: bool = True) -> dict[str, float]:
        target_N = self.training.data.class_N[rows]
        event_weight_N = None if self.event_weight_N is None else self.event_weight_N[rows]
        n_classes = len(self._class_names)
        weight_N = evaluation_weights(scheme, target_N, event_weight_N, n_classes)
        areas = {
            f"{prefix}/roc_auc_{name}": roc(self._scores_NK[rows, k], target_N == k, weight_N).auc
            for k, name in enumerate(self._class_names)
        }
        macro = {f"{prefix}/roc_auc_macro": float(np.mean(list(areas.values())))}
        return {**areas, **macro} if per_class else macro

    def _keep(self, fold: int, in_training: bool, rows: NDArray[np.int64], scores_NK: NDArray[np.float32]) -> None:
        n_rows = len(rows)
        weight_N = np.ones(n_rows) if self.event_weight_N is None else self.event_weight_N[rows]
        columns = {
            FOLD: np.full(n_rows, fold, np.int32),
            IN_TRAINING: np.full(n_rows, in_training, np.uint8),
            TARGET: self.training.data.target_N[rows],
            "event_weight": weight_N,
            **{f"score_{k}": np.ascontiguousarray(scores_NK[:, k]) for k in range(scores_NK.shape[1])},
        }
        self._samples.append(pa.table(columns))

    def write_samples(self, path: Path) -> bool:
        """The kept samples of all folds as one Parquet file, see `read_overtraining`; False where there are none."""
        if not self._samples:
            return False
        pa_parquet.write_table(pa.concat_tables(self._samples), path, compression="zstd")
        return True


def _thinned(rows_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most SAMPLE_ROWS rows, evenly spread, so that no file or process is preferred."""
    step = -(-len(rows_N) // SAMPLE_ROWS) or 1
    return rows_N[::step]


def importance_table(names: Sequence[str], folds: Sequence[TrainedFold]) -> dict[str, NDArray[np.float64]]:
    """Kind → (M, F) importances, a row per model; empty where the models have none."""
    per_fold = [fold.estimator.importances() for fold in folds]
    return {kind: np.stack([one[kind] for one in per_fold]) for kind in per_fold[0]} if names else {}


def write_training_figures(
    folder: Path, curves: Curves, names: Sequence[str], folds: Sequence[TrainedFold]
) -> list[Figure]:
    """Learning curves and importances as HTML and PDF, and the importances as CSV; returns the figures."""
    figures = list(curves.figures({fold.fold: fold.estimator.n_iterations for fold in folds}))
    for fold in folds:  # some estimators have more to show
        figures += getattr(fold.estimator, "figures", tuple)()
    for kind, importance_MF in importance_table(names, folds).items():
        figures.append(importance_figure(names, importance_MF, kind))
        header = ",".join(["feature", *(f"fold_{fold.fold}" for fold in folds)])
        lines = [",".join([name, *map(str, importance_MF[:, f])]) for f, name in enumerate(names)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"importance_{kind}.csv").write_text("\n".join([header, *lines]) + "\n")
    for figure in figures:
        write_html(figure, folder / f"{figure.name}.html")
        to_pdf(figure, folder / "pdf" / f"{figure.name}.pdf")
    return figures

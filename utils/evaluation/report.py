"""Figures and tables of an evaluation, and the page that shows them all."""

import math
from collections.abc import Mapping
from pathlib import Path

from utils.evaluation.anomaly import AnomalyResult
from utils.evaluation.evaluate import EvaluationResult
from utils.evaluation.values import RegressionResult
from utils.plots.anomaly import anomaly_roc_figure, loss_figure
from utils.plots.curves import pr_figure, rejection_figure, roc_figure
from utils.plots.dashboard import Section, Table, write_dashboard
from utils.plots.description import Figure
from utils.plots.html import write_html
from utils.plots.matrices import confusion_figure
from utils.plots.numbers import plus_minus
from utils.plots.pdf import to_pdf
from utils.plots.regression import plane_figure, residual_figure, response_figure
from utils.plots.scores import density_figure, overtraining_figure
from utils.plots.style import PdfStyle

Result = EvaluationResult | RegressionResult | AnomalyResult

_WEIGHTS = {
    "class": "class-balanced (N / N_class)",
    "event": "event weights, signed",
    "both": "event weights, signed, classes scaled to equal sums",
    "none": "none, every event counts one",
}


def evaluation_figures(result: Result) -> dict[str, Figure]:
    """All figures by name.

    Classification: `roc_curve`, `background_rejection`, `pr_curve`, `confusion_matrix_{true|pred}`, `density_{class}`
    and `overtraining_{class}_fold_{i}`. Regression: `residual_{target}`, `response_{target}` and
    `predicted_{target}`. Autoencoder: `loss`, and `roc_curve` where there are several classes.
    """
    figures = [figure for section in evaluation_sections(result) for figure in section.figures]
    return {figure.name: figure for figure in figures}


def evaluation_sections(result: Result) -> tuple[Section, ...]:
    """The parts of the page, in the order in which a physicist asks."""
    if isinstance(result, RegressionResult):
        return _value_sections(result)
    return _loss_sections(result) if isinstance(result, AnomalyResult) else _class_sections(result)


def _class_sections(result: EvaluationResult) -> tuple[Section, ...]:
    dataset, classes = result.options.dataset, result.classes
    return (
        Section("Numbers", tables=(class_table(result), *overtraining_table(result))),
        Section(
            "Curves",
            figures=(
                roc_figure(result.roc, classes, dataset),
                rejection_figure(result.roc, classes, dataset),
                pr_figure(result.pr, classes, dataset),
            ),
        ),
        Section(
            "Confusion",
            figures=(
                confusion_figure(result.confusion_true, classes, dataset),
                confusion_figure(result.confusion_pred, classes, dataset),
            ),
        ),
        Section(
            "Scores by category",
            figures=tuple(density_figure(category, classes, dataset) for category in result.categories),
        ),
        Section(
            "Training against held-out events",
            # No dataset in these titles: both samples are parts of the training set.
            figures=tuple(overtraining_figure(comparison, classes) for comparison in result.comparisons),
        ),
    )


def _value_sections(result: RegressionResult) -> tuple[Section, ...]:
    dataset = result.options.dataset
    figures = [
        Section(
            target.name,
            figures=(
                residual_figure(target.name, target.density, target.residuals, dataset),
                response_figure(target.name, target.profile, dataset),
                plane_figure(target.name, target.plane, dataset),
            ),
        )
        for target in result.targets
    ]
    return (Section("Numbers", tables=(target_table(result),)), *figures)


def target_table(result: RegressionResult) -> Table:
    """Per target, and per fold of it: events, mean squared and absolute error, bias, resolution."""
    rows = []
    for target in result.targets:
        parts = [("all", target.residuals), *((str(fold), found) for fold, found in target.per_fold.items())]
        for fold, found in parts if len(parts) > 2 else parts[:1]:
            rows.append(
                (
                    target.name,
                    fold,
                    f"{found.n_events:,}",
                    _number(found.mse, ".5g"),
                    _number(found.mae, ".5g"),
                    plus_minus(found.bias, found.bias_error),
                    _number(found.resolution, ".5g"),
                )
            )
    header = ("Target", "Fold", "Events", "Mean squared error", "Mean absolute error", "Bias", "Resolution")
    return Table(header, tuple(rows), "Resolution: half the width of the central 68% of predicted − true.")


def _loss_sections(result: AnomalyResult) -> tuple[Section, ...]:
    dataset, classes = result.options.dataset, result.classes
    curves = (anomaly_roc_figure(result.roc, classes, dataset),) if result.roc else ()
    return (
        Section("Numbers", tables=(loss_table(result),)),
        Section("Loss", figures=(loss_figure(result.shares, classes, dataset), *curves)),
    )


def loss_table(result: AnomalyResult) -> Table:
    """Per class: events, and the area of its ROC curve against class 0."""
    areas = ["", *(plus_minus(curve.auc, curve.auc_error) for curve in result.roc)]
    rows = zip((info.name for info in result.classes), (f"{n:,}" for n in result.n_events), areas, strict=True)
    mean = _number(result.metrics[f"{result.options.dataset}/loss_mean"], ".5g")
    against = f"ROC area against {result.classes[0].name}" if result.roc else "ROC area"
    return Table(("Class", "Events", against), tuple(rows), f"Mean loss: {mean}.")


def class_table(result: EvaluationResult) -> Table:
    """Per class: events, weights, area and average precision."""
    rows = []
    for k, info in enumerate(result.classes):
        roc, pr = result.roc[k], result.pr[k]
        rows.append(
            (
                info.name,
                f"{result.n_events[k]:,}",
                f"{result.weight_sums[k]:,.6g}",
                f"{roc.n_effective_signal:,.6g}",
                plus_minus(roc.auc, roc.auc_error),
                plus_minus(pr.average_precision, pr.average_precision_error),
            )
        )
    macro = result.metrics[f"{result.options.dataset}/roc_auc_macro"]
    summary = (
        f"Macro average of the areas: {_number(macro, '.4f')}. "
        f"Accuracy: {plus_minus(result.accuracy.value, result.accuracy.error)}. "
        f"Weights: {_WEIGHTS[result.options.metric_weights]}."
    )
    header = ("Class", "Events", "Sum of weights", "Effective events", "ROC area", "Average precision")
    return Table(header, tuple(rows), summary)


def overtraining_table(result: EvaluationResult) -> tuple[Table, ...]:
    """KS statistic and p-value per class and fold; nothing where folds were not compared."""
    if not result.comparisons:
        return ()
    rows = tuple(
        (
            result.classes[c.class_index].name,
            str(c.fold),
            _number(c.class_ks.statistic, ".4f"),
            _number(c.class_ks.p_value, ".3g"),
            _number(c.rest_ks.statistic, ".4f"),
            _number(c.rest_ks.p_value, ".3g"),
        )
        for c in sorted(result.comparisons, key=lambda c: (c.class_index, c.fold))
    )
    header = ("Class", "Fold", "KS, class", "p-value", "KS, others", "p-value")
    return (Table(header, rows, "Weighted Kolmogorov-Smirnov distance of training and held-out scores."),)


def _scheme(result: Result) -> str:
    """The weights that were used: a regression has no classes to balance."""
    scheme = result.options.metric_weights
    if isinstance(result, RegressionResult):
        return {"class": "none", "both": "event"}.get(scheme, scheme)
    return scheme


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "undefined"


def write_report(
    result: Result,
    folder: Path,
    style: PdfStyle | None = None,
    meta: Mapping[str, str] | None = None,
    title: str = "Evaluation",
) -> tuple[Path, ...]:
    """Write `{figure}.html`, `pdf/{figure}.pdf` and `index.html` into `folder`, and return the paths.

    Parameters
    ----------
    folder : created where it does not exist.
    style : experiment style and label of the PDFs.
    meta : further lines for the head of the page, such as the run ID.
    """
    paths = []
    sections = evaluation_sections(result)
    for figure in (figure for section in sections for figure in section.figures):
        paths.append(write_html(figure, folder / f"{figure.name}.html"))
        paths.append(to_pdf(figure, folder / "pdf" / f"{figure.name}.pdf", style))
    about = {
        **(meta or {}),
        "Dataset": result.options.dataset,
        "Events": f"{sum(result.n_events):,}" + (f", and {result.n_unscored:,} unscored" if result.n_unscored else ""),
        "Weights": _WEIGHTS[_scheme(result)],
    }
    page = write_dashboard(folder / "index.html", f"{title}: {result.options.dataset}", sections, about, result.notes)
    return (*paths, page)

"""Figures and tables of an evaluation, and the page that shows them all."""

import math
from collections.abc import Mapping
from pathlib import Path

from utils.evaluation.evaluate import EvaluationResult
from utils.plots.curves import pr_figure, rejection_figure, roc_figure
from utils.plots.dashboard import Section, Table, write_dashboard
from utils.plots.description import Figure
from utils.plots.html import write_html
from utils.plots.matrices import confusion_figure
from utils.plots.numbers import plus_minus
from utils.plots.pdf import to_pdf
from utils.plots.scores import density_figure, overtraining_figure
from utils.plots.style import PdfStyle

_WEIGHTS = {
    "class": "class-balanced (N / N_class)",
    "event": "event weights, signed",
    "both": "event weights, signed, classes scaled to equal sums",
    "none": "none, every event counts one",
}


def evaluation_figures(result: EvaluationResult) -> dict[str, Figure]:
    """All figures by name: `roc_curve`, `background_rejection`, `pr_curve`, `confusion_matrix_{true|pred}`,
    `density_{class}` and `overtraining_{class}_fold_{i}`."""
    figures = [figure for section in evaluation_sections(result) for figure in section.figures]
    return {figure.name: figure for figure in figures}


def evaluation_sections(result: EvaluationResult) -> tuple[Section, ...]:
    """The parts of the page, in the order in which a physicist asks."""
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


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "undefined"


def write_report(
    result: EvaluationResult,
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
        "Weights": _WEIGHTS[result.options.metric_weights],
    }
    page = write_dashboard(folder / "index.html", f"{title}: {result.options.dataset}", sections, about, result.notes)
    return (*paths, page)

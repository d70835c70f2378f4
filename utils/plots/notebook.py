"""Figures below the cell of a notebook; nothing anywhere else."""

from collections.abc import Iterable

from utils.logs import in_notebook
from utils.plots.description import Figure


def show(figures: Iterable[Figure]) -> None:
    """Display interactive figures in a notebook; does nothing on a terminal or a batch node."""
    if not in_notebook():
        return
    from utils.plots.html import to_plotly

    for figure in figures:
        to_plotly(figure).show()

"""Figures below the cell of a notebook; nothing anywhere else."""

import sys
from collections.abc import Iterable

from utils.plots.description import Figure


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs us. Looks only at what is loaded: a kernel has imported IPython long ago."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def show(figures: Iterable[Figure]) -> None:
    """Display interactive figures in a notebook; does nothing on a terminal or a batch node."""
    if not in_notebook():
        return
    from utils.plots.html import to_plotly

    for figure in figures:
        to_plotly(figure).show()

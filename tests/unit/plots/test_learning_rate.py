"""The figure of the learning-rate finder, in both backends."""

from pathlib import Path

import numpy as np
import pytest

from utils.plots.description import Line, Points
from utils.plots.html import write_html
from utils.plots.learning_rate import learning_rate_figure
from utils.plots.pdf import to_pdf

RATES = np.geomspace(1e-6, 1, 50)


def test_the_suggestion_and_the_choice_are_marked() -> None:
    figure = learning_rate_figure(RATES, np.linspace(2, 1, 50), 1e-3, 1e-2)
    line, *points = figure.layers
    assert isinstance(line, Line)
    assert figure.x_axis.log
    assert [point.label for point in points if isinstance(point, Points)] == [
        "Steepest descent: 0.001",
        "learning_rate: 0.01",
    ]
    assert isinstance(points[0], Points)
    assert points[0].y[0] == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize("n", [0, 1, 50])
def test_it_can_be_drawn(tmp_path: Path, n: int) -> None:
    figure = learning_rate_figure(RATES[:n], np.linspace(2, 1, 50)[:n], None, 10.0)
    assert to_pdf(figure, tmp_path / "figure.pdf").read_bytes()[:4] == b"%PDF"
    write_html(figure, tmp_path / "figure.html")

"""Both backends draw every figure; what they write stands alone."""

import json
import re
import shutil
import subprocess

import matplotlib as mpl
import numpy as np
import pytest

from utils.plots.dashboard import Section, Table, dashboard_html, write_dashboard
from utils.plots.description import Axis, Figure, Line
from utils.plots.html import to_html, to_plotly, write_html
from utils.plots.pdf import to_pdf
from utils.plots.style import PdfStyle

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.parametrize("style", ["CMS", "ATLAS", "LHCb2", "plain"])
def test_pdfs_are_drawn_in_every_style(figures, tmp_path, style, recwarn):
    before = dict(mpl.rcParams)
    chosen = PdfStyle(style, "Simulation", lumi=59.8, com=13.6)
    some = list(figures.values()) if style == "CMS" else [figures["roc_curve"], figures["confusion_matrix_true"]]
    for figure in some:
        path = to_pdf(figure, tmp_path / "pdf" / f"{figure.name}.pdf", chosen)
        content = path.read_bytes()
        assert content.startswith(b"%PDF")
        assert b"/FontDescriptor" in content and b"/ToUnicode" in content
    assert dict(mpl.rcParams) == before
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext")
def test_pdf_text_can_be_searched(figures, tmp_path):
    path = to_pdf(figures["roc_curve"], tmp_path / "roc.pdf", PdfStyle("CMS", "Simulation", lumi=59.8, com=13.6))
    text = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
    for part in (
        "CMS",
        "Simulation",
        "59.8 fb",
        "(13.6 TeV)",
        "Signal efficiency",
        "H_sig: 0.",
        "<b>others</b> $x$",
        "Z→ττ",
    ):
        assert part in text


def test_pdfs_do_not_depend_on_the_day(figures, tmp_path):
    first = to_pdf(figures["roc_curve"], tmp_path / "a.pdf").read_bytes()
    second = to_pdf(figures["roc_curve"], tmp_path / "b.pdf").read_bytes()
    assert first == second
    assert b"CreationDate" not in first


def test_pdf_leaves_no_figure_behind_in_a_notebook(figures, tmp_path):
    from matplotlib import pyplot

    to_pdf(figures["density_H_sig"], tmp_path / "x.pdf")
    assert pyplot.get_fignums() == []


def test_the_cells_of_a_plane_are_where_the_events_are(figures):
    plane = figures["predicted_p_T_b_x_b"].layers[0]
    trace = to_plotly(figures["predicted_p_T_b_x_b"]).data[0]
    np.testing.assert_array_equal(trace.x, plane.x_edges)
    np.testing.assert_array_equal(trace.z, plane.values)
    assert plane.values.shape == (len(plane.y_edges) - 1, len(plane.x_edges) - 1)


def test_html_stands_alone(figures, tmp_path):
    for figure in figures.values():
        text = write_html(figure, tmp_path / f"{figure.name}.html").read_text(encoding="utf-8")
        assert_loads_nothing(text)
        assert len(text) < 2_600_000
        # One figure, one plotly.
        assert text.count('id="plotly"') == 1


def assert_loads_nothing(text):
    """No element of the page may fetch anything: a viewer may be offline, and an analysis is private."""
    assert re.findall(r"<(?:script|img|iframe|link)[^>]*\b(?:src|href)=", text) == []
    assert re.findall(r"(?:url|@import)\s*\(?\s*['\"]?https?:", text) == []
    assert "cdn.plot.ly" not in text
    assert "mathjax" not in text.lower()


def test_text_in_figures_cannot_become_markup():
    evil = "</script><script>alert(1)</script>"
    line = Line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "#000000", evil, group=evil)
    figure = Figure("x", evil, Axis(evil), Axis(evil), (line,), caption=evil)
    text = to_html(figure) + dashboard_html(
        evil, [Section(evil, (figure,), (Table((evil,), ((evil,),)),), evil)], {evil: evil}
    )
    assert "<script>alert" not in text


def test_plotly_never_offers_to_upload(figures):
    assert "sendChartToCloud" in to_plotly(figures["roc_curve"]).layout.modebar.remove


def test_plotly_has_the_numbers(figures):
    drawn = json.loads(to_plotly(figures["importance_gain"]).to_json())
    assert drawn["data"][0]["y"] == ["b", "a"]
    roc = to_plotly(figures["roc_curve"])
    named = [trace.name for trace in roc.data if trace.showlegend]
    assert named[0].startswith("H_sig: 0.")
    assert len(named) == len(figures["roc_curve"].labels)
    assert to_plotly(figures["background_rejection"]).layout.yaxis.range[0] == 0.0


def test_empty_figures_are_drawn(figures, tmp_path):
    empty = Figure("empty", "Empty", Axis("x"), Axis("y"), (), message="Nothing here")
    assert to_pdf(empty, tmp_path / "empty.pdf").read_bytes().startswith(b"%PDF")
    assert "Nothing here" in to_html(empty)


def test_dashboard_has_plotly_once_and_every_figure(figures, tmp_path):
    sections = [Section("Curves", tuple(figures.values())), Section("Empty"), Section("Numbers", tables=(table(),))]
    path = write_dashboard(tmp_path / "deep" / "index.html", "Evaluation", sections, {"Run": "abc"}, ["a note"])
    text = path.read_text(encoding="utf-8")
    assert_loads_nothing(text)
    assert text.count('id="plotly"') == 1
    assert text.count("<figure ") == len(figures)
    assert "Empty</a>" not in text
    assert "a note" in text and "0.9 ± 0.1" in text and "abc" in text


def table():
    return Table(("Class", "Area"), (("H_sig", "0.9 ± 0.1"),), "one standard deviation")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_draws_the_dashboard(figures, tmp_path):
    page = write_dashboard(tmp_path / "index.html", "Evaluation", [Section("All", tuple(figures.values()))])
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert 'data-drawn="yes"' in shown
    assert len(re.findall('class="plot[^"]*js-plotly-plot"', shown)) == len(figures)
    assert "H_sig: 0." in shown

"""Stages called from a notebook, in a real kernel, show their figures below the cell."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs the development requirements")
pytest.importorskip("ipykernel", reason="needs the development requirements")

ROOT = Path(__file__).parents[2]

CHAIN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from examples.make_htt_toy import write_toy
from pathlib import Path
write_toy(Path("data/htt/2018/original"), seed=1, scale=0.05)
import preprocess
composed = preprocess.main.compose(["year=2018"])
preprocess.main(composed.spec, composed.config)
"""
TRAIN = """
import train
composed = train.main.compose(["year=2018", "model_param.num_iterations=5", "folds.tolerance=1"])
result = train.main(composed.spec, composed.config)
"""


def test_training_in_a_notebook_shows_its_learning_curves(tmp_path: Path) -> None:
    import nbformat

    cells = [nbformat.v4.new_code_cell(code) for code in (CHAIN, TRAIN, "result.run_id")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for output in notebook.cells[1].outputs if output.output_type == "display_data"]
    plotly = [output.data["application/vnd.plotly.v1+json"] for output in shown]
    assert len(plotly) >= 3  # two metrics, and the importances
    curves = next(figure for figure in plotly if "multi_logloss" in figure["layout"]["title"]["text"])
    assert any(len(trace.get("y", [])) for trace in curves["data"])
    assert len(notebook.cells[2].outputs[0].data["text/plain"].strip("'")) == 32

"""The chain against a running `mlflow server`: runs, models and artifacts go through it, and come back through it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uproot
from mlflow.tracking import MlflowClient

REPOSITORY = Path(__file__).parents[2]

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_the_whole_chain_through_a_server(new_workplace: Callable[[str], Any], tmp_path: Path) -> None:
    server, artifacts = new_workplace("server"), tmp_path / "artifacts"
    work = tmp_path / "work"
    work.mkdir()
    with server.mlflow("server", "--artifacts-destination", str(artifacts)) as address:

        def typed(script: str, *arguments: str) -> str:
            done = server.attempt(str(REPOSITORY / script), *arguments, cwd=work, MLFLOW_TRACKING_URI=address)
            assert done.returncode == 0, f"{script} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
            # A server that proxies artifacts prints nothing into the user's terminal, either.
            assert re.fullmatch(r"(\d\d:\d\d:\d\d  .*\n)*", done.stderr), done.stderr
            return str(done.stdout)

        typed("examples/make_htt_toy.py", "--output", "data/htt/2018/original", "--scale", "0.05")
        for kind in ("training_data", "prediction_data"):
            typed("preprocess.py", "--config-path", f"configs/preprocess/{kind}", "--config-name", "htt", "year=2018")
        printed = typed("train.py", "year=2018", "model_param.num_iterations=3", "folds.tolerance=1")
        run_id = printed.split()[-1]
        typed("predict.py", f"run_id={run_id}", "sample_names=[VBFHToTauTau_M125]")
        typed("predict.py", "--config-name", "for_evaluation", f"run_id={run_id}", "sample_names=[test]")
        typed("evaluate.py", f"run_id={run_id}", "dataset=test")

        client = MlflowClient(address)
        run = client.get_run(run_id)
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        assert run.data.metrics["test/roc_auc_macro"] > 0.6
        friend = Path(client.download_artifacts(run_id, "pred/VBFHToTauTau_M125_pred.root", str(tmp_path)))
        with uproot.open(friend) as ours, uproot.open(work / "data/htt/2018/original/VBFHToTauTau_M125.root") as theirs:
            assert (ours["TauCheck"]["evt"].array() == theirs["TauCheck"]["evt"].array()).tolist() == [True] * 350
        pages = client.download_artifacts(run_id, "plots/test/index.html", str(tmp_path))
        assert "<figure" in Path(pages).read_text()
        unknown = server.attempt(
            str(REPOSITORY / "predict.py"), f"run_id={'0' * 32}", cwd=work, MLFLOW_TRACKING_URI=address
        )
        assert unknown.returncode == 1
        assert f"in the MLflow store {address}" in unknown.stderr
        assert run_id in unknown.stderr
    assert {path.name for path in work.iterdir()} == {"data", "predictions"}, "nothing of MLflow's is left here"
    assert any(path.name == "ensemble.json" for path in artifacts.rglob("*"))

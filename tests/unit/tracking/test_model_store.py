"""What a logged model says it needs is what its code imports."""

import sys
from pathlib import Path

import grimp
import pytest
import yaml

from utils.models.lightgbm import LightGBMEstimator
from utils.tracking.model_store import RUNTIME, _pinned

ROOT = Path(__file__).parents[3]

# The modules that `pyfunc_model.py` reaches, and an estimator each with the libraries it declares itself.
SERVED = "utils.models.frames"
ESTIMATORS = {
    "utils.models.lightgbm": LightGBMEstimator({}).libraries,
    "utils.models.sklearn": ("scikit-learn",),
    "utils.models.pytorch.estimator": ("torch",),
    "utils.models.keras_network.estimator": ("keras", "tensorflow"),
}
COMES_WITH = {"joblib": "scikit-learn", "sklearn": "scikit-learn"}
ONLY_IF_INSTALLED = {"XRootD"}  # it has to be imported before TensorFlow, where there is one


def test_the_requirements_of_a_model_cover_its_imports() -> None:
    graph = grimp.build_graph("utils", include_external_packages=True)
    for module, libraries in ESTIMATORS.items():
        reached = {module, SERVED} | graph.find_upstream_modules(module) | graph.find_upstream_modules(SERVED)
        outside = {name for name in reached if not name.startswith("utils")} - set(sys.stdlib_module_names)
        needed = {COMES_WITH.get(name, name) for name in outside} - ONLY_IF_INSTALLED
        assert needed <= {*RUNTIME, *libraries}
        assert "uproot" in needed  # the graph does see what lies below


def test_every_estimator_is_looked_at() -> None:
    configs = sorted((ROOT / "configs" / "train" / "model").glob("*.yaml"))
    targets = {yaml.safe_load(path.read_text())["model"]["_target_"].rpartition(".")[0] for path in configs}
    assert {module for module in targets if "user" not in module} == set(ESTIMATORS)


def test_a_build_for_one_machine_is_pinned_as_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.tracking.model_store.version", lambda name: "2.13.0+cpu")
    assert _pinned("torch") == "torch==2.13.0"

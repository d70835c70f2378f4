"""What a logged model says it needs is what its code imports."""

import sys

import grimp

from utils.models.lightgbm import LightGBMEstimator
from utils.models.sklearn import SklearnEstimator
from utils.tracking.model_store import RUNTIME

# The modules that `pyfunc_model.py` reaches, and an estimator each with the libraries it declares itself.
SERVED = "utils.models.frames"
ESTIMATORS = {
    "utils.models.lightgbm": LightGBMEstimator({}).libraries,
    "utils.models.sklearn": ("scikit-learn",),
}
COMES_WITH = {"joblib": "scikit-learn", "sklearn": "scikit-learn"}


def test_the_requirements_of_a_model_cover_its_imports() -> None:
    graph = grimp.build_graph("utils", include_external_packages=True)
    for module, libraries in ESTIMATORS.items():
        reached = {module, SERVED} | graph.find_upstream_modules(module) | graph.find_upstream_modules(SERVED)
        outside = {name for name in reached if not name.startswith("utils")} - set(sys.stdlib_module_names)
        needed = {COMES_WITH.get(name, name) for name in outside}
        assert needed <= {*RUNTIME, *libraries}
        assert "uproot" in needed  # the graph does see what lies below


def test_every_estimator_is_looked_at() -> None:
    assert {LightGBMEstimator.__module__, SklearnEstimator.__module__} == set(ESTIMATORS)

"""Ensembles in and out of a run's models."""

import tempfile
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

import utils
from utils.errors import RunError
from utils.models.ensemble import RoutedEnsemble
from utils.writers.friend import prediction_columns

ENSEMBLE = "ensemble"
# What a served model needs beyond the library of its estimators.
RUNTIME = ("mlflow", "numpy", "pandas", "h5py", "hdf5plugin", "awkward", "uproot", "tqdm")


def log_ensemble(ensemble: RoutedEnsemble, name: str, libraries: Sequence[str]) -> None:
    """Log a routed ensemble as a model of the active run, raw features in, scores out.

    Parameters
    ----------
    ensemble : what to log.
    name : of the model: `ensemble`, or `model_{i}`.
    libraries : distributions its estimators need, such as `lightgbm`; pinned to the installed version.
    """
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # No event of the analysis is put into the model as an example.
        warnings.filterwarnings("ignore", message=".*input example was not provided")
        folder = Path(scratch) / ENSEMBLE
        ensemble.save(folder)
        mlflow.pyfunc.log_model(
            name=name,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={ENSEMBLE: str(folder)},
            code_paths=[str(Path(utils.__file__).parent)],
            signature=_signature(ensemble),
            pip_requirements=[f"{name}=={version(name)}" for name in (*RUNTIME, *libraries)],
        )


def _signature(ensemble: RoutedEnsemble) -> ModelSignature:
    inputs: list[ColSpec | TensorSpec] = [ColSpec("double", name) for name in ensemble.pipe.inputs]
    inputs += [ColSpec("long", name) for name in ensemble.cat_features]
    # A hashed identity fills all 64 bits, which MLflow's signed type cannot hold.
    if ensemble.rule.n_splits > 1 and ensemble.rule.by == "modulo" and ensemble.rule.column not in ensemble.features:
        inputs.append(ColSpec("long", ensemble.rule.column, required=False))
    kinds = {"f": "float", "i": "integer"}
    columns = prediction_columns(np.empty((0, ensemble.n_classes), np.float32), np.empty(0, bool))
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(kinds[v.dtype.kind], name) for name, v in columns.items() if name != "is_valid"
    ]
    return ModelSignature(Schema(inputs), Schema(outputs))


def load_ensemble(run_id: str) -> RoutedEnsemble:
    """The routed ensemble of a run, from any store, every model loaded once."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{ENSEMBLE}", dst_path=scratch)
        except (MlflowException, OSError) as error:
            raise RunError(
                f"run '{run_id}' has no model '{ENSEMBLE}' that can be loaded ({error})",
                where="run_id",
                remedy="Check that the artifact store can be reached from here, or train again.",
            ) from error
        return RoutedEnsemble.load(Path(folder) / "artifacts" / ENSEMBLE)

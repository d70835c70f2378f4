"""Ensembles in and out of a run's models."""

import tempfile
import warnings
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
from utils.tracking.recorder import RunRecorder
from utils.writers.friend import prediction_columns

ENSEMBLE = "ensemble"
# What a served model needs beyond the library of its estimators.
RUNTIME = ("mlflow", "numpy", "pandas", "h5py", "hdf5plugin", "awkward", "uproot", "fsspec", "pyarrow", "tqdm")


def log_ensemble(ensemble: RoutedEnsemble, name: str, recorder: RunRecorder) -> None:
    """Log a routed ensemble as a model of the active run, raw features in, scores out.

    What it needs is pinned to the installed versions: the libraries of its estimators, and what reads and routes.

    Parameters
    ----------
    ensemble : what to log.
    name : of the model: `ensemble`, or `model_{i}`.
    recorder : of the active run; where that goes on after an interruption, an earlier model of this name goes.
    """
    if recorder.resumed:
        recorder.forget_model(name)
    libraries = sorted({library for model in ensemble.models for library in model.libraries})
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
            pip_requirements=[_pinned(library) for library in (*RUNTIME, *libraries)],
        )


def _pinned(library: str) -> str:
    """`torch==2.13.0`, also where a build for one machine (`2.13.0+cpu`) is installed, which no index has."""
    return f"{library}=={version(library).partition('+')[0]}"


def _signature(ensemble: RoutedEnsemble) -> ModelSignature:
    inputs: list[ColSpec | TensorSpec] = [ColSpec("double", name) for name in ensemble.pipe.inputs]
    inputs += [ColSpec("long", name) for name in ensemble.cat_features]
    # A hashed identity fills all 64 bits, which MLflow's signed type cannot hold.
    if ensemble.rule.n_splits > 1 and ensemble.rule.by == "modulo" and ensemble.rule.column not in ensemble.features:
        inputs.append(ColSpec("long", ensemble.rule.column, required=False))
    kinds = {"f": "float", "i": "integer"}
    outputs = ensemble.outputs
    columns = prediction_columns(np.empty((0, outputs.n), np.float32), np.empty(0, bool), outputs)
    given: list[ColSpec | TensorSpec] = [
        ColSpec(kinds[v.dtype.kind], name) for name, v in columns.items() if name != "is_valid"
    ]
    return ModelSignature(Schema(inputs), Schema(given))


def load_ensemble(run_id: str, name: str = ENSEMBLE, folder: Path | None = None) -> RoutedEnsemble:
    """A routed ensemble of a run, from any store, every model loaded once.

    Parameters
    ----------
    run_id : whose.
    name : `ensemble`, or `model_{i}`.
    folder : where its files stay, for models that are to be saved again; None: nowhere.
    """
    with tempfile.TemporaryDirectory() as scratch:
        return RoutedEnsemble.load(download_ensemble(run_id, name, Path(scratch) if folder is None else folder))


def download_ensemble(run_id: str, name: str, folder: Path) -> Path:
    """Copy the files of a routed ensemble into a folder; gives the one that `RoutedEnsemble.load` opens."""
    try:
        found = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{name}", dst_path=str(folder))
    except (MlflowException, OSError) as error:
        raise RunError(
            f"run '{run_id}' has no model '{name}' that can be loaded ({error})",
            where="run_id",
            remedy="Check that the artifact store can be reached from here, or train again.",
        ) from error
    return Path(found) / "artifacts" / ENSEMBLE

"""A finished training run, by its ID: everything that prediction and evaluation need, from any store."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from utils.errors import RunError, nearest_name
from utils.models.ensemble import RoutedEnsemble
from utils.outputs import Outputs
from utils.tracking.model_store import load_ensemble
from utils.tracking.recorder import RunRecorder
from utils.tracking.store import connect, find_run

# Where a training writes what the later stages read.
TRAIN_CONFIG = "config/train.yaml"
PREPROCESS_CONFIG = "config/preprocess.yaml"
PREDICTION_CONFIG = "config/prediction_data.yaml"
SKIM_METADATA = "data/skim.json"
OVERTRAINING_TABLE = "diagnostics/overtraining.parquet"
PREDICTIONS = "pred"
PLOTS = "plots"
TRAINING_PLOTS = "plots/training"


def _latest_tag(dataset: str) -> str:
    return f"crossfold.prediction.{dataset}"


@dataclass(frozen=True)
class TrackedRun:
    """One run in its store.

    Parameters
    ----------
    client : of the store.
    run_id, experiment_id : as MLflow names them.
    """

    client: MlflowClient
    run_id: str
    experiment_id: str

    @classmethod
    def open(cls, run_id: str, experiment_id: str | None = None, tracking_uri: str | None = None) -> Self:
        """Find a finished training; RunError where there is none."""
        client = connect(tracking_uri)
        run = find_run(client, run_id, experiment_id)
        return cls(client, run.info.run_id, run.info.experiment_id)

    @property
    def recorder(self) -> RunRecorder:
        """Writes to this run."""
        return RunRecorder(self.client, self.run_id)

    def ensemble(self) -> RoutedEnsemble:
        """The models with their routing, loaded once."""
        return load_ensemble(self.run_id)

    def artifacts(self, folder: str) -> list[str]:
        """Paths of the artifacts in a folder of the run."""
        return [info.path for info in self.client.list_artifacts(self.run_id, folder)]

    def has(self, artifact: str) -> bool:
        """Whether the run holds an artifact."""
        return artifact in self.artifacts(str(Path(artifact).parent))

    def download(self, artifact: str, folder: Path, remedy: str) -> Path:
        """Copy an artifact into a local folder; RunError, with the nearest name and the remedy, where it is missing."""
        try:
            if not self.has(artifact):
                raise FileNotFoundError(artifact)
            return Path(self.client.download_artifacts(self.run_id, artifact, str(folder)))
        except (MlflowException, OSError) as error:
            if not self.artifacts(""):
                raise RunError(
                    f"the artifacts of run '{self.run_id}' cannot be reached",
                    where=self.client.get_run(self.run_id).info.artifact_uri,
                    remedy="Start where that folder is, or move it along with the store.",
                ) from error
            present = self.artifacts(str(Path(artifact).parent))
            raise RunError(
                f"run '{self.run_id}' has no '{artifact}'", nearest=nearest_name(artifact, present), remedy=remedy
            ) from error

    def text(self, artifact: str) -> str:
        """The content of a text artifact that every training writes."""
        with tempfile.TemporaryDirectory() as scratch:
            return self.download(artifact, Path(scratch), "Train again with this version.").read_text()

    def download_prediction(self, dataset: str, folder: Path) -> Path:
        """The table that `predict.py --config-name for_evaluation` logged for a dataset."""
        tables = [path for path in self.artifacts(PREDICTIONS) if not path.endswith(".root")]
        found = [path for path in tables if Path(path).name.split(".")[0] == dataset]
        # The same dataset may lie there in several formats: the last prediction counts.
        latest = self.client.get_run(self.run_id).data.tags.get(_latest_tag(dataset))
        if latest in found:
            return self.download(latest, folder, "Predict again.")
        if not found:
            names = sorted({Path(path).name.split(".")[0] for path in tables})
            raise RunError(
                f"run '{self.run_id}' has no prediction of dataset '{dataset}'",
                where="dataset",
                nearest=nearest_name(dataset, names),
                remedy=f"First: python predict.py --config-name for_evaluation run_id={self.run_id}",
            )
        return self.download(found[0], folder, "Predict again.")

    def log_prediction(self, path: Path, dataset: str) -> None:
        """Keep a friend tree or a table of a dataset; of several tables the last is the one to evaluate."""
        self.recorder.file(path, PREDICTIONS)
        if path.suffix != ".root":
            self.recorder.tag(_latest_tag(dataset), f"{PREDICTIONS}/{path.name}")

    def config(self, artifact: str = TRAIN_CONFIG) -> dict[str, Any]:
        """A resolved config of the run; empty where the training had none."""
        if not self.has(artifact):
            return {}
        content: dict[str, Any] = yaml.safe_load(self.text(artifact)) or {}
        return content

    def outputs(self) -> Outputs:
        """What the run's models tell; of a run before there were tasks, classes."""
        config = self.config()
        task, targets = config.get("task", "classification"), config.get("targets") or ()
        return Outputs.of(task, self.skim_metadata()["class_names"], targets)

    def skim_metadata(self) -> dict[str, Any]:
        """Metadata of the skim that was trained on."""
        metadata: dict[str, Any] = json.loads(self.text(SKIM_METADATA))
        return metadata

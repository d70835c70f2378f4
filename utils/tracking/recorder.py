"""Writing to a run: parameters, stepped curves, metrics, texts, files and folders, in few requests."""

import re
import tempfile
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from utils.logs import get_logger

logger = get_logger(__name__)

BATCH_SIZE = 1000  # metrics that MLflow takes at a time
PARAM_LENGTH = 6000
_CURVE = re.compile(r"(train|valid)_\d+-")


class RunRecorder:
    """Logs to one run through the client, so that the run need not be the active one.

    Parameters
    ----------
    client : of the store.
    run_id : whose artifacts, metrics and parameters are written.
    resumed : the run has metrics of before an interruption: what it has of a name and a step is not logged again.
    """

    def __init__(self, client: MlflowClient, run_id: str, resumed: bool = False) -> None:
        self._client = client
        self.run_id = run_id
        self.resumed = resumed
        self._curves: list[Metric] = []
        self._steps: dict[str, set[int]] = {}

    def params(self, values: Mapping[str, Any]) -> None:
        """Parameters; nested mappings become dotted names.

        Those that the run has already stay: `mlflow run` logs what was typed, and MLflow changes no parameter.
        """
        known = self._client.get_run(self.run_id).data.params
        flat = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in _flattened(values) if key not in known]
        for start in range(0, len(flat), 100):
            self._client.log_batch(self.run_id, params=flat[start : start + 100])

    def metrics(self, values: Mapping[str, float]) -> None:
        """Metrics without steps, once each."""
        now = int(time.time() * 1000)
        self._log([Metric(key, float(value), now, 0) for key, value in values.items()])

    def curve_point(self, step: int, values: Mapping[str, float]) -> None:
        """One step of learning curves; kept until `flush`.

        What is flushed stays in the run for good. So it is flushed only with what makes it last: a checkpoint, or the
        finished fold.
        """
        now = int(time.time() * 1000)
        self._curves += [Metric(key, float(value), now, step) for key, value in values.items()]

    def flush(self) -> None:
        """Send the curves."""
        points, self._curves = self._curves, []
        self._log(points)

    def logged_curves(self) -> list[tuple[int, dict[str, float]]]:
        """(step, values by name), steps ascending, of all learning curves that the run has already."""
        by_step: dict[int, dict[str, float]] = {}
        for key in self._client.get_run(self.run_id).data.metrics:
            if _CURVE.match(key):
                for point in self._client.get_metric_history(self.run_id, key):
                    by_step.setdefault(point.step, {})[key] = point.value
        return sorted(by_step.items())

    def _log(self, points: list[Metric]) -> None:
        if self.resumed:
            points = [point for point in points if point.step not in self._steps_of(point.key)]
        for start in range(0, len(points), BATCH_SIZE):
            self._client.log_batch(self.run_id, metrics=points[start : start + BATCH_SIZE])

    def _steps_of(self, key: str) -> set[int]:
        if key not in self._steps:
            self._steps[key] = {point.step for point in self._client.get_metric_history(self.run_id, key)}
        return self._steps[key]

    def tag(self, key: str, value: str) -> None:
        """A tag of the run."""
        self._client.set_tag(self.run_id, key, value)

    def tags(self) -> dict[str, str]:
        """The tags of the run."""
        return dict(self._client.get_run(self.run_id).data.tags)

    def artifacts(self, folder: str | None = None) -> list[str]:
        """Paths of the artifacts in a folder of the run."""
        return [info.path for info in self._client.list_artifacts(self.run_id, folder)]

    def download(self, artifact: str, folder: Path) -> Path:
        """Copy an artifact, or a folder of them, into a local folder that exists."""
        return Path(self._client.download_artifacts(self.run_id, artifact, str(folder)))

    @cached_property
    def _store(self) -> Any:
        uri = self._client.get_run(self.run_id).info.artifact_uri
        return get_artifact_repository(uri, tracking_uri=self._client.tracking_uri)

    def remove(self, artifact: str) -> None:
        """Remove an artifact, or a folder of them. A store that removes nothing keeps it, and the log says so."""
        try:
            self._store.delete_artifacts(artifact)
        except (MlflowException, NotImplementedError, OSError) as error:
            logger.debug("'%s' stays in the run: its store does not remove it (%s)", artifact, error)

    def forget_model(self, name: str) -> None:
        """Delete the models of this name that the run has logged: an interruption may have come right after one."""
        experiment = self._client.get_run(self.run_id).info.experiment_id
        for model in self._client.search_logged_models([experiment], filter_string=f"name = '{name}'"):
            if model.source_run_id == self.run_id:
                self._client.delete_logged_model(model.model_id)

    def file(self, path: Path, folder: str | None = None) -> None:
        """A file as an artifact, in `folder` of the run."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def folder(self, path: Path, folder: str | None = None) -> None:
        """All files of a folder as artifacts."""
        self._client.log_artifacts(self.run_id, str(path), folder)

    def text(self, text: str, artifact: str) -> None:
        """A text as the artifact `artifact`."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / Path(artifact).name
            path.write_text(text)
            parent = str(Path(artifact).parent)
            self.file(path, None if parent == "." else parent)

    def yaml(self, content: Any, artifact: str) -> None:
        """Plain values as a YAML artifact."""
        self.text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), artifact)


def _flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat += _flattened(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat

"""Writing to a run: parameters, stepped curves, metrics, texts, files and folders, in few requests."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

BATCH_SIZE = 1000  # metrics that MLflow takes at a time
PARAM_LENGTH = 6000


class RunRecorder:
    """Logs to one run through the client, so that the run need not be the active one.

    Parameters
    ----------
    client : of the store.
    run_id : whose artifacts, metrics and parameters are written.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self.run_id = run_id
        self._curves: list[Metric] = []

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
        batch = [Metric(key, float(value), now, 0) for key, value in values.items()]
        for start in range(0, len(batch), BATCH_SIZE):
            self._client.log_batch(self.run_id, metrics=batch[start : start + BATCH_SIZE])

    def curve_point(self, step: int, values: Mapping[str, float]) -> None:
        """One step of learning curves; sent in batches, the rest by `flush`."""
        now = int(time.time() * 1000)
        self._curves += [Metric(key, float(value), now, step) for key, value in values.items()]
        if len(self._curves) >= BATCH_SIZE:
            self.flush()

    def flush(self) -> None:
        """Send what is left of the curves."""
        while self._curves:
            batch, self._curves = self._curves[:BATCH_SIZE], self._curves[BATCH_SIZE:]
            self._client.log_batch(self.run_id, metrics=batch)

    def tag(self, key: str, value: str) -> None:
        """A tag of the run."""
        self._client.set_tag(self.run_id, key, value)

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

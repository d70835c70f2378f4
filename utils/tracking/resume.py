"""Going on with an interrupted training: only with what it was started with, else the run would be neither."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from utils.errors import RunError
from utils.logs import get_logger
from utils.models.crosstrain import TrainingSet
from utils.models.spec import TrainSpec
from utils.tracking.environment import ENVIRONMENT, changed_packages, sources_of
from utils.tracking.recorder import RunRecorder
from utils.tracking.tracked_run import TRAIN_CONFIG

logger = get_logger(__name__)

STARTED_TAG = "crossfold.training_set"  # what is trained on; set when everything before the first fold is logged

# Where the skim lies, where runs are kept, how they are called: a training goes on without regard to these.
_HARMLESS = ("resume", "tracking_uri", "experiment_name", "run_name", "train_file", "vars")
_LIBRARIES = ("numpy", "lightgbm", "scikit-learn", "torch", "keras", "tensorflow")
_SAMPLES, _SAMPLE_ROWS = 16, 256
_SHOWN = 10


def has_started(recorder: RunRecorder) -> bool:
    """Whether an interrupted training had come to its first fold."""
    return recorder.resumed and STARTED_TAG in recorder.tags()


def mark_started(recorder: RunRecorder, training: TrainingSet) -> None:
    """All that comes before the first fold is in the run."""
    recorder.tag(STARTED_TAG, digest_of(training))


def check_unchanged(
    recorder: RunRecorder, spec: TrainSpec, config: Mapping[str, Any], training: TrainingSet, scratch: Path
) -> None:
    """RunError unless config, code of the user's and skim are those that the training was started with."""
    recorded = yaml.safe_load(recorder.download(TRAIN_CONFIG, scratch).read_text())
    changes = differences(recorded, yaml.safe_load(yaml.safe_dump(dict(config))))
    for artifact, path in sources_of(spec).items():
        if not changes and recorder.download(artifact, scratch).read_bytes() != path.read_bytes():
            changes[str(path)] = "the file has changed"
    if changes:
        shown = "; ".join(f"{key}: {change}" for key, change in list(changes.items())[:_SHOWN])
        more = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        raise RunError(
            f"run '{recorder.run_id}' was started with another config ({shown}{more})",
            where=next(iter(changes)),
            remedy=f"Give what is in its {TRAIN_CONFIG}, or train anew without resume.",
        )
    if recorder.tags()[STARTED_TAG] != digest_of(training):
        raise RunError(
            f"the skim is not the one that run '{recorder.run_id}' was started with",
            where=str(training.data.skim.path),
            remedy="Name that one (train_file=…), or train anew without resume.",
        )
    if recorded["train_file"] != config["train_file"]:  # the later stages look for the skims where it lies now
        recorder.yaml({**recorded, "train_file": config["train_file"]}, TRAIN_CONFIG)
    changed = changed_packages(recorder.download(ENVIRONMENT, scratch).read_text(), _LIBRARIES)
    if changed:
        logger.warning(
            "the training was started with other versions, so its numbers may differ: %s", ", ".join(changed)
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key → `old → new`, for all keys of two configs that change what is trained."""
    old, new = _leaves(before), _leaves(now)
    changes = {}
    for key in sorted({*old, *new}):
        if key.partition(".")[0] in _HARMLESS:
            continue
        values: tuple[Any, ...] = old.get(key), new.get(key)  # what is null may as well be absent
        if key == "gpus":  # other ones may be free, as long as there are as many of them
            values = tuple(len(value) if isinstance(value, list) else value for value in values)
        if values[0] != values[1]:
            changes[key] = f"{values[0]} → {values[1]}"
    return changes


def _leaves(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def digest_of(training: TrainingSet) -> str:
    """A hash of the events: folds, targets and weights of all of them, features of some, and what the skim says."""
    data = training.data
    keys = ("cont_features", "cat_features", "class_names", "identity", "input_pipe", "cutflow")
    said = {key: data.skim.metadata.get(key) for key in keys}
    digest = hashlib.sha256(json.dumps([data.feature_names, said], sort_keys=True).encode())
    for values in (training.fold_N, data.class_N, data.target_N, training.weight_N, training.may_train_N):
        if values is not None:
            digest.update(np.ascontiguousarray(values).tobytes())
    for start in np.linspace(0, max(0, data.skim.n_rows - _SAMPLE_ROWS), _SAMPLES).astype(int):
        digest.update(data.features(int(start), int(start) + _SAMPLE_ROWS).tobytes())
    return digest.hexdigest()[:32]

"""What a network, and a checkpoint of its training, have to know of the data and of the config: plain values."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import RunError
from utils.factory import Factory
from utils.loading import EventSource
from utils.models.estimator import FitContext

# Of model_param, what does not change what a training becomes.
_FREE = ("threads", "lr_finder")


def source_of(network: Factory) -> str | None:
    """The user's file that defines the network; None for one of an installed module."""
    path, _, _ = network.target.rpartition(":")
    return Path(path).read_text() if ".py:" in network.target else None


def shape_of(train: EventSource) -> dict[str, Any]:
    """Task, names of the features, padded and categorical columns, outputs; for a regression the targets' spread."""
    data = train.data
    categories = {
        str(column): int(data.skim.read([name])[name].max(initial=0)) + 1
        for column, name in zip(data.categorical_indices, data.cat_features, strict=True)
    }
    names = data.feature_names
    shape = {
        "task": data.task,
        "names": list(names),
        "padded": list(data.padded_indices),
        "n_features": len(names),
        "categories": categories,
        "n_outputs": data.n_outputs,
    }
    if data.task == "autoencoder":
        columns = [i for i in range(len(names)) if i not in data.categorical_indices]
        return {**shape, "columns": columns, "n_outputs": len(columns)}
    if data.task == "regression":
        target_NT = np.asarray(train.target_N, np.float64)
        mean_T = np.average(target_NT, axis=0, weights=train.weight_N)
        std_T = np.sqrt(np.average((target_NT - mean_T) ** 2, axis=0, weights=train.weight_N))
        return {**shape, "offset": mean_T.tolist(), "scale": np.where(std_T > 0, std_T, 1.0).tolist()}
    return shape


def made_by(
    params: Mapping[str, Any],
    source: str | None,
    shape: Mapping[str, Any],
    context: FitContext,
    train: EventSource,
    valid: EventSource,
) -> dict[str, Any]:
    """All that decides what a training becomes, as plain values that can be compared."""
    plain = {f"model_param.{name}": value for name, value in json.loads(json.dumps(params)).items()}
    for name in _FREE:
        plain.pop(f"model_param.{name}", None)
    return {
        **plain,
        "network": hashlib.sha256(source.encode()).hexdigest() if source else None,
        "features": list(shape["names"]),
        "init_from": context.initial is not None,
        "freeze": list(context.freeze),
        "processes": context.size,
        "training events": _fingerprint(train),
        "validation events": _fingerprint(valid),
    }


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """RunError where a checkpoint was made by another training."""
    differing = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if differing:
        said = ", ".join(f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in differing[:3])
        raise RunError(
            f"the training to resume was another one: {said}",
            where=where,
            remedy="Resume with its config and its data, or start a new run.",
        )


def _fingerprint(source: EventSource) -> str:
    """Which events, with which weights and targets."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (source.rows_N, source.weight_N, source.target_N):
        digest.update(b"none" if values is None else np.ascontiguousarray(values).tobytes())
    return f"{source.n_events:,} ({digest.hexdigest()})"

"""How a user's model is trained: MLaaS4HEP's settings, from the config, from params.json, or from the skim."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, get_args

from utils.errors import ConfigError, nearest_name
from utils.preprocessing.mlaas4hep.params import Params

Meaning = Literal["auto", "probabilities", "logits"]
STANDARD = "standard"


@dataclass(frozen=True)
class Settings:
    """None: as params.json says, else as the skim was made with, else the default.

    Parameters
    ----------
    file : with `model(idim)`.
    params : params.json.
    epochs : of every chunk, or with `training: standard` of all; 10.
    batch_size : 50.
    chunk_size : training events of a chunk; -1: one chunk.
    training : `standard`: every epoch goes over all chunks; anything else: all epochs of a chunk, then the next chunk.
    metrics : true, or {threshold: 0.5}: say AUC, confusion matrix, precision and recall after the training.
    verbose : handed to Keras' fit.
    learning_rate : of Adam, for a torch module without a `torch_train`.
    outputs : what the model's outputs are; auto: tried out, see `meaning`.
    seed : of weights and order.
    fout : copy of the trained model in its library's format; NAME_1.SUFFIX, … for the further folds.
    """

    file: str
    params: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    chunk_size: int | None = None
    training: str | None = None
    metrics: Any = None
    verbose: int | None = None
    learning_rate: float = 1e-3
    outputs: Meaning = "auto"
    seed: int = 1
    fout: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "chunk_size"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                if name == "chunk_size" and value == -1:
                    continue
                raise _bad(name, value, "Use a whole number above 0.")
        if not _is_positive(self.learning_rate):
            raise _bad("learning_rate", self.learning_rate, "Use a number above 0.")
        if self.outputs not in get_args(Meaning):
            raise _bad("outputs", self.outputs, f"Use {', '.join(get_args(Meaning))}.")

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """From `model_param`."""
        known = [f.name for f in fields(cls)]
        for name in params:
            if name not in known:
                raise ConfigError(
                    f"the training of a model file has no parameter '{name}'",
                    where=f"model_param.{name}",
                    nearest=nearest_name(name, known),
                    remedy=f"Known are {', '.join(known)}.",
                )
        return cls(**{"file": "", **params})

    def filled(self, skim_config: Mapping[str, Any]) -> "Settings":
        """With what is still open taken from params.json, else from the config of the skim, else by default."""
        if self.params is not None:
            found = Params.load(self.params)
            given = {"chunk_size": found.chunk_size, **found.carried}
        else:
            given = {**dict(skim_config.get("train_params") or {})}
            if "mixing_chunk" in skim_config:
                given["chunk_size"] = skim_config["mixing_chunk"]
        defaults = {"epochs": 10, "batch_size": 50, "chunk_size": -1, "training": "", "metrics": False, "verbose": 0}
        new = {name: given.get(name, default) for name, default in defaults.items() if getattr(self, name) is None}
        return replace(self, **new)

    @property
    def is_standard(self) -> bool:
        """Whether every epoch goes over all chunks."""
        return self.training == STANDARD

    @property
    def threshold(self) -> float | None:
        """Of class 1, for the metrics; None where none are asked for."""
        if isinstance(self.metrics, Mapping):
            return float(self.metrics.get("threshold", 0.5))
        return 0.5 if self.metrics else None


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _bad(name: str, value: Any, remedy: str) -> ConfigError:
    return ConfigError(f"{name} is {value}", where=f"model_param.{name}", remedy=remedy)

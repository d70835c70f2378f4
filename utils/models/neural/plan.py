"""How a network is trained: every option of `model_param`, checked, the same for torch and for Keras."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args

from utils.errors import ConfigError, nearest_name
from utils.factory import Factory
from utils.readers.spec import ChunkSize

Precision = Literal["fp32", "bf16", "fp16"]
BestBy = Literal["loss", "auc"]
Schedule = Literal["none", "steps", "flat+decay", "flat+linear", "flat+cos", "warmup+cos", "one-cycle", "plateau"]


@dataclass(frozen=True, kw_only=True)
class NeuralPlan:
    """The training of one network.

    Parameters
    ----------
    network : what makes it, by `_target_`; called with the shape of the data (see the estimators).
    epochs : at most so many passes over the training events.
    batch_size : events of a step.
    learning_rate : at the start, or at the peak of a schedule that has one.
    optimizer, optimizer_param : its name (adam, adamw, radam, ranger, or any of the library), and further arguments.
    weight_decay : for weights of layers; not for biases, norms and tokens.
    schedule, schedule_param : how the learning rate changes, and its numbers.
    clip_grad_norm : largest norm of a gradient; None: any.
    precision : fp32, bf16, or fp16 with a scaled loss.
    compile : let the library compile the network.
    ema : decay of an exponential moving average of the weights, which is then the model; None: no average.
    early_stopping : epochs without an improvement after which training ends; None: never.
    best_by : which value of the whole validation set tells the epoch to keep.
    seed : of initial weights, order and dropout.
    buffer : memory for events of the skim.
    threads : of the library; None: as it likes.
    """

    network: Factory
    epochs: int = 50
    batch_size: int = 4096
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    optimizer_param: Mapping[str, Any] = field(default_factory=dict)
    weight_decay: float = 1e-2
    schedule: Schedule = "none"
    schedule_param: Mapping[str, Any] = field(default_factory=dict)
    clip_grad_norm: float | None = None
    precision: Precision = "fp32"
    compile: bool = False
    ema: float | None = None
    early_stopping: int | None = 10
    best_by: BestBy = "loss"
    seed: int = 1
    buffer: ChunkSize = ChunkSize(n_bytes=1_000_000_000)
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch_size", 1), ("early_stopping", 1), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise _bad(name, value, f"Use {low} or more.")
        for name in ("learning_rate", "clip_grad_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise _bad(name, value, "Use a number above zero.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise _bad("ema", self.ema, "Use a decay between 0 and 1, such as 0.999.")
        for name, choices in (("precision", Precision), ("best_by", BestBy), ("schedule", Schedule)):
            value, known = getattr(self, name), get_args(choices)
            if value not in known:
                raise ConfigError(
                    f"{name} is '{value}'",
                    where=f"model_param.{name}",
                    nearest=nearest_name(str(value), known),
                    remedy=f"Use {', '.join(known)}.",
                )

    @classmethod
    def from_params(cls, params: Mapping[str, Any], default_network: str) -> Self:
        """From `model_param`.

        Parameters
        ----------
        params : plain values.
        default_network : target of the network where the config names none.
        """
        known = [f.name for f in fields(cls)]
        for name in params:
            if name not in known:
                raise ConfigError(
                    f"a network's training has no parameter '{name}'",
                    where=f"model_param.{name}",
                    nearest=nearest_name(name, known),
                    remedy=f"Known are {', '.join(known)}.",
                )
        given = dict(params)
        network = given.pop("network", None) or {}
        if isinstance(network, Mapping) and "_target_" not in network:
            network = {"_target_": default_network, **network}
        if "buffer" in given:
            given["buffer"] = ChunkSize.from_config(given["buffer"], "model_param.buffer")
        return cls(network=Factory.from_config(network, "model_param.network"), **given)


def _bad(name: str, value: Any, remedy: str) -> ConfigError:
    return ConfigError(f"{name} is {value}", where=f"model_param.{name}", remedy=remedy)

"""How a network is trained: every option of `model_param`, checked, the same for torch and for Keras."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args

from utils.errors import ConfigError, nearest_name
from utils.factory import Factory
from utils.outputs import Task
from utils.readers.spec import ChunkSize

Precision = Literal["fp32", "bf16", "fp16"]
BestBy = Literal["loss", "auc"]
ValueLoss = Literal["mse", "mae", "huber"]
Schedule = Literal["none", "steps", "flat+decay", "flat+linear", "flat+cos", "warmup+cos", "one-cycle", "plateau"]


@dataclass(frozen=True)
class LearningRateRange:
    """Learning rates to try, from `start` to `end`, in `n_steps` equal factors."""

    start: float = 1e-6
    end: float = 1.0
    n_steps: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.start < self.end or self.n_steps < 10:
            raise _bad(
                "lr_finder",
                f"{self.start:g} to {self.end:g} in {self.n_steps} steps",
                "Use 0 < start < end, and 10 steps or more.",
            )

    @classmethod
    def from_config(cls, value: Any) -> "LearningRateRange | None":
        """True: the usual range; false or null: none; a mapping with some of start, end, n_steps."""
        if value is None or isinstance(value, bool):
            return cls() if value else None
        known = [f.name for f in fields(cls)]
        if not isinstance(value, Mapping) or not all(_is_number(number) for number in value.values()):
            raise _bad("lr_finder", repr(value), "Use true, or {start: 1e-6, end: 1.0, n_steps: 200}.")
        for name in value:
            if name not in known:
                raise ConfigError(
                    f"lr_finder has no '{name}'",
                    where=f"model_param.lr_finder.{name}",
                    nearest=nearest_name(str(name), known),
                    remedy=f"It has {', '.join(known)}.",
                )
        return cls(**value)


@dataclass(frozen=True, kw_only=True)
class NeuralPlan:
    """The training of one network.

    Parameters
    ----------
    network : what makes it, by `_target_`, and its own parameters; it is told `n_features`, `n_outputs` and
        `categories` as far as it asks.
    epochs : at most so many passes over the training events.
    batch_size : events of a step, in all processes together.
    learning_rate : at the start, or at the peak of a schedule that has one.
    optimizer, optimizer_param : its name (adam, adamw, radam, ranger, or any of the library), and further arguments.
    weight_decay : for weights of layers; not for biases, norms and tokens.
    schedule, schedule_param : how the learning rate changes, and its numbers.
    clip_grad_norm : largest norm of a gradient; None: any.
    precision : fp32, bf16, or fp16 with a scaled loss.
    compile : let torch or XLA compile the network.
    ema : decay of an exponential moving average of the weights, which is then the model; None: no average.
    loss : of the values of a regression, in units of a target's spread, or of an autoencoder: mse, mae, or huber, which
        is quadratic up to one and linear beyond; None: mse, and the cross entropy of classes.
    early_stopping : epochs without an improvement after which training ends; None: never.
    best_by : which value of the whole validation set tells the epoch to keep.
    seed : of initial weights, order and dropout.
    buffer : memory for events of the skim, or a number of them, in all processes together.
    threads : of the library in each process; None: as it likes.
    lr_finder : before the first fold is trained, try learning rates: `{start, end, n_steps}`, or true for the usual
        ones. The figure is for you to look at: nothing is changed by it.
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
    loss: ValueLoss | None = None
    early_stopping: int | None = 10
    best_by: BestBy = "loss"
    seed: int = 1
    buffer: ChunkSize = ChunkSize(n_bytes=1_000_000_000)
    threads: int | None = None
    lr_finder: LearningRateRange | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "early_stopping", "threads"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value, int) and value >= 1):
                raise _bad(name, value, "Use a whole number, 1 or more.")
        for name in ("learning_rate", "clip_grad_norm"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value < float("inf")):
                raise _bad(name, value, "Use a number above zero.")
        for name in ("weight_decay", "seed"):
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0):
                raise _bad(name, value, "Use zero or more.")
        if self.ema is not None and not (_is_number(self.ema) and 0 < self.ema < 1):
            raise _bad("ema", self.ema, "Use a decay between 0 and 1, such as 0.999.")
        choices_of = {"precision": Precision, "best_by": BestBy, "schedule": Schedule, "loss": ValueLoss}
        for name, choices in choices_of.items():
            value, known = getattr(self, name), get_args(choices)
            if value not in known and not (name == "loss" and value is None):
                raise ConfigError(
                    f"{name} is '{value}'",
                    where=f"model_param.{name}",
                    nearest=nearest_name(str(value), known),
                    remedy=f"Use {', '.join(known)}.",
                )

    def value_loss(self, task: Task) -> ValueLoss:
        """The loss of values; ConfigError where one is named and it is classes that are told."""
        if task == "classification" and self.loss is not None:
            raise ConfigError(
                f"loss={self.loss} is one of values, and classes have their cross entropy",
                where="model_param.loss",
                remedy="Leave it out, or set task=regression or task=autoencoder.",
            )
        return self.loss or "mse"

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
        if "lr_finder" in given:
            given["lr_finder"] = LearningRateRange.from_config(given["lr_finder"])
        return cls(network=Factory.from_config(network, "model_param.network"), **given)


def _is_number(value: Any, kind: Any = int | float) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _bad(name: str, value: Any, remedy: str) -> ConfigError:
    return ConfigError(f"{name} is {value}", where=f"model_param.{name}", remedy=remedy)

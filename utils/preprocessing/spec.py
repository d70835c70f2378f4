"""What a preprocessing config says, checked: every key and its default."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from utils.errors import ConfigError, nearest_name
from utils.factory import Factory

Compression = Literal["none", "blosc:lz4", "blosc:zstd"]

# Columns that preprocessing itself makes; they can be listed under misc_features like a branch.
CLASS_WEIGHT_COLUMNS = ("w_class_imbalance", "class_weight", "w_cp")
ORIGIN_COLUMNS = ("file_index", "entry", "identity")
ADDED_COLUMNS = (*CLASS_WEIGHT_COLUMNS, *ORIGIN_COLUMNS)


@dataclass(frozen=True)
class Process:
    """A selection of a sample's events, and the class they train as (None outside training)."""

    name: str
    cut: str | None
    target: int | None


@dataclass(frozen=True)
class Sample:
    """One `{sample_name}` of the input, and the processes it feeds."""

    name: str
    processes: tuple[Process, ...]

    @classmethod
    def from_config(cls, value: Any, where: str) -> Self:
        """A name alone, or the one-key mapping `name: {process: {cut, class}}`."""
        if isinstance(value, str):
            return cls(value, (Process(value, None, None),))
        if not isinstance(value, Mapping) or len(value) != 1:
            raise ConfigError(
                f"a sample is a name or a mapping with one key, not {value!r}",
                where=where,
                remedy="Write '- NAME' or '- NAME: {PROCESS: {cut: …, class: …}}'.",
            )
        ((name, processes),) = value.items()
        if not isinstance(processes, Mapping) or not processes:
            raise ConfigError(f"sample '{name}' has no processes", where=where, remedy="Add PROCESS: {cut: …, class: …}.")
        return cls(str(name), tuple(_process(str(key), body, f"{where}.{name}.{key}") for key, body in processes.items()))


def _process(name: str, body: Any, where: str) -> Process:
    body = {} if body is None else body
    if not isinstance(body, Mapping):
        raise ConfigError(f"a process is a mapping of cut and class, not {body!r}", where=where)
    for key in body:
        if key not in ("cut", "class"):
            raise ConfigError(f"unknown key '{key}'", where=where, nearest=nearest_name(str(key), ("cut", "class")))
    target = body.get("class")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int) or target < 0):
        raise ConfigError(f"class must be 0, 1, 2 …, not {target!r}", where=where)
    cut = body.get("cut")
    return Process(name, None if cut is None else str(cut), target)


@dataclass(frozen=True)
class ScalerSpec:
    """Standardisation of the continuous features by the training split's moments."""

    with_mean: bool = True
    with_std: bool = True


@dataclass(frozen=True)
class PcaSpec:
    """Principal components of the (scaled) continuous features."""

    n_components: int | None = None
    whiten: bool = False


@dataclass(frozen=True)
class NonFinite:
    """What happens to NaN and infinities in features: `error`, `drop` the event, or `fill` with a value."""

    policy: Literal["error", "drop", "fill"] = "error"
    value: float | None = None

    @classmethod
    def from_config(cls, value: Any, where: str) -> Self:
        """`error`, `drop`, or `{fill: value}`."""
        if value in ("error", "drop"):
            return cls(value)
        if isinstance(value, Mapping) and set(value) == {"fill"}:
            try:
                return cls("fill", float(value["fill"]))
            except (TypeError, ValueError):
                pass
        raise ConfigError(f"{value!r} is no policy", where=where, remedy="Use error, drop, or {fill: VALUE}.")


def _doc(text: str, **metadata: Any) -> dict[str, Any]:
    return {"doc": text, **metadata}


@dataclass(frozen=True, kw_only=True)
class PreprocessSpec:
    """Ntuples in, skims out."""

    for_training: bool = field(default=True, metadata=_doc("split into train and test nodes; False: every entry, a node per sample"))
    year: str | None = field(default=None, metadata=_doc("data-taking year, for use in paths as ${year}"))
    input_path: str = field(metadata=_doc("folder of the ntuples"))
    input_filename_template: str = field(default="{sample_name}.root", metadata=_doc("file of a sample; globs make a chain"))
    input_tree_name: str = field(metadata=_doc("name of the tree, may be nested: folder/events"))
    input_samples: tuple[Sample, ...] = field(metadata=_doc("samples and the processes they feed"))
    common_cut: str | None = field(default=None, metadata=_doc("a cut to be used in others as ${common_cut}; not applied by itself"))
    input_branches: tuple[str, ...] | None = field(default=None, metadata=_doc("accepted for ml-framework's configs; what is read follows from what is used"))
    cont_features: tuple[str, ...] = field(metadata=_doc("continuous features"))
    cat_features: tuple[str, ...] | None = field(default=None, metadata=_doc("categorical features (integers)"))
    misc_features: tuple[str, ...] | None = field(default=None, metadata=_doc("other columns to keep: event number, weights, …"))
    new_variables: Mapping[str, str] = field(default_factory=dict, metadata=_doc("name: expression"))
    clip: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict, metadata=_doc("feature: [low, high]"))
    non_finite: NonFinite = field(default=NonFinite(), metadata=_doc("NaN and infinities in features: error | drop | {fill: value}"))
    identity: tuple[str, ...] | Literal["auto", "entry"] = field(default="auto", metadata=_doc("branches that identify an event; auto: run, lumi, event where they exist, else file and entry"))
    train_size: float = field(default=0.8, metadata=_doc("fraction of events in the first output node"))
    seed: int = field(default=0, metadata=_doc("another seed is another train/test split"))
    scaler: ScalerSpec | None = field(default=None, metadata=_doc("{with_mean, with_std}, or null"))
    pca: PcaSpec | None = field(default=None, metadata=_doc("{n_components, whiten}, or null"))
    steps: tuple[Factory, ...] = field(default=(), metadata=_doc("your own steps of the input pipe, by _target_"))
    weight_name: str | None = field(default=None, metadata=_doc("signed event weight, for yields and w_cp"))
    compute_w_CP: bool = field(default=False, metadata=_doc("add class_weight and w_cp"))  # noqa: N815 (ml-framework's key)
    input_pipe_file: str | None = field(default=None, metadata=_doc("fitted pipe of the training, to be checked against"))
    output_path: str = field(metadata=_doc("folder of the skims"))
    output_filename_template: str = field(default="{sample_name}", metadata=_doc("name of an output node's file, without .h5"))
    output_samples: tuple[str, ...] = field(default=("train", "test"), metadata=_doc("names of the two output nodes"))
    pipe_name: str = field(default="input_pipe", metadata=_doc("name of the fitted pipe's file, without .json"))
    compression: Compression = field(default="none", metadata=_doc("none | blosc:lz4 | blosc:zstd"))
    chunk_size: int = field(default=200_000, metadata=_doc("events read at a time; no result depends on it"))
    n_threads: int = field(default=2, metadata=_doc("threads that decompress"))
    overwrite: bool | Literal["error"] = field(default="error", metadata=_doc("error | true"))
    vars: Mapping[str, Any] = field(default_factory=dict, metadata=_doc("your own variables, for use as ${vars.NAME}"))

    def __post_init__(self) -> None:
        self._check_samples()
        self._check_features()
        if not 0.0 < self.train_size <= 1.0:
            raise ConfigError(f"train_size is {self.train_size}", where="train_size", remedy="Use a fraction in (0, 1].")
        if self.for_training and len(self.output_samples) != 2:
            raise ConfigError("output_samples needs two names", where="output_samples", remedy="Write [train, test].")
        if self.chunk_size < 1:
            raise ConfigError(f"chunk_size is {self.chunk_size}", where="chunk_size", remedy="Use 1 or more events.")
        if self.compute_w_CP and self.weight_name is None:
            raise ConfigError("compute_w_CP needs weight_name", where="compute_w_CP", remedy="Name the signed event weight.")
        if "{sample_name}" not in self.output_filename_template:
            raise ConfigError(
                "without {sample_name} every node would have the same file",
                where="output_filename_template",
                remedy="Write '{sample_name}'.",
            )

    def _check_samples(self) -> None:
        if not self.input_samples:
            raise ConfigError("there are no input samples", where="input_samples", remedy="List at least one.")
        names = [sample.name for sample in self.input_samples]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"sample '{twice}' is listed twice", where="input_samples", remedy="List its processes together.")
        if not self.for_training:
            return
        without = [f"{s.name}.{p.name}" for s in self.input_samples for p in s.processes if p.target is None]
        if without:
            raise ConfigError(
                f"no class is given for {', '.join(without)}", where="input_samples", remedy="Add 'class: 0' (1, 2 …) to it."
            )
        targets = sorted({p.target for s in self.input_samples for p in s.processes if p.target is not None})
        if targets != list(range(len(targets))):
            raise ConfigError(f"classes are {targets}", where="input_samples", remedy="Number them 0, 1, 2 … without gaps.")

    def _check_features(self) -> None:
        if not self.features:
            raise ConfigError("there are no features", where="cont_features", remedy="List at least one.")
        for group in (self.cont_features, self.cat_features or (), self.misc_features or ()):
            twice = sorted({name for name in group if group.count(name) > 1})
            if twice:
                raise ConfigError(f"'{twice[0]}' is listed twice", where="features", remedy="List it once.")
        both = sorted(set(self.cont_features) & set(self.cat_features or ()))
        if both:
            raise ConfigError(f"'{both[0]}' is both continuous and categorical", where="features", remedy="Choose one.")
        for name in self.clip:
            if name not in self.features:
                raise ConfigError(
                    f"'{name}' is no feature", where="clip", nearest=nearest_name(name, self.features), remedy="Clip features only."
                )
        leaks = sorted(set(self.features) & {*CLASS_WEIGHT_COLUMNS, "target", "group_name"})
        if leaks:
            raise ConfigError(f"'{leaks[0]}' gives the class away", where="cont_features", remedy="Move it to misc_features.")

    @property
    def features(self) -> tuple[str, ...]:
        """Continuous, then categorical features: the order in which models see them."""
        return (*self.cont_features, *(self.cat_features or ()))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of every class: that of the first process listed for it. Empty outside training."""
        names: dict[int, str] = {}
        for sample in self.input_samples:
            for process in sample.processes:
                if process.target is not None:
                    names.setdefault(process.target, process.name)
        return tuple(names[target] for target in sorted(names))

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 outside training."""
        return len(self.class_names)

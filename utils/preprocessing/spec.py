"""What a preprocessing config says, checked: every key and its default."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from utils.errors import ConfigError, nearest_name
from utils.executors.spec import ExecutorKeys
from utils.factory import Factory
from utils.keys import key
from utils.preprocessing.jagged_spec import ImageSpec, check_jagged, padded_names
from utils.preprocessing.mlaas4hep.spec import Mlaas4hepFiles
from utils.readers.spec import ReadingKeys

Compression = Literal["none", "blosc:lz4", "blosc:zstd"]
Order = Literal["input", "mixed", "shuffled"]

# Columns that preprocessing itself makes; they can be listed under misc_features like a branch.
CLASS_WEIGHT_COLUMNS = ("w_class_imbalance", "class_weight", "w_cp")
ORIGIN_COLUMNS = ("file_index", "entry", "identity")
TARGET_COLUMNS = ("target", "group_name")
ADDED_COLUMNS = (*CLASS_WEIGHT_COLUMNS, *ORIGIN_COLUMNS, *TARGET_COLUMNS)
# Lines of the cutflow, beside the output nodes.
CUTFLOW_STEPS = ("read", "cut")


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
            raise ConfigError(
                f"sample '{name}' has no processes", where=where, remedy="Add PROCESS: {cut: …, class: …}."
            )
        return cls(
            str(name), tuple(_process(str(key), body, f"{where}.{name}.{key}") for key, body in processes.items())
        )


def _process(name: str, body: Any, where: str) -> Process:
    body = {} if body is None else body
    if not isinstance(body, Mapping):
        raise ConfigError(f"a process is a mapping of cut and class, not {body!r}", where=where)
    for option in body:
        if option not in ("cut", "class"):
            raise ConfigError(
                f"unknown key '{option}'", where=where, nearest=nearest_name(str(option), ("cut", "class"))
            )
    target = body.get("class")
    if target is not None and (isinstance(target, bool) or not isinstance(target, int) or target < 0):
        raise ConfigError(f"class must be 0, 1, 2 …, not {target!r}", where=where)
    cut = body.get("cut")
    return Process(name, None if cut is None else str(cut), target)


@dataclass(frozen=True)
class ScalerSpec:
    """Standardisation of the continuous features by the training split's moments."""

    with_mean: bool = key("shift every feature to mean zero", default=True)
    with_std: bool = key("scale every feature to unit standard deviation", default=True)


@dataclass(frozen=True)
class PcaSpec:
    """Principal components of the (scaled) continuous features."""

    n_components: int | None = key("how many to keep; null: all", default=None)
    whiten: bool = key("scale every component to unit variance", default=False)


@dataclass(frozen=True)
class MinMaxSpec:
    """MLaaS4HEP's normalisation: (x − min) / (max − min) by branch, as it is where both are equal."""

    specs: str | None = key("global-specs.json with minv and maxv; null: of the training split", default=None)


@dataclass(frozen=True)
class NonFinite:
    """What happens to NaN and infinities in features: `error`, `drop` the event, or `fill` with a value."""

    policy: Literal["error", "drop", "fill"] = "error"
    value: float | None = None

    @classmethod
    def from_config(cls, value: Any, where: str) -> Self:
        """`error`, `drop`, or `{fill: value}`."""
        if isinstance(value, Mapping) and set(value) == {"policy", "value"}:  # as a resolved config has it
            value = {"fill": value["value"]} if value["policy"] == "fill" else value["policy"]
        if value in ("error", "drop"):
            return cls(value)
        if isinstance(value, Mapping) and set(value) == {"fill"}:
            try:
                fill = float(value["fill"])
            except (TypeError, ValueError):
                fill = math.nan
            if math.isfinite(fill):
                return cls("fill", fill)
        raise ConfigError(f"{value!r} is no policy", where=where, remedy="Use error, drop, or {fill: VALUE}.")


@dataclass(frozen=True, kw_only=True)
class PreprocessSpec(ReadingKeys, ExecutorKeys):
    """Ntuples in, skims out."""

    for_training: bool = key("split into train and test nodes; False: every entry, a node per sample", default=True)
    year: str | None = key("data-taking year, for use in paths as ${year}", default=None)
    input_path: str = key("folder of the ntuples")
    input_filename_template: str = key("file of a sample; globs make a chain", default="{sample_name}.root")
    input_tree_name: str | None = key(
        "name of the tree, may be nested: folder/events; null: the only one", default=None
    )
    input_samples: tuple[Sample, ...] = key("samples and the processes they feed")
    input_files: Mapping[str, tuple[str, ...]] = key(
        "sample: [files]; in place of the folder and the template, for samples that are listed here",
        default_factory=dict,
    )
    chunk_transform: Factory | None = key(
        "your own work on the columns between reading and selecting, by _target_", default=None
    )
    common_cut: str | None = key("a cut to be used in others as ${common_cut}; not applied by itself", default=None)
    input_branches: tuple[str, ...] | None = key(
        "accepted for ml-framework's configs; what is read follows from what is used", default=None
    )
    cont_features: tuple[str, ...] = key("continuous features")
    cat_features: tuple[str, ...] | None = key("categorical features (integers)", default=None)
    padded_features: Mapping[str, int] = key(
        "jagged branch or new variable: LENGTH; makes the continuous features NAME_0 …, NaN where there are fewer",
        default_factory=dict,
    )
    jagged_features: Mapping[str, tuple[str, ...]] = key(
        "group: [columns]; kept jagged in the skim, for networks that take any number of objects", default_factory=dict
    )
    images: Mapping[str, ImageSpec] = key("name: {x, y, range, bins, channels, …}", default_factory=dict)
    misc_features: tuple[str, ...] | None = key("other columns to keep: event number, weights, …", default=None)
    new_variables: Mapping[str, str] = key("name: expression", default_factory=dict)
    clip: Mapping[str, tuple[float | None, float | None]] = key("feature: [low, high]", default_factory=dict)
    non_finite: NonFinite = key("NaN and infinities in features: error | drop | {fill: value}", default=NonFinite())
    identity: tuple[str, ...] | Literal["auto", "entry"] = key(
        "branches that identify an event; auto: run, lumi, event where they exist, else file and entry", default="auto"
    )
    train_size: float = key("fraction of events in the first output node", default=0.8)
    seed: int = key("another seed is another train/test split", default=0)
    order: Order = key(
        "of a training skim's rows: input | mixed (chunks drawn from all files in proportion) | shuffled (by the "
        "seed); with the latter two, nevts are those of all samples, drawn from all files in proportion",
        default="input",
    )
    shuffle: bool = key("short for order: shuffled", default=False)
    mixing_chunk: int = key("events of such a chunk, for order: mixed; -1: all", default=10_000)
    minmax: MinMaxSpec | None = key("{specs: FILE or null}, or null", default=None)
    scaler: ScalerSpec | None = key("{with_mean, with_std}, or null", default=None)
    pca: PcaSpec | None = key("{n_components, whiten}, or null", default=None)
    fill_padding: float | None = key("what models see in place of padding, after all other steps", default=None)
    steps: tuple[Factory, ...] = key("your own steps of the input pipe, by _target_", default=())
    weight_name: str | None = key("signed event weight, for yields and w_cp", default=None)
    compute_w_CP: bool = key("add class_weight and w_cp", default=False)
    input_pipe_file: str | None = key("fitted pipe of the training, to be checked against", default=None)
    output_path: str = key("folder of the skims")
    output_filename_template: str = key("name of an output node's file, without .h5", default="{sample_name}")
    output_samples: tuple[str, ...] = key("names of the two output nodes", default=("train", "test"))
    pipe_name: str = key("name of the fitted pipe's file, without .json", default="input_pipe")
    compression: Compression = key("none | blosc:lz4 | blosc:zstd", default="none")
    overwrite: bool | Literal["error"] = key("error | true", default="error")
    train_params: Mapping[str, Any] = key(
        "settings that are only carried to the training, such as epochs", default_factory=dict
    )
    mlaas4hep: Mlaas4hepFiles | None = key(
        "MLaaS4HEP's files.txt, labels.txt, params.json, …; samples and features follow from them", default=None
    )
    vars: Mapping[str, Any] = key("your own variables, for use as ${vars.NAME}", default_factory=dict)

    def __post_init__(self) -> None:
        if self.mlaas4hep is None:
            self._check_samples()
            self._check_features()
        self._check_order()
        if not 0.0 < self.train_size <= 1.0:
            raise ConfigError(
                f"train_size is {self.train_size}", where="train_size", remedy="Use a fraction in (0, 1]."
            )
        nodes = self.output_samples
        if self.for_training and (len(nodes) != 2 or nodes[0] == nodes[1] or {*nodes} & {*CUTFLOW_STEPS}):
            raise ConfigError(
                f"output_samples needs two names of its own, not {list(nodes)}",
                where="output_samples",
                remedy="Write [train, test].",
            )
        self.check_reading()
        self.check_executor()
        if self.compression not in get_args(Compression):
            raise ConfigError(
                f"'{self.compression}' is no compression",
                where="compression",
                nearest=nearest_name(self.compression, get_args(Compression)),
                remedy=f"Use {', '.join(get_args(Compression))}.",
            )
        if self.weight_name is None and (self.compute_w_CP or "w_cp" in (self.misc_features or ())):
            raise ConfigError("w_cp needs weight_name", where="compute_w_CP", remedy="Name the signed event weight.")
        for name in ("input_filename_template", "output_filename_template"):
            self._check_template(name)
        if "{sample_name}" not in self.output_filename_template:
            raise ConfigError(
                "without {sample_name} every node would have the same file",
                where="output_filename_template",
                remedy="Write '{sample_name}'.",
            )

    def _check_order(self) -> None:
        if self.shuffle and self.order == "mixed":
            raise ConfigError("shuffle and order: mixed contradict each other", where="shuffle", remedy="Choose one.")
        if self.shuffle:
            object.__setattr__(self, "order", "shuffled")
        if self.order != "input" and not self.for_training:
            raise ConfigError(
                f"order is '{self.order}', but what is predicted stays in the order of its input",
                where="order",
                remedy="Take order out, or set for_training.",
            )
        if self.mixing_chunk < 1 and self.mixing_chunk != -1:
            raise ConfigError(
                f"mixing_chunk is {self.mixing_chunk}", where="mixing_chunk", remedy="Use 1 or more, or -1 for all."
            )
        names = [sample.name for sample in self.input_samples]
        for name, paths in self.input_files.items() if self.mlaas4hep is None else ():
            if name not in names:
                raise ConfigError(f"no sample '{name}'", where="input_files", nearest=nearest_name(name, names))
            if not paths:
                raise ConfigError(f"no files of '{name}'", where="input_files", remedy="List at least one.")

    def _check_template(self, name: str) -> None:
        template = getattr(self, name)
        try:
            template.format(sample_name="NAME")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"'{template}' cannot be filled in ({type(error).__name__}: {error})",
                where=name,
                remedy="{sample_name} is all that it may hold in braces.",
            ) from error

    def _check_samples(self) -> None:
        if not self.input_samples:
            raise ConfigError("there are no input samples", where="input_samples", remedy="List at least one.")
        names = [sample.name for sample in self.input_samples]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(
                f"sample '{twice}' is listed twice", where="input_samples", remedy="List its processes together."
            )
        if not self.for_training:
            return
        without = [f"{s.name}.{p.name}" for s in self.input_samples for p in s.processes if p.target is None]
        if without:
            raise ConfigError(
                f"no class is given for {', '.join(without)}",
                where="input_samples",
                remedy="Add 'class: 0' (1, 2 …) to it.",
            )
        targets = sorted({p.target for s in self.input_samples for p in s.processes if p.target is not None})
        if targets != list(range(len(targets))):
            raise ConfigError(
                f"classes are {targets}", where="input_samples", remedy="Number them 0, 1, 2 … without gaps."
            )

    def _check_features(self) -> None:
        check_jagged(self.padded_features, self.jagged_features, self.images)
        if not (self.features or self.jagged_features or self.images):
            raise ConfigError("there are no features", where="cont_features", remedy="List at least one.")
        for group in (self.cont_columns, self.cat_features or (), self.misc_features or ()):
            twice = sorted({name for name in group if group.count(name) > 1})
            if twice:
                raise ConfigError(f"'{twice[0]}' is listed twice", where="features", remedy="List it once.")
        both = sorted(set(self.cont_columns) & set(self.cat_features or ()))
        if both:
            raise ConfigError(f"'{both[0]}' is both continuous and categorical", where="features", remedy="Choose one.")
        flat = (*self.cont_features, *(self.cat_features or ()))
        for name in self.clip:
            if name not in (*flat, *self.padded_features):
                raise ConfigError(
                    f"'{name}' is no feature",
                    where="clip",
                    nearest=nearest_name(name, (*flat, *self.padded_features)),
                    remedy="Clip features only, padded ones by the name of their branch.",
                )
        if self.padded_features and self.pca is not None:
            raise ConfigError(
                "principal components need every feature in every event, and padded ones are missing in most",
                where="pca",
                remedy="Take pca out, or reduce the branches in new_variables, for example nth(…, 0, default=0).",
            )
        origin = sorted(set(self.features) & set(ORIGIN_COLUMNS))
        if origin:
            raise ConfigError(
                f"'{origin[0]}' says where an event comes from, and every skim has it",
                where="cont_features",
                remedy="Take it out of the features.",
            )
        leaks = sorted(set(self.features) & {*CLASS_WEIGHT_COLUMNS, *TARGET_COLUMNS})
        if leaks:
            raise ConfigError(
                f"'{leaks[0]}' gives the class away", where="cont_features", remedy="Move it to misc_features."
            )

    @property
    def padded_columns(self) -> tuple[str, ...]:
        """The continuous features NAME_0 … that `padded_features` makes, in order."""
        return padded_names(self.padded_features)

    @property
    def cont_columns(self) -> tuple[str, ...]:
        """All continuous features: the flat ones, then the padded ones."""
        return (*self.cont_features, *self.padded_columns)

    @property
    def features(self) -> tuple[str, ...]:
        """Continuous, then categorical features: the order in which models see them."""
        return (*self.cont_columns, *(self.cat_features or ()))

    @property
    def misc_columns(self) -> tuple[str, ...]:
        """The columns of the group `misc_features`, in order. Features, origin and targets have groups of their own."""
        names = [*(self.misc_features or ()), *(("class_weight", "w_cp") if self.compute_w_CP else ())]
        elsewhere = {*self.features, *ORIGIN_COLUMNS, *TARGET_COLUMNS}
        if not self.for_training:
            elsewhere |= set(CLASS_WEIGHT_COLUMNS)
        elif "w_cp" in names:
            names.append(str(self.weight_name))
        return tuple(dict.fromkeys(name for name in names if name not in elsewhere))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of every class: that of the first process listed for it. Empty outside training."""
        names: dict[int, str] = {}
        for sample in self.input_samples if self.for_training else ():
            for process in sample.processes:
                if process.target is not None:
                    names.setdefault(process.target, process.name)
        return tuple(names[target] for target in sorted(names))

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 outside training."""
        return len(self.class_names)

"""What a prediction config says, checked: every key and its default. What is null is taken from the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from utils.errors import ConfigError, nearest_name
from utils.executors.spec import ExecutorKeys
from utils.keys import key
from utils.readers.spec import ReadingKeys

Kind = Literal["for_datacards", "for_evaluation"]


@dataclass(frozen=True)
class SampleName:
    """A sample by its name; the mapping of a training config is accepted for its name alone."""

    name: str

    @classmethod
    def from_config(cls, value: Any, where: str) -> Self:
        """`NAME`, or `{NAME: …}`."""
        if isinstance(value, Mapping) and len(value) == 1:
            return cls(str(next(iter(value))))
        if isinstance(value, str):
            return cls(value)
        raise ConfigError(f"{value!r} is no sample name", where=where)


@dataclass(frozen=True, kw_only=True)
class PredictSpec(ReadingKeys, ExecutorKeys):
    """A run ID in, scores out: friend trees (for_datacards) or a table per skim (for_evaluation)."""

    kind: Kind = key("for_datacards: a friend tree per sample; for_evaluation: CSV or Parquet per skim")
    run_id: str = key("the training run")
    experiment_id: str | None = key("not needed; checked where it is given", default=None)
    year: str | None = key("not needed where the paths come from the run", default=None)
    orig_path: str | None = key("folder of the ntuples (for_datacards)", default=None)
    orig_filename_template: str | None = key("file of a sample there", default=None)
    orig_tree_name: str | None = key("tree of the ntuples; null: as in the skim", default=None)
    input_path: str | None = key("folder of the skims", default=None)
    input_filename_template: str | None = key("skim of a sample there", default=None)
    sample_names: tuple[SampleName, ...] | None = key("what to predict", default=None)
    misc_features: tuple[str, ...] | None = key("columns to copy to the output", default=None)
    input_pipe_file: str | None = key("checked for identity with the run's pipe", default=None)
    output_path: str = key("friend trees go to OUTPUT_PATH/RUN_ID", default="predictions")
    output_filename_template: str | None = key("name of an output file; .csv or .parquet for tables", default=None)
    output_tree_name: str | None = key("name of the friend tree; null: as the ntuples' tree", default=None)
    log_predictions: bool = key("keep the friend trees in the run, too", default=True)
    overwrite: bool = key("replace outputs of an earlier prediction with this run", default=True)
    tracking_uri: str | None = key(
        "MLflow store; null: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here", default=None
    )
    preprocess_cfg: Mapping[str, Any] = key(
        "the samples' preprocess config, for use in interpolations", default_factory=dict, unresolved="keep"
    )
    input_branches: tuple[str, ...] | None = key("accepted for ml-framework's configs", default=None)
    cont_features: tuple[str, ...] | None = key("checked against the run where it is given", default=None)
    cat_features: tuple[str, ...] | None = key("checked against the run where it is given", default=None)
    vars: Mapping[str, Any] = key("your own variables, for use as ${vars.NAME}", default_factory=dict)

    def __post_init__(self) -> None:
        self.check_reading()
        self.check_executor()
        template = self.output_filename_template
        if template is not None and "{sample_name}" not in template:
            raise ConfigError(
                "without {sample_name} every sample would have the same file",
                where="output_filename_template",
                remedy="Write '{sample_name}_pred.root' or '{sample_name}.csv'.",
            )

    def check_features(self, cont: Sequence[str], cat: Sequence[str]) -> None:
        """ConfigError where the config lacks a feature that the run's model needs."""
        for where, given, known in (
            ("cont_features", self.cont_features, cont),
            ("cat_features", self.cat_features, cat),
        ):
            missing = [name for name in known if name not in (known if given is None else given)]
            if missing:
                raise ConfigError(
                    f"the run's model needs '{missing[0]}', which the config does not have",
                    where=where,
                    nearest=nearest_name(missing[0], given or ()),
                    remedy="Use the features of the training, or leave them out here.",
                )

    def completed(
        self, preprocess: Mapping[str, Any] | None, train_file: str, run_year: str | None = None
    ) -> "CompletePredictSpec":
        """Fill what is null from the run.

        Parameters
        ----------
        preprocess : for datacards, the run's preprocess config of the samples to predict; for evaluation, that of its
            training data.
        train_file : the skim it was trained on.
        run_year : the year the run's paths are for; another one in the config needs paths in the config, too.
        """
        known: dict[str, Any] = {}
        if self.kind == "for_datacards" and preprocess is not None:
            # Files that were listed one by one are found where they were when they were skimmed.
            listed = preprocess.get("input_files") or preprocess.get("mlaas4hep")
            known = {
                "orig_path": None if listed else _given(preprocess.get("input_path")),
                "orig_filename_template": preprocess.get("input_filename_template", "{sample_name}.root"),
                "input_path": preprocess.get("output_path"),
                "input_filename_template": f"{preprocess.get('output_filename_template', '{sample_name}')}.h5",
                "sample_names": _names(preprocess.get("input_samples")),
            }
        elif self.kind == "for_evaluation":
            preprocess = preprocess or {}
            known = {
                "input_path": str(Path(train_file).parent),
                "input_filename_template": f"{preprocess.get('output_filename_template', '{sample_name}')}.h5",
                "sample_names": _names(preprocess.get("output_samples", ["train", "test"])),
            }
        default = "{sample_name}_pred.root" if self.kind == "for_datacards" else "{sample_name}.csv"
        known["output_filename_template"] = default
        missing = {name: value for name, value in known.items() if getattr(self, name) is None}
        paths = sorted(name for name in missing if name.endswith("_path"))
        if paths and self.year is not None and run_year is not None and str(run_year) != self.year:
            raise ConfigError(
                f"the run's paths are for year {run_year}, not {self.year}",
                where="year",
                remedy=f"Give {' and '.join(f'{name}=…' for name in paths)}, or leave the year out.",
            )
        filled = replace(self, **missing)
        needed = ["input_path", "input_filename_template", "sample_names"]
        for name in needed:
            if getattr(filled, name) is None:
                raise ConfigError(
                    f"'{name}' is neither in the config nor in the run",
                    where=self.kind,
                    remedy=f"Give {name}=…, or train with prediction_data set.",
                )
        return CompletePredictSpec(
            names=tuple(sample.name for sample in filled.sample_names or ()),
            input_template=f"{filled.input_path}/{filled.input_filename_template}",
            orig_template=None if filled.orig_path is None else f"{filled.orig_path}/{filled.orig_filename_template}",
            output_template=str(filled.output_filename_template),
        )


@dataclass(frozen=True)
class CompletePredictSpec:
    """What to predict, with nothing left open: sample names, and paths with `{sample_name}`."""

    names: tuple[str, ...]
    input_template: str
    orig_template: str | None
    output_template: str

    def input_of(self, sample: str) -> str:
        """The sample's skim."""
        return self.input_template.format(sample_name=sample)

    def original_of(self, sample: str) -> str | None:
        """The sample's ntuples, a path or a glob; None: where they were when they were skimmed."""
        return None if self.orig_template is None else self.orig_template.format(sample_name=sample)

    def output_of(self, sample: str) -> str:
        """Name of the sample's output."""
        return self.output_template.format(sample_name=sample)


def _given(value: Any) -> Any:
    """None for Hydra's `???`: a value that was to be given on the command line of another stage."""
    return None if value == "???" else value


def _names(samples: Any) -> tuple[SampleName, ...] | None:
    if samples is None:
        return None
    return tuple(SampleName.from_config(sample, "input_samples") for sample in samples)

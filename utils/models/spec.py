"""What a training config says, checked: every key and its default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from utils.errors import ConfigError, nearest_name
from utils.factory import Factory
from utils.folds import FoldRule, FoldsBy
from utils.keys import key
from utils.loading.weights import NegativeWeights
from utils.outputs import Task
from utils.preprocessing.spec import PreprocessSpec

Validation = Literal["held_out", "next_fold"]
Unseen = Literal["route", "average"]


@dataclass(frozen=True)
class FoldsSpec:
    """How events fall into folds, and how much the folds may differ."""

    by: FoldsBy = key("modulo: xtrain_split_feature % n_splits; hash: of the event identity", default="modulo")
    tolerance: float = key("relative difference of a fold that is accepted in any case", default=0.05)
    max_sigmas: float = key("difference in standard deviations that is accepted in any case", default=5.0)


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """A skim in, a tracked run with N models out."""

    year: str | None = key("data-taking year, for use in paths as ${year}", default=None)
    train_file: str = key("skim of the training node")
    training_data: PreprocessSpec | None = key(
        "preprocess config of the skims, which are made first where they are not there; null: they are there",
        default=None,
    )
    task: Task = key("classification | regression | autoencoder (networks only)", default="classification")
    targets: tuple[str, ...] = key("columns of the skim that a regression is to tell", default=())
    n_splits: int = key("number of folds, and of models; 1: a single model on train_size", default=2)
    xtrain_split_feature: str = key("integer column; fold = value % n_splits", default="evt")
    train_size: float = key("fraction to train on; used with n_splits=1 only", default=0.9)
    folds: FoldsSpec = key("rule and tolerance", default=FoldsSpec())
    validation: Validation = key(
        "what is monitored: held_out: fold i; next_fold: fold i+1, n_splits >= 3", default="held_out"
    )
    unseen: Unseen = key("events no model trained on: route by fold, or average all models", default="route")
    cont_features: tuple[str, ...] | None = key("continuous features; null: all of the skim", default=None)
    cat_features: tuple[str, ...] | None = key("categorical features; null: all of the skim, []: none", default=None)
    weight_name: str | None = key("column with the training weight", default=None)
    negative_weights: NegativeWeights = key("error | abs | zero | drop (from training only)", default="error")
    event_weight: str | None = key("signed physics weight, for the event-weighted figures of merit", default=None)
    class_to_info: Mapping[Any, Any] | None = key(
        "0: {name, color: 'R, G, B', alpha, bin_size}, … for the figures", default=None
    )
    model: Factory = key("the estimator", default=Factory("utils.models.lightgbm.LightGBMEstimator"))
    model_param: Mapping[str, Any] = key("its parameters, as its library names them", default_factory=dict)
    init_from: str | None = key("run whose model i is what model i starts from (networks only)", default=None)
    freeze: tuple[str, ...] = key("parameters that are not trained, by regular expression (networks only)", default=())
    gpus: tuple[int, ...] = key(
        "GPUs to train on, a process each: gpus=0,1; none: the processor", default=(), listed=True
    )
    n_processes: int = key("processes that share the training of a network in torch", default=1)
    fast_dev_run: bool = key("one batch of every phase, every fold: does everything work?", default=False)
    resume: str | None = key("run to go on with after an interruption", default=None)
    steps: tuple[Factory, ...] = key("your own steps of the skim's input pipe, by _target_", default=())
    prediction_data: Mapping[str, Any] | None = key(
        "preprocess config of the samples to predict, kept with the run", default=None, unresolved="keep"
    )
    experiment_name: str | None = key("MLflow experiment; ignored under mlflow run", default=None)
    run_name: str | None = key("MLflow run name", default=None)
    tracking_uri: str | None = key(
        "MLflow store; null: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here", default=None
    )
    vars: Mapping[str, Any] = key("your own variables, for use as ${vars.NAME}", default_factory=dict)

    def __post_init__(self) -> None:
        self._check_task()
        self._check_labels()
        if self.n_splits < 1:
            raise ConfigError(f"n_splits is {self.n_splits}", where="n_splits", remedy="Use 1 or more.")
        if self.validation == "next_fold" and self.n_splits < 3:
            raise ConfigError(
                f"validation=next_fold leaves nothing to train on with n_splits={self.n_splits}",
                where="validation",
                remedy="Use n_splits=3 or more, or validation=held_out.",
            )
        if not 0.0 < self.train_size < 1.0:
            raise ConfigError(
                f"train_size is {self.train_size}", where="train_size", remedy="Use a fraction in (0, 1)."
            )
        self._check_fit()
        if self.cont_features == () and not self.cat_features:
            raise ConfigError(
                "there are no features", where="cont_features", remedy="List at least one, or use null for all."
            )

    def _check_fit(self) -> None:
        if any(gpu < 0 for gpu in self.gpus) or len(set(self.gpus)) < len(self.gpus):
            raise ConfigError(
                f"gpus are {list(self.gpus)}", where="gpus", remedy="List each once, by its number: gpus=0,1."
            )
        if self.n_processes < 1 or (self.gpus and self.n_processes not in (1, len(self.gpus))):
            raise ConfigError(
                f"n_processes is {self.n_processes}" + (f" for {len(self.gpus)} GPUs" if self.gpus else ""),
                where="n_processes",
                remedy="Use 1 or more; with gpus, leave it out: each has a process.",
            )
        if self.fast_dev_run and self.resume is not None:
            raise ConfigError(
                "fast_dev_run keeps nothing to go on from",
                where="resume",
                remedy="Leave one of the two out.",
            )

    def _check_labels(self) -> None:
        files = None if self.training_data is None else self.training_data.mlaas4hep
        if files is not None and files.labels is None and self.task == "classification":
            raise ConfigError(
                "there are no labels to learn",
                where="labels",
                remedy="Give labels=labels.txt or a column; for a model that needs none, task=autoencoder.",
            )

    def _check_task(self) -> None:
        if self.task not in get_args(Task):
            raise ConfigError(
                f"task is '{self.task}'",
                where="task",
                nearest=nearest_name(self.task, get_args(Task)),
                remedy=f"Use {', '.join(get_args(Task))}.",
            )
        if (self.task == "regression") != bool(self.targets):
            lacks = "a regression has no targets" if not self.targets else f"task={self.task} has no use for targets"
            raise ConfigError(
                lacks, where="targets", remedy="Set task=regression and targets=[COLUMN, …], both or neither."
            )
        twice = sorted({name for name in self.targets if self.targets.count(name) > 1})
        if twice:
            raise ConfigError(f"'{twice[0]}' is listed twice", where="targets", remedy="List it once.")

    @property
    def fold_rule(self) -> FoldRule:
        """The rule that is saved with the run."""
        return FoldRule(self.n_splits, self.folds.by, self.xtrain_split_feature)

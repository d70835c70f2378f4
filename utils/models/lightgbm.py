"""Gradient-boosted trees with LightGBM: binned once from a stream, folds as subsets of the same bins.

Memory is the binned matrix (a byte per value), never the floats. The bin borders come from all training events of all
folds, without their classes, as in LightGBM's own cross-validation.
"""

import json
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import lightgbm
import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError, nearest_name
from utils.loading import EventSource, SkimData
from utils.logs import get_logger
from utils.models.estimator import FitContext, Monitor, as_probabilities, refuse

logger = get_logger(__name__)

SEQUENCE_ROWS = 65_536
MODEL_FILE = "model.txt"
OUTPUT_FILE = "output.json"

# Parameters that take part in binning: estimators that agree on them share a binned dataset.
_BINNING = (
    "max_bin",
    "max_bin_by_feature",
    "min_data_in_bin",
    "bin_construct_sample_cnt",
    "data_random_seed",
    "use_missing",
    "zero_as_missing",
    "enable_bundle",
    "is_enable_sparse",
    "forcedbins_filename",
    "linear_tree",
)
_MULTICLASS = ("multiclass", "softmax", "multiclassova", "multiclass_ova", "ova", "ovr")
_BINARY = ("binary", "cross_entropy", "xentropy")

_binned: weakref.WeakKeyDictionary[Any, dict[str, lightgbm.Dataset]] = weakref.WeakKeyDictionary()


class _SkimSequence(lightgbm.Sequence):
    """The rows of a skim for LightGBM: slices to bin, and single rows (in ascending order) while it samples."""

    batch_size = SEQUENCE_ROWS

    def __init__(self, data: SkimData) -> None:
        self._data = data
        self._length = data.skim.n_rows  # asked for before every single row
        self._block = np.empty((0, 0))
        self._block_start = -1

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> NDArray[np.float64]:
        if isinstance(index, slice):
            return self._data.features(index.start, index.stop).astype(np.float64)
        start = index - index % SEQUENCE_ROWS
        if start != self._block_start:
            self._block = self._data.features(start, start + SEQUENCE_ROWS).astype(np.float64)
            self._block_start = start
        row: NDArray[np.float64] = self._block[index - start]
        return row


class _LogFile:
    """Where LightGBM's own words go under `verbosity: 1`: into the run's log, not onto the terminal."""

    def info(self, message: str) -> None:
        logger.debug("%s", message.strip())

    warning = info


class LightGBMEstimator:
    """LightGBM with its own parameters.

    Parameters
    ----------
    params : LightGBM's parameters under any of its names; `objective` and `num_class` follow from the data where they
        are not given.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = dict(params)
        self._n_classes = 0
        self._booster: lightgbm.Booster | None = None

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Train; with `early_stopping`, the best iteration on `valid` is kept."""
        refuse(context, "LightGBM")
        self._n_classes = train.data.n_classes
        lightgbm.register_logger(_LogFile())
        params = self._complete(self.params)
        whole = _binned_dataset(train.data, params)
        train_set = _subset(whole, train)
        sets, names = [_subset(whole, valid)], ["valid"]
        if params.pop("is_provide_training_metric", False):
            sets, names = [train_set, *sets], ["train", *names]
        try:
            self._booster = lightgbm.train(
                params, train_set, valid_sets=sets, valid_names=names, callbacks=[_report_to(monitor)]
            )
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise ConfigError(
                f"LightGBM refuses its parameters ({error})", where="model_param", remedy="Mend or remove them."
            ) from error
        self._booster.free_dataset()

    def _complete(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters under LightGBM's main names, with what follows from the data."""
        complete = _main_names(params)
        complete.setdefault("objective", "binary" if self._n_classes == 2 else "multiclass")
        complete.setdefault("verbosity", -1)
        complete["feature_pre_filter"] = False  # the bins are shared with models that may split finer
        if complete["objective"] in _MULTICLASS:
            n_classes = complete.setdefault("num_class", self._n_classes)
            if n_classes != self._n_classes:
                raise ConfigError(
                    f"num_class is {n_classes}, but the skim has {self._n_classes} classes",
                    where="model_param.num_class",
                    remedy="Leave it out: it follows from the data.",
                )
        elif self._n_classes > 2 or complete["objective"] not in _BINARY:
            raise ConfigError(
                f"objective '{complete['objective']}' gives no probabilities of {self._n_classes} classes",
                where="model_param.objective",
                nearest=nearest_name(str(complete["objective"]), _MULTICLASS if self._n_classes > 2 else _BINARY),
                remedy="Leave it out: it follows from the data.",
            )
        if "metric" in complete:
            complete["metric"] = _metrics_of(complete["metric"], complete["objective"] in _MULTICLASS)
        return complete

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) → (N, K) probabilities."""
        assert self._booster is not None, "predict before fit"
        if len(features_NF) == 0:
            return np.empty((0, self._n_classes), np.float32)
        scores: Any = self._booster.predict(features_NF)
        if scores.ndim == 2:  # one-vs-all probabilities do not add up to one
            scores = scores / scores.sum(axis=1, keepdims=True)
        return as_probabilities(scores, self._n_classes)

    @property
    def libraries(self) -> tuple[str, ...]:
        """LightGBM alone."""
        return ("lightgbm",)

    @property
    def n_iterations(self) -> int | None:
        """Boosting iterations of the model that is kept."""
        if self._booster is None:
            return None
        return self._booster.best_iteration if self._booster.best_iteration > 0 else self._booster.current_iteration()

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """Total gain and number of splits per feature."""
        assert self._booster is not None
        return {kind: self._booster.feature_importance(kind).astype(np.float64) for kind in ("gain", "split")}

    def save(self, folder: Path) -> None:
        """LightGBM's text format, readable by all of its tools, cut at the best iteration."""
        assert self._booster is not None
        self._booster.save_model(folder / MODEL_FILE)
        (folder / OUTPUT_FILE).write_text(json.dumps({"n_classes": self._n_classes}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        loaded = cls({})
        loaded._n_classes = json.loads((folder / OUTPUT_FILE).read_text())["n_classes"]
        loaded._booster = lightgbm.Booster(model_file=folder / MODEL_FILE)
        return loaded


def _binned_dataset(data: SkimData, params: Mapping[str, Any]) -> lightgbm.Dataset:
    """The whole skim, binned once for all folds and all estimators with the same binning parameters."""
    binning = {name: params[name] for name in _BINNING if name in params}
    datasets = _binned.setdefault(data.skim, {})
    key = json.dumps([data.feature_names, data.pipe.to_dict(), binning], sort_keys=True, default=str)
    if key not in datasets:
        dataset = lightgbm.Dataset(
            _SkimSequence(data),
            label=data.target_N,
            feature_name=list(data.feature_names),
            categorical_feature=list(data.categorical_indices),
            params={**binning, "feature_pre_filter": False, "verbosity": -1},
            free_raw_data=True,
        )
        datasets[key] = dataset.construct()
        _warn_of_negative_categories(data)
    return datasets[key]


def _main_names(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without aliases. LightGBM itself would ignore a name that it does not know."""
    aliases = lightgbm.basic._ConfigAliases._get_all_param_aliases()
    main_name = {alias: name for name, others in aliases.items() for alias in (name, *others)}
    for key in params:
        if key not in main_name:
            raise ConfigError(
                f"LightGBM has no parameter '{key}'",
                where=f"model_param.{key}",
                nearest=nearest_name(key, main_name),
                remedy="Mend or remove it.",
            )
    return {main_name[key]: value for key, value in params.items()}


def _metrics_of(metrics: Any, is_multiclass: bool) -> Any:
    """`multi_logloss` and `binary_logloss` are one loss under two names; LightGBM refuses the other objective's."""
    if isinstance(metrics, list | tuple):
        return [_metrics_of(metric, is_multiclass) for metric in metrics]
    kind, _, loss = str(metrics).partition("_")
    if kind in ("multi", "binary") and loss in ("logloss", "error"):
        return f"multi_{loss}" if is_multiclass else f"binary_{loss}"
    return metrics


def _warn_of_negative_categories(data: SkimData) -> None:
    negative = dict.fromkeys(data.cat_features, 0)
    for start in range(0, data.skim.n_rows, SEQUENCE_ROWS):
        for name, values_N in data.skim.read(data.cat_features, start, start + SEQUENCE_ROWS).items():
            negative[name] += int((values_N < 0).sum())
    for name, n_events in negative.items():
        if n_events:
            logger.warning(
                "categorical feature '%s' is negative for %s events, which LightGBM takes for missing; shift it, "
                "for example new_variables.%s='%s + 1'",
                name, f"{n_events:,}", name, name,
            )  # fmt: skip


def _subset(whole: lightgbm.Dataset, source: EventSource) -> lightgbm.Dataset:
    subset = whole.subset(source.rows_N.tolist()).construct()
    if source.weight_N is not None:
        subset.set_weight(source.weight_N)
    return subset


def _report_to(monitor: Monitor) -> Any:
    def report(environment: Any) -> None:
        results = environment.evaluation_result_list or []
        monitor(environment.iteration + 1, {f"{result[0]}-{result[1]}": float(result[2]) for result in results})

    # Before early stopping (30), which ends the iteration by raising.
    report.order = 25  # type: ignore[attr-defined]
    return report

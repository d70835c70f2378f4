"""Gradient-boosted trees with LightGBM: binned once from a stream, folds as subsets of the same bins.

Memory is the binned matrix (a byte per value), never the floats. The bin borders come from all training events of all
folds, without their classes, as in LightGBM's own cross-validation.

Shape suffixes: N events, F features, K classes, T targets.
"""

import json
import weakref
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import lightgbm
import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError
from utils.loading import EventSource, SkimData
from utils.logs import get_logger
from utils.models.estimator import FitContext, Monitor, as_probabilities, refuse
from utils.models.lightgbm_params import complete_params
from utils.outputs import Outputs

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
    """LightGBM with its own parameters: one booster for all classes, or one for each target of a regression.

    Parameters
    ----------
    params : LightGBM's parameters under any of its names; `objective` and `num_class` follow from the data where they
        are not given.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = dict(params)
        self._outputs = Outputs("classification", ())
        self._boosters: list[lightgbm.Booster] = []

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Train; with `early_stopping`, the best iteration on `valid` is kept."""
        refuse(context, "LightGBM", train.data.task)
        self._outputs = train.data.outputs
        lightgbm.register_logger(_LogFile())
        params = complete_params(self.params, self._outputs)
        if self._outputs.task == "classification":
            self._boosters = [_boosted(params, train, valid, None, _report_to(monitor))]
            return
        several = self._outputs.n > 1
        self._boosters = [
            _boosted(params, train, valid, t, _report_to(monitor, f"_{name}" if several else ""))
            for t, name in enumerate(self._outputs.names)
        ]

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) → (N, K) probabilities, or (N, T) values."""
        assert self._boosters, "predict before fit"
        if len(features_NF) == 0:
            return np.empty((0, self._outputs.n), np.float32)
        if self._outputs.task == "regression":
            values_TN = [booster.predict(features_NF) for booster in self._boosters]
            return np.stack(values_TN, axis=1).astype(np.float32)
        scores: Any = self._boosters[0].predict(features_NF)
        if scores.ndim == 2:  # one-vs-all probabilities do not add up to one
            scores = scores / scores.sum(axis=1, keepdims=True)
        return as_probabilities(scores, self._outputs.n)

    @property
    def libraries(self) -> tuple[str, ...]:
        """LightGBM alone."""
        return ("lightgbm",)

    @property
    def n_iterations(self) -> int | None:
        """Boosting iterations of the model that is kept; of several targets, the most."""
        rounds = [b.best_iteration if b.best_iteration > 0 else b.current_iteration() for b in self._boosters]
        return max(rounds, default=None)

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """Total gain and number of splits per feature, summed over targets."""
        assert self._boosters, "importances before fit"
        return {
            kind: np.sum([booster.feature_importance(kind) for booster in self._boosters], axis=0, dtype=np.float64)
            for kind in ("gain", "split")
        }

    def save(self, folder: Path) -> None:
        """LightGBM's text format, readable by all of its tools, cut at the best iteration."""
        assert self._boosters, "save before fit"
        for t, booster in enumerate(self._boosters):
            booster.save_model(folder / _model_file(t))
        (folder / OUTPUT_FILE).write_text(json.dumps(asdict(self._outputs)) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        loaded = cls({})
        content = json.loads((folder / OUTPUT_FILE).read_text())
        if "n_classes" in content:  # of a run before there were other tasks
            loaded._outputs = Outputs.of_classes(content["n_classes"])
        else:
            loaded._outputs = Outputs(content["task"], tuple(content["names"]))
        n_boosters = loaded._outputs.n if loaded._outputs.task == "regression" else 1
        loaded._boosters = [lightgbm.Booster(model_file=folder / _model_file(t)) for t in range(n_boosters)]
        return loaded


def _model_file(number: int) -> str:
    return MODEL_FILE if number == 0 else f"model_{number}.txt"


def _boosted(
    params: Mapping[str, Any], train: EventSource, valid: EventSource, target: int | None, report: Any
) -> lightgbm.Booster:
    """A trained booster: of the classes, or of one of the targets."""
    params = dict(params)
    whole = _binned_dataset(train.data, params)
    train_set = _subset(whole, train, target)
    sets, names = [_subset(whole, valid, target)], ["valid"]
    if params.pop("is_provide_training_metric", False):
        sets, names = [train_set, *sets], ["train", *names]
    try:
        booster = lightgbm.train(params, train_set, valid_sets=sets, valid_names=names, callbacks=[report])
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise ConfigError(
            f"LightGBM refuses its parameters ({error})", where="model_param", remedy="Mend or remove them."
        ) from error
    booster.free_dataset()
    return booster


def _binned_dataset(data: SkimData, params: Mapping[str, Any]) -> lightgbm.Dataset:
    """The whole skim, binned once for all folds and all estimators with the same binning parameters."""
    binning = {name: params[name] for name in _BINNING if name in params}
    datasets = _binned.setdefault(data.skim, {})
    labelled = [data.task, data.targets]
    key = json.dumps([data.feature_names, data.pipe.to_dict(), labelled, binning], sort_keys=True, default=str)
    if key not in datasets:
        dataset = lightgbm.Dataset(
            _SkimSequence(data),
            label=data.target_N if data.task == "classification" else data.target_N[:, 0],
            feature_name=list(data.feature_names),
            categorical_feature=list(data.categorical_indices),
            params={**binning, "feature_pre_filter": False, "verbosity": -1},
            free_raw_data=True,
        )
        datasets[key] = dataset.construct()
        _warn_of_negative_categories(data)
    return datasets[key]


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


def _subset(whole: lightgbm.Dataset, source: EventSource, target: int | None) -> lightgbm.Dataset:
    subset = whole.subset(source.rows_N.tolist()).construct()
    if target is not None:
        subset.set_label(source.target_N[:, target])
    if source.weight_N is not None:
        subset.set_weight(source.weight_N)
    return subset


def _report_to(monitor: Monitor, suffix: str = "") -> Any:
    """A callback for LightGBM; `suffix` ends the names of the values."""

    def report(environment: Any) -> None:
        results = environment.evaluation_result_list or []
        values = {f"{result[0]}-{result[1]}{suffix}": float(result[2]) for result in results}
        monitor(environment.iteration + 1, values)

    # Before early stopping (30), which ends the iteration by raising.
    report.order = 25  # type: ignore[attr-defined]
    return report

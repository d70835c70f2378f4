"""Any classifier or regressor with scikit-learn's interface: HistGradientBoosting, MLP, XGBoost, …

These take the training events whole, so memory is the float32 matrix of a fold.

Shape suffixes: N events, F features, K classes, T targets.
"""

import inspect
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils import get_tags

from utils.errors import ConfigError
from utils.factory import Factory, restore_user_module, user_file
from utils.loading import Batch, EventSource
from utils.models.estimator import FitContext, Monitor, refuse
from utils.outputs import Outputs

MODEL_FILE = "model.joblib"
USER_MODULE_FILE = "user_module.json"


class SklearnEstimator:
    """A scikit-learn-style classifier or regressor by `_target_`.

    Parameters
    ----------
    params : `_target_` (dotted path of the class) and its arguments.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._factory = Factory.from_config(params, where="model_param")
        self._model: Any = None
        self._outputs = Outputs("classification", ())

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Fit on the whole of `train`; `valid` is handed on where the library's `fit` takes an `eval_set`."""
        refuse(context, "scikit-learn", train.data.task)
        self._outputs = train.data.outputs
        self._model = self._factory()
        self._check_kind()
        accepted = inspect.signature(self._model.fit).parameters
        events, watched = train.whole(), valid.whole()
        options: dict[str, Any] = {}
        if events.weight_N is not None:
            if "sample_weight" not in accepted:
                raise ConfigError(
                    f"'{self._factory.target}' takes no event weights",
                    where="weight_name",
                    remedy="Set weight_name=null, or choose another model.",
                )
            options["sample_weight"] = events.weight_N
        if "eval_set" in accepted:
            options |= _watched(watched, accepted)
        self._set_categorical(train)
        try:
            self._model.fit(events.features_NF, _one_column(events.target_N), **options)
        except ValueError as error:
            several = self._outputs.task == "regression" and self._outputs.n > 1
            if several and not _takes_several_targets(self._model):
                raise ConfigError(
                    f"'{self._factory.target}' tells one value, and there are {self._outputs.n} targets",
                    where="targets",
                    remedy="Give one target, wrap the model in sklearn.multioutput.MultiOutputRegressor, or use "
                    "model=lightgbm.",
                ) from error
            remedy = "Mend its parameters, or choose another model."
            if np.isnan(events.features_NF).any():
                remedy = "Padding is NaN: preprocess with fill_padding=0, or choose a model that takes missing values."
            raise ConfigError(
                f"'{self._factory.target}' cannot be trained ({str(error).strip().splitlines()[0]})",
                where="model_param",
                remedy=remedy,
            ) from error
        self._report(watched, monitor)

    def _check_kind(self) -> None:
        """The model must tell what is asked for."""
        target = self._factory.target
        if self._outputs.task == "classification":
            if not hasattr(self._model, "predict_proba"):
                raise ConfigError(
                    f"'{target}' gives no probabilities",
                    where="model_param._target_",
                    remedy="Choose a classifier with predict_proba.",
                )
        elif _says_of_itself(self._model) and is_classifier(self._model):
            raise ConfigError(
                f"'{target}' tells classes, and task=regression asks for values",
                where="model_param._target_",
                remedy="Choose a regressor, such as model=sklearn_histgb_regression.",
            )

    def _set_categorical(self, train: EventSource) -> None:
        known = self._model.get_params()
        if train.data.categorical_indices and known.get("categorical_features", "absent") in (None, "from_dtype"):
            self._model.set_params(categorical_features=list(train.data.categorical_indices))

    def _report(self, valid: Batch, monitor: Monitor) -> None:
        """Curves where the library keeps them, else the loss of the finished model on the validation events."""
        if hasattr(self._model, "evals_result"):
            for curves in self._model.evals_result().values():
                for metric, values in curves.items():
                    for step, value in enumerate(values, start=1):
                        monitor(step, {f"valid-{metric}": float(value)})
            return
        for step, value in enumerate(getattr(self._model, "loss_curve_", None) or (), start=1):
            monitor(step, {"train-loss": float(value)})
        scores_NK = self.predict(valid.features_NF).astype(np.float64)
        if self._outputs.task == "regression":
            metric, losses_N = "mse", np.square(scores_NK - valid.target_N).mean(axis=1)
        else:
            chosen_N = np.take_along_axis(scores_NK, valid.target_N[:, None].astype(np.intp), axis=1)[:, 0]
            metric, losses_N = "logloss", -np.log(np.clip(chosen_N, 1e-15, None))
        loss = float(np.average(losses_N, weights=valid.weight_N)) if len(losses_N) else float("nan")
        monitor(self.n_iterations or 1, {f"valid-{metric}": loss})

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) → (N, K) probabilities, zero for a class that was not in training; or (N, T) values."""
        scores_NK = np.zeros((len(features_NF), self._outputs.n), np.float32)
        if len(features_NF) and self._outputs.task == "regression":
            scores_NK[:] = np.reshape(self._model.predict(features_NF), scores_NK.shape)
        elif len(features_NF):
            scores_NK[:, np.asarray(self._model.classes_, dtype=np.intp)] = self._model.predict_proba(features_NF)
        return scores_NK

    @property
    def libraries(self) -> tuple[str, ...]:
        """scikit-learn, and the library of the model where that is another."""
        return libraries_of(self._model)

    @property
    def n_iterations(self) -> int | None:
        """Iterations that the model says it made."""
        if hasattr(self._model, "get_booster"):  # XGBoost predicts with the best iteration where it stopped early
            best = getattr(self._model, "best_iteration", None)
            return int(self._model.get_booster().num_boosted_rounds()) if best is None else int(best) + 1
        count = getattr(self._model, "n_iter_", None)
        return None if count is None else int(np.max(count))

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """`feature_importances_` where the model has them."""
        values = getattr(self._model, "feature_importances_", None)
        return {} if values is None else {"importance": np.asarray(values, dtype=np.float64)}

    def save(self, folder: Path) -> None:
        """As a pickle: only ever loaded from a run, which is trusted."""
        outputs = self._outputs
        joblib.dump({"model": self._model, "task": outputs.task, "names": outputs.names}, folder / MODEL_FILE)
        source = user_file(type(self._model))
        if source is not None:  # a pickle names the class only, so its code goes along
            (folder / source.name).write_bytes(source.read_bytes())
            module = {"name": type(self._model).__module__, "file": source.name}
            (folder / USER_MODULE_FILE).write_text(json.dumps(module) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`."""
        if (folder / USER_MODULE_FILE).is_file():
            module = json.loads((folder / USER_MODULE_FILE).read_text())
            restore_user_module(module["name"], folder / module["file"])
        saved = joblib.load(folder / MODEL_FILE)
        loaded = cls.__new__(cls)
        loaded._model = saved["model"]
        if "n_classes" in saved:  # of a run before there were other tasks
            loaded._outputs = Outputs.of_classes(saved["n_classes"])
        else:
            loaded._outputs = Outputs(saved["task"], saved["names"])
        return loaded


def libraries_of(model: Any) -> tuple[str, ...]:
    """Distributions: scikit-learn, and the one of the model where that is another."""
    package = type(model).__module__.partition(".")[0]
    owners = _distributions_by_package().get(package, [])
    return tuple(sorted({"scikit-learn", *owners}))


@cache
def _distributions_by_package() -> Mapping[str, list[str]]:
    """What `packages_distributions` finds; it takes a second, and does not change."""
    return packages_distributions()


def _one_column(target_N: NDArray[Any]) -> NDArray[Any]:
    """A single target as (N,), which every model takes; classes and several targets as they are."""
    return target_N[:, 0] if target_N.ndim == 2 and target_N.shape[1] == 1 else target_N


def _says_of_itself(model: Any) -> bool:
    """Whether the model has scikit-learn's tags."""
    return hasattr(model, "__sklearn_tags__")


def _takes_several_targets(model: Any) -> bool:
    """What the model says of itself. Not asked before it has failed: MLPRegressor can, and says it cannot."""
    return not _says_of_itself(model) or bool(get_tags(model).target_tags.multi_output)


def _watched(valid: Batch, accepted: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"eval_set": [(valid.features_NF, _one_column(valid.target_N))]}
    if valid.weight_N is not None and "sample_weight_eval_set" in accepted:
        options["sample_weight_eval_set"] = [valid.weight_N]
    if "verbose" in accepted:
        options["verbose"] = False
    return options

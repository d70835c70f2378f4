"""A user's estimator with scikit-learn's interface: trained at once, or chunk by chunk where it can be."""

import inspect
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError
from utils.factory import restore_user_module
from utils.models.sklearn import libraries_of
from utils.models.user_model.kinds import Events, Watch
from utils.models.user_model.model_file import WHERE, ModelFile, blamed
from utils.models.user_model.outputs import Kind
from utils.models.user_model.settings import Settings

MODEL_FILE, MODULE_FILE = "model.joblib", "module.json"


class SklearnModel:
    """See :class:`~utils.models.user_model.kinds.Handled`."""

    name = "scikit-learn"
    is_network = False

    def __init__(self, model: Any, file: ModelFile) -> None:
        self.model = model
        self.file = file
        self.kind: Kind = "probabilities"
        self.learns_in_chunks = callable(getattr(model, "partial_fit", None))
        self._n_classes = 0

    def begin(self, settings: Settings, n_classes: int, n_features: int, is_autoencoder: bool) -> None:
        """Check that it can give what is asked for; take the seed where it has none of its own."""
        self._n_classes = 0 if is_autoencoder else n_classes
        if not is_autoencoder and not callable(getattr(self.model, "predict_proba", None)):
            raise ConfigError(
                f"{type(self.model).__name__} of {self.file.path} gives no probabilities",
                where=WHERE,
                remedy="Return a classifier with predict_proba, or wrap it in CalibratedClassifierCV; without labels, "
                "set labels=null.",
            )
        if is_autoencoder:
            self.kind = "losses" if callable(getattr(self.model, "score_samples", None)) else "features"
        parameters = self.model.get_params() if hasattr(self.model, "get_params") else {}
        if parameters.get("random_state", 0) is None:
            self.model.set_params(random_state=settings.seed)

    def fit(self, events: Events, valid: Events, n_epochs: int, watch: Watch) -> None:
        """One call of `fit`; or `n_epochs` calls of `partial_fit`."""
        function = self.model.partial_fit if self.learns_in_chunks else self.model.fit
        options: dict[str, Any] = {}
        if events.weight_N is not None:
            if "sample_weight" not in inspect.signature(function).parameters:
                raise ConfigError(
                    f"{type(self.model).__name__} takes no event weights",
                    where="weight_name",
                    remedy="Set weight_name=null, or choose another model.",
                )
            options["sample_weight"] = events.weight_N
        target = events.features_NF if events.class_N is None else events.class_N
        if self.learns_in_chunks and events.class_N is not None:
            options["classes"] = np.arange(self._n_classes)
        for _ in range(n_epochs if self.learns_in_chunks else 1):
            with blamed(f"{function.__name__} of the model of {self.file.path}"):
                function(events.features_NF, target, **options)
            watch({})

    def outputs(self, features_NF: NDArray[np.float32]) -> NDArray[Any]:
        """(N, K) probabilities by class; without labels what `predict` gives, or (N, 1) of `score_samples`."""
        if self._n_classes:
            scores_NK = np.zeros((len(features_NF), self._n_classes))
            scores_NK[:, np.asarray(self.model.classes_, np.intp)] = self.model.predict_proba(features_NF)
            return scores_NK
        if self.kind == "losses":
            return -np.asarray(self.model.score_samples(features_NF))[:, None]
        return np.asarray(self.model.predict(features_NF))

    def save(self, folder: Path) -> None:
        """As a pickle: only ever loaded from a run, which is trusted."""
        joblib.dump({"model": self.model, "n_classes": self._n_classes}, folder / MODEL_FILE)
        (folder / MODULE_FILE).write_text(json.dumps(self.file.module_name) + "\n")

    def restore(self, folder: Path) -> None:
        """The inverse of `save`."""
        restore_user_module(json.loads((folder / MODULE_FILE).read_text()), self.file.path)
        saved = joblib.load(folder / MODEL_FILE)
        self.model, self._n_classes = saved["model"], saved["n_classes"]

    def write_copy(self, path: Path) -> None:
        """XGBoost's own format for .json and .ubj, a pickle for .pkl, else joblib's."""
        if path.suffix in (".json", ".ubj") and hasattr(self.model, "save_model"):
            self.model.save_model(path)
        elif path.suffix in (".pkl", ".pickle"):
            path.write_bytes(pickle.dumps(self.model))
        else:
            joblib.dump(self.model, path)

    @property
    def libraries(self) -> Sequence[str]:
        """scikit-learn, and the library of the model where that is another."""
        return libraries_of(self.model)

    def importances(self) -> dict[str, NDArray[np.float64]]:
        """`feature_importances_` where the model has them."""
        values = getattr(self.model, "feature_importances_", None)
        return {} if values is None else {"importance": np.asarray(values, np.float64)}

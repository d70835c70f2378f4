"""The N models of a cross-training with everything that prediction needs: raw features in, scores out."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from utils.factory import Factory
from utils.folds import FoldRule
from utils.models.estimator import Estimator, load_estimator, save_estimator
from utils.models.spec import Unseen
from utils.outputs import Outputs, Task
from utils.preprocessing.pipe import BUILT_IN, FittedPipe

ENSEMBLE_FILE = "ensemble.json"


@dataclass(frozen=True)
class RoutedEnsemble:
    """`models[i]` has not seen fold i and predicts it.

    Parameters
    ----------
    models : one per fold.
    rule : which fold an event belongs to.
    pipe : for the continuous features.
    cat_features : categorical features, after the continuous ones.
    class_names : of the classes of the skim that was trained on.
    unseen : how events that no model trained on are predicted: by the model of their fold (`route`), or by the mean of
        all models (`average`).
    task : what the models tell.
    targets : names of what a regression tells.
    """

    models: tuple[Estimator, ...]
    rule: FoldRule
    pipe: FittedPipe
    cat_features: tuple[str, ...]
    class_names: tuple[str, ...]
    unseen: Unseen
    task: Task = "classification"
    targets: tuple[str, ...] = ()

    @property
    def outputs(self) -> Outputs:
        """What `predict` gives for every event, by name."""
        return Outputs.of(self.task, self.class_names, self.targets)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the raw features, in the order of the columns of `predict`'s matrix."""
        return (*self.pipe.inputs, *self.cat_features)

    def prepared(self, raw_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) raw features → what the models eat."""
        n_cont = len(self.pipe.inputs)
        cont_NF = self.pipe.transform(raw_NF[:, :n_cont])
        return np.hstack([cont_NF, raw_NF[:, n_cont:]]) if self.cat_features else cont_NF

    def predict(
        self, raw_NF: NDArray[np.float32], fold_N: NDArray[np.int32] | None, seen_N: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """(N, K) float32 scores, a column for each of `outputs`.

        Parameters
        ----------
        raw_NF : (N, F) raw features in the order of `features`, physical units.
        fold_N : (N,) folds; None where the split feature is not known: then all models are averaged.
        seen_N : (N,) whether some model trained on the event; None: all were. Matters with `unseen: average` only.
        """
        features_NF = self.prepared(raw_NF)
        scores_NK = np.empty((len(features_NF), self.outputs.n), np.float32)
        if fold_N is None:
            return self._mean(features_NF)
        average_N = ~seen_N if self.unseen == "average" and seen_N is not None else np.zeros(len(fold_N), bool)
        for fold, model in enumerate(self.models):
            rows = np.flatnonzero((fold_N == fold) & ~average_N)
            if len(rows) == len(features_NF):
                return model.predict(features_NF)
            if len(rows):
                scores_NK[rows] = model.predict(features_NF[rows])
        if average_N.any():
            scores_NK[average_N] = self._mean(features_NF[average_N])
        return scores_NK

    def _mean(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        total: NDArray[np.float64] = np.zeros((len(features_NF), self.outputs.n))
        for model in self.models:
            total += model.predict(features_NF)
        return (total / len(self.models)).astype(np.float32)

    def only(self, fold: int) -> "RoutedEnsemble":
        """One of the models by itself, which then predicts everything."""
        return replace(self, models=(self.models[fold],), rule=FoldRule(1, self.rule.by, self.rule.feature))

    def save(self, folder: Path) -> None:
        """Save into a folder that `load` opens; files of user steps are copied along."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "n_models": len(self.models),
            "rule": asdict(self.rule),
            "pipe": self.pipe.to_dict(),
            "user_steps": self._save_user_steps(folder),
            "cat_features": list(self.cat_features),
            "class_names": list(self.class_names),
            "unseen": self.unseen,
            "task": self.task,
            "targets": list(self.targets),
        }
        (folder / ENSEMBLE_FILE).write_text(json.dumps(content, indent=1) + "\n")
        for fold, model in enumerate(self.models):
            save_estimator(model, folder / f"fold_{fold}")

    def _save_user_steps(self, folder: Path) -> dict[str, str]:
        """Step name → target that is valid from inside `folder`."""
        targets: dict[str, str] = {}
        for name in [name for name, _ in self.pipe.steps if name not in BUILT_IN]:
            targets[name] = name
            if ".py:" in name:
                path, _, attribute = name.rpartition(":")
                copy = f"step_{len(targets)}_{Path(path).name}"
                (folder / copy).write_bytes(Path(path).read_bytes())
                targets[name] = f"{copy}:{attribute}"
        return targets

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The ensemble saved in a folder of a run, which is trusted: classes of user steps are imported."""
        content = json.loads((folder / ENSEMBLE_FILE).read_text())
        user_steps: dict[str, Any] = {}
        for name, target in content["user_steps"].items():
            user_steps[name] = Factory(str(folder / target) if ".py:" in target else target).load()
        return cls(
            models=tuple(load_estimator(folder / f"fold_{fold}") for fold in range(content["n_models"])),
            rule=FoldRule(**content["rule"]),
            pipe=FittedPipe.from_dict(content["pipe"], user_steps),
            cat_features=tuple(content["cat_features"]),
            class_names=tuple(content["class_names"]),
            unseen=content["unseen"],
            task=content.get("task", "classification"),  # runs of before there were others
            targets=tuple(content.get("targets", ())),
        )

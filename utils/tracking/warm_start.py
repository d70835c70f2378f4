"""Starting from the models of another run: model i from model i, so that no event is predicted by what has seen it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from utils.errors import ConfigError
from utils.folds import FoldRule
from utils.logs import get_logger
from utils.models.crosstrain import TrainingSet
from utils.models.ensemble import ENSEMBLE_FILE
from utils.models.spec import TrainSpec
from utils.tracking.model_store import ENSEMBLE, download_ensemble
from utils.tracking.tracked_run import TrackedRun

logger = get_logger(__name__)


def initial_models(spec: TrainSpec, training: TrainingSet, scratch: Path) -> Callable[[int], Path] | None:
    """Fold → folder of the saved model of `init_from`; None where there is no such run.

    Raises
    ------
    RunError : the run is unknown or not complete.
    ConfigError : its folds are others, so that a model could start from one that knows the events it is to predict; or
        its features are others.
    """
    if spec.init_from is None:
        return None
    run = TrackedRun.open(spec.init_from, tracking_uri=spec.tracking_uri)
    folder = scratch / "init_from"
    folder.mkdir()
    saved = download_ensemble(run.run_id, ENSEMBLE, folder)
    content = json.loads((saved / ENSEMBLE_FILE).read_text())
    _check_folds(run, FoldRule(**content["rule"]), spec, training)
    _check_features(run.run_id, content, training)
    return lambda fold: saved / f"fold_{fold}"


def _check_folds(run: TrackedRun, rule: FoldRule, spec: TrainSpec, training: TrainingSet) -> None:
    theirs, metadata = run.skim_metadata(), training.data.skim.metadata
    compared: dict[str, tuple[Any, Any]] = {"n_splits": (rule.n_splits, spec.fold_rule.n_splits)}
    if rule.n_splits > 1:
        compared["folds.by"] = (rule.by, spec.fold_rule.by)
        compared["xtrain_split_feature"] = (rule.column, spec.fold_rule.column)
    else:
        compared["train_size"] = (run.config().get("train_size", 0.9), spec.train_size)
    if rule.n_splits == 1 or rule.by == "hash":
        compared["identity"] = (theirs.get("identity"), metadata.get("identity"))
    if rule.n_splits == 1 or spec.unseen == "average":  # else a test event never meets a model that may know it
        for key in ("seed", "train_size"):
            compared[f"{key} of the skim"] = (theirs.get(key), metadata.get(key))
    differing = [f"{name}: {before} there, {now} here" for name, (before, now) in compared.items() if before != now]
    if differing:
        raise ConfigError(
            f"the folds of run '{run.run_id}' are not those of this training ({'; '.join(differing)}): a model could "
            "start from one that has trained on the events it is to predict",
            where="init_from",
            remedy="Use the same folds and split, or leave init_from out.",
        )


def _check_features(run_id: str, content: Mapping[str, Any], training: TrainingSet) -> None:
    data = training.data
    before, now = [*content["pipe"]["inputs"], *content["cat_features"]], [*data.pipe.inputs, *data.cat_features]
    if before != now:
        differing = [name for name in (*before, *now) if (name in before) != (name in now)]
        said = f"'{differing[0]}' is in one of them only" if differing else "they come in another order"
        raise ConfigError(
            f"the features of run '{run_id}' are not those of this training: {said}",
            where="init_from",
            remedy=f"Use its features ({', '.join(map(str, before[:5]))}, …), or leave init_from out.",
        )
    if content["pipe"] != json.loads(json.dumps(data.pipe.to_dict())):
        logger.warning(
            "the input pipe of this skim was fitted on other events than that of run '%s': what its models know as one "
            "value comes to them as another",
            run_id,
        )

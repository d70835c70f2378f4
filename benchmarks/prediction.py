"""Prediction to friend trees against `Booster.predict` alone on the same rows, already in memory.

The ensemble has two models of 300 rounds, four classes and depth 3. Ours reads the skim and the ntuples, routes every
event to its model, writes the friend tree and compares it with the ntuples; the bare side calls `Booster.predict` once
per fold on a float32 matrix. Loading the models is in neither.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.sides import Options, Result, Row, Run, parser, run_benchmark, slowdown
from benchmarks.training import SPLIT, cross_train_skim, make_skim, parameters

if TYPE_CHECKING:
    from utils.models.ensemble import RoutedEnsemble

TRAINING_EVENTS = 200_000  # the time of a prediction depends on the trees, not on what they were trained on


def _ntuples(folder: Path, n_events: int) -> Path:
    return folder / f"ntuples_{n_events}"


def _folder(options: Options) -> Path:
    return Path(options.folder) / f"prediction_{options.events}"


def prepare(options: Options) -> Result:
    """Ntuples, the skim to predict, and the ensemble."""
    from benchmarks.ntuples import make_ntuples
    from utils.folds import FoldRule
    from utils.loading import SkimData
    from utils.models.ensemble import RoutedEnsemble
    from utils.readers.skim import SkimFile

    started = time.perf_counter()
    for n_events in (TRAINING_EVENTS, options.events):
        make_ntuples(_ntuples(options.folder, n_events), n_events)
    folder = _folder(options)
    shutil.rmtree(folder, ignore_errors=True)
    make_skim(_ntuples(options.folder, options.events), folder, for_training=False)
    train_file = make_skim(_ntuples(options.folder, TRAINING_EVENTS), folder / "training", for_training=True)
    models = tuple(fold.estimator for fold, _ in cross_train_skim(train_file, parameters(options)))  # type: ignore[attr-defined]
    with SkimFile(train_file) as skim:
        pipe = SkimData.open(skim).pipe
        names = tuple(skim.metadata["class_names"])
    RoutedEnsemble(models, FoldRule(len(models), "modulo", SPLIT), pipe, (), names, "route").save(folder / "ensemble")
    return Result(time.perf_counter() - started, options.events)


def _ensemble(options: Options) -> "RoutedEnsemble":
    from utils.models.ensemble import RoutedEnsemble

    return RoutedEnsemble.load(_folder(options) / "ensemble")


def _ours(options: Options) -> Result:
    import uproot

    from utils.inference.predict import predict_friend
    from utils.inference.scoring import TrainingInputs
    from utils.readers.skim import SkimFile

    folder, ensemble = _folder(options), _ensemble(options)
    with SkimFile(folder / "training" / "train.h5") as skim:
        training = TrainingInputs.of(skim.metadata)
    output = folder / "sample_pred.root"
    output.unlink(missing_ok=True)
    started = time.perf_counter()
    result = predict_friend(
        "sample",
        str(folder / "sample.h5"),
        str(_ntuples(options.folder, options.events) / "sample_*.root"),
        output,
        ensemble,
        training,
        tree_name=None,
        friend_tree_name=None,
        misc_features=None,
        overwrite=False,
    )
    elapsed = time.perf_counter() - started
    with uproot.open(output) as file:
        (tree,) = (file[name] for name in file.keys(cycle=False))
        score = tree["pred_class_0_proba"].array(library="np")
    return Result(elapsed, result.n_scored, {"mean score": float(score.astype("f8").mean())})


def _bare(options: Options) -> Result:
    from utils.readers.skim import SkimFile

    ensemble = _ensemble(options)
    with SkimFile(_folder(options) / "sample.h5") as skim:
        features_NF = ensemble.prepared(skim.matrix(ensemble.features))
        fold_N = ensemble.rule.assign(skim.read([SPLIT])[SPLIT])
    of_fold = [features_NF[fold_N == fold] for fold in range(len(ensemble.models))]
    del features_NF
    boosters = [model._booster for model in ensemble.models]  # type: ignore[attr-defined]
    started = time.perf_counter()
    scores = [booster.predict(matrix) for booster, matrix in zip(boosters, of_fold, strict=True)]
    elapsed = time.perf_counter() - started
    n_rows = sum(map(len, scores))
    return Result(elapsed, n_rows, {"mean score": float(sum(s[:, 0].sum() for s in scores) / n_rows)})


SIDES = {"prepare": prepare, "ours": _ours, "bare": _bare}


def compare(runs: Mapping[str, list[Run]]) -> Iterator[Row]:
    """The ratio that is asked for."""
    yield slowdown("prediction: time / bare Booster.predict", runs["ours"], runs["bare"], 1.25)


if __name__ == "__main__":
    run_benchmark("prediction", parser(__doc__ or "", 1_000_000).parse_args(), SIDES, compare, prepare=["prepare"])

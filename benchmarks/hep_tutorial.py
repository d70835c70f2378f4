"""How well `hep_tutorial` separates its classes, beside scikit-learn on the same features and folds.

`python -m benchmarks.hep_tutorial --input FOLDER` with the folder of the CMS HEP-tutorial ntuples. Every model is
trained three-fold on the training skim and scores the fold it has not seen. Areas are macro averages, one class against
all others, of these scores: with every event counting one, with every class counting the same, and with `EventWeight`.

LightGBM stops early on the very fold it then predicts (`held_out`), which is slightly optimistic; with `next_fold`
it stops on another fold, and has only one of three left to train on. scikit-learn stops, if at all, on a tenth of
its training events.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.sides import table

if TYPE_CHECKING:
    from utils.loading import SkimData

SAMPLES = ("single_top", "ww", "wz", "zz", "qcd")
N_CLASSES = 4

Scores = Callable[["SkimData"], np.ndarray]


def make_skim(ntuples: Path, output: Path) -> Path:
    """The training skim, as `preprocess.py` makes it."""
    import preprocess
    from utils.preprocessing.flow import run_preprocessing

    overrides = [f"input_path={ntuples.resolve()}", f"output_path={output}"]
    made = preprocess.main.compose(overrides, config_name="hep_tutorial")
    return Path(run_preprocessing(made.spec, made.config).outputs["train"])


def lightgbm_scores(data: "SkimData", train_file: Path, threads: int, validation: str) -> np.ndarray:
    """(N, K) scores of every event by the model that has not seen it, as `train.py` trains them."""
    import train
    from utils.models.crosstrain import cross_train, open_training_set, predict_rows

    overrides = ["analysis=hep_tutorial", f"train_file={train_file}", f"validation={validation}"]
    spec = train.main.compose([*overrides, f"+model_param.num_threads={threads}"]).spec
    scores_NK = np.empty((data.skim.n_rows, N_CLASSES))
    training = open_training_set(data, spec)
    for fold in cross_train(training, spec, lambda: spec.model(params=spec.model_param), lambda _: lambda *_: None):
        scores_NK[fold.held_out_rows] = predict_rows(fold.estimator, data, fold.held_out_rows)
    return scores_NK


def histgb_scores(data: "SkimData", threads: int, early_stopping: bool | str) -> np.ndarray:
    """The same of scikit-learn's HistGradientBoosting, otherwise with its own defaults."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    features_NF = data.skim.matrix(data.cont_features)
    fold_N = data.skim.read(["entry"])["entry"] % 3
    scores_NK = np.empty((len(fold_N), N_CLASSES))
    for fold in range(3):
        model = HistGradientBoostingClassifier(early_stopping=early_stopping, random_state=1)
        with threadpool_limits(threads):
            model.fit(features_NF[fold_N != fold], data.target_N[fold_N != fold])
            scores_NK[fold_N == fold] = model.predict_proba(features_NF[fold_N == fold])
    return scores_NK


def areas(scores_NK: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray | None) -> list[float]:
    """Area of every class against all others, by scikit-learn: no metric of ours is in this comparison."""
    from sklearn.metrics import roc_auc_score

    return [float(roc_auc_score(target_N == k, scores_NK[:, k], sample_weight=weight_N)) for k in range(N_CLASSES)]


def compare(train_file: Path, threads: int) -> Iterator[list[str]]:
    """A line per model: macro areas with the three kinds of weights, areas of the classes, and the time."""
    from utils.loading import SkimData
    from utils.readers.skim import SkimFile

    models: dict[str, Scores] = {
        "LightGBM, held_out": lambda data: lightgbm_scores(data, train_file, threads, "held_out"),
        "LightGBM, next_fold": lambda data: lightgbm_scores(data, train_file, threads, "next_fold"),
        "HistGradientBoosting": lambda data: histgb_scores(data, threads, "auto"),
        "HistGradientBoosting, early stopping": lambda data: histgb_scores(data, threads, True),
    }
    with SkimFile(train_file) as skim:
        data = SkimData.open(skim)
        target_N = data.target_N
        event_N = skim.read(["EventWeight"])["EventWeight"].astype(np.float64)
        class_N = 1 / np.bincount(target_N)[target_N]
        for name, scores in models.items():
            started = time.perf_counter()
            scores_NK = scores(data)
            seconds = time.perf_counter() - started
            plain_K = areas(scores_NK, target_N, None)
            macro = [np.mean(plain_K), *(np.mean(areas(scores_NK, target_N, weight)) for weight in (class_N, event_N))]
            yield [name, *(f"{value:.4f}" for value in (*macro, *plain_K)), f"{seconds:.1f} s"]


def weights(ntuples: Path) -> Iterator[list[str]]:
    """A line per sample: what `EventWeight` says, and how many events of equal weight would know as much."""
    import uproot

    values = {
        name: uproot.open(ntuples / f"{name}.root")["events"]["EventWeight"].array(library="np").astype(np.float64)
        for name in SAMPLES
    }
    total = sum(float(values[name].sum()) for name in SAMPLES[:N_CLASSES])
    for name, weight_N in values.items():
        positive_N = weight_N[weight_N > 0]
        share = f"{weight_N.sum() / total:.1%}" if name in SAMPLES[:N_CLASSES] else "-"
        yield [
            name, f"{len(weight_N):,}", f"{np.count_nonzero(weight_N < 0)}", f"{np.count_nonzero(weight_N == 0)}",
            f"{positive_N.min():.2g}", f"{np.median(weight_N):.2g}", f"{weight_N.max():.2g}", f"{weight_N.sum():,.1f}",
            share, f"{weight_N.sum() ** 2 / np.sum(weight_N**2):,.0f}",
        ]  # fmt: skip


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="folder of the CMS HEP-tutorial ntuples")
    parser.add_argument("--threads", type=int, default=2, help="of each model (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        train_file = make_skim(options.input, Path(scratch))
        header = ["model", "unweighted", "class-balanced", "event-weighted", *SAMPLES[:N_CLASSES], "time"]
        print("Macro areas of the cross-predictions over the training skim, and the unweighted areas of the classes\n")
        print(table(header, list(compare(train_file, options.threads))))
    print("\nEventWeight over all events of the ntuples\n")
    header = ["sample", "events", "< 0", "= 0", "least > 0", "median", "largest", "sum", "share", "effective events"]
    print(table(header, list(weights(options.input))))


if __name__ == "__main__":
    main()

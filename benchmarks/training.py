"""Cross-training with LightGBM from a skim against the bare `lightgbm.train` calls on float32 matrices in memory.

Both sides train two folds with the same parameters and watch the held-out fold. The time of ours begins with opening
the skim and ends with the last model; that of the bare side counts `lightgbm.Dataset` and `lightgbm.train` alone, not
how its matrices came into memory. Scoring held-out events and logging are in neither.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.sides import Options, Result, Row, Run, memory, parser, run_benchmark, slowdown

N_CLASSES = 4
N_FOLDS = 2
ROUNDS = 300
SPLIT = "evt"


def parameters(options: Options) -> dict[str, object]:
    """LightGBM's parameters, for both sides."""
    return {
        "objective": "multiclass",
        "num_class": N_CLASSES,
        "metric": "multi_logloss",
        "num_iterations": ROUNDS,
        "max_depth": 3,
        "num_leaves": 8,
        "learning_rate": 0.1,
        "num_threads": options.threads,
        "force_row_wise": True,
        "deterministic": True,
        "seed": 1,
        "verbosity": -1,
    }


def make_skim(ntuples: Path, output: Path, *, for_training: bool) -> Path:
    """The skim of all ntuples in a folder: classes by `category` for training, or every entry for prediction."""
    from benchmarks.ntuples import FEATURES, TREE
    from utils.preprocessing.flow import run_preprocessing
    from utils.preprocessing.spec import PreprocessSpec, Process, Sample, ScalerSpec

    processes = [Process(f"class_{k}", f"category == {k}", k) for k in range(N_CLASSES)]
    node = "train" if for_training else "sample"
    spec = PreprocessSpec(
        for_training=for_training,
        input_path=str(ntuples),
        input_filename_template="{sample_name}_*.root",
        input_tree_name=TREE,
        input_samples=(
            Sample("sample", tuple(processes)) if for_training else Sample.from_config("sample", "benchmark"),
        ),
        cont_features=tuple(FEATURES),
        misc_features=("evt", "run", "lumi", "weight"),
        train_size=1.0,
        scaler=ScalerSpec() if for_training else None,
        output_path=str(output),
        overwrite=True,
    )
    return Path(run_preprocessing(spec).outputs[node])


def skim_file(folder: Path, n_events: int) -> Path:
    """Where the training skim lies."""
    return folder / f"training_{n_events}" / "train.h5"


def prepare(options: Options) -> Result:
    """Ntuples and the training skim, where they are missing."""
    from benchmarks.ntuples import make_ntuples

    started = time.perf_counter()
    path = skim_file(options.folder, options.events)
    if not path.exists():
        ntuples = options.folder / f"ntuples_{options.events}"
        make_ntuples(ntuples, options.events)
        make_skim(ntuples, path.parent, for_training=True)
    return Result(time.perf_counter() - started, options.events)


def cross_train_skim(path: Path, params: Mapping[str, object]) -> Iterator[tuple[object, dict[str, float]]]:
    """(trained fold, last values of what was watched) for every fold."""
    from utils.loading import SkimData
    from utils.models.crosstrain import cross_train, open_training_set
    from utils.models.lightgbm import LightGBMEstimator
    from utils.models.spec import TrainSpec
    from utils.readers.skim import SkimFile

    spec = TrainSpec(train_file=str(path), n_splits=N_FOLDS, xtrain_split_feature=SPLIT, model_param=params)
    watched: dict[str, float] = {}
    with SkimFile(path) as skim:
        training = open_training_set(SkimData.open(skim), spec)
        for fold in cross_train(
            training, spec, lambda: LightGBMEstimator(params), lambda _: lambda _, values: watched.update(values)
        ):
            yield fold, dict(watched)


def _ours(options: Options) -> Result:
    import lightgbm  # noqa: F401 (imports are outside the clock on both sides)

    import utils.models.crosstrain  # noqa: F401

    started = time.perf_counter()
    n_rows, losses = 0, []
    for fold, watched in cross_train_skim(skim_file(options.folder, options.events), parameters(options)):
        n_rows += fold.train.n_events  # type: ignore[attr-defined]
        losses.append(watched["valid-multi_logloss"])
    return Result(time.perf_counter() - started, n_rows, {"logloss": sum(losses) / len(losses)})


def _bare(options: Options) -> Result:
    import lightgbm
    import numpy as np

    from utils.loading import SkimData
    from utils.readers.skim import SkimFile

    with SkimFile(skim_file(options.folder, options.events)) as skim:
        data = SkimData.open(skim)
        features_NF = np.empty((skim.n_rows, len(data.feature_names)), np.float32)
        for start in range(0, skim.n_rows, 100_000):
            features_NF[start : start + 100_000] = data.features(start, start + 100_000)
        target_N = data.target_N
        fold_N = skim.read([SPLIT])[SPLIT] % N_FOLDS
    params = parameters(options)
    elapsed, n_rows, losses = 0.0, 0, []
    for fold in range(N_FOLDS):
        train_N = fold_N != fold
        matrices = {"train": features_NF[train_N], "valid": features_NF[~train_N]}
        labels = {"train": target_N[train_N], "valid": target_N[~train_N]}
        watched: dict[str, dict[str, list[float]]] = {}
        started = time.perf_counter()
        train_set = lightgbm.Dataset(matrices.pop("train"), label=labels["train"])
        valid_set = lightgbm.Dataset(matrices.pop("valid"), label=labels["valid"], reference=train_set)
        lightgbm.train(
            dict(params),
            train_set,
            valid_sets=[valid_set],
            valid_names=["valid"],
            callbacks=[lightgbm.record_evaluation(watched)],
        )
        elapsed += time.perf_counter() - started
        n_rows += int(train_N.sum())
        losses.append(watched["valid"]["multi_logloss"][-1])
    return Result(elapsed, n_rows, {"logloss": sum(losses) / len(losses)})


SIDES = {"prepare": prepare, "ours": _ours, "bare": _bare}


def compare(runs: Mapping[str, list[Run]]) -> Iterator[Row]:
    """The ratios that are asked for."""
    yield slowdown("training: time / bare lightgbm.train", runs["ours"], runs["bare"], 1.1)
    yield memory("training: peak memory / bare lightgbm.train", runs["ours"], runs["bare"], 1)


if __name__ == "__main__":
    run_benchmark("training", parser(__doc__ or "", 2_000_000).parse_args(), SIDES, compare, prepare=["prepare"])

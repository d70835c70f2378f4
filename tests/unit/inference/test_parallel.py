"""Predictions whose rows are scored by workers: the same files come out, and an interrupted one goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uproot

from utils.errors import MissingColumnError, OutputError, SkimError
from utils.executors.spec import Executor, ExecutorSpec
from utils.inference import parallel
from utils.inference.parallel import Scorer, ScoringJob
from utils.inference.predict import predict_friend, predict_table
from utils.inference.scoring import TrainingInputs
from utils.loading import SkimData
from utils.logs import captured_log
from utils.models.crosstrain import cross_train, open_training_set
from utils.models.ensemble import RoutedEnsemble
from utils.models.lightgbm import LightGBMEstimator
from utils.models.spec import TrainSpec
from utils.preprocessing.flow import run_preprocessing
from utils.preprocessing.spec import PreprocessSpec, Process, Sample, ScalerSpec
from utils.readers.skim import SkimFile
from utils.readers.spec import ReadingKeys

SIZES = {"ww": (150, 80), "zz": (40,)}
READING = ReadingKeys(chunk_size=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ntuple: Callable[..., Path]) -> Path:
    """Ntuples of two samples, their skims to predict, and a training skim of both."""
    folder = tmp_path_factory.mktemp("samples")
    for s, (sample, sizes) in enumerate(SIZES.items()):
        for i, n in enumerate(sizes):
            rng = np.random.default_rng(10 * s + i)
            columns = {
                "evt": np.arange(10_000 * s + 1000 * i, 10_000 * s + 1000 * i + n, dtype=np.uint64),
                "pt": rng.exponential(50, n).astype(np.float32),
                "eta": rng.normal(s, 2, n),
            }
            ntuple(folder / "orig" / f"{sample}_{i}.root", columns)
    common: dict[str, Any] = {
        "input_path": str(folder / "orig"),
        "input_filename_template": "{sample_name}_*.root",
        "input_tree_name": "events",
        "cont_features": ("pt", "eta"),
        "misc_features": ("evt",),
        "output_path": str(folder / "skims"),
    }
    samples = tuple(Sample(name, (Process(name, "eta>-3", target),)) for target, name in enumerate(SIZES))
    run_preprocessing(PreprocessSpec(**common, input_samples=samples, scaler=ScalerSpec()))
    run_preprocessing(PreprocessSpec(**common, input_samples=samples, for_training=False))
    return folder


@pytest.fixture(scope="module")
def ensemble(folder: Path) -> RoutedEnsemble:
    """Two small models, trained on the skim."""
    spec = TrainSpec(train_file="", n_splits=2, model_param={})
    with SkimFile(folder / "skims" / "train.h5") as skim:
        data = SkimData.open(skim)

        def make() -> LightGBMEstimator:
            return LightGBMEstimator({"num_iterations": 3, "min_data_in_leaf": 3, "seed": 1})

        folds = cross_train(open_training_set(data, spec), spec, make, lambda _: lambda step, values: None)
        models = tuple(fold.estimator for fold in folds)
        return RoutedEnsemble(models, spec.fold_rule, data.pipe, (), ("ww", "zz"), "average")


@pytest.fixture(scope="module")
def training(folder: Path) -> TrainingInputs:
    """What the models have seen."""
    with SkimFile(folder / "skims" / "train.h5") as skim:
        return TrainingInputs.of(skim.metadata)


Predict = Callable[..., dict[str, Any]]


@pytest.fixture
def predict(folder: Path, ensemble: RoutedEnsemble, training: TrainingInputs, tmp_path: Path) -> Predict:
    """Friends and tables of both samples with an executor; gives their content."""

    def run(kind: Executor, workers: int = 2, reading: ReadingKeys = READING) -> dict[str, Any]:
        skims = {sample: str(folder / "skims" / f"{sample}.h5") for sample in SIZES}
        output = tmp_path / kind
        executor = ExecutorSpec(kind, workers)
        content: dict[str, Any] = {}
        with Scorer(ensemble, training, reading, list(skims.values()), executor, output / ".scores") as scorer:
            for sample, skim in skims.items():
                done = predict_friend(
                    sample, skim, None, output / f"{sample}.root", ensemble, training, tree_name=None,
                    friend_tree_name=None, misc_features=None, reading=reading, scorer=scorer, overwrite=True,
                )  # fmt: skip
                with uproot.open(done.path) as file:
                    content[sample] = file["events"].arrays(library="np")
                content[f"{sample} counts"] = (done.n_entries, done.n_scored, done.per_class, done.missing_folds)
        with Scorer(ensemble, training, reading, [skims["zz"]], executor, output / ".scores") as scorer:
            table = output / "zz.csv"
            predict_table(
                "zz", skims["zz"], table, ensemble, training, ["evt"], reading=reading, scorer=scorer, overwrite=True
            )
            content["table"] = pd.read_csv(table).to_dict("list")
        assert sorted(path.name for path in output.iterdir()) == ["ww.root", "zz.csv", "zz.root"]
        return content

    return run


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, values in one.items():
        np.testing.assert_equal(other[name], values)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_comes_out(predict: Predict, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(parallel, "TASK_ROWS", 70)
    with captured_log() as messages:
        other = predict("processes", workers)
    assert any("ww.h5, rows 60 to 120" in message for message in messages)
    same(predict("serial"), other)


def test_with_fewer_events_the_same_comes_out(predict: Predict) -> None:
    few = ReadingKeys(chunk_size=30, nevts=45)
    same(predict("serial", reading=few), predict("processes", reading=few))


Scoring = Callable[..., Scorer]


@pytest.fixture
def scoring(
    folder: Path, ensemble: RoutedEnsemble, training: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Scoring:
    """A scorer of the first sample in tasks of 60 rows, with one worker."""
    monkeypatch.setattr(parallel, "TASK_ROWS", 60)

    def make(name: str = "ww", kind: Executor = "processes", **changed: Any) -> Scorer:
        reading = ReadingKeys(**{"chunk_size": 30, **changed})
        skim = str(folder / "skims" / f"{name}.h5")
        return Scorer(ensemble, training, reading, [skim], ExecutorSpec(kind, 1), tmp_path / "kept")

    return make


def scored(scorer: Scorer) -> list[Any]:
    with SkimFile(scorer.skims[0]) as skim:
        return [block.scores_NK for block in scorer.blocks(skim)]


def test_an_interrupted_prediction_goes_on(scoring: Scoring, tmp_path: Path) -> None:
    """It ends after the first two of four tasks; another number of events at a time is another prediction."""
    with scoring() as scorer:
        expected = scored(scorer)
    assert not (tmp_path / "kept").exists()
    with pytest.raises(MissingColumnError), scoring() as scorer, SkimFile(scorer.skims[0]) as skim:
        blocks = scorer.blocks(skim)
        for _ in range(4):
            next(blocks)
        raise MissingColumnError("something is wrong")
    kept = sorted((tmp_path / "kept").glob("*/*.npz"))
    assert len(kept) >= 2
    for path in kept[2:]:  # of those behind, some may have been scored until then
        path.unlink()
    with pytest.raises(MissingColumnError), captured_log() as messages, scoring(chunk_size=20) as scorer:
        scored(scorer)
        raise MissingColumnError("something is wrong")
    assert not any("already done" in message for message in messages)
    with captured_log() as messages, scoring() as scorer:
        np.testing.assert_equal(scored(scorer), expected)
    assert "2 of 4 tasks were already done" in messages
    assert not (tmp_path / "kept").exists()


def test_a_changed_skim_is_scored_again(scoring: Scoring, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError), scoring() as scorer:
        scored(scorer)
        raise MissingColumnError("something is wrong")
    (folder / "skims" / "ww.h5").touch()
    with captured_log() as messages, scoring() as scorer:
        scored(scorer)
    assert not any("already done" in message for message in messages)


def test_skims_are_checked_before_anything_is_scored(scoring: Scoring, folder: Path) -> None:
    with pytest.raises(SkimError, match="no such skim"), scoring("missing"):
        pass


def test_two_predictions_with_one_run_at_once(scoring: Scoring) -> None:
    with scoring(), pytest.raises(OutputError, match="another process"), scoring():
        pass


def test_a_range_that_two_workers_score_at_once(
    folder: Path, ensemble: RoutedEnsemble, training: TrainingInputs, tmp_path: Path
) -> None:
    ensemble.save(tmp_path / "models")
    skim, result = str(folder / "skims" / "ww.h5"), tmp_path / "0.npz"
    job = ScoringJob(skim, tmp_path / "models", training, 0, 50, 30, result)
    for _ in range(2):
        parallel.score_range(job)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["0.npz"]
    with np.load(result) as saved:
        assert saved["scores"].shape == (50, 2)

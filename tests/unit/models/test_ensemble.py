"""The routed ensemble: raw features in, every event to the model that has not seen it, scores out in the same order."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.skims import open_skim, toy_events, toy_pipe
from utils.errors import MissingColumnError, RunError
from utils.factory import Factory
from utils.folds import FoldRule
from utils.loading import SkimData
from utils.models.crosstrain import cross_train, open_training_set
from utils.models.ensemble import RoutedEnsemble
from utils.models.estimator import as_probabilities, load_estimator
from utils.models.frames import predict_frame
from utils.models.lightgbm import LightGBMEstimator
from utils.models.spec import TrainSpec
from utils.preprocessing.pipe import FittedPipe, Scaler

ROOT = Path(__file__).parents[3]
EVENTS = toy_events(60, n_classes=3)


class Constant:
    """Gives its number as the score of class 0, and its first feature as that of class 1."""

    def __init__(self, number: float) -> None:
        self.number = number

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        scores_NK = np.full((len(features_NF), 3), self.number, np.float32)
        scores_NK[:, 1] = features_NF[:, 0]
        return scores_NK


def ensemble(n: int = 4, unseen: str = "route", by: str = "modulo") -> RoutedEnsemble:
    pipe, names = toy_pipe(EVENTS), ("a", "b", "c")
    return RoutedEnsemble(tuple(map(Constant, range(n))), FoldRule(n, by, "evt"), pipe, ("njets",), names, unseen)


def raw() -> np.ndarray:
    return np.stack([*EVENTS.cont.values(), EVENTS.cat["njets"].astype(np.float32)], axis=1)


@given(folds=st.lists(st.integers(0, 3), max_size=60), block=st.integers(1, 60))
def test_every_event_gets_the_score_of_its_folds_model(folds: list[int], block: int) -> None:
    fold_N = np.array(folds, np.int32)
    raw_NF = raw()[: len(folds)]
    scores_NK = ensemble().predict(raw_NF, fold_N)
    assert scores_NK.shape == (len(folds), 3)
    assert scores_NK.dtype == np.float32
    expected_NK = np.full((len(folds), 3), np.nan, np.float32)
    features_NF = ensemble().prepared(raw_NF)
    for fold in range(4):
        expected_NK[fold_N == fold] = Constant(fold).predict(features_NF[fold_N == fold])
    np.testing.assert_array_equal(scores_NK, expected_NK)
    if folds:
        parts = [
            ensemble().predict(raw_NF[start : start + block], fold_N[start : start + block])
            for start in range(0, len(folds), block)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), scores_NK)


def test_the_pipe_is_part_of_it_and_leaves_categories_alone() -> None:
    prepared_NF = ensemble().prepared(raw())
    np.testing.assert_array_equal(prepared_NF[:, :3], toy_pipe(EVENTS).transform(raw()[:, :3]))
    np.testing.assert_array_equal(prepared_NF[:, 3], EVENTS.cat["njets"])
    assert ensemble().features == ("x", "y", "noise", "njets")


@given(seen=st.lists(st.booleans(), min_size=60, max_size=60))
def test_unseen_events_are_averaged_where_asked_for(seen: list[bool]) -> None:
    fold_N, seen_N = (np.arange(60) % 4).astype(np.int32), np.array(seen)
    routed_NK = ensemble().predict(raw(), fold_N, seen_N)
    np.testing.assert_array_equal(routed_NK[:, 0], fold_N)
    averaged_NK = ensemble(unseen="average").predict(raw(), fold_N, seen_N)
    np.testing.assert_array_equal(averaged_NK[:, 0], np.where(seen_N, fold_N, 1.5))
    np.testing.assert_allclose(averaged_NK[:, 1], routed_NK[:, 1], rtol=1e-6)
    # Where nothing is known of what was seen, all of it was.
    np.testing.assert_array_equal(ensemble(unseen="average").predict(raw(), fold_N), routed_NK)


def test_without_a_fold_all_models_are_averaged() -> None:
    np.testing.assert_array_equal(ensemble().predict(raw(), None)[:, 0], np.full(60, 1.5))


def test_one_model_by_itself_predicts_everything() -> None:
    only = ensemble().only(2)
    assert only.rule.n_splits == 1
    np.testing.assert_array_equal(only.predict(raw(), np.zeros(60, np.int32))[:, 0], np.full(60, 2))


def test_a_frame_is_routed_by_its_split_feature_in_any_order_of_columns() -> None:
    frame = pd.DataFrame({"evt": EVENTS.misc["evt"], **EVENTS.cat, **dict(reversed(list(EVENTS.cont.items())))})
    frame.index = pd.Index(range(100, 160))
    found = predict_frame(ensemble(), frame)
    assert list(found) == [*(f"pred_class_{i}_proba" for i in range(3)), "pred_class", "pred_class_proba"]
    np.testing.assert_array_equal(found["pred_class_0_proba"], np.arange(60) % 4)
    np.testing.assert_array_equal(found["pred_class_1_proba"], ensemble().prepared(raw())[:, 0])
    np.testing.assert_array_equal(found.index, frame.index)
    scores_NK = found[[f"pred_class_{i}_proba" for i in range(3)]].to_numpy()
    np.testing.assert_array_equal(found["pred_class"], scores_NK.argmax(axis=1))
    np.testing.assert_array_equal(found["pred_class_proba"], scores_NK.max(axis=1))
    for unknown in (frame.drop(columns="evt"), frame.assign(evt=np.nan)):
        np.testing.assert_array_equal(predict_frame(ensemble(), unknown)["pred_class_0_proba"], np.full(60, 1.5))
    with pytest.raises(MissingColumnError, match="no column 'noise'.*did you mean 'noize'"):
        predict_frame(ensemble(), frame.rename(columns={"noise": "noize"}))


def trained(folder: Path, n_splits: int = 3) -> RoutedEnsemble:
    spec = TrainSpec(train_file="", n_splits=n_splits, model_param={})
    with open_skim(folder / "train.h5", EVENTS) as skim:
        data = SkimData.open(skim)

        def make() -> LightGBMEstimator:
            return LightGBMEstimator({"num_iterations": 3, "min_data_in_leaf": 3, "seed": 1})

        folds = cross_train(open_training_set(data, spec), spec, make, lambda _: lambda step, values: None)
        models = tuple(fold.estimator for fold in folds)
        return RoutedEnsemble(models, spec.fold_rule, data.pipe, data.cat_features, ("a", "b", "c"), "average")


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    original = trained(tmp_path)
    original.save(tmp_path / "saved")
    shutil.move(tmp_path / "saved", tmp_path / "elsewhere")
    loaded = RoutedEnsemble.load(tmp_path / "elsewhere")
    fold_N, seen_N = (np.arange(60) % 3).astype(np.int32), np.arange(60) < 30
    np.testing.assert_array_equal(loaded.predict(raw(), fold_N, seen_N), original.predict(raw(), fold_N, seen_N))
    assert (loaded.rule, loaded.features, loaded.unseen) == (original.rule, original.features, "average")
    assert loaded.class_names == ("a", "b", "c")
    with pytest.raises(RunError, match="no saved estimator"):
        load_estimator(tmp_path / "elsewhere")


STEP = dedent(
    '''
    import numpy as np


    class Log:
        """log(1 + |x|)."""

        def fit(self, moments, names):
            return self

        def transform(self, features_NF):
            return np.log1p(np.abs(features_NF))

        def output_names(self, names):
            return tuple(f"log_{name}" for name in names)

        def state(self):
            return {"base": "e"}

        @classmethod
        def from_state(cls, state):
            assert state == {"base": "e"}
            return cls()
    '''
)


def test_a_users_step_goes_with_it_as_a_file(tmp_path: Path) -> None:
    """It loads in a process that knows nothing of the file it once came from."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "steps.py").write_text(STEP)
    target = f"{tmp_path}/mine/steps.py:Log"
    pipe = FittedPipe(("x", "y", "noise"), ((target, Factory(target)()), *toy_pipe(EVENTS).steps))
    made = RoutedEnsemble(
        trained(tmp_path, 1).models, FoldRule(1, "modulo", "evt"), pipe, ("njets",), ("a", "b", "c"), "route"
    )
    made.save(tmp_path / "saved")
    expected_NK = made.predict(raw(), np.zeros(60, np.int32))
    shutil.rmtree(tmp_path / "mine")
    np.save(tmp_path / "raw.npy", raw())
    code = dedent(
        f"""
        import numpy as np
        from pathlib import Path
        from utils.models.ensemble import RoutedEnsemble
        loaded = RoutedEnsemble.load(Path({str(tmp_path / "saved")!r}))
        scores = loaded.predict(np.load({str(tmp_path / "raw.npy")!r}), np.zeros(60, np.int32))
        np.save({str(tmp_path / "scores.npy")!r}, scores)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), expected_NK)


def test_what_is_saved_is_text_without_paths_of_this_machine(tmp_path: Path) -> None:
    trained(tmp_path).save(tmp_path / "saved")
    content = json.loads((tmp_path / "saved" / "ensemble.json").read_text())
    assert content["pipe"]["steps"][0]["step"] == "scaler"
    assert isinstance(toy_pipe(EVENTS).steps[0][1], Scaler)
    for path in (tmp_path / "saved").rglob("*"):
        assert path.is_dir() or str(tmp_path) not in path.read_text()


def test_scores_of_one_class_become_two() -> None:
    for scores in (np.array([0.25, 1.0]), np.array([[0.25], [1.0]])):
        np.testing.assert_array_equal(as_probabilities(scores, 2), np.array([[0.75, 0.25], [0, 1]], np.float32))


# --- values ---


class Value:
    """Its number and the first feature, as two targets."""

    def __init__(self, number: float) -> None:
        self.number = number

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        return np.stack([np.full(len(features_NF), self.number), features_NF[:, 0]], axis=1).astype(np.float32)


def of_values(n: int = 4) -> RoutedEnsemble:
    made = ensemble(n, unseen="average")
    return replace(made, models=tuple(map(Value, range(n))), task="regression", targets=("pt", "mass"))


def test_values_are_routed_and_averaged_like_scores() -> None:
    fold_N = EVENTS.misc["evt"].astype(np.int32) % 4
    seen_N = np.arange(60) % 3 > 0
    values_NT = of_values().predict(raw(), fold_N, seen_N)
    assert values_NT.shape == (60, 2)
    np.testing.assert_array_equal(values_NT[:, 0], np.where(seen_N, fold_N, 1.5))
    np.testing.assert_array_equal(of_values().predict(raw(), None)[:, 0], 1.5)
    np.testing.assert_array_equal(of_values().only(3).predict(raw(), None)[:, 0], 3)


def test_a_frame_gets_the_columns_of_the_task() -> None:
    frame = pd.DataFrame(dict(zip(of_values().features, raw().T, strict=True)) | {"evt": EVENTS.misc["evt"]})
    frame["njets"] = frame["njets"].astype(int)
    told = predict_frame(of_values(), frame)
    assert list(told) == ["pred_pt", "pred_mass"]
    np.testing.assert_array_equal(told["pred_pt"], np.float32(EVENTS.misc["evt"] % 4))


def test_an_ensemble_of_values_comes_back_and_one_of_before_there_were_tasks_too(tmp_path: Path) -> None:
    misc = {"mass": EVENTS.cont["x"] * 2.0}
    with open_skim(tmp_path / "train.h5", toy_events(60, n_classes=1, misc=misc)) as skim:
        data = SkimData.open(skim, task="regression", targets=("mass",))
        spec = TrainSpec(train_file="", task="regression", targets=("mass",))
        make = lambda: LightGBMEstimator({"num_iterations": 2, "min_data_in_leaf": 2})  # noqa: E731
        models = tuple(f.estimator for f in cross_train(open_training_set(data, spec), spec, make, lambda _: silent))
    made = RoutedEnsemble(
        models, spec.fold_rule, data.pipe, data.cat_features, ("a",), "route", "regression", ("mass",)
    )
    made.save(tmp_path / "saved")
    loaded = RoutedEnsemble.load(tmp_path / "saved")
    assert loaded.outputs == made.outputs
    np.testing.assert_array_equal(loaded.predict(raw(), None), made.predict(raw(), None))
    path = tmp_path / "saved" / "ensemble.json"
    content = json.loads(path.read_text())
    del content["task"], content["targets"]
    path.write_text(json.dumps(content))
    assert RoutedEnsemble.load(tmp_path / "saved").task == "classification"


def silent(step: int, values: object) -> None: ...

"""Friend trees and tables of small samples, and the skims and ntuples that are refused."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow.parquet as pa_parquet
import pytest
import uproot

from utils.errors import InputFileError, MissingColumnError, OutputError, SkimError
from utils.folds import FoldRule
from utils.inference import scoring
from utils.inference.predict import SamplePrediction, default_misc, predict_friend, predict_table
from utils.inference.scoring import TrainingInputs, check_pipe_file
from utils.models.ensemble import RoutedEnsemble
from utils.preprocessing.flow import run_preprocessing
from utils.preprocessing.pipe import FittedPipe, Scaler
from utils.preprocessing.spec import PreprocessSpec, Process, Sample, ScalerSpec
from utils.readers.skim import SkimFile

NOWHERE = TrainingInputs(frozenset(), 0.8, 0)
FIRST = 2**60


class Constant:
    """The number of its fold for class 0, pt (raw, scaled to mean 0) for class 1; −5 for class 2."""

    def __init__(self, number: float) -> None:
        self.number = number

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        third_N = np.full(len(features_NF), -5)
        return np.stack([np.full(len(features_NF), self.number), features_NF[:, 0], third_N], axis=1).astype(np.float32)


PIPE = FittedPipe(("pt", "eta"), (("scaler", Scaler(mean=(50.0, 0.0), scale=(10.0, 1.0))),))


def ensemble(n: int = 2, unseen: str = "route") -> RoutedEnsemble:
    rule = FoldRule(n, "modulo", "evt")
    return RoutedEnsemble(tuple(map(Constant, range(n))), rule, PIPE, ("njets",), ("a", "b", "c"), unseen)


def columns(n: int, seed: int = 5, first: int = FIRST) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "run": np.full(n, 7, np.uint32),
        "evt": np.arange(first, first + n, dtype=np.uint64),
        "pt": rng.exponential(50, n).astype(np.float32),
        "eta": rng.normal(0, 2, n),
        "njets": rng.integers(0, 5, n).astype(np.int32),
        "charge": rng.choice([-1, 1], n).astype(np.int8),
        "trigger": rng.random(n) > 0.5,
        "jet_pt": ak.unflatten(rng.exponential(30, 2 * n).astype(np.float32), np.full(n, 2)),
    }


class Samples:
    """Ntuples of a sample in one or more files, and how to skim them for prediction."""

    def __init__(self, folder: Path, ntuple: Callable[..., Path]) -> None:
        self.folder, self._ntuple = folder, ntuple

    def write(self, *sizes: int, sample: str = "ww", **changed: Any) -> dict[str, Any]:
        parts = [columns(n, seed=i, first=FIRST + 1000 * i) for i, n in enumerate(sizes)]
        for i, part in enumerate(parts):
            self._ntuple(self.folder / "orig" / f"{sample}_{i}.root", {**part, **changed})
        return {name: ak.concatenate([part[name] for part in parts]) for name in parts[0]}

    def skim(self, sample: str = "ww", cut: str | None = None, **options: Any) -> str:
        spec = PreprocessSpec(
            **{
                "for_training": False,
                "input_path": str(self.folder / "orig"),
                "input_filename_template": "{sample_name}_*.root",
                "input_tree_name": "events",
                "input_samples": (Sample(sample, (Process(sample, cut, None),)),),
                "cont_features": ("pt", "eta"),
                "cat_features": ("njets",),
                "misc_features": ("run", "evt", "charge"),
                "output_path": str(self.folder / "skims"),
                "overwrite": True,
                **options,
            }
        )
        config = {"misc_features": list(spec.misc_features or ())}
        return str(run_preprocessing(spec, config).outputs[sample])

    def predict(self, skim: str, models: RoutedEnsemble | None = None, **options: Any) -> SamplePrediction:
        defaults: dict[str, Any] = {
            "tree_name": None,
            "friend_tree_name": None,
            "misc_features": None,
            "overwrite": True,
        }
        ntuples = options.pop("ntuples", str(self.folder / "orig" / "ww_*.root"))
        output = self.folder / "out" / "ww_pred.root"
        return predict_friend("ww", skim, ntuples, output, models or ensemble(), NOWHERE, **(defaults | options))


@pytest.fixture
def samples(tmp_path: Path, ntuple: Callable[..., Path]) -> Samples:
    return Samples(tmp_path, ntuple)


def read(result: SamplePrediction, tree: str = "events") -> dict[str, Any]:
    with uproot.open(result.path) as file:
        return {name: branch.array(library="np") for name, branch in file[tree].items()}


@pytest.mark.parametrize("rows", [3, 50, 200_000])
@pytest.mark.parametrize("sizes", [(40,), (25, 0, 15), (0,), (0, 5)])
def test_entry_i_of_the_friend_is_entry_i_of_the_sample(
    samples: Samples, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], rows: int
) -> None:
    monkeypatch.setattr(scoring, "BLOCK_ROWS", rows)
    events = samples.write(*sizes)
    result = samples.predict(samples.skim(cut="pt>30"))
    found = read(result)
    pt_N, evt_N = ak.to_numpy(events["pt"]), ak.to_numpy(events["evt"])
    valid_N = pt_N > 30
    np.testing.assert_array_equal(found["evt"], evt_N)
    np.testing.assert_array_equal(found["is_valid"], valid_N.astype(np.uint8))
    np.testing.assert_array_equal(
        found["pred_class_0_proba"], np.where(valid_N, (evt_N % np.uint64(2)).astype(int), -1)
    )
    np.testing.assert_allclose(found["pred_class_1_proba"], np.where(valid_N, (pt_N - 50) / 10, -1), rtol=1e-6)
    np.testing.assert_array_equal(found["pred_class_2_proba"], np.where(valid_N, -5, -1))
    scores_NK = np.stack([found[f"pred_class_{i}_proba"] for i in range(3)], axis=1)
    np.testing.assert_array_equal(found["pred_class"], np.where(valid_N, scores_NK.argmax(axis=1), -1))
    np.testing.assert_array_equal(found["pred_class_proba"], scores_NK.max(axis=1))
    assert (result.sample, result.n_entries, result.n_scored) == ("ww", sum(sizes), int(valid_N.sum()))
    assert result.per_class == tuple(np.bincount(found["pred_class"][valid_N], minlength=3))


def test_branches_and_types_are_the_promised_ones(samples: Samples) -> None:
    samples.write(20)
    skim = samples.skim()
    found = {name: values.dtype for name, values in read(samples.predict(skim)).items()}
    scores = {f"pred_class_{i}_proba": np.dtype(np.float32) for i in range(3)}
    assert found == {
        **scores,
        "pred_class": np.dtype(np.int32),
        "pred_class_proba": np.dtype(np.float32),
        "is_valid": np.dtype(np.uint8),
        "run": np.dtype(np.uint32),
        "evt": np.dtype(np.uint64),
        "charge": np.dtype(np.int8),
    }


def test_misc_features_keep_their_types_and_are_there_for_every_entry(samples: Samples) -> None:
    events = samples.write(20, 10)
    result = samples.predict(
        samples.skim(cut="pt>1e9"), misc_features=("trigger", "eta", "jet_pt"), friend_tree_name="scores"
    )
    assert result.n_scored == 0
    with uproot.open(result.path) as file:
        tree = file["scores"]
        for name in ("trigger", "eta", "jet_pt", "run", "evt"):
            found = tree[name].array()
            assert ak.type(found).content == ak.type(events[name]).content, name
            assert ak.all(found == events[name]), name
        assert set(tree["is_valid"].array(library="np")) == {0}
        assert set(tree["pred_class"].array(library="np")) == {-1}


def test_a_sample_that_misses_a_fold_is_normal_and_reported(samples: Samples) -> None:
    even = FIRST + 2 * np.arange(3, dtype=np.uint64)
    samples.write(3, evt=even)
    assert samples.predict(samples.skim()).missing_folds == (1,)


def test_without_event_numbers_entries_alone_decide(samples: Samples) -> None:
    samples.write(12, 8)
    for path in (samples.folder / "orig").glob("*.root"):
        content = columns(12 if path.name == "ww_0.root" else 8)
        samples._ntuple(path, {name: values for name, values in content.items() if name not in ("run", "evt")})
    models = RoutedEnsemble(
        ensemble().models, FoldRule(2, "modulo", "entry"), PIPE, ("njets",), ("a", "b", "c"), "route"
    )
    found = read(samples.predict(samples.skim(misc_features=("entry", "charge")), models))
    np.testing.assert_array_equal(found["pred_class_0_proba"], np.concatenate([np.arange(12) % 2, np.arange(8) % 2]))
    assert "entry" not in found
    assert "charge" in found


def test_unknown_misc_features_are_errors_with_the_nearest_name(samples: Samples) -> None:
    samples.write(5)
    with pytest.raises(MissingColumnError, match="no branch 'trigerr'.*did you mean 'trigger'"):
        samples.predict(samples.skim(), misc_features=("trigerr",))
    assert not (samples.folder / "out").exists() or not list((samples.folder / "out").iterdir())


def test_other_events_in_a_file_of_the_same_size_are_refused(samples: Samples) -> None:
    """The file was produced again: as many entries, as many bytes, other events."""
    samples.write(50)
    skim = samples.skim()
    path = samples.folder / "orig" / "ww_0.root"
    size = path.stat().st_size
    samples.write(50, evt=np.arange(FIRST + 10**6, FIRST + 10**6 + 50, dtype=np.uint64))
    with path.open("ab") as file:
        file.write(b"\0" * max(0, size - path.stat().st_size))
    with pytest.raises(
        SkimError,
        match=r"the file changed since it was skimmed: (uuid|size) was .*, in .*ww_0.root.*preprocess.py again",
    ):
        samples.predict(skim)


def test_events_that_were_changed_in_place_are_refused(samples: Samples, ntuple: Callable[..., Path]) -> None:
    """Same size, same entries, same UUID: only the comparison of every pair sees it."""
    path = ntuple(samples.folder / "orig" / "ww_0.root", columns(50), compression=None)
    skim = samples.skim(cut="pt>5")
    content = path.read_bytes()
    before, after = ((FIRST + i).to_bytes(8, "big") for i in (33, 999))
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, after))
    with pytest.raises(SkimError, match="1 events differ between the skim and the ntuples, the first at entry 33"):
        samples.predict(skim)
    assert not (samples.folder / "out" / "ww_pred.root").exists()


@pytest.mark.parametrize("change", ["more", "fewer", "file_more", "file_less"])
def test_an_input_that_changed_since_it_was_skimmed_is_refused(samples: Samples, change: str) -> None:
    samples.write(20, 10)
    skim = samples.skim()
    orig = samples.folder / "orig"
    if change == "file_more":
        shutil.copy(orig / "ww_0.root", orig / "ww_2.root")
    elif change == "file_less":
        (orig / "ww_1.root").unlink()
    else:
        samples._ntuple(orig / "ww_1.root", columns(11 if change == "more" else 9))
    text = (
        "made from 2 files, but there are"
        if "file" in change
        else "the file changed since it was skimmed: n_entries was"
    )
    with pytest.raises(SkimError, match=text):
        samples.predict(skim)


def test_files_that_were_swapped_are_refused(samples: Samples) -> None:
    samples.write(20, 20)
    skim = samples.skim()
    first, second = (samples.folder / "orig" / f"ww_{i}.root" for i in (0, 1))
    shutil.move(first, first.with_suffix(".tmp"))
    shutil.move(second, first)
    shutil.move(first.with_suffix(".tmp"), second)
    with pytest.raises(SkimError, match="the file changed since it was skimmed"):
        samples.predict(skim)


def test_ntuples_may_have_moved(samples: Samples) -> None:
    samples.write(20, 10)
    skim = samples.skim()
    shutil.move(samples.folder / "orig", samples.folder / "moved")
    result = samples.predict(skim, ntuples=str(samples.folder / "moved" / "ww_*.root"))
    assert result.n_scored == 30
    with pytest.raises(InputFileError, match="ww_0.root|no such folder|no file"):
        samples.predict(skim, ntuples=None)


def test_ntuples_are_found_where_they_were_skimmed(samples: Samples) -> None:
    samples.write(20, 10)
    assert samples.predict(samples.skim(), ntuples=None).n_scored == 30


def test_a_skim_with_an_entry_twice_is_refused(samples: Samples) -> None:
    """Two processes of a sample may share an event; then a row of the skim is no entry of the tree."""
    samples.write(30)
    both = (Sample("ww", (Process("one", "pt>10", None), Process("two", "pt>20", None))),)
    skim = samples.skim(input_samples=both)
    with pytest.raises(SkimError, match="an entry twice"):
        samples.predict(skim)
    assert not (samples.folder / "out" / "ww_pred.root").exists()


def test_an_existing_friend_is_replaced_only_where_asked_for(samples: Samples) -> None:
    samples.write(10)
    skim = samples.skim()
    samples.predict(skim)
    samples.predict(skim)
    with pytest.raises(OutputError, match="exists"):
        samples.predict(skim, overwrite=False)


def test_a_missing_skim_is_an_error_with_the_nearest_name(samples: Samples) -> None:
    samples.write(10)
    skim = samples.skim()
    with pytest.raises(SkimError, match="no such skim.*did you mean 'ww.h5'"):
        samples.predict(skim.replace("ww", "wv"))


def fitted_like(samples: Samples) -> RoutedEnsemble:
    """The models with the pipe of the training skim."""
    pipe = FittedPipe.load(samples.folder / "skims" / "input_pipe.json")
    return RoutedEnsemble(ensemble().models, FoldRule(2, "modulo", "evt"), pipe, ("njets",), ("a", "b", "c"), "route")


def training_skim(samples: Samples, **options: Any) -> str:
    samples.write(60)
    spec = PreprocessSpec(
        **{
            "input_path": str(samples.folder / "orig"),
            "input_filename_template": "{sample_name}_*.root",
            "input_tree_name": "events",
            "input_samples": (Sample("ww", (Process("low", "pt<=40", 0), Process("high", "pt>40", 1))),),
            "cont_features": ("pt", "eta"),
            "cat_features": ("njets",),
            "misc_features": ("evt", "w_class_imbalance"),
            "output_path": str(samples.folder / "skims"),
            "train_size": 0.9,
            "overwrite": True,
            **options,
        }
    )
    return str(run_preprocessing(spec).outputs["train"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_has_scores_truth_and_fold_of_every_event(
    samples: Samples, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(scoring, "BLOCK_ROWS", 7)
    skim = training_skim(samples)
    misc = ("evt", "group_name", "target", "w_class_imbalance")
    output = samples.folder / f"train{suffix}"
    result = predict_table("train", skim, output, fitted_like(samples), NOWHERE, misc, overwrite=False)
    table = pd.read_csv(output) if suffix == ".csv" else pa_parquet.read_table(output).to_pandas()
    scores = [f"pred_class_{i}_proba" for i in range(3)]
    assert list(table) == [*misc, *scores, "pred_class", "pred_class_proba", "fold"]
    with SkimFile(skim) as file:
        columns = file.read([*misc, "pt"])
        assert result.n_entries == result.n_scored == file.n_rows == len(table)
    for name in misc:
        np.testing.assert_array_equal(table[name], columns[name])
    np.testing.assert_array_equal(table["fold"], columns["evt"] % 2)
    np.testing.assert_array_equal(table["pred_class_0_proba"], columns["evt"] % 2)
    np.testing.assert_allclose(table["pred_class_1_proba"], columns["pt"], rtol=1e-5, atol=1e-6)
    assert set(table["group_name"]) == {"low", "high"}


def test_a_table_without_a_column_that_was_asked_for_is_an_error(samples: Samples) -> None:
    skim = training_skim(samples)
    with pytest.raises(MissingColumnError, match="no column 'wieght'.*misc_features"):
        predict_table("t", skim, samples.folder / "t.csv", fitted_like(samples), NOWHERE, ("wieght",), overwrite=False)
    assert not (samples.folder / "t.csv").exists()


def test_what_an_evaluation_needs_is_copied_by_default(samples: Samples) -> None:
    skim = training_skim(samples)
    config = {"xtrain_split_feature": "evt", "event_weight": "weight", "weight_name": "w_class_imbalance"}
    assert default_misc(skim, config) == ("evt", "target", "group_name", "w_class_imbalance")


def test_the_pipe_of_another_training_is_refused(samples: Samples, tmp_path: Path) -> None:
    training_skim(samples, scaler=ScalerSpec())
    file = samples.folder / "skims" / "input_pipe.json"
    fitted = FittedPipe.load(file)
    own = fitted_like(samples)
    check_pipe_file(None, own)
    check_pipe_file(str(file), own)
    check_pipe_file(str(file.with_suffix(".pkl")), own)  # as ml-framework's configs name it
    some = RoutedEnsemble(own.models, own.rule, fitted.restricted(("eta",)), (), own.class_names, "route")
    check_pipe_file(str(file), some)
    with pytest.raises(
        SkimError, match="input pipe differs from the one the run was trained with, in .*input_pipe.json"
    ):
        check_pipe_file(str(file), ensemble())
    with pytest.raises(SkimError, match="no such input pipe"):
        check_pipe_file(str(tmp_path / "none.json"), own)
    file.write_text('{"inputs": 3}')
    with pytest.raises(SkimError, match="not an input pipe"):
        check_pipe_file(str(file), own)


def test_a_skim_made_with_the_pipe_of_another_training_is_refused(samples: Samples) -> None:
    training_skim(samples, scaler=ScalerSpec())
    pipe = str(samples.folder / "skims" / "input_pipe.json")
    skim = samples.skim(input_pipe_file=pipe)
    with pytest.raises(SkimError, match="input pipe differs.*in .*ww.h5.*input_pipe_file of this one"):
        samples.predict(skim)
    assert samples.predict(skim, fitted_like(samples)).n_scored == 60


# --- other tasks ---


class Value:
    """pt, less its fold's number."""

    def __init__(self, number: float) -> None:
        self.number = number

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        return (features_NF[:, :1] * 10 + 50 - self.number).astype(np.float32)


def of_values(task: str, targets: tuple[str, ...] = ()) -> RoutedEnsemble:
    return replace(ensemble(), models=(Value(0), Value(1)), task=task, targets=targets, unseen="average")


@pytest.mark.parametrize(
    ("task", "targets", "branch", "unscored"),
    [("regression", ("gen_pt",), "pred_gen_pt", np.nan), ("autoencoder", (), "pred_loss", -1)],
)
def test_a_friend_of_values_has_their_branch(
    samples: Samples, task: str, targets: tuple[str, ...], branch: str, unscored: float
) -> None:
    events = samples.write(30, 20)
    result = samples.predict(samples.skim(cut="pt>30"), of_values(task, targets))
    found = read(result)
    pt_N = ak.to_numpy(events["pt"])
    assert list(found) == [branch, "is_valid", "run", "evt", "charge"]
    # No model has trained on these events, so that all models are averaged.
    np.testing.assert_allclose(found[branch], np.where(pt_N > 30, pt_N - 0.5, unscored), rtol=1e-5)
    np.testing.assert_array_equal(found["is_valid"], (pt_N > 30).astype(np.uint8))
    assert found[branch].dtype == np.float32
    assert (result.n_entries, result.n_scored, result.per_class) == (50, int((pt_N > 30).sum()), ())


def test_a_table_of_values_has_their_column(samples: Samples, tmp_path: Path) -> None:
    samples.write(40)
    models = of_values("regression", ("gen_pt",))
    result = predict_table("ww", samples.skim(), tmp_path / "ww.csv", models, NOWHERE, ("evt",), overwrite=True)
    table = pd.read_csv(result.path)
    assert list(table) == ["evt", "pred_gen_pt", "fold"]
    assert result.n_scored == 40


def test_the_targets_are_copied_for_the_evaluation(samples: Samples) -> None:
    samples.write(5)
    config = {"xtrain_split_feature": "evt", "targets": ["pt", "gen_pt"]}
    assert default_misc(samples.skim(), config) == ("evt", "pt", "group_name")

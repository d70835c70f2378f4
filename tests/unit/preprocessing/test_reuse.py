"""Skims are made once, and used again only for the same files and settings."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from utils.config.compose import load_spec
from utils.errors import ConfigError, InputFileError, SkimError
from utils.models.spec import TrainSpec
from utils.preprocessing.flow import PreprocessResult
from utils.preprocessing.reuse import skims_at_hand
from utils.readers.skim import SkimFile

CONFIGS = Path(__file__).parents[3] / "configs" / "train"
PARAMS = {"branch": "events", "epochs": 3}
Make = Callable[..., PreprocessResult | None]


@pytest.fixture
def make(tmp_path: Path, ntuple: Callable[..., Path]) -> Make:
    """As train.py does it, for two small files."""
    for name, shift in (("sig", 1.0), ("bkg", 0.0)):
        write_events(ntuple, tmp_path / f"{name}.root", shift, 60)
    (tmp_path / "files.txt").write_text("sig.root\nbkg.root\n")
    (tmp_path / "labels.txt").write_text("1\n0\n")
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    (tmp_path / "model.py").touch()

    def run(*overrides: str) -> PreprocessResult | None:
        named = [f"{name}={tmp_path}/{name}.txt" for name in ("files", "labels")]
        named += [f"params={tmp_path}/params.json", f"model_file={tmp_path}/model.py"]
        composed = load_spec(
            TrainSpec, CONFIGS, "mlaas4hep", [*named, f"training_data.output_path={tmp_path}/skims", *overrides]
        )
        assert composed.spec.training_data is not None
        return skims_at_hand(composed.spec.training_data, composed.config["training_data"])

    return run


def write_events(ntuple: Callable[..., Path], path: Path, shift: float, n: int) -> None:
    rng = np.random.default_rng(n)
    ntuple(path, {"x": rng.normal(shift, 1, n).astype(np.float32), "event": np.arange(n)}, tree="events")


def test_the_same_again_is_not_made_again(make: Make, tmp_path: Path) -> None:
    made = make()
    assert made is not None
    before = (tmp_path / "skims" / "train.h5").stat().st_mtime_ns
    assert make() is None
    assert (tmp_path / "skims" / "train.h5").stat().st_mtime_ns == before


def test_what_only_the_training_uses_may_change(make: Make, tmp_path: Path) -> None:
    make()
    (tmp_path / "params.json").write_text(json.dumps(PARAMS | {"epochs": 9, "batch_size": 7, "metrics": True}))
    assert make() is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("params.json", json.dumps(PARAMS | {"nevts": 50}), "params differs"),
        ("labels.txt", "0\n1\n", "labels differs"),
        ("files.txt", "bkg.root\nsig.root\n", "files differs"),
    ],
)
def test_other_files_are_other_skims(make: Make, tmp_path: Path, name: str, content: str, said: str) -> None:
    make()
    (tmp_path / name).write_text(content)
    with pytest.raises(SkimError, match=f"made from something else: {said}.*training_data.overwrite=true"):
        make()
    assert make("training_data.overwrite=true") is not None
    assert make() is None


def test_other_settings_are_other_skims(make: Make, tmp_path: Path) -> None:
    make()
    with pytest.raises(SkimError, match=r"train_size was 0\.8"):
        make("training_data.train_size=0.5")


def test_a_preprocessing_that_was_edited(make: Make, tmp_path: Path) -> None:
    (tmp_path / "preproc.py").write_text("def preprocessing(rec):\n    return rec\n")
    make(f"preproc={tmp_path}/preproc.py")
    assert make(f"preproc={tmp_path}/preproc.py") is None
    (tmp_path / "preproc.py").write_text("def preprocessing(rec):\n    rec['y'] = rec['x']\n    return rec\n")
    with pytest.raises(SkimError, match="preproc differs"):
        make(f"preproc={tmp_path}/preproc.py")


def test_an_input_that_was_written_anew(make: Make, tmp_path: Path, ntuple: Callable[..., Path]) -> None:
    make()
    write_events(ntuple, tmp_path / "sig.root", 1.0, 61)
    with pytest.raises(SkimError, match=r"sig\.root has changed"):
        make()


def test_a_list_that_is_missing(make: Make, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(InputFileError, match="no such file"):
        make()


def test_no_labels_for_a_model_that_needs_them(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"there are no labels to learn.*labels=labels\.txt.*task=autoencoder"):
        make("labels=null")
    assert make("labels=null", "task=autoencoder") is not None


def test_skims_of_preprocess_are_used_as_well(make: Make, tmp_path: Path) -> None:
    from utils.preprocessing.flow import run_preprocessing
    from utils.preprocessing.spec import PreprocessSpec

    named = [f"{name}={tmp_path}/{name}.txt" for name in ("files", "labels")]
    composed = load_spec(
        PreprocessSpec, CONFIGS.parent / "preprocess" / "training_data", "mlaas4hep",
        [*named, f"params={tmp_path}/params.json", f"output_path={tmp_path}/skims"],
    )  # fmt: skip
    run_preprocessing(composed.spec, composed.config)
    assert make() is None
    with SkimFile(tmp_path / "skims" / "train.h5") as skim:
        assert skim.metadata["config"]["vars"]["mlaas4hep"]["files"] == ["sig.root", "bkg.root"]

"""Users' configs, composed by Hydra as they stand and checked against the schema."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from utils.config import Composed, compose, load_spec
from utils.errors import ConfigError


def load(tree: Path, which: str, folder: str, name: str, *overrides: str) -> Composed[Any]:
    spec_type = getattr(importlib.import_module("crossfold_test_specs"), which)
    return load_spec(spec_type, tree / "configs" / folder, name, overrides)


def preprocess(tree: Path, *overrides: str) -> Composed[Any]:
    return load(tree, "Preprocess", "preprocess/training_data", "zh.yaml", *overrides)


def test_a_tree_with_relative_groups_and_helper_variables_works_unchanged(tree: Path) -> None:
    spec = preprocess(tree, "year=2018").spec
    assert spec.year == "2018"
    assert spec.input_path == "/data/2018"
    assert spec.cont_features == ("pt_1", "m_vis")
    assert spec.input_samples[0]["ggH"]["H_sig"]["cut"] == "(pt_1>40.) & (veto<0.5) & (nb>0)"
    assert (spec.scaler.with_mean, spec.scaler.with_std) == (False, True)


def test_keys_that_the_file_does_not_name_can_be_overridden(tree: Path) -> None:
    spec = preprocess(tree, "year=2018", "seed=3", "scaler.with_std=false", "tight_cut='(pt_1>50)'").spec
    assert spec.seed == 3
    assert (spec.scaler.with_mean, spec.scaler.with_std) == (False, False)
    assert spec.input_samples[0]["ggH"]["H_sig"]["cut"].startswith("(pt_1>50)")
    assert preprocess(tree, "year=2018", "scaler=null").spec.scaler is None
    assert load(tree, "Train", "train", "train", "year=1", "model_param.rate=0.1").spec.model_param == {
        "objective": "multiclass",
        "rate": 0.1,
    }


def test_the_resolved_config_is_plain_complete_and_gives_the_same_spec(tree: Path) -> None:
    made = preprocess(tree, "year=2018")
    assert made.config["seed"] == 0
    assert "tight_cut" not in made.config
    text = yaml.safe_dump(dict(made.config))
    assert "${" not in text
    assert made.spec.output_path == "skims/2018"
    assert made.config["scaler"] == {"with_mean": False, "with_std": True}
    (tree / "configs" / "again.yaml").write_text(text)
    assert load(tree, "Preprocess", ".", "again").spec == made.spec


@pytest.mark.parametrize("override", ["model=forest", "model@_global_=forest"])
def test_groups_are_chosen_by_their_short_or_full_name(tree: Path, override: str) -> None:
    spec = load(tree, "Train", "train", "train", "year=1", override).spec
    assert spec.model_param == {"n_trees": 100}
    assert spec.weight_name == "w"


def test_another_stages_config_is_carried_along(tree: Path) -> None:
    spec = load(tree, "Predict", "predict", "for_datacards.yaml", "run_id=12345e67", "year=2018").spec
    assert spec.run_id == "12345e67"
    assert spec.orig_path == "/data/2018"
    assert spec.sample_names == ("ggH",)
    assert spec.misc_features == ("evt", "run")
    assert spec.preprocess_cfg["vars"]["elsewhere"] == "${not_in_this_stage}"
    assert spec.preprocess_cfg["input_path"] == "/data/2018"


@pytest.mark.parametrize(
    ("override", "gpus"),
    [("gpus=0,1", (0, 1)), ("gpus=1", (1,)), ("gpus=[0,1]", (0, 1)), ("gpus=[]", ()), ("gpus=null", ()),
     ("++gpus=2,0", (2, 0))],
)  # fmt: skip
def test_a_listed_key_takes_what_is_no_sweep(tmp_path: Path, override: str, gpus: tuple[int, ...]) -> None:
    (tmp_path / "train.yaml").write_text("train_file: a.h5\n")
    spec_type = importlib.import_module("utils.models.spec").TrainSpec
    assert load_spec(spec_type, tmp_path, "train", [override]).spec.gpus == gpus


def test_integer_keys_can_be_overridden(tree: Path) -> None:
    made = load(tree, "Predict", "predict", "for_datacards", "run_id=a", "year=1", "classes.0.name=signal")
    assert made.spec.classes == {0: {"name": "signal", "bin_size": 0.01}, 1: {"name": "Z"}}
    assert made.config["classes"] == made.spec.classes


def test_a_mistyped_key_in_the_file_names_the_file_and_the_nearest_key(tree: Path) -> None:
    file = tree / "configs/preprocess/training_data/zh.yaml"
    file.write_text(file.read_text().replace("train_size", "trian_size"))
    with pytest.raises(ConfigError, match=r"unknown key 'trian_size'") as raised:
        preprocess(tree, "year=2018")
    assert raised.value.nearest == "train_size"
    assert "preprocess/training_data/zh.yaml" in str(raised.value.where)


def test_a_mistyped_key_in_a_group_names_that_file(tree: Path) -> None:
    file = tree / "configs/preprocess/features/zh.yaml"
    file.write_text(file.read_text().replace("cat_features", "cat_feature"))
    with pytest.raises(ConfigError, match=r"unknown key 'cat_feature'.*did you mean 'cat_features'") as raised:
        preprocess(tree, "year=2018")
    assert "preprocess/features/zh.yaml" in str(raised.value.where)


def test_a_mistyped_nested_key_names_the_file(tree: Path) -> None:
    file = tree / "configs/preprocess/training_data/zh.yaml"
    file.write_text(file.read_text().replace("with_mean", "with_meen"))
    with pytest.raises(ConfigError, match=r"unknown key 'scaler.with_meen'.*did you mean 'scaler.with_mean'") as raised:
        preprocess(tree, "year=2018")
    assert "preprocess/training_data/zh.yaml" in str(raised.value.where)


def test_of_two_files_that_set_a_key_the_one_that_wins_is_named(tree: Path) -> None:
    with (tree / "configs/preprocess/training_data/zh.yaml").open("a") as file:
        file.write("cat_features: njets\n")
    with pytest.raises(ConfigError, match="'cat_features' must be a list of text, not 'njets'") as raised:
        preprocess(tree, "year=2018")
    assert "training_data/zh.yaml" in str(raised.value.where)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [("sed=3", "seed"), ("scaler.with_meen=true", "scaler.with_mean")],
)
def test_a_mistyped_key_on_the_command_line(tree: Path, override: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match="unknown key") as raised:
        preprocess(tree, "year=2018", override)
    assert (raised.value.where, raised.value.nearest) == ("the command line", nearest)


def test_free_variables_have_a_place(tree: Path) -> None:
    file = tree / "configs/preprocess/training_data/zh.yaml"
    file.write_text(file.read_text() + "vars: {anything: 1}\n")
    assert preprocess(tree, "year=2018").spec.year == "2018"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ((), r"'year' has no value, in .*training_data.*zh.yaml.*year=…"),
        (("year=2018", "train_size=abc"), r"'train_size' must be a number, not 'abc', in the command line"),
        (("year=2018", "train_size=7"), r"train_size is 7.0, in train_size \(the command line\). Use a fraction."),
        (("year=2018", "input_path=${basis}/x"), r"refers to \$\{basis\}, which does not exist"),
        (("year=2018", "input_path=${oc.env:NO_SUCH_VARIABLE}"), r"NO_SUCH_VARIABLE"),
        (("year=2018", "tight_cut=(a,b)"), r"cannot read the override.*Quote a value"),
        (("year=2018", "~nothing"), r"nothing"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(tree: Path, overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        preprocess(tree, *overrides)
    assert "\n" not in str(raised.value)


def test_a_group_that_has_to_be_chosen(tree: Path) -> None:
    file = tree / "configs/train/train.yaml"
    file.write_text(file.read_text().replace("analysis: htt", "analysis: '???'"))
    with pytest.raises(ConfigError, match=r"'analysis' has not been chosen.*There are: htt"):
        load(tree, "Train", "train", "train", "year=1")
    spec = load(tree, "Train", "train", "train", "year=1", "analysis=htt", "model=forest").spec
    assert (spec.weight_name, spec.model_param) == ("w", {"n_trees": 100})


def test_an_unknown_choice_lists_those_there_are(tree: Path) -> None:
    with pytest.raises(ConfigError, match=r"'model/zhh'.*There are: forest, zh"):
        load(tree, "Train", "train", "train", "year=1", "model=zhh")
    with pytest.raises(ConfigError, match=r"unknown key 'modle', in the command line; did you mean 'model'?"):
        load(tree, "Train", "train", "train", "year=1", "modle=zh")


def test_broken_yaml_names_file_and_line(tree: Path) -> None:
    file = tree / "configs/train/train.yaml"
    file.write_text(file.read_text() + "a: [1, 2\nb: 3\n")
    with pytest.raises(ConfigError, match="not valid YAML") as raised:
        load(tree, "Train", "train", "train")
    assert "train.yaml, line" in str(raised.value.where)


def test_missing_folders_and_files_give_the_nearest(tree: Path) -> None:
    with pytest.raises(ConfigError, match="no config 'zhh'") as raised:
        load(tree, "Preprocess", "preprocess/training_data", "zhh")
    assert raised.value.nearest == "zh"
    with pytest.raises(ConfigError, match="no config folder") as raised:
        load(tree, "Preprocess", "preprocess/trainingdata", "zh")
    assert raised.value.nearest == "training_data"


def test_compose_without_a_schema(tree: Path) -> None:
    config = compose(tree / "configs/preprocess/training_data", "zh", ["year=2018"])
    assert config["input_path"] == "/data/2018"
    assert config["tight_cut"] == "(pt_1>40.) & (veto<0.5)"

"""A config that cannot be meant is refused when it is read, with the key and the remedy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from utils.errors import ConfigError
from utils.preprocessing.spec import PreprocessSpec, Process, Sample


def refused(spec: Callable[..., PreprocessSpec], **changes: Any) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        spec(Path("in"), Path("out"), **changes)
    return raised.value


def sample(name: str, *targets: int | None) -> Sample:
    return Sample(name, tuple(Process(f"{name}_{i}", None, target) for i, target in enumerate(targets)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cont_features": ("pt_1", "pt_1")}, "'pt_1' is listed twice"),
        ({"cat_features": ("njets", "njets")}, "'njets' is listed twice"),
        ({"misc_features": ("evt", "evt")}, "'evt' is listed twice"),
        ({"cat_features": ("pt_1",)}, "'pt_1' is both continuous and categorical"),
        ({"cont_features": (), "cat_features": None}, "there are no features"),
        ({"cont_features": ("pt_1", "target")}, "'target' gives the class away"),
        ({"cont_features": ("pt_1", "w_class_imbalance")}, "'w_class_imbalance' gives the class away"),
        ({"cat_features": ("group_name",)}, "'group_name' gives the class away"),
        ({"cont_features": ("entry",)}, "'entry' says where an event comes from"),
        ({"clip": {"pt_2": (0.0, 1.0)}}, "'pt_2' is no feature, in clip; did you mean 'pt_1'?"),
        ({"clip": {"evt": (0.0, 1.0)}}, "'evt' is no feature"),
        ({"input_samples": ()}, "there are no input samples"),
        ({"input_samples": (sample("a", 0), sample("a", 1))}, "sample 'a' is listed twice"),
        ({"input_samples": (sample("a", 0), sample("b", 1, None))}, "no class is given for b.b_1"),
        ({"input_samples": (sample("a", 0), sample("b", 2))}, "classes are [0, 2]"),
        ({"input_samples": (sample("a", 1, 2),)}, "classes are [1, 2]"),
        ({"train_size": 0.0}, "train_size is 0.0"),
        ({"train_size": 1.5}, "train_size is 1.5"),
        ({"output_samples": ("train",)}, "output_samples needs two names"),
        ({"output_samples": ("train", "train")}, "output_samples needs two names"),
        ({"output_samples": ("cut", "test")}, "output_samples needs two names"),
        ({"output_filename_template": "skim"}, "without {sample_name} every node would have the same file"),
        ({"output_filename_template": "{sample_name}_{year}"}, "cannot be filled in (KeyError: 'year')"),
        ({"input_filename_template": "{sample}.root"}, "cannot be filled in (KeyError: 'sample')"),
        ({"input_filename_template": "{sample_name.root"}, "cannot be filled in (ValueError"),
        ({"input_filename_template": "{}.root"}, "cannot be filled in (IndexError"),
        ({"chunk_size": 0}, "chunk_size is 0"),
        ({"n_threads": -1}, "n_threads is -1"),
        ({"compression": "blosc:lz5"}, "did you mean 'blosc:lz4'?"),
        ({"compute_w_CP": True, "weight_name": None}, "w_cp needs weight_name"),
        ({"misc_features": ("w_cp",), "weight_name": None}, "w_cp needs weight_name"),
    ],
)
def test_what_cannot_be_meant(spec: Callable[..., PreprocessSpec], changes: dict[str, Any], message: str) -> None:
    error = refused(spec, **changes)
    assert message in str(error)
    assert error.where
    assert error.remedy


def test_classes_matter_in_training_only(spec: Callable[..., PreprocessSpec]) -> None:
    made = spec(Path("in"), Path("out"), for_training=False, input_samples=(sample("a", None), sample("b", 3)))
    assert made.class_names == ()
    assert made.n_classes == 0


def test_a_class_is_named_after_its_first_process(spec: Callable[..., PreprocessSpec]) -> None:
    made = spec(Path("in"), Path("out"), input_samples=(sample("a", 1, 0), sample("b", 0)))
    assert made.class_names == ("a_1", "a_0")
    assert made.features == ("pt_1", "m_vis", "eta_1", "njets")


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("taus", Sample("taus", (Process("taus", None, None),))),
        ({"taus": {"T": {"cut": "pt>1", "class": 0}}}, Sample("taus", (Process("T", "pt>1", 0),))),
        ({"taus": {"T": None, "U": {"class": 3}}}, Sample("taus", (Process("T", None, None), Process("U", None, 3)))),
    ],
)
def test_samples_as_they_are_written(value: Any, made: Sample) -> None:
    assert Sample.from_config(value, "input_samples.0") == made


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "a sample is a name or a mapping with one key"),
        ({"a": {}, "b": {}}, "a sample is a name or a mapping with one key"),
        ({"a": {}}, "sample 'a' has no processes"),
        ({"a": None}, "sample 'a' has no processes"),
        ({"a": {"T": "pt>1"}}, "a process is a mapping of cut and class"),
        ({"a": {"T": {"clas": 0}}}, "unknown key 'clas', in input_samples.0.a.T; did you mean 'class'?"),
        ({"a": {"T": {"class": -1}}}, "class must be 0, 1, 2"),
        ({"a": {"T": {"class": "0"}}}, "class must be 0, 1, 2"),
        ({"a": {"T": {"class": True}}}, "class must be 0, 1, 2"),
    ],
)
def test_samples_that_are_none(value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Sample.from_config(value, "input_samples.0")
    assert message in str(raised.value)


def test_shuffle_is_short_for_an_order(spec: Callable[..., PreprocessSpec]) -> None:
    paths = Path("in"), Path("out")
    assert spec(*paths, shuffle=True).order == spec(*paths, order="shuffled").order == "shuffled"
    assert "contradict" in str(refused(spec, shuffle=True, order="mixed"))

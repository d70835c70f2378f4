"""What a prediction config leaves open comes from the run."""

from typing import Any

import pytest

from utils.errors import ConfigError
from utils.inference.spec import PredictSpec, SampleName

PREPROCESS = {
    "input_path": "/ntuples/2018",
    "output_path": "data/skims/pred",
    "input_samples": ["ww", {"tt": {"top": {"cut": None}}}],
    "input_filename_template": "{sample_name}_*.root",
}


def spec(kind: str = "for_datacards", **options: Any) -> PredictSpec:
    return PredictSpec(kind=kind, run_id="0123", **options)


def test_everything_comes_from_the_run() -> None:
    complete = spec().completed(PREPROCESS, "data/skims/train.h5", "2018")
    assert complete.names == ("ww", "tt")
    assert complete.input_of("ww") == "data/skims/pred/ww.h5"
    assert complete.original_of("ww") == "/ntuples/2018/ww_*.root"
    assert complete.output_of("ww") == "ww_pred.root"


def test_for_evaluation_the_skims_of_the_training_are_predicted() -> None:
    complete = spec("for_evaluation").completed({"output_samples": ["one", "two"]}, "data/skims/one.h5")
    assert complete.names == ("one", "two")
    assert complete.input_of("two") == "data/skims/two.h5"
    assert complete.output_of("two") == "two.csv"
    assert spec("for_evaluation").completed(None, "skims/train.h5").names == ("train", "test")


def test_what_the_config_says_wins() -> None:
    given = spec(
        orig_path="/elsewhere",
        orig_filename_template="{sample_name}.root",
        input_path="here",
        input_filename_template="{sample_name}_2018.h5",
        sample_names=(SampleName("zz"),),
        output_filename_template="{sample_name}.root",
    )
    complete = given.completed(PREPROCESS, "data/skims/train.h5")
    assert complete.names == ("zz",)
    assert complete.input_of("zz") == "here/zz_2018.h5"
    assert complete.original_of("zz") == "/elsewhere/zz.root"
    assert complete.output_of("zz") == "zz.root"


@pytest.mark.parametrize("year", ["2018", 2018])
def test_another_year_than_the_runs_needs_paths_of_its_own(year: Any) -> None:
    assert spec(year="2018").completed(PREPROCESS, "data/skims/train.h5", year).names == ("ww", "tt")
    with pytest.raises(ConfigError, match="the run's paths are for year 2018, not 2017.*input_path=….*orig_path=…"):
        spec(year="2017").completed(PREPROCESS, "data/skims/train.h5", year)
    paths = {"input_path": "data/2017", "orig_path": "/ntuples/2017"}
    assert spec(year="2017", **paths).completed(PREPROCESS, "data/skims/train.h5", year).names == ("ww", "tt")
    with pytest.raises(ConfigError, match="Give input_path=…"):
        spec("for_evaluation", year="2017").completed({}, "data/skims/train.h5", year)


@pytest.mark.parametrize("missing", ["output_path", "input_samples"])
def test_what_is_nowhere_is_an_error(missing: str) -> None:
    incomplete = {name: value for name, value in PREPROCESS.items() if name != missing}
    with pytest.raises(ConfigError, match="is neither in the config nor in the run.*train with prediction_data set"):
        spec().completed(incomplete, "data/skims/train.h5")
    with pytest.raises(ConfigError, match="'input_path' is neither"):
        spec().completed({}, "data/skims/train.h5")


def test_a_path_that_another_stages_command_line_had_to_give_is_open() -> None:
    assert spec().completed(PREPROCESS | {"input_path": "???"}, "train.h5").original_of("ww") is None


def test_features_of_the_config_are_checked_against_the_run() -> None:
    spec().check_features(("pt", "eta"), ("njets",))
    spec(cont_features=("eta", "pt", "more"), cat_features=("njets",)).check_features(("pt", "eta"), ("njets",))
    with pytest.raises(
        ConfigError, match="needs 'eta', which the config does not have.*did you mean 'eta_1'"
    ) as raised:
        spec(cont_features=("pt", "eta_1")).check_features(("pt", "eta"), ())
    assert raised.value.where == "cont_features"
    with pytest.raises(ConfigError, match="needs 'njets'"):
        spec(cat_features=()).check_features((), ("njets",))


@pytest.mark.parametrize(("value", "name"), [("ww", "ww"), ({"ww": {"W": {"cut": "a>0"}}}, "ww")])
def test_samples_by_name_or_as_training_configs_have_them(value: Any, name: str) -> None:
    assert SampleName.from_config(value, "sample_names").name == name


def test_what_names_no_sample_is_an_error() -> None:
    with pytest.raises(ConfigError, match="is no sample name"):
        SampleName.from_config(["ww"], "sample_names[0]")
    with pytest.raises(ConfigError, match="every sample would have the same file"):
        spec(output_filename_template="pred.root")

"""MLaaS4HEP's own files: what each may say, and what is refused with a reason."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from utils.config.compose import load_spec
from utils.errors import ConfigError, CrossfoldError, DataError, ExpressionError, InputFileError, MissingColumnError
from utils.events import Chunk
from utils.expressions import DerivedVariables, Expression
from utils.logs import captured_log
from utils.preprocessing.flow import run_preprocessing
from utils.preprocessing.mlaas4hep.build import completed
from utils.preprocessing.mlaas4hep.lists import classes_of, read_files, read_labels
from utils.preprocessing.mlaas4hep.params import Params
from utils.preprocessing.mlaas4hep.preproc import Preprocessing
from utils.preprocessing.mlaas4hep.records import RecordPreprocessing
from utils.preprocessing.spec import PreprocessSpec
from utils.readers.skim import SkimFile

CONFIGS = Path(__file__).parents[3] / "configs" / "preprocess"


# --- files.txt and labels.txt ---


def test_lists_have_an_entry_a_line(tmp_path: Path) -> None:
    path = tmp_path / "files.txt"
    path.write_text("# signal\n a.root \n\nroot://host//b#1.root\n")
    assert read_files(str(path)) == ["a.root", "root://host//b#1.root"]
    assert read_files(["a.root", "b.root"]) == ["a.root", "b.root"]
    assert read_files("a.root,b.root") == ["a.root", "b.root"]
    assert read_files("root://host//c.root") == ["root://host//c.root"]


def test_a_data_file_is_a_list_of_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    assert read_files(str(tmp_path / "a.csv")) == [str(tmp_path / "a.csv")]


@pytest.mark.parametrize("content", ["", "# nothing\n"])
def test_an_empty_list_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "files.txt").write_text(content)
    with pytest.raises(ConfigError, match="empty"):
        read_files(str(tmp_path / "files.txt"))


def test_a_missing_list_is_named_with_its_nearest(tmp_path: Path) -> None:
    (tmp_path / "files.txt").write_text("a\n")
    with pytest.raises(InputFileError, match="file.txt") as error:
        read_files(str(tmp_path / "file.txt"))
    assert error.value.nearest == "files.txt"


def test_a_file_twice_is_an_error() -> None:
    with pytest.raises(ConfigError, match="'a.root' is listed twice"):
        read_files(["a.root", "b.root", "a.root"])


def test_labels_are_of_files_or_a_column(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("1\n# between\n0\n")
    assert read_labels(str(tmp_path / "labels.txt"), ["a", "b"]).of_line == ("1", "0")
    assert read_labels([1, 0], ["a", "b"]).of_line == ("1", "0")
    assert read_labels("sig,bkg", ["a", "b"]).of_line == ("sig", "bkg")
    assert read_labels("is_signal", ["a", "b"]).column == "is_signal"
    assert read_labels(None, ["a"]).column is None


def test_labels_must_be_as_many_as_files() -> None:
    with pytest.raises(ConfigError, match="3 labels for 2 files"):
        read_labels([1, 0, 1], ["a", "b"])


def test_a_missing_labels_file_is_no_column(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no such file"):
        read_labels(str(tmp_path / "labels.txt"), ["a"])


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1", "0", "1"], {"0": 0, "1": 1}),
        (["10", "9"], {"9": 0, "10": 1}),
        (["zz", "ww"], {"ww": 0, "zz": 1}),
        (["b", "2"], {"2": 0, "b": 1}),
    ],
)
def test_labels_become_classes_in_ascending_order(labels: list[str], classes: dict[str, int]) -> None:
    assert classes_of(labels) == classes


# --- params.json ---

PUBLISHED = {
    "nevts": 50000,
    "shuffle": True,
    "chunk_size": 10000,
    "epochs": 5,
    "batch_size": 100,
    "identifier": "",
    "branch": "Events",
    "selected_branches": "",
    "exclude_branches": ["run", "event", "luminosityBlock"],
    "hist": "pdfs",
    "redirector": "",
    "verbose": 1,
}


def test_the_published_parameters() -> None:
    params = Params.from_dict(PUBLISHED, "params.json")
    assert (params.nevts, params.shuffle, params.chunk_size, params.branch) == (50_000, True, 10_000, "Events")
    assert params.identifier == ("run", "event", "luminosityBlock") and not params.identifier_given
    assert params.selected is None and params.excluded == ("run", "event", "luminosityBlock")
    assert params.redirector is None
    assert params.carried == {"epochs": 5, "batch_size": 100, "verbose": 1}


def test_without_a_file_everything_has_its_default() -> None:
    assert Params.load(None) == Params()


def test_names_may_be_a_list_a_text_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("MC*\nweight\n")
    params = Params.from_dict({"exclude_branches": str(tmp_path / "out.txt"), "identifier": "run,event"}, "params.json")
    assert params.excluded == ("MC*", "weight")
    assert params.identifier == ("run", "event") and params.identifier_given


@pytest.mark.parametrize("metrics", [True, False, {"threshold": 0.5}])
def test_what_a_training_uses_is_carried(metrics: Any) -> None:
    params = Params.from_dict({"metrics": metrics, "training": "standard", "split": 0.2}, "params.json")
    assert params.carried == {"metrics": metrics, "training": "standard", "split": 0.2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"chunksize": 3}, "unknown key 'chunksize', in params.json; did you mean 'chunk_size'"),
        ({"nevts": 0}, "'nevts' must be a number of events"),
        ({"nevts": "all"}, "'nevts' must be a number of events"),
        ({"chunk_size": True}, "'chunk_size' must be"),
        ({"shuffle": 1}, "'shuffle' must be true or false"),
        ({"epochs": 0}, "'epochs' must be"),
        ({"batch_size": 2.5}, "'batch_size' must be"),
        ({"branch": 7}, "'branch' must be a text"),
        ({"selected_branches": 7}, "'selected_branches' must be"),
        ({"metrics": {"thresold": 0.5}}, "'metrics' must be"),
        ({"split": 1}, "'split' must be a fraction"),
        ({"nan": -1}, "padding is always NaN"),
    ],
)
def test_what_makes_no_sense_is_refused(content: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Params.from_dict(content, "params.json")


@pytest.mark.parametrize("nan", [float("nan"), "nan", None])
def test_nan_may_be_nan(nan: Any) -> None:
    Params.from_dict({"nan": nan}, "params.json")


@pytest.mark.parametrize(("text", "words"), [("{", "not JSON"), ("[]", "a JSON object is needed")])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "params.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        Params.load(str(tmp_path / "params.json"))


# --- preproc.json ---

DOCUMENTED = {
    "new_branch": {
        "log_Energy": {
            "def": "log(Energy)",
            "type": "jagged",
            "cut_1": ["log_Energy<6.31", "any"],
            "cut_2": ["log_Energy>5.85", "all"],
            "remove": "False",
            "keys_to_remove": ["Energy"],
        },
        "nMuon_square": {
            "def": "nMuon**2",
            "type": "flat",
            "cut": "1<=nMuon_square<=16",
            "remove": "False",
            "keys_to_remove": ["nMuon"],
        },
    },
    "flat_cut": {"nLeptons": {"cut": "nLeptons<=2", "remove": "True"}},
    "jagged_cut": {"Muon_Pt": {"cut": ["Muon_Pt>200", "all"], "remove": "False"}},
}


def test_the_documented_example() -> None:
    preprocessing = Preprocessing.from_dict(DOCUMENTED, "preproc.json")
    assert preprocessing.new_variables == {"log_Energy": "log(Energy)", "nMuon_square": "nMuon**2"}
    assert preprocessing.types == {"log_Energy": "jagged", "nMuon_square": "flat"}
    assert preprocessing.removed == {"Energy", "nMuon", "nLeptons"}
    assert preprocessing.of_kind == {"nLeptons": "flat", "Muon_Pt": "jagged"}


def test_cuts_select_events_as_their_words_say() -> None:
    """Event by event, as MLaaS4HEP applies them: any or all of the objects, and every flat cut."""
    rng = np.random.default_rng(1)
    n = 500
    columns: dict[str, Any] = {
        "Energy": ak.unflatten(rng.uniform(330, 600, 3 * n), np.full(n, 3)),
        "nMuon": rng.integers(0, 6, n),
        "nLeptons": rng.integers(0, 4, n),
        "Muon_Pt": ak.unflatten(rng.uniform(150, 900, (counts := rng.integers(0, 3, n)).sum()), counts),
    }
    preprocessing = Preprocessing.from_dict(DOCUMENTED, "preproc.json")
    assert preprocessing.cut is not None
    cut = Expression.parse(preprocessing.cut)
    values = DerivedVariables(preprocessing.new_variables).compute(cut.uses, columns)
    expected = []
    for i in range(n):
        log_energy = np.log(columns["Energy"][i])
        square = columns["nMuon"][i] ** 2
        expected.append(
            any(log_energy < 6.31)
            and all(log_energy > 5.85)
            and 1 <= square <= 16
            and columns["nLeptons"][i] <= 2
            and all(columns["Muon_Pt"][i] > 200)
        )
    assert 5 < sum(expected) < n - 5
    np.testing.assert_array_equal(cut.evaluate_mask(values), expected)


@pytest.mark.parametrize(
    ("cut", "meaning"),
    [
        ("0 <= x < 3", "(0 <= x) & (x < 3)"),
        ("x > 1 and not x > 2", "(x > 1) & ~(x > 2)"),
        ("x < 1 or 2 < x < 3", "(x < 1) | ((2 < x) & (x < 3))"),
        ("(x > 1) & (x < 3)", "(x > 1) & (x < 3)"),
    ],
)
def test_words_and_chains_are_translated(cut: str, meaning: str) -> None:
    (translated,) = Preprocessing.from_dict({"flat_cut": {"x": {"cut": cut}}}, "preproc.json").cuts
    x = np.linspace(-1, 4, 101)
    found, expected = (Expression.parse(text).evaluate_mask({"x": x}) for text in (translated, meaning))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ({"new_branches": {}}, ConfigError, "unknown section 'new_branches'.*did you mean 'new_branch'"),
        ({"new_branch": {"x": {"def": "y", "typ": "flat"}}}, ConfigError, "unknown key 'typ'.*new_branch.x.*'type'"),
        ({"new_branch": {"x": {"def": "y"}}}, ConfigError, "'type' is missing.*new_branch.x"),
        ({"new_branch": {"x": {"def": "y", "type": "list"}}}, ConfigError, "'type' is 'list'"),
        ({"new_branch": {"x": {"def": "f(y)", "type": "flat"}}}, ExpressionError, "'f' is not.*new_branch.x.def"),
        ({"new_branch": {"x": {"def": "y.max()", "type": "flat"}}}, ExpressionError, "new_branch.x.def"),
        ({"flat_cut": {"x": {"cut": ["x>3", "any"]}}}, ConfigError, "a text.*flat_cut.x.cut"),
        ({"flat_cut": {"x": {"cut": "x>3 and"}}}, ExpressionError, "flat_cut.x.cut"),
        ({"jagged_cut": {"x": {"cut": "x>3"}}}, ConfigError, r"any or all.*jagged_cut.x.cut"),
        ({"jagged_cut": {"x": {"cut": ["x>3", "some"]}}}, ConfigError, "any or all"),
        ({"flat_cut": {"x": {"cut": "x>3", "remove": "maybe"}}}, ConfigError, "'remove' is 'maybe'"),
        ({"new_branch": {"x": {"def": "y", "type": "flat", "keys_to_remove": "y"}}}, ConfigError, "keys_to_remove"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_named(content: Any, kind: type[CrossfoldError], words: str) -> None:
    with pytest.raises(kind, match=words):
        Preprocessing.from_dict(content, "preproc.json")


def test_nothing_is_executed(tmp_path: Path) -> None:
    bad = {"new_branch": {"x": {"def": f"open('{tmp_path}/hacked', 'w')", "type": "flat"}}}
    with pytest.raises(ExpressionError, match="new_branch.x.def"):
        Preprocessing.from_dict(bad, "preproc.json")
    assert not (tmp_path / "hacked").exists()


# --- preprocessing(record) ---


def chunk(first_entry: int = 0, **columns: Any) -> Chunk:
    """A chunk of these columns."""
    return Chunk(columns, 0, first_entry, len(next(iter(columns.values()))))


def user_file(tmp_path: Path, body: str) -> str:
    """A user's file."""
    path = tmp_path / f"preproc_{abs(hash(body))}.py"
    path.write_text(body)
    return str(path)


HALVES = """
def preprocessing(rec):
    rec["half"] = rec["pt"] / 2
    rec["high"] = [x for x in rec["jets"] if x > 20]
    rec["kind"] = "even" if len(rec["jets"]) % 2 == 0 else "odd"
    del rec["jets"]
    return rec
"""
GIVEN = {"pt": np.array([10.0, 20.0, 30.0], np.float32), "jets": ak.Array([[10.0, 50.0], [], [30.0]])}


def test_records_are_dictionaries_of_values(tmp_path: Path) -> None:
    made = RecordPreprocessing(user_file(tmp_path, HALVES), ["pt", "jets"])(chunk(**GIVEN), "a.root")
    assert set(made) == {"pt", "half", "high", "kind"}
    assert made["half"].dtype == np.float64
    np.testing.assert_array_equal(made["half"], [5, 10, 15])
    assert made["high"].tolist() == [[50.0], [], [30.0]]
    assert str(made["high"].type) == "3 * var * float64"
    assert made["kind"].tolist() == ["even", "even", "odd"]


def test_chunks_do_not_show(tmp_path: Path) -> None:
    """Types are those that were seen first, also where a chunk has no values, or no events."""
    types = {"pt": "float64", "half": "float64", "high": "var * float64", "kind": "string"}
    transform = RecordPreprocessing(user_file(tmp_path, HALVES), ["pt", "jets"], types)
    whole = transform(chunk(**GIVEN), "a.root")
    pieces = [
        transform(chunk(start, **{name: values[start:stop] for name, values in GIVEN.items()}), "a.root")
        for start, stop in [(0, 0), (0, 1), (1, 2), (2, 3)]
    ]
    for name, values in whole.items():
        joined = (
            ak.concatenate([piece[name] for piece in pieces])
            if name == "high"
            else np.concatenate([piece[name] for piece in pieces])
        )
        assert joined.tolist() == values.tolist()
        if name == "high":
            assert {str(piece[name].type.content) for piece in pieces} == {"var * float64"}


def test_records_inside_records(tmp_path: Path) -> None:
    """MLaaS4HEP's own example takes the payload out of {"data": {…}}."""
    body = "def preprocessing(rec):\n    return rec['data']\n"
    data = ak.Array([{"pt": 1, "jets": [{"eta": 1.5}]}, {"pt": 2, "jets": []}])
    made = RecordPreprocessing(user_file(tmp_path, body), ["data"])(chunk(data=data), "a.json")
    assert made["pt"].tolist() == [1.0, 2.0]
    assert made["jets.eta"].tolist() == [[1.5], []]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("def preprocessing(rec):\n    pass\n", DataError, "gives NoneType for record 40"),
        ("def preprocessing(rec):\n    return {'a': 1} if rec['pt'] < 25 else {'b': 1}\n", DataError,
         "other columns for record 42 than before: without a and with b"),
        ("def preprocessing(rec):\n    return {'a': 1 if rec['pt'] < 25 else [1]}\n", DataError,
         "'a' of record 42 is not float64"),
        ("def preprocessing(rec):\n    return {'a': 1 if rec['pt'] < 25 else 'one'}\n", DataError,
         "'a' of record 42 is not float64"),
        ("def preprocessing(rec):\n    return {'a': 1 / (rec['pt'] - 20)}\n", ConfigError,
         "fails at record 41 with ZeroDivisionError.*line 2"),
        ("def preprocess(rec):\n    return rec\n", ConfigError, "no 'preprocessing'.*did you mean 'preprocess'"),
    ],
)  # fmt: skip
def test_a_record_that_does_not_fit_is_named(tmp_path: Path, body: str, kind: type[CrossfoldError], words: str) -> None:
    transform = RecordPreprocessing(user_file(tmp_path, body), ["pt"], {"a": "float64"})
    with pytest.raises(kind, match=words):
        transform(chunk(40, pt=GIVEN["pt"]), "a.root:events")


ARRAYS = """
import numpy as np

def preprocessing(columns):
    return {"half": columns["pt"] / 2, "high": columns["jets"][columns["jets"] > 20]}

preprocessing.vectorised = True
"""


@pytest.mark.parametrize("declared", [True, False])
def test_a_vectorised_function_sees_arrays(tmp_path: Path, declared: bool) -> None:
    body = ARRAYS.replace("preprocessing.vectorised = True", "") if declared else ARRAYS
    made = RecordPreprocessing(user_file(tmp_path, body), ["pt", "jets"], None, declared)(chunk(**GIVEN), "a.root")
    np.testing.assert_array_equal(made["half"], GIVEN["pt"] / 2)
    assert made["high"].tolist() == [[50.0], [], [30.0]]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("1", "gives int"),
        ("{'half': columns['pt'][:2]}", "'half' has 2 values for 3 events"),
        ("{'a': 1}", "has 1 values"),
    ],
)
def test_arrays_must_be_as_long_as_the_events_are_many(tmp_path: Path, result: str, words: str) -> None:
    body = f"def preprocessing(columns):\n    return {result}\n"
    with pytest.raises(DataError, match=words):
        RecordPreprocessing(user_file(tmp_path, body), ["pt"], None, True)(chunk(pt=GIVEN["pt"]), "a.root")


# --- all together ---


def columns(n: int, seed: int) -> dict[str, Any]:
    """Branches of one file."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    return {
        "event": np.arange(n, dtype=np.uint64) + seed * 10**6,
        "run": np.full(n, 1, np.uint32),
        "met": rng.exponential(40, n).astype(np.float32),
        "nLep": rng.integers(0, 3, n).astype(np.int32),
        "label": rng.integers(0, 3, n).astype(np.int32),
        "Jet_pt": ak.unflatten(rng.exponential(40, counts.sum()).astype(np.float32), counts),
        "Jet_eta": ak.unflatten(rng.normal(0, 2, counts.sum()).astype(np.float32), counts),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ntuple: Callable[..., Path]) -> Path:
    """Three files, files.txt, labels.txt."""
    place = tmp_path_factory.mktemp("mlaas4hep")
    for i, n in enumerate((300, 500, 200)):
        ntuple(place / f"f{i}.root", columns(n, i + 1), tree="Events")
    (place / "files.txt").write_text("# three\nf0.root\nf1.root\nf2.root\n")
    (place / "labels.txt").write_text("1\n0\n1\n")
    return place


Make = Callable[..., tuple[PreprocessSpec, dict[str, Any]]]


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Make:
    """params.json, preproc.json or .py, and overrides → the spec and its config."""

    def made(
        params: Mapping[str, Any] | None = None, preproc: Any = None, *overrides: str, kind: str = "training_data"
    ) -> tuple[PreprocessSpec, dict[str, Any]]:
        (tmp_path / "params.json").write_text(json.dumps({"identifier": ["run", "event"], **(params or {})}))
        given = [f"files={folder}/files.txt", f"params={tmp_path}/params.json", f"output_path={tmp_path}/skims"]
        given += [f"labels={folder}/labels.txt"] if kind == "training_data" else []
        if isinstance(preproc, str):
            given.append(f"preproc={user_file(tmp_path, preproc)}")
        elif preproc is not None:
            (tmp_path / "preproc.json").write_text(json.dumps(preproc))
            given.append(f"preproc={tmp_path}/preproc.json")
        composed = load_spec(PreprocessSpec, CONFIGS / kind, "mlaas4hep", [*given, *overrides])
        return completed(composed.spec, composed.config)

    return made


def test_the_event_vector(make: Make) -> None:
    spec, config = make({"exclude_branches": ["label"]})
    assert spec.cont_features == (
        "met",
        "nJet_eta",
        "nJet_pt",
        "nLep",
    )  # with what uproot writes beside jagged branches
    assert spec.padded_features == {"Jet_eta": 3, "Jet_pt": 3}
    assert list(spec.padded_features) == sorted(spec.padded_features)
    assert [sample.name for sample in spec.input_samples] == ["1", "0"]
    assert spec.class_names == ("0", "1")
    assert [len(files) for files in spec.input_files.values()] == [2, 1]
    assert spec.identity == ("run", "event")
    assert spec.order == "mixed" and spec.mixing_chunk == 1000
    assert spec.fill_padding == 0
    assert config["mlaas4hep"] is None and config["cont_features"] == list(spec.cont_features)


def test_the_config_gives_the_same_spec_again(make: Make) -> None:
    from utils.config.build import build_spec

    spec, config = make({"shuffle": True, "epochs": 3}, {"flat_cut": {"nLep": {"cut": "nLep>0"}}})
    again = build_spec(PreprocessSpec, json.loads(json.dumps(config)))
    assert again == spec
    assert again.train_params == {"epochs": 3} and again.order == "shuffled"


def test_branches_are_selected_and_excluded(make: Make) -> None:
    spec, _ = make({"selected_branches": ["met", "Jet_*"], "exclude_branches": "Jet_eta,nothing"})
    assert spec.cont_features == ("met",)
    assert spec.padded_features == {"Jet_pt": 3}


def test_a_column_may_hold_the_labels(make: Make) -> None:
    spec, _ = make({}, None, "labels=label")
    (sample,) = spec.input_samples
    assert [(process.name, process.target) for process in sample.processes] == [("0", 0), ("1", 1), ("2", 2)]
    assert "label" not in spec.cont_features


def test_without_labels_there_is_one_class(make: Make) -> None:
    spec, _ = make({}, None, "labels=null")
    assert spec.class_names == ("all",)


def test_new_branches_and_cuts_become_features_and_selections(make: Make) -> None:
    preproc = {
        "new_branch": {
            "Jet_log": {
                "def": "log(Jet_pt)", "type": "jagged", "cut": ["Jet_log > 1", "any"], "keys_to_remove": ["Jet_pt"],
            },
            "met2": {"def": "met**2", "type": "flat", "keys_to_remove": ["met"]},
        },
        "flat_cut": {"nLep": {"cut": "0 < nLep <= 2", "remove": "True"}},
    }  # fmt: skip
    spec, _ = make({"exclude_branches": ["label", "n*"]}, preproc)
    assert spec.cont_features == ("met2",)
    assert spec.padded_features == {"Jet_eta": 3, "Jet_log": 3}
    assert {process.cut for sample in spec.input_samples for process in sample.processes} == {
        "(any(Jet_log > 1)) & ((0 < nLep) & (nLep <= 2))"
    }


def test_specs_are_of_the_events_that_remain(make: Make, tmp_path: Path) -> None:
    make({}, {"jagged_cut": {"Jet_pt": {"cut": ["Jet_pt < 30", "all"]}}})
    specs = json.loads((tmp_path / "skims" / "global-specs.json").read_text())
    assert specs["maxv"]["Jet_pt"] < 30
    assert specs["events"]["total"] == 1000


def test_a_cut_in_the_wrong_section_is_an_error(make: Make) -> None:
    with pytest.raises(ConfigError, match="'Jet_pt' is jagged.*flat_cut.Jet_pt.*jagged_cut"):
        make({}, {"flat_cut": {"Jet_pt": {"cut": "Jet_pt>3"}}})


def test_a_name_that_is_not_there_is_an_error(make: Make) -> None:
    with pytest.raises(MissingColumnError, match="no branch 'Jet_p'.*selected_branches.*'Jet_pt'"):
        make({"selected_branches": ["Jet_p"]})
    with pytest.raises(MissingColumnError, match="no branch 'labl'.*labels.*'label'"):
        make({}, None, "labels=labl")
    with pytest.raises(MissingColumnError, match="identifier"):
        make({"identifier": ["run", "evnt"]})


def test_a_users_function_makes_the_columns(make: Make) -> None:
    body = """
def preprocessing(rec):
    return {"met2": rec["met"] ** 2, "soft": [x for x in rec["Jet_pt"] if x < 30], "kind": rec["label"] > 0}
"""
    spec, config = make({"identifier": ""}, body, "labels=kind")
    assert spec.cont_features == ("met2",)
    assert spec.padded_features == {"soft": 3}
    assert spec.class_names == ("0", "1")
    assert spec.chunk_transform is not None
    assert config["chunk_transform"]["types"] == {"met2": "float64", "soft": "var * float64", "kind": "float64"}


def test_a_users_function_that_changed_is_not_mistaken_for_the_old_one(make: Make) -> None:
    """An interrupted job goes on with what it has done only if the function is still the same."""
    spec, config = make({}, "def preprocessing(rec):\n    return {'met2': rec['met'] ** 2}\n")
    assert spec.chunk_transform is not None
    spec.chunk_transform()
    assert spec.identity == ("run", "event")  # of the file, whatever the function makes of it
    path = Path(config["chunk_transform"]["file"])
    path.write_text(path.read_text().replace("** 2", "** 3"))
    with pytest.raises(ConfigError, match="changed since"):
        spec.chunk_transform()


# --- specs ---


def test_specs_that_fit_are_used(make: Make, tmp_path: Path) -> None:
    first, _ = make()
    path = tmp_path / "mine.json"
    content = json.loads((tmp_path / "skims" / "global-specs.json").read_text())
    del content["inputs"], content["excluded"]  # as MLaaS4HEP writes them
    content["jdim"]["Jet_pt"] = 2
    path.write_text(json.dumps(content))
    spec, _ = make({}, None, f"specs={path}")
    assert spec.padded_features["Jet_pt"] == 2 and spec.padded_features["Jet_eta"] == first.padded_features["Jet_eta"]
    assert spec.minmax is not None and spec.minmax.specs == str(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda specs: specs["jkeys"].remove("Jet_pt"), "no jagged branch 'Jet_pt'"),
        (lambda specs: specs["maxv"].pop("met"), "no flat branch 'met'"),
        (lambda specs: specs["events"].update({k: 7 for k in specs["events"] if "f1" in k}), "stale: 'f1.root' had 7"),
        (lambda specs: [specs["events"].pop(k) for k in list(specs["events"]) if "f2" in k], "other files: 'f2.root'"),
        (lambda specs: [v.update(uuid="x") for v in specs["inputs"].values()], "was written anew"),
    ],
)
def test_stale_specs_are_an_error(make: Make, tmp_path: Path, change: Callable[[Any], Any], words: str) -> None:
    make()
    path = tmp_path / "skims" / "global-specs.json"
    specs = json.loads(path.read_text())
    change(specs)
    (tmp_path / "stale.json").write_text(json.dumps(specs))
    with pytest.raises(InputFileError, match=words):
        make({}, None, f"specs={tmp_path}/stale.json")


def test_specs_of_the_training_serve_other_files(make: Make, tmp_path: Path, folder: Path) -> None:
    make()
    specs = f"specs={tmp_path}/skims/global-specs.json"
    spec, _ = make(
        {"nevts": 9}, None, specs, f"files=[{folder}/f1.root]", f"output_path={tmp_path}/pred", kind="prediction_data"
    )
    assert [sample.name for sample in spec.input_samples] == ["f1"]
    assert spec.order == "input" and spec.nevts == -1
    assert spec.class_names == ()


# --- through to the skims ---


def test_every_drawn_event_is_in_the_skims_once(make: Make) -> None:
    spec, config = make({"nevts": 400, "chunk_size": 100, "exclude_branches": ["label"], "epochs": 7})
    result = run_preprocessing(spec, config)
    found: dict[str, int] = {}
    for path in result.outputs.values():
        with SkimFile(path) as skim:
            read = skim.read(["run", "event"])
            assert skim.metadata["config"]["train_params"] == {"epochs": 7}
            for event in read["event"].tolist():
                found[event] = found.get(event, 0) + 1
    assert set(found.values()) == {1}
    drawn = [sum(1 for event in found if event // 10**6 == i + 1) for i in range(3)]
    assert drawn == [120, 200, 80]


def test_avro_is_refused_with_the_way_out(make: Make) -> None:
    with pytest.raises(ConfigError, match="Avro.*Parquet"):
        make({}, None, "dtype=avro")


def test_features_are_not_given_twice(make: Make) -> None:
    with pytest.raises(ConfigError, match="follow from params.json"):
        make({}, None, "cont_features=[met]")


def test_a_row_longer_than_the_specs_is_cut_and_counted(make: Make, tmp_path: Path) -> None:
    """Where MLaaS4HEP crashes."""
    make({"exclude_branches": ["label"]})
    specs = json.loads((tmp_path / "skims" / "global-specs.json").read_text())
    specs["jdim"]["Jet_pt"] = 2
    (tmp_path / "short.json").write_text(json.dumps(specs))
    spec, config = make({"exclude_branches": ["label"]}, None, f"specs={tmp_path}/short.json")
    with captured_log() as lines:
        result = run_preprocessing(spec, config)
    with SkimFile(result.outputs["train"]) as skim:
        assert "Jet_pt_1" in skim.columns and "Jet_pt_2" not in skim.columns
    assert any("Jet_pt" in line and "Jet_eta" not in line for line in lines), lines

"""Entry i of a friend tree is entry i of its input, or the file does not exist."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import OutputError
from utils.outputs import Outputs
from utils.readers.root.tree import RootTree
from utils.writers.friend import FriendTreeWriter, prediction_columns
from utils.writers.friend_check import verify_friend

N_ENTRIES, N_CLASSES = 1000, 3
TREE = "TauCheck"


def events(n_entries: int = N_ENTRIES) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        "run": rng.integers(1, 5, n_entries).astype(np.uint32),
        "evt": (rng.integers(0, 2**63, n_entries).astype(np.uint64) << np.uint64(1)) | np.uint64(1),
        "lumi": rng.integers(-(2**62), 2**62, n_entries),
        "trigger": rng.random(n_entries) > 0.5,
        "charge": rng.integers(-1, 2, n_entries).astype(np.int8),
        "weight": np.where(rng.random(n_entries) > 0.9, np.nan, rng.normal(size=n_entries)),
        "p4": rng.random((n_entries, 4), dtype=np.float32),
        "Jet_pt": ak.unflatten(np.arange(2 * n_entries, dtype=np.float32), np.resize([0, 3, 1, 4], n_entries))
        if n_entries
        else ak.values_astype(ak.Array([[]])[:0], np.float32),
    }


MISC = list(events(4))


def write_input(path: Path, columns: dict[str, Any]) -> str:
    types = {
        name: "var * float32" if isinstance(values, ak.Array) else np.dtype((values.dtype, values.shape[1:]))
        for name, values in columns.items()
    }
    with uproot.recreate(path) as file:
        tree = file.mktree(TREE, types)
        if len(columns["run"]):
            tree.extend(columns)
    return str(path)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One sample in two files: 600 entries, then 400."""
    folder = tmp_path_factory.mktemp("sample")
    first = {name: values[:600] for name, values in events().items()}
    second = {name: values[600:] for name, values in events().items()}
    return [write_input(folder / "a.root", first), write_input(folder / "b.root", second)]


@pytest.fixture(scope="module")
def predictions() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.dirichlet(np.ones(N_CLASSES), N_ENTRIES), rng.random(N_ENTRIES) > 0.2


def openers(sample: list[str]) -> list[Callable[[], RootTree]]:
    return [partial(RootTree, path, TREE) for path in sample]


def types_of(path: str) -> dict[str, str]:
    with RootTree(path, TREE) as tree:
        return {name: tree.columns[name].type for name in MISC}


def writer(path: Path, sample: list[str], **changes: Any) -> FriendTreeWriter:
    settings: dict[str, Any] = {
        "tree_name": "predictions",
        "originals": openers(sample),
        "n_entries": N_ENTRIES,
        "outputs": Outputs.of_classes(N_CLASSES),
        "misc": types_of(sample[0]),
        "identity_branches": ["run", "lumi", "evt"],
        "overwrite": False,
    }
    return FriendTreeWriter(path, **(settings | changes))


def blocks(bounds: list[int], predictions: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[Any, ...]]:
    columns = events()
    for start, stop in itertools.pairwise(bounds):
        misc = {name: values[start:stop] for name, values in columns.items()}
        yield start, predictions[0][start:stop], predictions[1][start:stop], misc


def read(path: Path) -> Any:
    return uproot.open({path: None})["predictions"].arrays()


def feed(path: Path, sample: list[str], parts: Iterable[tuple[Any, ...]], **changes: Any) -> None:
    with writer(path, sample, **changes) as friend:
        for block in parts:
            friend.write(*block)


def write_all(path: Path, sample: list[str], bounds: list[int], predictions: Any, **changes: Any) -> None:
    feed(path, sample, blocks(bounds, predictions), **changes)


def test_scores_of_events_that_were_not_scored() -> None:
    columns = prediction_columns(np.array([[0.1, 0.9], [np.nan, 0.3], [0.5, 0.5]]), np.array([1, 0, 1]))
    np.testing.assert_array_equal(columns["pred_class_0_proba"], np.float32([0.1, -1, 0.5]))
    np.testing.assert_array_equal(columns["pred_class_1_proba"], np.float32([0.9, -1, 0.5]))
    np.testing.assert_array_equal(columns["pred_class"], [1, -1, 0])
    np.testing.assert_array_equal(columns["pred_class_proba"], np.float32([0.9, -1, 0.5]))
    np.testing.assert_array_equal(columns["is_valid"], [1, 0, 1])
    assert [values.dtype for values in columns.values()] == [np.float32, np.float32, np.int32, np.float32, np.uint8]


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(OutputError, match="NaN or infinite score to 1 of 2 events"):
        prediction_columns(np.array([[np.nan, 0.5], [0.5, 0.5]]), np.array([True, True]))


def test_a_value_that_was_not_predicted_is_no_number_as_minus_one_is_a_value() -> None:
    outputs = Outputs("regression", ("pt", "charge"))
    columns = prediction_columns(np.array([[30.5, -1.0], [np.inf, 7.0]]), np.array([True, False]), outputs)
    assert list(columns) == ["pred_pt", "pred_charge", "is_valid"]
    np.testing.assert_array_equal(columns["pred_pt"], np.float32([30.5, np.nan]))
    np.testing.assert_array_equal(columns["pred_charge"], np.float32([-1.0, np.nan]))
    np.testing.assert_array_equal(columns["is_valid"], [1, 0])
    with pytest.raises(OutputError, match="NaN or infinite score to 1 of 1 events"):
        prediction_columns(np.array([[np.nan, 1.0]]), np.array([True]), outputs)


def test_a_loss_that_was_not_computed_is_minus_one() -> None:
    columns = prediction_columns(np.array([[0.25], [9.0]]), np.array([True, False]), Outputs("autoencoder", ("loss",)))
    assert list(columns) == ["pred_loss", "is_valid"]
    np.testing.assert_array_equal(columns["pred_loss"], np.float32([0.25, -1.0]))


def test_values_at_every_entry(tmp_path: Path, sample: list[str], predictions: Any) -> None:
    outputs = Outputs("regression", ("energy",))
    values_NT, is_valid_N = predictions[0][:, :1], predictions[1]
    write_all(tmp_path / "pred.root", sample, [0, 300, 1000], (values_NT, is_valid_N), outputs=outputs)
    friend = read(tmp_path / "pred.root")
    expected = np.where(is_valid_N.astype(bool), values_NT[:, 0], np.nan).astype(np.float32)
    np.testing.assert_array_equal(ak.to_numpy(friend["pred_energy"]), expected)
    assert "pred_class" not in friend.fields


def test_scores_and_copies_at_every_entry(tmp_path: Path, sample: list[str], predictions: Any) -> None:
    path = tmp_path / "pred" / "a:b_pred.root"
    write_all(path, sample, [0, 1000], predictions)
    friend = read(path)
    scores_NK, is_valid_N = predictions
    expected = prediction_columns(scores_NK, is_valid_N) | events()
    assert {name for name in friend.fields if name != "nJet_pt"} == set(expected)
    for name, values in expected.items():
        if isinstance(values, np.ndarray):
            actual = ak.to_numpy(friend[name])
            assert actual.dtype == values.dtype, name
            np.testing.assert_array_equal(actual, values, err_msg=name)
        else:
            assert ak.array_equal(friend[name], values), name
    assert [file.name for file in path.parent.iterdir()] == ["a:b_pred.root"]


@settings(max_examples=15, deadline=None)
@given(cuts=st.sets(st.integers(0, N_ENTRIES), max_size=6), basket_rows=st.integers(50, 2000))
def test_the_friend_does_not_depend_on_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, sample: list[str], predictions: Any, cuts: set[int], basket_rows: int
) -> None:
    path = tmp_path_factory.mktemp("friend") / "pred.root"
    write_all(path, sample, sorted({0, N_ENTRIES} | cuts), predictions, basket_rows=basket_rows)
    assert uproot.open(path)["predictions"]["evt"].num_baskets == -(-N_ENTRIES // basket_rows)
    whole = path.with_name("whole.root")
    write_all(whole, sample, [0, N_ENTRIES], predictions)
    assert ak.array_equal(read(path), read(whole), equal_nan=True)


def test_an_input_without_entries(tmp_path: Path) -> None:
    empty = [write_input(tmp_path / "empty.root", events(0))]
    types = types_of(empty[0])
    assert types["Jet_pt"] == "var * float32"
    with writer(tmp_path / "pred.root", empty, n_entries=0, misc=types):
        pass
    tree = uproot.open(tmp_path / "pred.root")["predictions"]
    assert tree.num_entries == 0
    assert {*MISC, "pred_class_2_proba", "pred_class", "pred_class_proba", "is_valid"} <= set(tree.keys())


@pytest.mark.parametrize("bounds", [[1, 1000], [0, 500, 600, 1000]])
def test_a_gap_is_refused(tmp_path: Path, sample: list[str], predictions: Any, bounds: list[int]) -> None:
    kept = [block for block in blocks(bounds, predictions) if block[0] != 500]
    with pytest.raises(OutputError, match="were due"):
        feed(tmp_path / "pred.root", sample, kept)
    assert list(tmp_path.iterdir()) == []


def test_an_overlap_and_a_surplus_are_refused(tmp_path: Path, sample: list[str], predictions: Any) -> None:
    (block,) = blocks([0, N_ENTRIES], predictions)
    with pytest.raises(OutputError, match="entries 0 to 1000 where 1000 "):
        feed(tmp_path / "pred.root", sample, [block, block])
    with pytest.raises(OutputError, match="not more than 999 were due"):
        feed(tmp_path / "pred.root", sample, [block], n_entries=999)
    assert list(tmp_path.iterdir()) == []


def test_missing_entries_leave_nothing(tmp_path: Path, sample: list[str], predictions: Any) -> None:
    with pytest.raises(OutputError, match="only 900 of 1000 entries"):
        write_all(tmp_path / "pred.root", sample, [0, 900], predictions)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_nothing(tmp_path: Path, sample: list[str], predictions: Any) -> None:
    def parts() -> Iterator[tuple[Any, ...]]:
        yield from blocks([0, 400], predictions)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feed(tmp_path / "pred.root", sample, parts(), basket_rows=100)
    assert list(tmp_path.iterdir()) == []


def test_one_value_at_the_wrong_entry_leaves_nothing(tmp_path: Path, sample: list[str], predictions: Any) -> None:
    (block,) = blocks([0, N_ENTRIES], predictions)
    block[3]["evt"] = block[3]["evt"].copy()
    block[3]["evt"][700] += np.uint64(2)
    message = r"entry 700 has evt = \d+ \(uint64\) where entry 100 of .*b\.root:TauCheck has"
    with pytest.raises(OutputError, match=message):
        feed(tmp_path / "pred.root", sample, [block])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "reason"),
    [([1, 0], "entry 0 has"), ([0], "1000 entries and its input has 600"), ([0, 1, 1], "its input has 1400")],
)
def test_the_wrong_input_is_noticed(
    tmp_path: Path, sample: list[str], predictions: Any, files: list[int], reason: str
) -> None:
    write_all(tmp_path / "pred.root", sample, [0, N_ENTRIES], predictions)
    verify_friend(tmp_path / "pred.root", "predictions", openers(sample), ["run", "evt", "weight"])
    with pytest.raises(OutputError, match=reason):
        verify_friend(tmp_path / "pred.root", "predictions", openers([sample[i] for i in files]), ["run", "evt"])


def test_the_comparison_goes_through_every_chunk(
    tmp_path: Path, sample: list[str], predictions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.writers.friend_check._CHECK_ROWS", 77)
    (block,) = blocks([0, N_ENTRIES], predictions)
    write_all(tmp_path / "good.root", sample, [0, N_ENTRIES], predictions)
    block[3]["run"] = block[3]["run"].copy()
    block[3]["run"][-1] += 1
    with pytest.raises(OutputError, match="entry 999 has run"):
        feed(tmp_path / "bad.root", sample, [block])


def test_event_numbers_are_not_copied_as_floats(tmp_path: Path, sample: list[str], predictions: Any) -> None:
    types = types_of(sample[0]) | {"evt": "float64"}
    with pytest.raises(OutputError, match="'evt' holds uint64, which does not fit into float64"):
        write_all(tmp_path / "pred.root", sample, [0, N_ENTRIES], predictions, misc=types)


def test_names_that_cannot_be_copied(tmp_path: Path, sample: list[str]) -> None:
    with pytest.raises(OutputError, match="'is_valid' is to be copied but is one of the scores' own"):
        writer(tmp_path / "pred.root", sample, misc={"is_valid": "bool"}, identity_branches=[])
    with pytest.raises(OutputError, match="'name' is of type string, which cannot be copied"):
        writer(tmp_path / "pred.root", sample, misc={"name": "string"}, identity_branches=[])


def test_a_branch_that_is_named_like_a_counter(tmp_path: Path, sample: list[str], predictions: Any) -> None:
    types = types_of(sample[0]) | {"nJet_pt": "float32"}
    no_count_N = np.linspace(0, 1, N_ENTRIES, dtype=np.float32)
    (block,) = blocks([0, N_ENTRIES], predictions)
    feed(tmp_path / "pred.root", sample, [(*block[:3], block[3] | {"nJet_pt": no_count_N})], misc=types)
    friend = read(tmp_path / "pred.root")
    np.testing.assert_array_equal(friend["nJet_pt"], no_count_N)
    assert ak.array_equal(friend["Jet_pt"], events()["Jet_pt"])

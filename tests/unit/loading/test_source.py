"""A skim as estimators see it: the same events, whatever the batches, with the pipe applied."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.skims import Events, open_skim, toy_events, toy_pipe
from utils.errors import ConfigError, DataError, MissingColumnError, SkimError
from utils.factory import Factory
from utils.loading import EventSource, SkimData
from utils.preprocessing.pipe import Pca, Scaler

N = 97
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def events() -> Events:
    return toy_events(N, n_classes=3)


@pytest.fixture(scope="module")
def data(events: Events, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    with open_skim(tmp_path_factory.mktemp("skim") / "train.h5", events) as skim:
        yield SkimData.open(skim)


def expected_features(events: Events) -> np.ndarray:
    cont_NF = toy_pipe(events).transform(np.stack(list(events.cont.values()), axis=1))
    return np.hstack([cont_NF, events.cat["njets"][:, None].astype(np.float32)])


@given(rows=st.sets(st.integers(0, N - 1)), batch_rows=st.integers(1, 2 * N))
def test_batches_hold_every_event_once_in_order(
    data: SkimData, events: Events, rows: set[int], batch_rows: int
) -> None:
    rows_N = np.array(sorted(rows), np.int64)
    weight_N = (rows_N + 0.5).astype(np.float32)
    batches = list(EventSource(data, rows_N, weight_N).batches(batch_rows))
    assert all(0 < len(batch.target_N) <= batch_rows for batch in batches)
    found = (
        [np.concatenate([getattr(batch, part) for batch in batches]) for part in ("target_N", "weight_N")]
        if rows
        else [[], []]
    )
    np.testing.assert_array_equal(found[0], events.target[rows_N])
    np.testing.assert_array_equal(found[1], weight_N)
    if rows:
        features_NF = np.concatenate([batch.features_NF for batch in batches])
        assert features_NF.dtype == np.float32
        np.testing.assert_array_equal(features_NF, expected_features(events)[rows_N])


@given(rows=st.sets(st.integers(0, N - 1)))
def test_taken_whole_it_is_what_the_batches_hold(data: SkimData, events: Events, rows: set[int]) -> None:
    rows_N = np.array(sorted(rows), np.int64)
    pieces = EventSource._pieces
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventSource, "_pieces", lambda source, _: pieces(source, 10))
        whole = EventSource(data, rows_N).whole()
    assert whole.features_NF.shape == (len(rows), 4)
    np.testing.assert_array_equal(whole.features_NF, expected_features(events)[rows_N])
    np.testing.assert_array_equal(whole.target_N, events.target[rows_N])
    assert whole.weight_N is None


def test_a_source_knows_its_size_and_a_part_of_it_its_own(data: SkimData, events: Events) -> None:
    source = EventSource(data, np.arange(10, 20), np.arange(10, dtype=np.float32))
    part = source.take(source.target_N == 1)
    assert source.n_events == 10
    assert part.n_events == int(np.sum(events.target[10:20] == 1))
    np.testing.assert_array_equal(part.weight_N, np.flatnonzero(events.target[10:20] == 1))
    assert (part.target_N == 1).all()


def test_sent_to_another_process_it_opens_the_skim_there(tmp_path: Path, events: Events) -> None:
    """With a user's step, and no more of the data than which events."""
    target = f"{ROOT}/docs/examples/steps.py:LogScale"
    steps = ((target, Factory(target, {"features": ["x"]})()), ("scaler", Scaler()))
    with open_skim(tmp_path / "train.h5", events, steps=steps) as skim:
        data = SkimData.open(skim, None, (), {target: Factory(target).load()}, "regression", ("evt",))
        source = EventSource(data, np.arange(0, N, 2), np.linspace(0, 1, len(range(0, N, 2)), dtype=np.float32))
        whole, sent = source.whole(), pickle.dumps(source)
        assert len(sent) < 4000 + source.rows_N.nbytes + len(range(0, N, 2)) * 4
        again = pickle.loads(sent)
        assert again.data.skim is not data.skim
        for ours, theirs in zip(vars(again.whole()).values(), vars(whole).values(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert again.data.outputs == data.outputs and again.data.feature_names == ("x", "y", "noise")
        again.data.skim.close()


def test_names_and_categories_are_those_of_the_matrix(data: SkimData) -> None:
    assert data.feature_names == ("x", "y", "noise", "njets")
    assert data.categorical_indices == (3,)
    assert data.n_classes == 3


def test_a_model_may_use_some_of_the_features_in_its_own_order(data: SkimData, events: Events) -> None:
    some = SkimData.open(data.skim, ("y", "x"), ())
    assert some.feature_names == ("y", "x")
    assert some.categorical_indices == ()
    np.testing.assert_array_equal(some.features(0, N), expected_features(events)[:, [1, 0]])


def test_an_unknown_feature_is_an_error_with_the_nearest(data: SkimData) -> None:
    with pytest.raises(MissingColumnError, match="no column 'noize'.*did you mean 'noise'") as raised:
        SkimData.open(data.skim, ("x", "noize"))
    assert raised.value.nearest == "noise"
    with pytest.raises(MissingColumnError, match="did you mean 'njets'"):
        SkimData.open(data.skim, ("x",), ("n_jets",))


def test_principal_components_need_all_their_features(tmp_path: Path, events: Events) -> None:
    with open_skim(tmp_path / "pca.h5", events, steps=(("scaler", Scaler()), ("pca", Pca(2)))) as skim:
        data = SkimData.open(skim)
        assert data.feature_names == ("pca_0", "pca_1", "njets")
        assert data.categorical_indices == (2,)
        assert data.features(0, N).shape == (N, 3)
        with pytest.raises(SkimError, match="step 'pca' of the input pipe mixes features"):
            SkimData.open(skim, ("x", "y"))


def test_a_skim_to_predict_on_is_none_to_train_on(tmp_path: Path, events: Events) -> None:
    for metadata in ({"for_training": False}, {"input_pipe": None}):
        skim = open_skim(tmp_path / "sample.h5", events, metadata=metadata)
        with skim, pytest.raises(SkimError, match="made to predict on, not to train on.*for_training=true"):
            SkimData.open(skim)


@dataclass(frozen=True)
class Doubled:
    """A step of the user's own."""

    def fit(self, moments: Any, names: Any) -> "Doubled":
        return self

    def transform(self, features_NF: np.ndarray) -> np.ndarray:
        return features_NF * 2

    def output_names(self, names: Any) -> tuple[str, ...]:
        return tuple(f"{name}_doubled" for name in names)

    def state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state(cls, state: Any) -> "Doubled":
        return cls()


def test_a_users_step_comes_from_the_config_never_from_the_skim(tmp_path: Path, events: Events) -> None:
    with open_skim(tmp_path / "user.h5", events, steps=(("my.Doubled", Doubled()),)) as skim:
        with pytest.raises(SkimError, match="a step 'my.Doubled' that is not built in.*under 'steps'"):
            SkimData.open(skim)
        data = SkimData.open(skim, user_steps={"my.Doubled": Doubled})
        assert data.feature_names[0] == "x_doubled"
        np.testing.assert_array_equal(data.features(0, N)[:, 0], 2 * events.cont["x"])


def test_a_class_without_events_is_named(data: SkimData, events: Events) -> None:
    without = EventSource(data, np.flatnonzero(events.target != 1))
    with pytest.raises(DataError, match=r"class 1 \(class_1\) has no events among the .* training events of fold 0"):
        without.check_classes("training events of fold 0")
    EventSource(data, np.arange(N)).check_classes("training events of fold 0")


# --- what is told ---


def valued(tmp_path: Path, **columns: np.ndarray) -> Any:
    """A skim of one class with further columns."""
    return open_skim(tmp_path / "train.h5", toy_events(N, n_classes=1, misc=columns))


def test_targets_of_a_regression_are_columns_of_the_skim(tmp_path: Path) -> None:
    mass, n_jets = np.linspace(0, 1, N), np.arange(N, dtype=np.int32)
    with valued(tmp_path, mass=mass, n=n_jets) as skim:
        data = SkimData.open(skim, task="regression", targets=("n", "mass"))
        expected_NT = np.stack([n_jets, mass], axis=1).astype(np.float32)
        np.testing.assert_array_equal(data.target_N, expected_NT)
        assert data.target_N.dtype == np.float32
        assert data.n_outputs == 2
        source = EventSource(data, np.arange(0, N, 3))
        np.testing.assert_array_equal(np.concatenate([b.target_N for b in source.batches(10)]), expected_NT[::3])
        np.testing.assert_array_equal(source.whole().target_N, expected_NT[::3])
        source.check_classes("events")
        np.testing.assert_array_equal(data.class_N, 0)


def test_an_autoencoder_is_told_nothing(data: SkimData) -> None:
    own = SkimData.open(data.skim, task="autoencoder")
    assert own.target_N.shape == (N, 0)
    assert own.n_outputs == 1
    np.testing.assert_array_equal(own.class_N, data.target_N)
    assert EventSource(own, np.arange(5)).whole().target_N.shape == (5, 0)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"targets": ("mas",)}, MissingColumnError, r"no column 'mas' \(targets\).*mass"),
        ({"targets": ("x",)}, ConfigError, "'x' is a target, and the model is given it as a feature"),
        ({"targets": ("njets",)}, ConfigError, "'njets' is a target, and the model is given it"),
        ({"targets": ("group_name",)}, ConfigError, "target 'group_name' holds no numbers"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, options: dict[str, Any], kind: type, text: str) -> None:
    with valued(tmp_path, mass=np.ones(N)) as skim, pytest.raises(kind, match=text):
        SkimData.open(skim, task="regression", **options)


def test_a_feature_that_is_left_out_can_be_a_target(tmp_path: Path) -> None:
    with valued(tmp_path) as skim:
        data = SkimData.open(skim, cont_features=("y",), task="regression", targets=("x",))
        np.testing.assert_array_equal(data.target_N[:, 0], skim.read(["x"])["x"])


def test_a_target_that_is_no_number_is_an_error_with_the_count(tmp_path: Path) -> None:
    mass = np.ones(N)
    mass[[3, 5]] = np.nan, np.inf
    with valued(tmp_path, mass=mass) as skim:
        data = SkimData.open(skim, task="regression", targets=("mass",))
        with pytest.raises(DataError, match=f"target 'mass' is NaN or infinite for 2 of {N} events"):
            _ = data.target_N


def test_one_class_cannot_be_told_apart(tmp_path: Path) -> None:
    with valued(tmp_path) as skim, pytest.raises(SkimError, match="nothing to tell apart.*1 class.*task=regression"):
        SkimData.open(skim)

"""The identity of an event, and the split that follows from it alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import DataError
from utils.events import hash_identity, hash_text, in_training_split, salted
from utils.events.identity import as_integers

N = 100_000
IDS = hash_identity([np.arange(N)])


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, min_size=2, max_size=50))
def test_different_event_numbers_never_collide(events: list[int]) -> None:
    hashed = hash_identity([np.array(events, np.uint64)], salt=17)
    assert len(set(hashed.tolist())) == len(events)


@given(
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 5000), st.integers(0, 2**62)), min_size=1, max_size=30)
)
def test_an_event_has_the_same_identity_in_every_integer_type_and_company(events: list[tuple[int, int, int]]) -> None:
    columns = [np.array(column) for column in zip(*events, strict=True)]
    hashed = hash_identity(columns)
    narrow = hash_identity([columns[0].astype(np.uint32), columns[1].astype(np.int16), columns[2].astype(np.uint64)])
    assert np.array_equal(hashed, narrow)
    alone = [hash_identity([column[i : i + 1] for column in columns])[0] for i in range(len(events))]
    assert hashed.tolist() == alone


def test_every_column_and_their_order_count() -> None:
    run, event = np.array([1, 2, 1]), np.array([2, 1, 1])
    hashed = hash_identity([run, event])
    assert len(set(hashed.tolist())) == 3
    assert not np.array_equal(hashed, hash_identity([event, run]))
    assert not np.array_equal(hash_identity([event], salt=1), hash_identity([event], salt=2))


def test_identities_stay_what_they_are() -> None:
    """Frozen numbers: another hash would move the events of every existing skim between the splits."""
    assert hash_text("ww.root") == 9_311_898_598_314_283_674
    assert hash_identity([np.array([1, 362_104]), np.array([7, 1_234_567])]).tolist() == [
        8_581_286_081_765_471_666,
        10_237_810_320_927_630_798,
    ]
    assert in_training_split(IDS[:16], 0.5, seed=0).astype(int).tolist() == [
        1,
        1,
        1,
        1,
        1,
        0,
        1,
        1,
        1,
        0,
        1,
        1,
        0,
        1,
        1,
        1,
    ]


@pytest.mark.parametrize("train_size", [0.1, 0.5, 0.8, 0.999])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_split_has_the_wanted_size(train_size: float, seed: int) -> None:
    n_train = in_training_split(IDS, train_size, seed).sum()
    sigma = np.sqrt(N * train_size * (1 - train_size))
    assert abs(n_train - N * train_size) < 4.5 * sigma


def test_a_train_size_of_one_takes_all() -> None:
    extremes = np.array([0, 2**64 - 1], np.uint64)
    assert in_training_split(extremes, 1.0, 0).all()


def test_a_larger_train_size_only_adds_events() -> None:
    smaller, larger = in_training_split(IDS, 0.5, 0), in_training_split(IDS, 0.6, 0)
    assert (larger | ~smaller).all()
    assert larger.sum() > smaller.sum()


def test_another_seed_is_another_split() -> None:
    both = in_training_split(IDS, 0.5, 0) & in_training_split(IDS, 0.5, 1)
    assert abs(both.sum() - N / 4) < 4.5 * np.sqrt(N * 3 / 16)


def test_salts_are_independent_of_each_other_and_of_parity() -> None:
    one, other = salted(IDS, "one") % np.uint64(2), salted(IDS, "other") % np.uint64(2)
    parity = np.arange(N, dtype=np.uint64) % np.uint64(2)
    for first, second in [(one, other), (one, parity), (other, parity), (one, IDS % np.uint64(2))]:
        assert abs((first == second).sum() - N / 2) < 4.5 * np.sqrt(N / 4)


@pytest.mark.parametrize("dtype", ["u1", "i4", "u8", "f4", "f8", "?"])
def test_integers_in_any_type_are_integers(dtype: str) -> None:
    values = np.array([0, 1, 1, 0]).astype(dtype)
    integers = as_integers(values, "evt", "a.root")
    assert integers.dtype.kind in "iub"
    assert np.array_equal(integers, values)


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, -np.inf, 1e300, -1e30])
def test_what_is_no_integer_is_named_and_counted(bad: float) -> None:
    with pytest.raises(DataError, match=r"'evt' must be an integer, but 1 of 3 .*, in a\.root"):
        as_integers(np.array([1.0, bad, 3.0]), "evt", "a.root")


def test_text_is_no_integer() -> None:
    with pytest.raises(DataError, match="'evt' must be an integer, not"):
        as_integers(np.array(["1", "2"]), "evt", "a.root")

"""Statistics of one column: what is counted, and that chunks and order do not show."""

from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.describing.flatten import flattened
from utils.describing.statistics import MAX_TEXTS, ColumnStatistics
from utils.errors import DataError


def statistics(*columns: Any) -> ColumnStatistics:
    found = ColumnStatistics()
    for column in columns:
        found.add(column)
    return found


def state(found: ColumnStatistics) -> dict[str, Any]:
    h = found.histogram
    plain = {name: value for name, value in vars(found).items() if name != "histogram"}
    return plain | {"level": h.level, "bins": h.bins.tolist(), "counts": h.counts.tolist()}


def test_a_flat_column() -> None:
    found = statistics(np.array([1.5, np.nan, -np.inf, 0.0, -0.0, 7.0], np.float32))
    assert (found.n_events, found.n_values, found.n_nan, found.n_infinite, found.n_zero) == (6, 6, 1, 1, 2)
    assert (found.minimum, found.maximum, found.lengths) == (0.0, 7.0, ())
    assert found.histogram.n_values == 4


def test_only_nan() -> None:
    found = statistics(np.full(3, np.nan), np.full(2, np.inf))
    assert (found.minimum, found.maximum, found.n_nan, found.n_infinite) == (None, None, 3, 2)


def test_integers_are_exact() -> None:
    found = statistics(np.array([2**63 + 1, 2**64 - 1], np.uint64), np.array([0], np.uint64))
    assert (found.minimum, found.maximum, found.n_zero) == (0, 2**64 - 1, 1)


def test_bits() -> None:
    found = statistics(np.array([True, False, True]))
    assert (found.minimum, found.maximum, found.n_zero) == (0, 1, 1)
    found = statistics(np.array([True, True]))
    assert (found.minimum, found.maximum) == (1, 1)


def test_jagged_and_doubly_jagged() -> None:
    found = statistics(ak.Array([[1.0, 2.0], [], [3.0, 4.0, 0.0]]))
    assert (found.n_events, found.n_values, found.lengths, found.max_values, found.n_zero) == (3, 5, (3,), 3, 1)
    found = statistics(ak.Array([[[1, 2], [3]], [], [[4, 5, 6, 7]]]))
    assert (found.n_values, found.lengths, found.max_values) == (7, (2, 4), 4)


def test_fixed_arrays_sliced_and_indexed() -> None:
    fixed = ak.to_regular(ak.Array(np.arange(12.0).reshape(4, 3)))
    assert (statistics(fixed).lengths, statistics(fixed).max_values) == ((3,), 3)
    assert statistics(np.arange(12.0).reshape(2, 3, 2)).lengths == (3, 2)
    jagged = ak.Array([[1.0], [2.0, 3.0], [], [4.0]])
    assert state(statistics(jagged[1:3])) == state(statistics(ak.Array([[2.0, 3.0], []])))
    assert state(statistics(jagged[[3, 1]])) == state(statistics(ak.Array([[4.0], [2.0, 3.0]])))


def test_nulls_count_as_nan() -> None:
    found = statistics(ak.Array([[1.0, None], None, [3.0]]))
    assert (found.n_events, found.n_values, found.n_nan, found.lengths) == (3, 2, 1, (2,))


def test_big_endian() -> None:
    assert statistics(np.array([1.0, -2.0], ">f8")).minimum == -2.0


def test_text() -> None:
    found = statistics(np.array(["ab", "c", "ab"], object), np.array([], object))
    assert (found.texts, found.longest, found.minimum) == ({"ab": 2, "c": 1}, 2, None)
    found = statistics(ak.Array([["x"], [], ["long", "x"]]))
    assert (found.texts, found.longest, found.lengths, found.n_values) == ({"x": 2, "long": 1}, 4, (2,), 3)


def test_more_texts_than_are_counted_in_any_order() -> None:
    many = [np.array([f"{i}"], object) for i in range(MAX_TEXTS + 1)]
    first, second = statistics(*many), statistics(*reversed(many))
    assert first.texts is None is second.texts
    assert first.n_values == MAX_TEXTS + 1
    assert statistics(*many[:-1]).texts is not None


def test_what_is_no_number_is_an_error() -> None:
    with pytest.raises(DataError, match="no statistics for values of type"):
        statistics(ak.Array([{"x": 1}]))
    with pytest.raises(DataError, match="complex"):
        statistics(np.array([1j]))


def test_an_empty_chunk_knows_its_levels() -> None:
    found = statistics(ak.Array([[1]])[:0])
    assert (found.n_events, found.lengths, found.minimum) == (0, (0,), None)


columns = st.lists(st.lists(st.one_of(st.floats(width=32), st.just(-999.0)), max_size=4), max_size=30)


@settings(max_examples=60)
@given(columns, st.integers(0, 30), st.integers(0, 30))
def test_chunks_and_order_do_not_show(events: list[list[float]], first: int, second: int) -> None:
    column = ak.values_astype(ak.Array([*events, [1.0]]), np.float32)[:-1]
    low, high = sorted((first, second))
    pieces = column[:low], column[low:high], column[high:]
    whole = statistics(column)
    assert state(whole) == state(statistics(*pieces))
    merged = ColumnStatistics()
    for piece in (pieces[2], pieces[0], pieces[1]):
        merged.merge(statistics(piece))
    assert state(whole) == state(merged)


def test_flattened_values_of_a_numpy_column() -> None:
    lengths, most, values, n_null = flattened(np.array([1, 2]))
    assert (lengths, most, list(values), n_null) == ((), 1, [1, 2], 0)

"""Learning-rate schedules: where they begin, where they are highest, where they end."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import ConfigError
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.schedules import PARAMETERS, factor_of, numbers_of

BY_STEP = [name for name in PARAMETERS if name not in ("none", "plateau")]
FALLING = ["steps", "flat+decay", "flat+linear", "flat+cos"]


def plan(schedule: str, epochs: int = 10, **numbers: Any) -> NeuralPlan:
    return NeuralPlan.from_params(
        {"schedule": schedule, "epochs": epochs, "schedule_param": numbers}, "utils.models.neural.plan.NeuralPlan"
    )


def factors(schedule: str, epochs: int = 10, steps: int = 20, **numbers: Any) -> list[float]:
    factor = factor_of(plan(schedule, epochs, **numbers), steps)
    assert factor is not None
    return [factor(step) for step in range(epochs * steps)]


@given(name=st.sampled_from(BY_STEP), epochs=st.integers(1, 60), steps=st.integers(1, 50))
def test_a_factor_is_above_zero_and_at_most_one(name: str, epochs: int, steps: int) -> None:
    values = factors(name, epochs, steps)
    assert all(0 < value <= 1 + 1e-12 for value in values)
    assert max(values) == pytest.approx(1)
    factor = factor_of(plan(name, epochs), steps)
    assert factor is not None and factor(10 * epochs * steps) <= values[-1] + 1e-12, "beyond the end it stays down"


@given(
    name=st.sampled_from(["flat+decay", "flat+linear", "flat+cos", "warmup+cos", "one-cycle"]),
    epochs=st.integers(2, 60),
    steps=st.integers(10, 50),
    final=st.floats(1e-4, 0.5),
)
def test_the_last_step_has_the_final_rate(name: str, epochs: int, steps: int, final: float) -> None:
    assert factors(name, epochs, steps, final=final)[-1] == pytest.approx(final)


@given(name=st.sampled_from(FALLING), epochs=st.integers(2, 40), steps=st.integers(1, 20))
def test_it_begins_at_the_learning_rate_and_never_rises(name: str, epochs: int, steps: int) -> None:
    values = factors(name, epochs, steps)
    assert values[0] == 1
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(values))


@given(flat=st.floats(0.05, 0.95), name=st.sampled_from(["flat+decay", "flat+linear", "flat+cos"]))
def test_it_is_flat_as_long_as_it_says(flat: float, name: str) -> None:
    values = factors(name, 10, 50, flat=flat)
    n_flat = sum(value == 1 for value in values)
    assert n_flat == pytest.approx(flat * 500, abs=2)


def test_halfway_down_the_shapes_differ() -> None:
    def middle(name: str) -> float:
        values = factors(name, 10, 101, flat=0.0, final=0.01)
        return values[len(values) // 2]

    assert middle("flat+decay") == pytest.approx(0.1, rel=0.02)
    assert middle("flat+linear") == pytest.approx(0.505, rel=0.02)
    assert middle("flat+cos") == pytest.approx(0.505, rel=0.02)
    quarter = {name: factors(name, 10, 100, flat=0.0, final=0.01)[250] for name in ("flat+linear", "flat+cos")}
    assert quarter["flat+cos"] > quarter["flat+linear"] + 0.05, "a cosine starts slowly"


@given(name=st.sampled_from(["warmup+cos", "one-cycle"]), share=st.floats(0.05, 0.9))
def test_it_rises_to_the_peak_where_it_should_and_falls_after_it(name: str, share: float) -> None:
    values = factors(name, 20, 20, **{"warmup" if name == "warmup+cos" else "rise": share})
    peak = max(range(len(values)), key=values.__getitem__)
    assert peak == pytest.approx(share * 400, abs=1)
    assert values[peak] == pytest.approx(1)
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)


def test_where_the_rising_ones_begin() -> None:
    assert factors("one-cycle")[0] == pytest.approx(0.04)
    assert factors("one-cycle", initial=0.2)[0] == pytest.approx(0.2)
    warm = factors("warmup+cos", 10, 20, warmup=0.1)
    assert warm[:3] == pytest.approx([1 / 21, 2 / 21, 3 / 21]), "the first step is not lost on a rate of zero"


def test_steps_fall_at_their_epochs() -> None:
    values = factors("steps", 10, 20, milestones=[2, 5], gamma=0.5)
    assert [values[0], values[39], values[40], values[99], values[100], values[-1]] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    thirds = factors("steps", 9, 10)
    assert [thirds[29], thirds[30], thirds[60]] == pytest.approx([1, 0.1, 0.01])
    assert set(factors("steps", 9, 10, milestones=[])) == {1.0}


def test_none_and_plateau_look_at_no_step() -> None:
    assert factor_of(plan("none"), 10) is None
    assert factor_of(plan("plateau"), 10) is None
    assert numbers_of(plan("plateau", patience=2))["patience"] == 2


@pytest.mark.parametrize(
    ("schedule", "numbers", "message"),
    [
        ("flat+cos", {"flatt": 0.5}, "did you mean 'flat'"),
        ("flat+cos", {"flat": 1.5}, "fraction"),
        ("flat+cos", {"final": 0}, "above zero"),
        ("flat+decay", {"final": "small"}, "above zero"),
        ("steps", {"milestones": 5}, "epochs"),
        ("none", {"final": 0.1}, "It has none"),
    ],
)
def test_numbers_that_make_no_sense(schedule: str, numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        numbers_of(plan(schedule, **numbers))
    assert str(caught.value.where).startswith("model_param.schedule_param.")

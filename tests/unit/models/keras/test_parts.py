"""Optimizers, schedules, averages and the shipped network."""

from typing import Any

import numpy as np
import pytest

from tests.networks import halves
from tests.unit.models.keras.conftest import Make
from utils.errors import ConfigError
from utils.loading import SkimData
from utils.models.estimator import FitContext


def begun(data: SkimData, estimator: Any) -> Any:
    """Its training before the first step."""
    from utils.models.neural.shape import shape_of

    train, _ = halves(data)
    estimator._shape = shape_of(train)
    return estimator._begin(train, FitContext(), estimator.plan)


def test_weight_decay_acts_on_matrices_only(data: SkimData, make: Make) -> None:
    """With gradients of zero, what shrinks is what decays."""
    training = begun(data, make(weight_decay=0.5, learning_rate=0.1))
    for variable in training.trained_variables:
        variable.assign(np.ones(variable.shape, np.float32))
    training.optimizer.apply([np.zeros(v.shape, np.float32) for v in training.trained_variables])
    for variable in training.trained_variables:
        wanted = 1.0 if "bias" in variable.path else 0.95
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-6, err_msg=variable.path)


def test_gradients_are_clipped_and_rates_follow_the_schedule(data: SkimData, make: Make) -> None:
    from utils.models.neural.schedules import factor_of

    options = {"optimizer": "SGD", "weight_decay": 0, "clip_grad_norm": 1e-3, "schedule": "warmup+cos"}
    training = begun(data, make(**options, learning_rate=0.5))
    factor = factor_of(training.plan, training.batches.n_batches)
    assert factor is not None
    for step, batch in enumerate(training.batches.epoch(0)):
        before = [v.numpy() for v in training.trained_variables]
        training.step(batch)
        moved = [v.numpy() - old for v, old in zip(training.trained_variables, before, strict=True)]
        length = np.sqrt(sum(float((m.astype(np.float64) ** 2).sum()) for m in moved))
        assert length == pytest.approx(0.5 * factor(step) * 1e-3, rel=1e-2)


@pytest.mark.parametrize("params", [{}, {"ema": 0.9, "clip_grad_norm": 1.0, "schedule": "one-cycle"}], ids=str)
def test_no_step_waits_for_the_device(
    data: SkimData, make: Make, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No number is brought to the host; the losses of all steps are, in one copy, when they are asked for."""
    training = begun(data, make(**params))
    first, *batches = training.batches.epoch(0)
    loss = training.step(first)
    copies: list[str] = []
    for name in ("numpy", "_numpy", "__array__", "__float__", "__bool__"):
        before = getattr(type(loss), name)
        monkeypatch.setattr(type(loss), name, lambda *a, _b=before, _n=name, **k: (copies.append(_n), _b(*a, **k))[1])
    losses = [training.step(batch) for batch in batches]
    assert len(losses) > 1
    assert copies == []
    assert np.isfinite(training.fetched(losses)).all()
    assert copies.count("numpy") == 1
    assert float(loss) > 0 and copies.count("__float__") == 1, "it sees them"


def test_the_average_is_that_of_the_weights(data: SkimData, make: Make) -> None:
    training = begun(data, make(ema=0.7))
    average = [v.numpy().astype(np.float64) for v in training.network.weights]
    for step, batch in enumerate(training.batches.epoch(0)):
        training.step(batch)
        kept = min(0.7, (1 + step) / (10 + step))
        average = [
            kept * old + (1 - kept) * v.numpy() for old, v in zip(average, training.network.weights, strict=True)
        ]
    now = [v.numpy() for v in training.network.weights]
    with training.judged():
        for v, wanted in zip(training.network.weights, average, strict=True):
            np.testing.assert_allclose(v.numpy(), wanted, atol=1e-6)
    for v, wanted in zip(training.network.weights, now, strict=True):
        np.testing.assert_array_equal(v.numpy(), wanted)


def test_the_rate_falls_on_a_plateau(make: Make) -> None:
    from utils.models.keras_network.library import keras
    from utils.models.keras_network.schedules import LearningRate

    numbers = {"factor": 0.1, "patience": 1, "minimum": 0.005}
    plan = make(schedule="plateau", schedule_param=numbers, learning_rate=1.0).plan
    schedule, rates = LearningRate(plan, keras.optimizers.Adam(1.0), 3), []
    for loss in (1.0, 0.9, 0.9, 0.89999, 0.95, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9):
        schedule.after_epoch(loss)
        rates.append(schedule.rate)
    np.testing.assert_allclose(rates, [1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.005, 0.005])


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"optimizer": "ranger"}, "Keras has no optimizer 'ranger', torch has.*model=torch_mlp"),
        ({"optimizer": "adamm"}, "Keras has no optimizer 'adamm'.*did you mean 'adam'"),
        ({"optimizer_param": {"beta": 1}}, "AdamW refuses its arguments"),
        ({"network": {"activation": "reluu"}}, "has no 'reluu'.*did you mean 'relu'"),
    ],
)
def test_mistakes_in_the_config(data: SkimData, make: Make, params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        begun(data, make(**params))


def test_unknown_categories_are_one_of_their_own(make: Make) -> None:
    from utils.models.keras_network.networks import mlp

    network = mlp(3, 2, categories={1: 4}, hidden=(5,))
    features = np.zeros((8, 3), np.float32)
    features[:, 1] = [0, 1, 2, 3, 4, 7, -1, 1e9]
    outputs = network.predict(features, verbose=0)
    assert len(np.unique(outputs[:4], axis=0)) == 4
    np.testing.assert_array_equal(outputs[4:], np.broadcast_to(outputs[4], (4, 2)))
    assert not (outputs[:4] == outputs[4]).all(axis=1).any()


def test_half_precision_does_not_round_categories(make: Make) -> None:
    from utils.models.keras_network.devices import making
    from utils.models.keras_network.networks import mlp

    with making("bf16"):
        network = mlp(2, 2, categories={1: 1000}, hidden=(5,))
    features = np.array([[0, 601], [0, 602], [0, 603]], np.float32)
    assert len(np.unique(network.predict(features, verbose=0), axis=0)) == 3

"""The losses of values: what a difference costs, and what padding does not."""

from typing import Any

import pytest

from utils.errors import ConfigError
from utils.models.neural.plan import NeuralPlan

torch = pytest.importorskip("torch")

from utils.models.pytorch.objective import objective_of  # noqa: E402

SHAPE: dict[str, dict[str, Any]] = {
    "regression": {"task": "regression", "offset": [10.0, 0.0], "scale": [2.0, 1.0]},
    "autoencoder": {"task": "autoencoder", "columns": [0, 2]},
    "classification": {"task": "classification"},
}
COSTS = [(None, [9.0, 0.25]), ("mse", [9.0, 0.25]), ("mae", [3.0, 0.5]), ("huber", [2.5, 0.125])]


def plan(loss: str | None) -> NeuralPlan:
    return NeuralPlan.from_params({} if loss is None else {"loss": loss}, "utils.models.pytorch.networks.Mlp")


@pytest.mark.parametrize(("loss", "costs"), COSTS)
def test_differences_are_in_units_of_the_targets_spread(loss: str | None, costs: list[float]) -> None:
    objective = objective_of(SHAPE["regression"], plan(loss))
    outputs, target = torch.tensor([[3.0, 0.5]]), torch.tensor([[10.0, 0.0]])
    assert objective.loss(outputs, target, None, None).tolist() == pytest.approx([sum(costs) / 2])
    assert objective.finish(outputs, None, None).tolist() == [[16.0, 0.5]]


@pytest.mark.parametrize(("loss", "costs"), COSTS)
def test_padding_is_not_in_the_loss(loss: str | None, costs: list[float]) -> None:
    objective = objective_of(SHAPE["autoencoder"], plan(loss))
    features, outputs = torch.tensor([[1.0, 77.0, 2.0]] * 3), torch.tensor([[4.0, 2.5]] * 3)
    mask = torch.tensor([[False, True, False], [False, False, True], [True, True, True]])
    expected = [sum(costs) / 2, costs[0], 0.0]
    assert objective.loss(outputs, None, features, mask).tolist() == pytest.approx(expected)
    assert objective.finish(outputs, features, mask)[:, 0].tolist() == pytest.approx(expected)
    assert objective.loss(outputs, None, features, None).tolist() == pytest.approx([sum(costs) / 2] * 3)


def test_classes_have_no_loss_of_values() -> None:
    with pytest.raises(ConfigError, match=r"loss=mae is one of values.*task=regression"):
        objective_of(SHAPE["classification"], plan("mae"))
    with pytest.raises(ConfigError, match=r"loss is 'hubr'.*did you mean 'huber'"):
        plan("hubr")

"""Networks and layers that come with the project."""

import pytest

torch = pytest.importorskip("torch")

from utils.errors import ConfigError  # noqa: E402
from utils.models.pytorch.networks import JaggedArrayLinear, Mlp  # noqa: E402


def test_a_perceptron_has_the_layers_it_was_asked_for() -> None:
    network = Mlp(5, 3, hidden=[7, 2], dropout=0.1, activation="GELU")
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Linear", "GELU", "Dropout", "Linear", "GELU", "Dropout", "Linear"]
    assert network(torch.zeros(4, 5)).shape == (4, 3)


def test_a_category_that_was_not_trained_on_is_one_of_its_own() -> None:
    network = Mlp(2, 2, {1: 3}, hidden=[4])
    features = torch.tensor([[0.5, code] for code in (0, 1, 2, 3, 100, -1)])
    outputs = network(features)
    assert torch.equal(outputs[3], outputs[4]) and torch.equal(outputs[3], outputs[5])
    assert len({tuple(row.tolist()) for row in outputs}) == 4


def test_where_its_columns_are_is_no_weight() -> None:
    network = Mlp(3, 2, {1: 3}, hidden=[4])
    assert not any("continuous" in name for name in network.state_dict())


@pytest.mark.parametrize(("name", "nearest"), [("ReLu", "ReLU"), ("functional", None)])
def test_an_activation_that_is_none(name: str, nearest: str | None) -> None:
    with pytest.raises(ConfigError, match=f"torch.nn has no '{name}'") as caught:
        Mlp(2, 2, activation=name)
    assert nearest is None or caught.value.nearest == nearest


@pytest.mark.parametrize("bias", [True, False])
def test_a_masked_input_counts_as_zero_whatever_it_is(bias: bool) -> None:
    layer = JaggedArrayLinear(6, 4, bias)
    values, mask = torch.randn(10, 6), torch.rand(10, 6) < 0.4
    expected = (values * ~mask) @ layer.weight.T + (layer.bias if bias else 0)
    spoiled = torch.where(mask, torch.tensor(float("nan")), values)
    written = torch.where(mask, torch.tensor(float("nan")), torch.ones(10, 6))
    for found in (layer(spoiled, mask), layer(spoiled), layer((values, mask)), layer([values, written])):
        torch.testing.assert_close(found, expected)
    assert torch.equal(values, torch.where(mask, values, spoiled)), "its input is left alone"


def test_a_masked_input_moves_no_weight() -> None:
    layer = JaggedArrayLinear(3, 2)
    layer(torch.tensor([[1.0, float("nan"), 2.0]])).sum().backward()
    assert torch.equal(layer.weight.grad, torch.tensor([[1.0, 0.0, 2.0]] * 2))


def test_it_is_a_linear_layer() -> None:
    layer = JaggedArrayLinear(3, 2, True)
    assert isinstance(layer, torch.nn.Linear)
    torch.testing.assert_close(layer(torch.ones(3)), layer.weight.sum(dim=1) + layer.bias)

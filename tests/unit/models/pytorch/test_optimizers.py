"""Optimizers by name, and where weight decay acts."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from utils.errors import ConfigError  # noqa: E402
from utils.models.neural.plan import NeuralPlan  # noqa: E402
from utils.models.pytorch.optimizers import make_optimizer, parameter_groups  # noqa: E402
from utils.models.pytorch.schedules import LearningRate  # noqa: E402


class Network(nn.Module):
    """A token, a matrix, and what normalises."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, 4))
        self.linear = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)

    def no_weight_decay(self) -> set[str]:
        return {"token"}


def plan(**params: Any) -> NeuralPlan:
    return NeuralPlan.from_params(params, "utils.models.pytorch.networks.Mlp")


def test_weight_decay_acts_on_matrices_alone() -> None:
    network = Network()
    decayed, others = parameter_groups(plan(weight_decay=0.1), network)
    assert [id(value) for value in decayed["params"]] == [id(network.linear.weight)]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert len(others["params"]) == 4


def test_what_is_frozen_is_left_out() -> None:
    network = Network()
    network.linear.weight.requires_grad_(False)
    (group,) = parameter_groups(plan(), network)
    assert group["weight_decay"] == 0


def test_a_network_that_names_what_it_does_not_have() -> None:
    network = Network()
    network.no_weight_decay = lambda: {"tokens"}  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="did you mean 'token'"):
        parameter_groups(plan(), network)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", "Adam"),
        ("AdamW", "AdamW"),
        ("adamW", "AdamW"),
        ("radam", "RAdam"),
        ("ranger", "Ranger"),
        ("sgd", "SGD"),
        ("NAdam", "NAdam"),
        ("RMSprop", "RMSprop"),
    ],
)
def test_an_optimizer_by_name_lowers_a_loss(name: str, kind: str) -> None:
    network = nn.Linear(4, 1)
    optimizer = make_optimizer(plan(optimizer=name, learning_rate=0.01), network)
    assert type(optimizer).__name__ == kind
    features, losses = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = ((network(features) - features.sum(dim=1, keepdim=True)) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"optimizer": "adammw"}, "did you mean 'adamw'"),
        ({"optimizer": "Optimizer"}, "no optimizer 'Optimizer'"),
        ({"optimizer": "LBFGS"}, "several times"),
        ({"optimizer": "adam", "optimizer_param": {"beta": 0.9}}, "refuses its arguments .*beta"),
        ({"optimizer": "adam", "optimizer_param": {"betas": [2.0, 0.9]}}, "refuses its arguments"),
        ({"optimizer": "ranger", "optimizer_param": {"k": 0}}, "refuses its arguments"),
    ],
)
def test_what_cannot_be(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_optimizer(plan(**params), nn.Linear(2, 2))


def test_the_schedule_sets_the_rate_of_every_group() -> None:
    made = plan(schedule="one-cycle", epochs=2, learning_rate=0.5)
    optimizer = make_optimizer(made, Network())
    schedule = LearningRate(made, optimizer, 10)
    rates = []
    for _ in range(20):
        rates.append(schedule.rate)
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        schedule.after_step()
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(2e-6)


def test_on_a_plateau_the_rate_falls() -> None:
    made = plan(schedule="plateau", schedule_param={"patience": 1, "factor": 0.5, "minimum": 0.2}, learning_rate=1.0)
    schedule = LearningRate(made, make_optimizer(made, Network()), 10)
    rates = []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9):
        schedule.after_step()
        schedule.after_epoch(loss)
        rates.append(schedule.rate)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]


@pytest.mark.parametrize("schedule", ["one-cycle", "plateau"])
def test_a_schedule_goes_on_where_it_was(schedule: str) -> None:
    made = plan(schedule=schedule, schedule_param={"patience": 1} if schedule == "plateau" else {}, epochs=9)

    def rates(n_epochs: int, state: Any = None) -> tuple[list[float], Any]:
        optimizer = make_optimizer(made, Network())
        scheduled, seen = LearningRate(made, optimizer, 2), []
        if state is not None:
            optimizer.load_state_dict(state[0])
            scheduled.load_state_dict(state[1])
        for _ in range(n_epochs):
            for _ in range(2):
                seen.append(scheduled.rate)
                scheduled.after_step()
            scheduled.after_epoch(1.0)
        return seen, (optimizer.state_dict(), scheduled.state_dict())

    whole, _ = rates(9)
    first, state = rates(4)
    rest, _ = rates(5, state)
    assert first + rest == whole
    assert len(set(whole)) > 2

"""What `model_param` of a network may say."""

from typing import Any

import pytest

from utils.errors import ConfigError
from utils.models.neural.plan import LearningRateRange, NeuralPlan
from utils.readers.spec import ChunkSize

NETWORK = "utils.models.neural.plan.NeuralPlan"


def plan(**params: Any) -> NeuralPlan:
    return NeuralPlan.from_params(params, NETWORK)


def test_the_network_is_the_default_unless_it_is_named() -> None:
    assert plan().network.target == NETWORK
    assert plan(network={"hidden": [4]}).network.params == {"hidden": [4]}
    named = plan(network={"_target_": "utils.models.neural.plan.LearningRateRange", "start": 1})
    assert named.network.target.endswith("LearningRateRange")


def test_a_buffer_is_memory_or_events() -> None:
    assert plan(buffer="20 MB").buffer == ChunkSize(0, 20_000_000)
    assert plan(buffer=5000).buffer.n_events == 5000


def test_a_range_of_learning_rates() -> None:
    assert plan().lr_finder is None
    assert plan(lr_finder=False).lr_finder is None
    assert plan(lr_finder=True).lr_finder == LearningRateRange()
    assert plan(lr_finder={"end": 2, "n_steps": 50}).lr_finder == LearningRateRange(1e-6, 2, 50)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"batch_size": "64"}, "batch_size is 64"),
        ({"batch_size": True}, "batch_size is True"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": "fast"}, "learning_rate is fast"),
        ({"clip_grad_norm": -1.0}, "clip_grad_norm is -1"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"early_stopping": 0}, "early_stopping is 0"),
        ({"precision": "fp61"}, "did you mean 'fp16'"),
        ({"best_by": "area"}, "best_by is 'area'"),
        ({"schedule": "onecycle"}, "did you mean 'one-cycle'"),
        ({"buffer": "much"}, "neither events nor memory"),
        ({"lr_finder": {"star": 1}}, "did you mean 'start'"),
        ({"lr_finder": {"start": 1, "end": 0.1}}, "0 < start < end"),
        ({"lr_finder": "wide"}, "Use true"),
    ],
)
def test_what_it_may_not_say(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plan(**params)
    assert str(caught.value.where).startswith("model_param.")

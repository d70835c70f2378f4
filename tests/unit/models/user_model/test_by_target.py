"""A network of the user's own by `_target_`, for torch and Keras alike."""

from pathlib import Path

import pytest

from utils.config.compose import load_spec
from utils.errors import ConfigError
from utils.factory import Factory
from utils.models.neural.making import made
from utils.models.spec import TrainSpec

CONFIGS = Path(__file__).parents[4] / "configs" / "train"
SHAPE = {"n_features": 4, "n_outputs": 2, "categories": {3: 5}}


def factory(tmp_path: Path, signature: str, **params: object) -> Factory:
    text = f"class Net:\n    def __init__(self, {signature}):\n        self.given = dict(locals())\n"
    (tmp_path / "net.py").write_text(text)
    return Factory(f"{tmp_path}/net.py:Net", params)


@pytest.mark.parametrize(
    ("signature", "params", "expected"),
    [
        ("n_features, n_outputs", {}, {"n_features": 4, "n_outputs": 2}),
        ("n_features, hidden=3", {"hidden": 7}, {"n_features": 4, "hidden": 7}),
        ("n_features, *, categories", {"n_features": 9}, {"n_features": 9, "categories": {3: 5}}),
        ("**everything", {"depth": 2}, {"everything": {**SHAPE, "depth": 2}}),
        ("width=1", {}, {"width": 1}),
    ],
)
def test_it_is_told_what_it_asks_for(
    tmp_path: Path, signature: str, params: dict[str, object], expected: dict[str, object]
) -> None:
    given = made(factory(tmp_path, signature, **params), SHAPE).given
    assert {name: value for name, value in given.items() if name != "self"} == expected


def test_an_argument_that_nothing_says(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Net\(n_features, n_inputs, depth\), and nothing says its n_inputs and dep"):
        made(factory(tmp_path, "n_features, n_inputs, depth"), SHAPE)
    with pytest.raises(ConfigError, match=r"takes no argument 'dept', in dept; did you mean 'depth'"):
        made(factory(tmp_path, "n_features, depth=1", dept=2), SHAPE)


def test_what_it_raises_passes_through(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def make(n_features):\n    raise RuntimeError('mine')\n")
    with pytest.raises(RuntimeError, match="mine") as raised:
        made(Factory(f"{tmp_path}/net.py:make"), SHAPE)
    assert raised.value.__notes__ == [
        f"This came from making the network {tmp_path}/net.py:make with {{'n_features': 4}}."
    ]


@pytest.mark.parametrize(("model", "library"), [("torch_mlp", "torch"), ("keras_mlp", "keras")])
def test_the_file_is_named_on_the_command_line(tmp_path: Path, model: str, library: str) -> None:
    pytest.importorskip(library)
    (tmp_path / "net.py").write_text("class Net: ...\n")
    target = f"model_param.network._target_={tmp_path}/net.py:Net"
    spec = load_spec(TrainSpec, CONFIGS, "train", ["year=2018", f"model={model}", target]).spec
    estimator = spec.model(params=spec.model_param)
    assert estimator.plan.network.target == f"{tmp_path}/net.py:Net"
    with pytest.raises(ConfigError, match="no file 'nowhere.py'"):
        spec.model(params={"network": {"_target_": "nowhere.py:Net"}})

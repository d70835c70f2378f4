"""Factories: lazy, comparable, and clear about what cannot be created."""

import copy
import pickle
from fractions import Fraction
from pathlib import Path

import pytest

from utils.errors import ConfigError
from utils.factory import Factory


def test_every_call_creates_a_fresh_object_with_nested_ones_created_first() -> None:
    factory = Factory.from_config(
        {
            "_target_": "fractions.Fraction",
            "numerator": {"_target_": "builtins.int", "_args_": ["6"]},
            "denominator": 4,
        },
        "model",
    )
    first, second = factory(), factory()
    assert first == second == Fraction(3, 2)
    assert first is not second
    assert factory(denominator=3) == Fraction(2)
    assert factory.load() is Fraction


def test_partial_waits_for_the_rest() -> None:
    assert Factory("builtins.sorted", {"_partial_": True, "reverse": True})()([1, 3, 2]) == [3, 2, 1]


def test_equal_content_is_equal_hashes_equally_and_survives_pickling() -> None:
    one = Factory("fractions.Fraction", {"numerator": 1, "options": {"a": [1, 2]}})
    other = Factory("fractions.Fraction", {"options": {"a": [1, 2]}, "numerator": 1})
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, Factory("fractions.Fraction", {"numerator": 2})}) == 2
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert Factory.from_config(one.to_config(), "model") == one


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Net:\n    width: int = 1\nvalue = 3\n"
    )
    factory = Factory.from_config({"_target_": "net.py:Net", "width": 2}, "model", [tmp_path])
    assert factory().width == 2
    assert pickle.loads(pickle.dumps(factory())) == factory()
    with pytest.raises(ConfigError, match=r"no 'Nett'.*did you mean 'Net'"):
        Factory(f"{tmp_path / 'net.py'}:Nett")()
    with pytest.raises(ConfigError, match="is a int, not a class or a function"):
        Factory(f"{tmp_path / 'net.py'}:value")()


def test_a_file_that_needs_what_is_not_installed_says_so(tmp_path: Path) -> None:
    (tmp_path / "deep.py").write_text("import not_a_package_at_all")
    with pytest.raises(ConfigError, match="needs 'not_a_package_at_all', which is not installed"):
        Factory(f"{tmp_path / 'deep.py'}:Net")()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("not_a_package_at_all.Model", "needs 'not_a_package_at_all', which is not installed"),
        ("Model", "neither a dotted path nor a file's name"),
        ("missing.py:Model", "no file 'missing.py'"),
    ],
)
def test_what_can_be_told_without_importing_is_told_at_once(target: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        Factory.from_config({"_target_": target}, "model")
    assert raised.value.where == "model"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-nn.txt"):
        Factory.from_config({"_target_": "torch.nn.Linear"}, "model")


@pytest.mark.parametrize(
    ("target", "nearest"),
    [("collections.OrderedDickt", "OrderedDict"), ("xml.domm.minidom", "dom"), ("xml.dom.minidomm.parse", "minidom")],
)
def test_a_mistyped_path_gives_the_nearest_name(target: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Factory(target)()
    assert raised.value.nearest == nearest


def test_a_mistyped_argument_gives_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="takes no argument 'numrator'") as raised:
        Factory("fractions.Fraction", {"numrator": 1})()
    assert raised.value.nearest == "numerator"

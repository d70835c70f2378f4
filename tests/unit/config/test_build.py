"""Mappings become specs by the annotations of their dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.config.build import build_spec
from utils.errors import ConfigError
from utils.factory import Factory


@dataclass(frozen=True)
class Folds:
    by: Literal["modulo", "hash"] = "modulo"
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        if self.tolerance < 0:
            raise ConfigError(f"tolerance is {self.tolerance}", where="tolerance", remedy="Use 0 or more.")


@dataclass(frozen=True)
class Fill:
    value: float

    @classmethod
    def from_config(cls, value: Any, where: str) -> Self:
        if not isinstance(value, str) or not value.startswith("fill "):
            raise ConfigError(f"{value!r} is no policy", where=where)
        return cls(float(value.removeprefix("fill ")))


@dataclass(frozen=True, kw_only=True)
class Spec:
    train_file: str
    year: str | None = None
    n_splits: int = 2
    rate: float = 0.1
    verbose: bool = False
    folder: Path = Path("data")
    compression: Literal["none", "blosc:lz4"] = "none"
    overwrite: bool | Literal["error"] = "error"
    folds: Folds | None = Folds()
    parts: tuple[Folds, ...] = ()
    features: tuple[str, ...] = ()
    bounds: tuple[float | None, float | None] = (None, None)
    clip: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    colors: Mapping[int, str] = field(default_factory=dict)
    fill: Fill | None = None
    identity: tuple[str, ...] | Literal["auto"] = "auto"
    threshold: str | float = 0.5
    model: Factory | None = None
    model_param: Mapping[str, Any] = field(default_factory=dict)


def build(**config: Any) -> Spec:
    return build_spec(Spec, {"train_file": "train.h5", **config})


@pytest.mark.parametrize(
    ("key", "given_value", "expected"),
    [
        ("year", 2018, "2018"),
        ("year", None, None),
        ("n_splits", "20", 20),
        ("n_splits", 1e3, 1000),
        ("n_splits", "1e3", 1000),
        ("rate", "1e-2", 0.01),
        ("rate", 1, 1.0),
        ("verbose", True, True),
        ("folder", "a/b", Path("a/b")),
        ("compression", None, "none"),
        ("compression", "blosc:lz4", "blosc:lz4"),
        ("overwrite", True, True),
        ("overwrite", "error", "error"),
        ("folds", {"by": "hash"}, Folds("hash")),
        ("folds", None, None),
        ("folds", Folds("hash"), Folds("hash")),
        ("parts", [{"by": "hash"}, {}], (Folds("hash"), Folds())),
        ("features", ["pt", "eta"], ("pt", "eta")),
        ("features", None, ()),
        ("bounds", [None, "1e2"], (None, 100.0)),
        ("clip", {"njets": [0, 3]}, {"njets": (0.0, 3.0)}),
        ("clip", None, {}),
        ("colors", {"0": "red", 1: "blue"}, {0: "red", 1: "blue"}),
        ("fill", "fill -10", Fill(-10.0)),
        ("identity", "auto", "auto"),
        ("identity", ["run", "event"], ("run", "event")),
        ("threshold", 1, 1.0),
        ("threshold", "tight", "tight"),
        ("threshold", "1", "1"),
        ("model_param", {"anything": {"goes": ["here", None]}}, {"anything": {"goes": ["here", None]}}),
    ],
)
def test_values_are_converted_by_their_annotation(key: str, given_value: Any, expected: Any) -> None:
    built = getattr(build(**{key: given_value}), key)
    assert built == expected
    assert type(built) is type(expected)


@pytest.mark.parametrize(
    ("key", "given_value", "where", "says"),
    [
        ("n_splits", "two", "n_splits", "an integer, not 'two'"),
        ("n_splits", 2.5, "n_splits", "an integer, not 2.5"),
        ("n_splits", True, "n_splits", "an integer, not True"),
        ("rate", True, "rate", "a number, not True"),
        ("rate", None, "rate", "a number, not None"),
        ("verbose", 1, "verbose", "true or false, not 1"),
        ("year", ["2018"], "year", "text"),
        ("features", "pt", "features", "a list of text, not 'pt'"),
        ("features", ["pt", ["eta"]], "features[1]", "text, not ['eta']"),
        ("bounds", [1], "bounds", "a list of 2 values"),
        ("clip", {"njets": [0, "many"]}, "clip.njets[1]", "a number, not 'many'"),
        ("compression", "blosc:lz5", "compression", "did you mean 'blosc:lz4'"),
        ("folds", "hash", "folds", "a mapping, not 'hash'"),
        ("folds", {"tolerance": -1}, "folds.tolerance", "tolerance is -1"),
        ("parts", [{}, {"tolerance": -1}], "parts[1].tolerance", "tolerance is -1"),
        ("fill", "nothing", "fill", "is no policy"),
        ("identity", "none", "identity", "'identity'"),
        ("identity", ["run", ["lumi"]], "identity[1]", "text, not ['lumi']"),
        ("model", {"target": "x"}, "model", "_target_"),
    ],
)
def test_a_wrong_value_names_its_key_and_what_was_expected(key: str, given_value: Any, where: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        build(**{key: given_value})
    assert raised.value.where == where
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("config", "where", "nearest"),
    [
        ({"n_split": 2}, "n_split", "n_splits"),
        ({"folds": {"byy": "hash"}}, "folds.byy", "folds.by"),
        ({"parts": [{"tollerance": 1}]}, "parts[0].tollerance", "parts[0].tolerance"),
        ({"by": "hash"}, "by", "folds.by"),
        ({"zzz": 1}, "zzz", None),
    ],
)
def test_an_unknown_key_gives_the_nearest_one(config: dict[str, Any], where: str, nearest: str | None) -> None:
    with pytest.raises(ConfigError, match="unknown key") as raised:
        build(**config)
    assert (raised.value.where, raised.value.nearest) == (where, nearest)
    assert nearest is not None or "n_splits" in str(raised.value.remedy)


def test_a_value_that_must_be_given_shows_what_to_type() -> None:
    for config in ({}, {"train_file": "???"}):
        with pytest.raises(ConfigError, match=r"'train_file' has no value.*train_file=…") as raised:
            build_spec(Spec, config)
        assert raised.value.where == "train_file"
    with pytest.raises(ConfigError, match=r"train_file=… year=…"):
        build_spec(Spec, {"year": "???"})
    with pytest.raises(ConfigError, match=r"'clip.njets' has no value"):
        build(clip={"njets": "???"})


@given(st.integers(-(10**12), 10**12))
def test_integers_survive_every_spelling(n: int) -> None:
    assert {build(n_splits=text).n_splits for text in (n, str(n), float(n), f"{n}.0")} == {n}


@given(st.floats(allow_nan=False))
def test_numbers_survive_as_text(x: float) -> None:
    assert build(rate=repr(x)).rate == x


def test_factories_are_made_lazily_and_found_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('imported')")
    spec = build_spec(Spec, {"train_file": "x", "model": {"_target_": "mine.py:Net", "width": 3}}, search=[tmp_path])
    assert spec.model is not None
    assert (spec.model.target, spec.model.params) == (f"{tmp_path / 'mine.py'}:Net", {"width": 3})
    with pytest.raises(ConfigError, match=r"no file 'other.py', in model"):
        build(model={"_target_": "other.py:Net"})

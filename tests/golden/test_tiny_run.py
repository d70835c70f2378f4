"""The chain still gives the numbers it gave; see `tiny_run` for how to write them anew, and when."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.golden.tiny_run import GOLDEN, tiny_run

# Counts are exact. Sums of weights and moments may differ in the order of summation of another processor. Areas of the
# same trees agree to rounding; a tie between two splits that another processor breaks differently moves them further,
# which has not been seen with the pinned LightGBM in its deterministic mode.
SUM_TOLERANCE, AREA_TOLERANCE = 1e-9, 1e-6


def flat(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every leaf."""
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            yield from flat(value, f"{path}/{key}")
    else:
        yield path, content


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return dict(flat(json.loads(json.dumps(tiny_run()))))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(flat(json.loads(GOLDEN.read_text())))


def test_the_same_numbers_are_there(found: dict[str, Any], golden: dict[str, Any]) -> None:
    assert list(found) == list(golden)


@pytest.mark.parametrize("part", ["cutflow", "duplicates", "classes", "pipe", "folds", "areas"])
def test_the_numbers_are_the_same(found: dict[str, Any], golden: dict[str, Any], part: str) -> None:
    compared = [path for path in golden if path.startswith(f"/{part}")]
    assert compared
    for path in compared:
        value, expected = found[path], golden[path]
        if not isinstance(expected, float):
            assert value == expected, path
        elif "roc_auc" in path:
            assert math.isclose(value, expected, abs_tol=AREA_TOLERANCE), f"{path}: {value}, was {expected}"
        else:
            assert math.isclose(value, expected, rel_tol=SUM_TOLERANCE, abs_tol=1e-12), (
                f"{path}: {value}, was {expected}"
            )

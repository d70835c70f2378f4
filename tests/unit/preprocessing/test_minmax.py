"""MLaaS4HEP's normalisation: by branch, with the extremes of the training split or of its own specs."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from utils.errors import ConfigError, InputFileError
from utils.preprocessing.minmax import MinMax
from utils.preprocessing.moments import MomentsAccumulator
from utils.preprocessing.pipe import FittedPipe
from utils.preprocessing.spec import MinMaxSpec

BASE: dict[str, Any] = {
    "cont_features": ("pt_1", "m_vis", "one"),
    "padded_features": {"jet_pt": 3},
    "new_variables": {"one": "0*pt_1 + 7"},
    "scaler": None,
    "minmax": MinMaxSpec(),
}
COLUMNS = ["pt_1", "m_vis", "one", "jet_pt_0", "jet_pt_1", "jet_pt_2"]


def matrix(done: Any, node: str = "train") -> np.ndarray:
    return np.stack([done.nodes[node][name] for name in COLUMNS], axis=1)


def test_all_positions_of_a_branch_share_its_extremes(skims: Callable[..., Any]) -> None:
    done = skims(**BASE)
    ((name, step),) = done.result.pipe.steps
    raw = matrix(done)
    assert name == "minmax"
    assert step.minimum[:2] == (raw[:, 0].min(), raw[:, 1].min())
    assert step.minimum[3:] == (np.nanmin(raw[:, 3:]),) * 3
    assert step.maximum[3:] == (np.nanmax(raw[:, 3:]),) * 3
    seen = done.result.pipe.transform(raw)
    assert (seen[:, 2] == 7).all()  # min = max: raw
    assert np.array_equal(np.isnan(seen), np.isnan(raw))
    for columns in ([0], [1], [3, 4, 5]):
        assert (np.nanmin(seen[:, columns]), np.nanmax(seen[:, columns])) == (0, 1)


def test_the_training_split_decides(skims: Callable[..., Any]) -> None:
    done = skims(**BASE)
    (_, step) = done.result.pipe.steps[0]
    assert step.maximum[1] == done.nodes["train"]["m_vis"].max()
    extremes = [(f(done.nodes["train"][name]), f(done.both(name))) for name in COLUMNS for f in (np.nanmin, np.nanmax)]
    assert any(of_train != of_all for of_train, of_all in extremes)


@given(values=hnp.arrays(np.float32, (7, 3), elements=st.floats(-1e9, 1e9, width=32)))
def test_it_is_the_formula(values: np.ndarray) -> None:
    accumulator = MomentsAccumulator(3)
    accumulator.add(0, np.arange(7), values)
    step = MinMax({"b_0": "b", "b_1": "b"}).fit(accumulator.result(), ["a", "b_0", "b_1"])
    wide = values.astype(np.float64)
    expected = wide.copy()
    for columns in ([0], [1, 2]):
        low, high = wide[:, columns].min(), wide[:, columns].max()
        if high > low:
            expected[:, columns] = (wide[:, columns] - low) / (high - low)
    assert np.array_equal(step.transform(values), expected)


def test_it_survives_the_pipe_file(skims: Callable[..., Any]) -> None:
    done = skims(**BASE, fill_padding=0)
    pipe = FittedPipe.load(done.folder / "input_pipe.json")
    assert pipe == done.result.pipe
    assert json.loads(done.pipe_text)["steps"][0].keys() == {"step", "minimum", "maximum"}
    raw = matrix(done)
    some = pipe.restricted(["jet_pt_1", "pt_1"])
    assert np.array_equal(some.transform(raw[:, [4, 0]]), pipe.transform(raw)[:, [4, 0]])


def test_a_scaler_behind_it(skims: Callable[..., Any]) -> None:
    from utils.preprocessing.spec import ScalerSpec

    done = skims(**{**BASE, "scaler": ScalerSpec()})
    assert [name for name, _ in done.result.pipe.steps] == ["minmax", "scaler"]
    seen = done.result.pipe.transform(matrix(done)).astype(np.float64)
    assert np.nanmean(seen, axis=0) == pytest.approx(0, abs=1e-6)
    assert np.nanstd(np.delete(seen, 2, axis=1), axis=0) == pytest.approx(1, rel=1e-5)


def specs_file(path: Path, **ranges: tuple[float, float]) -> Path:
    content = {
        "jdim": {"jet_pt": 3},
        "minv": {name: low for name, (low, _) in ranges.items()},
        "maxv": {name: high for name, (_, high) in ranges.items()},
        "fkeys": ["m_vis", "one", "pt_1"],
        "jkeys": ["jet_pt"],
        "nans": {},
        "events": {"signal.root": 400, "total": 400},
    }
    path.write_text(json.dumps(content))
    return path


def test_specs_of_mlaas4hep(skims: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = specs_file(tmp_path / "s.json", pt_1=(0, 1e6), m_vis=(-1e6, 1e6), one=(0, 0), jet_pt=(0, 50))
    with caplog.at_level(logging.WARNING):
        done = skims(**{**BASE, "minmax": MinMaxSpec(str(path))})
    (_, step) = done.result.pipe.steps[0]
    assert step.minimum == (0, -1e6, 0, 0, 0, 0)
    assert step.maximum == (1e6, 1e6, 0, 50, 50, 50)
    raw = matrix(done)
    n_outside = int((raw[:, 3:] > 50).sum())
    assert f"{n_outside} values of jet_pt are outside [0, 50]" in caplog.text
    assert "pt_1 are outside" not in caplog.text
    seen = done.result.pipe.transform(raw)
    assert np.array_equal(seen[:, 2], raw[:, 2])
    assert np.nanmax(seen) > 1


def test_specs_that_do_not_fit(skims: Callable[..., Any], tmp_path: Path) -> None:
    path = specs_file(tmp_path / "s.json", pt_1=(0, 1), m_vis=(0, 1), one=(0, 0), jet_ptt=(0, 50))
    with pytest.raises(ConfigError, match="no minimum and maximum of 'jet_pt'.*did you mean 'jet_ptt'"):
        skims(**{**BASE, "minmax": MinMaxSpec(str(path))})
    with pytest.raises(InputFileError, match="absent.json"):
        skims(**{**BASE, "minmax": MinMaxSpec(str(tmp_path / "absent.json"))})

"""A toy analysis of four samples, and what it takes to preprocess it and to compare skims."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from numpy.typing import NDArray

from utils.preprocessing.flow import PreprocessResult, run_preprocessing
from utils.preprocessing.spec import PreprocessSpec, Process, Sample, ScalerSpec
from utils.readers.skim import SkimFile

# Events of each sample; `rare` is too small for all folds.
SIZES = {"signal": 400, "fakes": 250, "taus": 330, "rare": 9}
FIRST_EVENT = 2**60  # event numbers that no float64 can hold

SAMPLES = (
    # One event of `signal` may feed both processes.
    Sample("signal", (Process("H_sig", "(pt_1>20.) & (njets<4)", 0), Process("H_loose", "pt_1>10", 1))),
    Sample("fakes", (Process("Fakes", "pt_1>15", 2),)),
    Sample("taus", (Process("Taus", None, 3),)),
    Sample("rare", (Process("Rare", None, 1),)),
)


def toy_columns(n: int, seed: int, first_event: int = FIRST_EVENT, run: int = 1) -> dict[str, Any]:
    """Branches of one file: signed weights, jagged jets, a flag."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    return {
        "run": np.full(n, run, np.uint32),
        "evt": np.arange(first_event, first_event + n, dtype=np.uint64),
        "pt_1": rng.exponential(30, n).astype(np.float32),
        "m_vis": rng.normal(90, 20, n),
        "eta_1": rng.normal(0, 2, n).astype(np.float32),
        "njets": counts.astype(np.int32),
        "weight": rng.choice([1.0, 0.5, -0.3], n, p=[0.6, 0.3, 0.1]).astype(np.float32),
        "is_mc": rng.random(n) > 0.5,
        "jet_pt": ak.unflatten(rng.exponential(40, counts.sum()).astype(np.float32), counts),
    }


@pytest.fixture(scope="session")
def toy_file() -> Callable[..., dict[str, Any]]:
    """`toy_columns`, for tests that write files of their own."""
    return toy_columns


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory, ntuple: Callable[..., Path]) -> Callable[[int], Path]:
    """Baskets' size → the folder of the same four samples, written with such baskets."""
    folders: dict[int, Path] = {}

    def folder(basket: int = 100) -> Path:
        if basket not in folders:
            folders[basket] = tmp_path_factory.mktemp(f"toys-{basket}")
            for i, (name, n) in enumerate(SIZES.items()):
                ntuple(folders[basket] / f"{name}.root", toy_columns(n, i, run=i + 1), basket=basket)
        return folders[basket]

    return folder


def make_spec(input_path: Path, output_path: Path, /, **changes: Any) -> PreprocessSpec:
    """The toy's config; every key may be given another value."""
    keys: dict[str, Any] = {
        "input_path": str(input_path),
        "input_tree_name": "events",
        "input_samples": SAMPLES,
        "cont_features": ("pt_1", "m_vis", "eta_1"),
        "cat_features": ("njets",),
        "misc_features": ("evt", "run", "weight", "w_class_imbalance"),
        "weight_name": "weight",
        "train_size": 0.7,
        "scaler": ScalerSpec(),
        "output_path": str(output_path),
    }
    return PreprocessSpec(**{**keys, **changes})


@dataclass(frozen=True)
class Skims:
    """What a preprocessing left behind."""

    result: PreprocessResult
    folder: Path

    @cached_property
    def nodes(self) -> dict[str, dict[str, NDArray[Any]]]:
        """node → column → values."""
        content = {}
        for node, path in self.result.outputs.items():
            with SkimFile(path) as skim:
                content[node] = skim.read(skim.columns)
        return content

    @cached_property
    def groups(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """node → group → columns."""
        content = {}
        for node, path in self.result.outputs.items():
            with SkimFile(path) as skim:
                content[node] = dict(skim.groups)
        return content

    @cached_property
    def lists(self) -> dict[str, dict[str, Any]]:
        """node → `jagged/GROUP` → columns, and `images/NAME` → array or columns, as they are stored."""
        content = {}
        for node, path in self.result.outputs.items():
            with SkimFile(path) as skim:
                block = skim.block(0, skim.n_rows)
            content[node] = {name: values for name, values in block.items() if "/" in name}
        return content

    @cached_property
    def metadata(self) -> dict[str, Mapping[str, Any]]:
        """node → metadata."""
        content = {}
        for node, path in self.result.outputs.items():
            with SkimFile(path) as skim:
                content[node] = skim.metadata
        return content

    @property
    def pipe_text(self) -> str:
        """The pipe's file, as it is."""
        return (self.folder / "input_pipe.json").read_text()

    def both(self, name: str) -> NDArray[Any]:
        """A column of the train and the test node, one after the other."""
        return np.concatenate([self.nodes["train"][name], self.nodes["test"][name]])

    def of(self, node: str, **values: Any) -> dict[str, NDArray[Any]]:
        """The rows of a node in which columns have the given values."""
        columns = self.nodes[node]
        keep = np.logical_and.reduce([columns[name] == value for name, value in values.items()])
        return {name: column[keep] for name, column in columns.items()}


@pytest.fixture(scope="session")
def spec() -> Callable[..., PreprocessSpec]:
    """`make_spec`, for tests."""
    return make_spec


@pytest.fixture(scope="session")
def skims(toys: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Skims]:
    """Preprocess the toy (or another `input_path`) into a fresh folder, with changed keys."""

    def run(input_path: Path | None = None, /, **changes: Any) -> Skims:
        made = make_spec(input_path or toys(100), tmp_path_factory.mktemp("skims"), **changes)
        return Skims(run_preprocessing(made, {"year": "2018"}), Path(made.output_path))

    return run


def same_content(one: Skims, other: Skims) -> None:
    """Assert that skims, pipe and cutflow are equal: names, types, every value, order."""
    assert list(one.nodes) == list(other.nodes)
    for node, columns in one.nodes.items():
        assert one.groups[node] == other.groups[node]
        for name, values in columns.items():
            assert values.dtype == other.nodes[node][name].dtype, name
            if values.dtype == object:
                assert values.tolist() == other.nodes[node][name].tolist(), name
            else:
                assert values.tobytes() == other.nodes[node][name].tobytes(), name
        same_lists(one.lists[node], other.lists[node])
        assert one.metadata[node]["lists"] == other.metadata[node]["lists"]
    if one.result.pipe is not None and "train" in one.nodes:
        assert one.pipe_text == other.pipe_text
    assert one.result.pipe == other.result.pipe
    assert one.result.cutflow == other.result.cutflow
    assert one.result.class_counts == other.result.class_counts
    assert one.result.duplicates == other.result.duplicates


def same_lists(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Assert that jagged groups and images are equal: names, types, every value, order."""
    assert list(one) == list(other)
    for name, values in one.items():
        if isinstance(values, Mapping):
            same_lists(values, other[name])
        else:
            assert type(values) is type(other[name])
            assert ak.type(values) == ak.type(other[name])
            assert ak.to_list(values) == ak.to_list(other[name])


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Skims, Skims], None]:
    """`same_content`, for tests."""
    return same_content


STEPS_FILE = '''
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SignedLog:
    """sign(x) · log(1 + |x| / unit), and the product of the first two features beside them."""

    unit: float = 1.0

    def fit(self, moments, names):
        return self

    def transform(self, features):
        product = features[:, :1].astype(np.float64) * features[:, 1:2]
        features = np.concatenate([features, product], axis=1)
        return np.sign(features) * np.log1p(np.abs(features) / self.unit)

    def output_names(self, names):
        return (*names, "product")

    def state(self):
        return {"unit": self.unit}

    @classmethod
    def from_state(cls, state):
        return cls(state["unit"])


class Root(SignedLog):
    """The square root, NaN for negative features."""

    def transform(self, features):
        with np.errstate(invalid="ignore"):
            return np.sqrt(features)

    def output_names(self, names):
        return tuple(names)
'''


@pytest.fixture(scope="session")
def steps_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's file with steps of the input pipe."""
    path = tmp_path_factory.mktemp("user") / "steps.py"
    path.write_text(STEPS_FILE)
    return path

"""A small skim, and Keras only where a test runs: its import takes seconds."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.skims import open_skim, toy_events
from utils.loading import SkimData

N = 400
SMALL: dict[str, Any] = {"network": {"hidden": [8]}, "epochs": 3, "batch_size": 64, "learning_rate": 0.02}
USERS = Path(__file__).with_name("users_networks.py")

Make = Callable[..., Any]


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    if find_spec("tensorflow") is None or find_spec("keras") is None:
        pytest.skip("tensorflow and keras are not installed")


@pytest.fixture(scope="session")
def make() -> Make:
    """A small estimator; `network` may name a function of the users' file."""

    def made(network: str | dict[str, Any] | None = None, **params: Any) -> Any:
        from utils.models.keras_network.estimator import KerasEstimator

        own = {} if network is None else {"network": network if isinstance(network, dict) else users(network)}
        return KerasEstimator({**SMALL, **own, **params})

    return made


def users(name: str) -> dict[str, Any]:
    return {"_target_": f"{USERS}:{name}"}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    """Two classes; `z` can be told from `x`."""
    events = toy_events(N, n_classes=2)
    events = type(events)(
        events.cont, events.cat, {**events.misc, "z": 5.0 * events.cont["x"] + 100.0}, events.target, 2
    )
    with open_skim(tmp_path_factory.mktemp("skim") / "train.h5", events) as skim:
        yield SkimData.open(skim)


@pytest.fixture(scope="session")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    """Two classes; `noise_0` is NaN for every second event: what is missing there is padding."""
    events = toy_events(N, n_classes=2)
    noise = np.where(events.target == 0, np.nan, events.cont["noise"]).astype(np.float32)
    made = type(events)({"x": events.cont["noise"], "noise_0": noise}, {}, events.misc, events.target, 2)
    path = tmp_path_factory.mktemp("skim") / "padded.h5"
    with open_skim(path, made, steps=(), metadata={"padded_features": {"noise": 1}}) as skim:
        yield SkimData.open(skim)


def weights(estimator: Any) -> dict[str, bytes]:
    """Bytes of every variable that is kept."""
    return {v.path: np.array(v.numpy()).tobytes() for v in estimator.network.weights}

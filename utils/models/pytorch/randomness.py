"""The state of all generators that a network may draw from: torch's on host and device, NumPy's, Python's."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from utils.models.neural.world import World


def capture(device: torch.device) -> dict[str, Any]:
    """Plain values and tensors, for a checkpoint."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (a user's network may draw from the global generator)
    return {
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
    }


def restore(state: dict[str, Any], device: torch.device) -> None:
    """The inverse of `capture`."""
    torch.set_rng_state(state["torch"])
    if state["device"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["device"], device)
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed every generator, and leave them afterwards as they were before."""
    before = capture(device)
    _seed(seed)
    try:
        yield
    finally:
        restore(before, device)


def seed_process(seed: int, world: World) -> None:
    """Give each of several processes, whose networks are the same, other random numbers than the others have."""
    if world.size > 1:
        _seed(int(np.random.SeedSequence([seed, world.rank]).generate_state(1)[0]))


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)

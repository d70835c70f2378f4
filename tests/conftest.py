"""Small ntuples to read, and real ones where the data folder is at hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def write_ntuple(
    path: Path,
    columns: Mapping[str, Any],
    *,
    tree: str = "events",
    basket: int = 500,
    compression: Any = uproot.ZLIB(1),
) -> Path:
    """A ROOT file with one tree: name → (N,) NumPy array, or Awkward array for a jagged or a text branch.

    Parameters
    ----------
    basket : entries per basket; the last one holds the rest.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    types = {name: _branch_type(values) for name, values in columns.items()}
    n_entries = len(next(iter(columns.values())))
    with uproot.recreate(path, compression=compression) as file:
        target = file.mktree(tree, types)
        for start in range(0, n_entries, basket):
            target.extend({name: values[start : start + basket] for name, values in columns.items()})
    return path


def _branch_type(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return values.dtype
    form = str(ak.type(values).content)
    return form if form == "string" else f"var * {form.rsplit('* ')[-1]}"


@pytest.fixture(scope="session")
def ntuple() -> Callable[..., Path]:
    """`write_ntuple`, for tests."""
    return write_ntuple


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real inputs (../shared/data) are not here")
    return SHARED_DATA

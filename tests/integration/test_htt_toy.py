"""The toy ntuples hold what the tutorial and the tests count on."""

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import uproot

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_htt_toy", REPOSITORY / "examples" / "make_htt_toy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ntuples(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("original")
    toy.write_toy(folder, seed=1, scale=0.1)
    return {path.stem: uproot.open(path)[toy.TREE].arrays(library="np") for path in sorted(folder.glob("*.root"))}


def test_the_seed_decides_every_value(
    toy: ModuleType, ntuples: dict[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    toy.write_toy(tmp_path / "same", seed=1, scale=0.1)
    toy.write_toy(tmp_path / "other", seed=2, scale=0.1)
    for name, columns in ntuples.items():
        same = uproot.open(tmp_path / "same" / f"{name}.root")[toy.TREE].arrays(library="np")
        other = uproot.open(tmp_path / "other" / f"{name}.root")[toy.TREE].arrays(library="np")
        for branch, values in columns.items():
            np.testing.assert_array_equal(same[branch], values)
        assert not np.array_equal(other["pt_1"], columns["pt_1"])


def test_it_has_what_real_ntuples_have(toy: ModuleType, ntuples: dict[str, dict[str, np.ndarray]]) -> None:
    bbh, data = ntuples["SUSYGluGluToBBHToTauTau_M125"], ntuples["Tau_Run2018"]
    assert (bbh["evt"].dtype, bbh["run"].dtype, bbh["lumi"].dtype) == (np.uint64, np.uint32, np.uint32)
    assert 0.05 < (bbh["weight"] < 0).mean() < 0.15
    assert data["evt"].max() > 2**32
    assert set(np.unique(data["weight"])) == {1.0}
    assert 0 < toy.passes(bbh).mean() < 1
    assert list(ntuples["WHToTauTau_M125"]["evt"] % 2) == [0, 0, 0]
    assert toy.passes(ntuples["WHToTauTau_M125"]).all()


def test_only_the_planted_events_occur_twice(toy: ModuleType, ntuples: dict[str, dict[str, np.ndarray]]) -> None:
    def identities(columns: dict[str, np.ndarray]) -> list[tuple[int, ...]]:
        return list(zip(*(columns[name].tolist() for name in ("run", "lumi", "evt")), strict=True))

    within = {name: len(columns["evt"]) - len(set(identities(columns))) for name, columns in ntuples.items()}
    assert within == dict.fromkeys(ntuples, 0) | {"Tau_Run2018": toy.N_WITHIN}
    across = Counter(identity for columns in ntuples.values() for identity in set(identities(columns)))
    assert sum(count - 1 for count in across.values()) == toy.N_ACROSS

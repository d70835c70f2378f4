"""Toy ntuples of a H → ττ analysis with two hadronic taus: ``python examples/make_htt_toy.py --output FOLDER``.

Four classes are to be told apart: bbH (`H_sig`), other Higgs production (`H_bkgr`), jets taken for taus (`Fakes`, from
data with taus of equal charge) and Z → ττ (`Taus`, from embedded events). The ntuples have what real ones have and a
tutorial easily forgets: negative weights, events that occur twice in a sample or in two samples, events that no process
keeps, one sample that feeds two processes, one with three events, and a branch `MC_truth` that no classifier may see.

Shape suffixes: N events. Momenta and masses are in GeV.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uproot

TREE = "TauCheck"
M_HIGGS, M_Z = 125.0, 91.2
DEFAULT = -10.0  # of a jet quantity where there is no such jet
N_WITHIN, N_ACROSS = 12, 20  # events that occur twice in the data, and in the data and the embedded sample

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Production:
    """How events of one kind look: a resonance with its jets, or, without a mass, two jets taken for taus."""

    truth: int
    mass: float | None
    boson_pt: float = 40.0
    n_jets: float = 0.6
    jet_pt: float = 35.0
    b_rate: float = 0.02  # mean number of b jets
    vbf: bool = False


BBH = Production(truth=0, mass=M_HIGGS, boson_pt=26.0, n_jets=0.7, jet_pt=28.0, b_rate=0.85)
GGH = Production(truth=1, mass=M_HIGGS, boson_pt=34.0, n_jets=0.8, jet_pt=40.0, b_rate=0.07)
VBF = Production(truth=1, mass=M_HIGGS, boson_pt=62.0, n_jets=0.4, jet_pt=60.0, vbf=True)
WH = Production(truth=1, mass=M_HIGGS, boson_pt=65.0, n_jets=1.4, jet_pt=45.0)
QCD = Production(truth=2, mass=None, n_jets=0.9, jet_pt=45.0, b_rate=0.12)
DY = Production(truth=3, mass=M_Z, boson_pt=30.0, n_jets=0.6, jet_pt=38.0, b_rate=0.05)


@dataclass(frozen=True)
class Sample:
    """One file: how many events of which production, and the weights they carry."""

    name: str
    content: tuple[tuple[Production, int], ...]
    expected: float  # sum of weights; data have one per event
    negative: float = 0.0  # fraction of events with a negative weight
    kind: str = "simulation"


SAMPLES = (
    Sample("SUSYGluGluToBBHToTauTau_M125", ((BBH, 18_000),), expected=60.0, negative=0.10),
    Sample("GluGluHToTauTau_M125", ((GGH, 16_000),), expected=900.0, negative=0.08),
    Sample("VBFHToTauTau_M125", ((VBF, 7_000),), expected=120.0),
    Sample("WHToTauTau_M125", ((WH, 3),), expected=0.5),
    Sample("Tau_Run2018", ((QCD, 26_000), (DY, 5_000), (GGH, 60)), expected=31_060.0, kind="data"),
    Sample("EmbeddedTauTau_Run2018", ((DY, 20_000),), expected=9_000.0, kind="embedded"),
)


def resonance(rng: np.random.Generator, n: int, production: Production) -> Columns:
    """A boson that decays isotropically to two taus, whose neutrinos are missing energy."""
    m_N = production.mass * np.clip(1 + 0.015 * rng.standard_cauchy(n), 0.6, 1.5)
    pt_N, phi_N, y_N = production.boson_pt * rng.gamma(1.5, 0.8, n), rng.uniform(-np.pi, np.pi, n), rng.normal(0, 1, n)
    px_N, py_N = pt_N * np.cos(phi_N), pt_N * np.sin(phi_N)
    pz_N, e_N = np.hypot(m_N, pt_N) * np.sinh(y_N), np.hypot(m_N, pt_N) * np.cosh(y_N)
    cos_N, angle_N = rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n)
    sin_N = np.sqrt(1 - cos_N**2)
    direction = np.stack([sin_N * np.cos(angle_N), sin_N * np.sin(angle_N), cos_N])
    boson = np.stack([px_N, py_N, pz_N])
    legs = []
    for sign in (1, -1):
        rest = sign * direction * m_N / 2
        along_N = (boson * rest).sum(axis=0)
        # Lorentz boost of a massless particle from the boson's rest frame.
        legs.append(rest + boson * (along_N / (e_N + m_N) + m_N / 2) / m_N)
    x_1_N, x_2_N = rng.beta(5, 2.5, n), rng.beta(5, 2.5, n)
    visible = (legs[0] * x_1_N, legs[1] * x_2_N)
    missing = legs[0] * (1 - x_1_N) + legs[1] * (1 - x_2_N)
    columns = legs_and_met(rng, visible, missing[:2], resolution=18.0)
    columns["m_sv"] = m_N * rng.normal(1.0, 0.13, n)
    return columns


def misidentified(rng: np.random.Generator, n: int, _: Production) -> Columns:
    """Two jets, nearly back to back, that were taken for taus."""
    pt = 25 + rng.exponential(19, (2, n))
    phi_N = rng.uniform(-np.pi, np.pi, n)
    phi = np.stack([phi_N, phi_N + np.pi - rng.exponential(0.45, n) * rng.choice([-1, 1], n)])
    eta = rng.normal(0, 0.6, n) + rng.normal(0, 0.9, (2, n))
    visible = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])
    columns = legs_and_met(rng, (visible[:, 0], visible[:, 1]), np.zeros((2, n)), resolution=22.0)
    columns["m_sv"] = columns["m_vis"] * rng.normal(1.42, 0.2, n)
    return columns


def legs_and_met(
    rng: np.random.Generator, legs: tuple[np.ndarray, np.ndarray], missing: np.ndarray, resolution: float
) -> Columns:
    first, second = legs
    leading_N = np.hypot(*first[:2]) >= np.hypot(*second[:2])
    columns: Columns = {}
    for name, leg in (("1", np.where(leading_N, first, second)), ("2", np.where(leading_N, second, first))):
        pt_N = np.hypot(leg[0], leg[1])
        columns[f"pt_{name}"] = pt_N
        columns[f"eta_{name}"] = np.arcsinh(leg[2] / pt_N)
        columns[f"phi_{name}"] = np.arctan2(leg[1], leg[0])
    met = missing + rng.normal(0, resolution, missing.shape)
    columns["met"], columns["metphi"] = np.hypot(*met), np.arctan2(met[1], met[0])
    columns["pt_tt"] = np.hypot(*(first[:2] + second[:2] + met))
    deta_N = columns["eta_1"] - columns["eta_2"]
    dphi_N = (columns["phi_1"] - columns["phi_2"] + np.pi) % (2 * np.pi) - np.pi
    columns["dr_tt"] = np.hypot(deta_N, dphi_N)
    columns["m_vis"] = np.sqrt(2 * columns["pt_1"] * columns["pt_2"] * (np.cosh(deta_N) - np.cos(dphi_N)))
    return columns


def jets(rng: np.random.Generator, n: int, production: Production) -> Columns:
    n_gen_b_N = rng.poisson(production.b_rate, n)
    nbtag_N = rng.binomial(n_gen_b_N, 0.7) + (rng.random(n) < 0.015)
    njets_N = rng.poisson(production.n_jets, n) + rng.binomial(n_gen_b_N, 0.6)
    if production.vbf:
        njets_N += 1 + (rng.random(n) < 0.8)
    pt = np.sort(30 + rng.exponential(production.jet_pt, (2, n)), axis=0)[::-1]
    eta = rng.normal(0, 1.7, (2, n))
    if production.vbf:
        side_N = rng.choice([-1, 1], n)
        eta = np.stack([side_N, -side_N]) * rng.normal(2.0, 0.8, (2, n))
    deta_N = np.abs(eta[0] - eta[1])
    mjj_N = np.sqrt(2 * pt[0] * pt[1] * (np.cosh(deta_N) - np.cos(rng.uniform(-np.pi, np.pi, n))))
    has_one_N, has_two_N = njets_N > 0, njets_N > 1
    return {
        "njets": njets_N,
        "nbtag": nbtag_N,
        "jpt_1": np.where(has_one_N, pt[0], DEFAULT),
        "jeta_1": np.where(has_one_N, eta[0], DEFAULT),
        "jpt_2": np.where(has_two_N, pt[1], DEFAULT),
        "jdeta": np.where(has_two_N, deta_N, DEFAULT),
        "mjj": np.where(has_two_N, mjj_N, DEFAULT),
        "bpt_1": np.where(nbtag_N > 0, 20 + rng.exponential(30, n), DEFAULT),
        "gen_nbjets_cut": n_gen_b_N,
    }


def generate(rng: np.random.Generator, n: int, production: Production) -> Columns:
    """`n` events that an ntuple would contain: both taus above its loose thresholds."""
    taus: Callable[[np.random.Generator, int, Production], Columns] = (
        misidentified if production.mass is None else resonance
    )
    parts: list[Columns] = []
    found = 0
    while found < n:
        columns = taus(rng, max(200, 6 * (n - found)), production)
        kept_N = (columns["pt_1"] > 37) & (columns["pt_2"] > 33) & (abs(columns["eta_1"]) < 2.3)
        kept_N &= abs(columns["eta_2"]) < 2.3
        parts.append({name: values[kept_N] for name, values in columns.items()})
        found += int(kept_N.sum())
    columns = {name: np.concatenate([part[name] for part in parts])[:n] for name in parts[0]}
    genuine = production.mass is not None
    columns |= jets(rng, n, production)
    columns["os"] = rng.random(n) < (0.99 if genuine else 0.52)
    for leg in ("1", "2"):
        columns[f"byTightDeepTau_{leg}"] = rng.random(n) < (0.93 if genuine else 0.85)
        columns[f"gen_match_{leg}"] = np.full(n, 5 if genuine else 6)
    columns["extraelec_veto"] = rng.random(n) < 0.02
    columns["extramuon_veto"] = rng.random(n) < 0.02
    columns["trg_doubletau"] = rng.random(n) < 0.95
    columns["npv"] = rng.poisson(32, n)
    columns["MC_truth"] = np.full(n, production.truth)
    return columns


def weights(rng: np.random.Generator, n: int, sample: Sample) -> np.ndarray:
    """Event weights: one for data; else around the value that adds up to the expected yield, some of them negative."""
    if sample.kind == "data":
        return np.ones(n)
    sign_N = np.where(rng.random(n) < sample.negative, -1.0, 1.0)
    size_N = rng.lognormal(0, 0.8 if sample.kind == "embedded" else 0.15, n)
    return sign_N * size_N * sample.expected / (n * (1 - 2 * sample.negative))


def identities(rng: np.random.Generator, n: int, sample: Sample) -> Columns:
    """Run, lumi section and event number, no two alike; those of the smallest sample are all even."""
    if sample.kind == "simulation":
        # Each sample in a range of its own, so that the only events that occur twice are those planted below.
        evt_N = np.sort(rng.choice(40_000_000, n, replace=False)) + 40_000_000 * SAMPLES.index(sample) + 1
        run_N, lumi_N = np.ones(n), evt_N // 1000 + 1
    else:
        # Above 2**32, as in long runs, so that 32-bit event numbers would not do.
        evt_N = np.sort(rng.choice(6_000_000_000, n, replace=False)) + 1
        run_N, lumi_N = rng.integers(315_252, 325_175, n), rng.integers(1, 2000, n)
    if n < 10:
        evt_N = evt_N // 2 * 2
    return {"run": run_N, "lumi": lumi_N, "evt": evt_N}


INTEGERS = ("njets", "nbtag", "gen_nbjets_cut", "gen_match_1", "gen_match_2", "npv", "MC_truth")
TYPES = {"run": np.uint32, "lumi": np.uint32, "evt": np.uint64} | dict.fromkeys(INTEGERS, np.int32)
TYPES |= {"byTightDeepTau_1": np.int32, "byTightDeepTau_2": np.int32, "trg_doubletau": np.bool_}


def make_sample(rng: np.random.Generator, sample: Sample, scale: float) -> Columns:
    """All branches of one sample, in the types of its file. `scale` leaves samples of a few events as they are."""
    parts = [generate(rng, n if n < 10 else max(1, round(n * scale)), production) for production, n in sample.content]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    n = len(columns["pt_1"])
    order_N = rng.permutation(n)
    columns = {name: values[order_N] for name, values in columns.items()}
    if sample.kind == "data":
        columns["gen_nbjets_cut"] = np.zeros(n)
    if n < 10:
        columns |= {
            name: np.full(n, value) for name, value in (("os", 1), ("extraelec_veto", 0), ("extramuon_veto", 0))
        }
    columns = identities(rng, n, sample) | columns
    columns["weight"] = weights(rng, n, sample)
    return {name: values.astype(TYPES.get(name, np.float32)) for name, values in columns.items()}


def passes(columns: Columns) -> np.ndarray:
    """The selection that the analysis makes in all its processes, so that what is planted is not cut away."""
    kept_N = (columns["pt_1"] > 40) & (columns["pt_2"] > 35) & columns["trg_doubletau"]
    for leg in ("1", "2"):
        kept_N &= (abs(columns[f"eta_{leg}"]) < 2.1) & (columns[f"byTightDeepTau_{leg}"] > 0)
    return kept_N & (columns["extraelec_veto"] < 0.5) & (columns["extramuon_veto"] < 0.5)


def plant_duplicates(rng: np.random.Generator, data: Columns, embedded: Columns) -> None:
    """Write some events of the data a second time, and give some embedded events the identity of a data event."""
    rows = rng.choice(np.flatnonzero(passes(data) & (data["os"] < 0.5)), 2 * N_WITHIN + N_ACROSS, replace=False)
    for values in data.values():
        values[rows[:N_WITHIN]] = values[rows[N_WITHIN : 2 * N_WITHIN]]
    targets = rng.choice(np.flatnonzero(passes(embedded) & (embedded["os"] > 0.5)), N_ACROSS, replace=False)
    for name in ("run", "lumi", "evt"):
        embedded[name][targets] = data[name][rows[2 * N_WITHIN :]]


def write_toy(output: Path, seed: int = 1, scale: float = 1.0) -> dict[str, int]:
    """Write one ROOT file per sample into `output`; the events of each depend on the seed and the scale alone.

    Returns
    -------
    dict
        The number of events of each sample.
    """
    rngs = [np.random.default_rng([seed, i]) for i in range(len(SAMPLES) + 1)]
    ntuples = {sample.name: make_sample(rng, sample, scale) for sample, rng in zip(SAMPLES, rngs, strict=False)}
    plant_duplicates(rngs[-1], ntuples["Tau_Run2018"], ntuples["EmbeddedTauTau_Run2018"])
    output.mkdir(parents=True, exist_ok=True)
    for name, columns in ntuples.items():
        with uproot.recreate(output / f"{name}.root", compression=uproot.ZSTD(1)) as file:
            tree = file.mktree(TREE, {branch: values.dtype for branch, values in columns.items()})
            tree.extend(columns)
    return {name: len(columns["evt"]) for name, columns in ntuples.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the toy ntuples of the analysis `htt`.")
    parser.add_argument("--output", type=Path, default=Path("data/htt/2018/original"), help="folder (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same events (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of events (%(default)s)")
    arguments = parser.parse_args()
    counts = write_toy(arguments.output, arguments.seed, arguments.scale)
    for name, n_events in counts.items():
        print(f"{n_events:>8,} events  {arguments.output / name}.root")


if __name__ == "__main__":
    main()

"""Four-vectors against numbers worked out by hand, flat and jagged."""

import awkward as ak
import numpy as np
import pytest

from utils.expressions import Expression

ONE = {"x": 3.0, "y": 4.0, "z": 12.0, "E": 14.0, "zero": 0.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pt(x, y)", 5.0),
        ("phi(x, y)", 0.9272952180016122),  # atan(4/3)
        ("eta(x, y, z)", 1.6094379124341003),  # asinh(12/5) = ln 5
        ("eta(zero, zero, z)", np.inf),
        ("mass(x, y, z, E)", 27**0.5),  # 196 - 169
        ("mass(x, y, z, 5)", -12.0),  # 25 - 169: space-like
        ("px(5, phi(x, y))", 3.0),
        ("py(5, phi(x, y))", 4.0),
        ("pz(5, eta(x, y, z))", 12.0),
        ("energy(5, eta(x, y, z), phi(x, y), sqrt(27))", 14.0),
        ("delta_phi(3, -3)", 6 - 2 * np.pi),
        ("delta_phi(zero, pi)", -np.pi),
        ("delta_r(1, 2, -2, -2)", np.hypot(3, 4 - 2 * np.pi)),
        ("invariant_mass(50, 0, 0, 0, 50, 0, pi, 0)", 100.0),  # back to back
        ("invariant_mass(20, 1, 0.3, 0, 30, 1, 0.3, 0)", 0.0),  # collinear and massless
        ("invariant_mass(40, 1, 0, 0, 40, -1, 0, 0)", 40 * np.sqrt(2 * (np.cosh(2) - 1))),
        ("invariant_mass_xyz(x, y, z, E, -x, -y, -z, E)", 28.0),
    ],
)
def test_by_hand(text, expected):
    flat = {name: np.array([value, value]) for name, value in ONE.items()}
    result = Expression.parse(text).evaluate(flat, 2)
    np.testing.assert_allclose(result, [expected] * 2, rtol=1e-9, atol=1e-5)
    jagged = {name: ak.Array([[value], [], [value, value]]) for name, value in ONE.items()}
    if any(name in text for name in ("x,", "zero", "z)")):
        result = Expression.parse(text).evaluate(jagged, 3)
        assert ak.num(result).tolist() == [1, 0, 2]
        np.testing.assert_allclose(ak.flatten(result).to_numpy(), [expected] * 3, rtol=1e-9, atol=1e-5)


def test_light_particles_keep_their_mass_in_single_precision():
    """At 50 GeV, float32 resolves no better than 2e-4 GeV² of E² - p²."""
    pair = [np.array([v], dtype=np.float32) for v in (50, 0, 0, 50, -50, 0, 0, 50)]
    columns = {f"c{i}": v for i, v in enumerate(pair)}
    result = Expression.parse("invariant_mass_xyz(c0, c1, c2, c3, c4, c5, c6, c7)").evaluate(columns)
    assert result.dtype == np.float64 and result.tolist() == [100.0]


def test_nan_in_a_component_is_nan_in_the_result():
    columns = {
        "x": np.array([np.nan, 3.0]),
        "y": np.array([4.0, 4.0]),
        "z": np.array([1.0, np.nan]),
        "E": np.full(2, 9.0),
    }
    for text in (
        "eta(x, y, z)",
        "mass(x, y, z, E)",
        "invariant_mass_xyz(x, y, z, E, 1, 0, 0, 1)",
        "delta_r(x, y, z, E)",
    ):
        assert np.isnan(Expression.parse(text).evaluate(columns)).all(), text


def test_flat_and_jagged_mix():
    columns = {"Jet_eta": ak.Array([[0.0, 1.0], [], [2.0]]), "Jet_phi": ak.Array([[0.0, 0.0], [], [1.0]])}
    columns |= {"mu_eta": np.array([1.0, 0.0, 2.0]), "mu_phi": np.array([0.0, 0.0, 0.5])}
    nearest = Expression.parse("min(delta_r(Jet_eta, Jet_phi, mu_eta, mu_phi), default=9)").evaluate(columns)
    np.testing.assert_allclose(nearest, [0.0, 9.0, 0.5])


def test_a_dilepton_mass_over_all_pairs():
    columns = {"pt": ak.Array([[45.6, 45.6, 10.0], [20.0]]), "phi": ak.Array([[0.0, np.pi, 1.0], [0.0]])}
    columns["q"] = ak.Array([[1, -1, 1], [1]])
    mass = "invariant_mass(pair_first(pt), 0, pair_first(phi), 0, pair_second(pt), 0, pair_second(phi), 0)"
    text = f"min(abs(where(pair_first(q)*pair_second(q) < 0, {mass}, 999) - 91.2), default=-10)"
    np.testing.assert_allclose(Expression.parse(text).evaluate(columns), [0.0, -10.0], atol=1e-6)

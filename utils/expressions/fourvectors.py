"""Four-vector helpers by the `vector` library, flat and jagged alike.

Everything is computed in float64: in float32, the mass of a light particle is lost in the difference of squares. Conventions are vector's
(and ROOT's): a space-like vector has a negative mass, eta along the beam is ±inf, and NaN in any component gives NaN. Units are those of
the input.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import vector

_PXPYPZE = ("px", "py", "pz", "E")
_PTETAPHIM = ("pt", "eta", "phi", "mass")


def _vectors(names: tuple[str, ...], components: tuple[Any, ...]) -> Any:
    return vector.array(dict(zip(names, np.broadcast_arrays(*components), strict=True)))


def _eta(px: Any, py: Any, pz: Any) -> Any:
    return _vectors(_PXPYPZE[:3], (px, py, pz)).eta


def _mass(*components: Any) -> Any:
    return _vectors(_PXPYPZE, components).mass


def _energy(*components: Any) -> Any:
    return _vectors(_PTETAPHIM, components).E


def _delta_r(eta1: Any, phi1: Any, eta2: Any, phi2: Any) -> Any:
    ones = np.ones_like(eta1)
    names = ("rho", "phi", "eta")
    return _vectors(names, (ones, phi1, eta1)).deltaR(_vectors(names, (ones, phi2, eta2)))


def _invariant_mass(*components: Any) -> Any:
    return (_vectors(_PTETAPHIM, components[:4]) + _vectors(_PTETAPHIM, components[4:])).mass


def _invariant_mass_xyz(*components: Any) -> Any:
    return (_vectors(_PXPYPZE, components[:4]) + _vectors(_PXPYPZE, components[4:])).mass


def _everywhere(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, which knows flat float64 arrays, on the numbers of flat and jagged arguments alike."""

    def call(*values: Any) -> Any:
        if all(isinstance(value, np.ndarray | np.generic | bool | int | float) for value in values):
            result = kernel(*(np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in values))
            return result if any(np.ndim(value) for value in values) else result[0]
        import awkward as ak

        def on_numbers(layouts: Any, **_: Any) -> Any:
            if all(layout.is_numpy or layout.is_unknown for layout in layouts):
                numbers = (layout.to_NumpyArray(np.float64).data for layout in layouts)
                return (ak.contents.NumpyArray(kernel(*(np.asarray(n, dtype=np.float64) for n in numbers))),)
            return None

        from utils.expressions.values import settle

        return settle(ak.transform(on_numbers, *np.broadcast_arrays(*values) if False else values))

    return call


eta = _everywhere(_eta)
mass = _everywhere(_mass)
energy = _everywhere(_energy)
delta_r = _everywhere(_delta_r)
invariant_mass = _everywhere(_invariant_mass)
invariant_mass_xyz = _everywhere(_invariant_mass_xyz)

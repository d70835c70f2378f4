"""Four-vector helpers by the `vector` library, flat and jagged alike.

Everything is computed in float64: in float32, the mass of a light particle is lost in the difference of squares.
Conventions are vector's (and ROOT's): a space-like vector has a negative mass, eta along the beam is ±inf, and NaN in
any component gives NaN. Units are those of the input.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import vector

from utils.expressions.values import is_plain, settle

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
    names, one = ("rho", "phi", "eta"), np.ones(1)  # the distance does not depend on the lengths
    return _vectors(names, (one, phi1, eta1)).deltaR(_vectors(names, (one, phi2, eta2)))


def _invariant_mass(*components: Any) -> Any:
    return (_vectors(_PTETAPHIM, components[:4]) + _vectors(_PTETAPHIM, components[4:])).mass


def _invariant_mass_xyz(*components: Any) -> Any:
    return (_vectors(_PXPYPZE, components[:4]) + _vectors(_PXPYPZE, components[4:])).mass


def _everywhere(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, which knows flat float64 arrays, on the numbers of flat and jagged arguments alike."""

    def call(*values: Any) -> Any:
        if all(is_plain(value) for value in values):
            result = kernel(*(np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in values))
            return result if any(np.ndim(value) for value in values) else result[0]
        return _on_jagged(kernel, values)

    return call


def _on_jagged(kernel: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    """The kernel on what remains of the arguments when their lists, broadcast against one another, are taken away."""
    import awkward as ak

    varying = [i for i, value in enumerate(values) if not isinstance(value, np.generic | bool | int | float)]
    numbers: list[Any] = [
        np.full(1, value, dtype=np.float64) if i not in varying else None for i, value in enumerate(values)
    ]

    def at_the_bottom(layouts: Any, **_: Any) -> Any:
        if not all(layout.is_numpy or layout.is_unknown for layout in layouts):
            return None
        for i, layout in zip(varying, layouts, strict=True):
            numbers[i] = np.zeros(0) if layout.is_unknown else np.asarray(layout.data, dtype=np.float64)
        return (ak.contents.NumpyArray(kernel(*numbers)),)

    return settle(ak.transform(at_the_bottom, *(values[i] for i in varying)))


eta = _everywhere(_eta)
mass = _everywhere(_mass)
energy = _everywhere(_energy)
delta_r = _everywhere(_delta_r)
invariant_mass = _everywhere(_invariant_mass)
invariant_mass_xyz = _everywhere(_invariant_mass_xyz)

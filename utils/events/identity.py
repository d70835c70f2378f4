"""Event identity: a 64-bit hash of (run, lumi, event), or of (file, entry) where no event number exists.

The train/test split and hashed folds are pure functions of it, so that re-running, re-chunking or adding a sample never
moves an event. The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), a bijection on
64 bits: one integer column never collides, and of n distinct events about n²/2⁶⁵ pairs do (10⁻⁶ for ten million).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError

UInt64Array = NDArray[np.uint64]


def _mix(values: UInt64Array) -> UInt64Array:
    """SplitMix64 of every value, (N,) → (N,). Overflow wraps, as intended; works in place on a fresh array."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def hash_text(text: str) -> int:
    """A 64-bit hash of a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def as_integers(values: NDArray[np.generic], name: str, where: str) -> NDArray[np.int64] | UInt64Array:
    """(N,) integers from a branch that holds integers, be it as a float; anything else is a DataError."""
    if values.dtype.kind in "iub":
        return values  # type: ignore[return-value]
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # NaN, infinities and what overflows come out as something else
            integers = values.astype(np.int64)
        bad = integers != values
        if not bad.any():
            return integers
        raise DataError(
            f"'{name}' must be an integer, but {int(bad.sum())} of {len(values)} events hold something else, "
            f"the first {values[np.argmax(bad)]!r}",
            where=where,
            remedy="Name an integer branch.",
        )
    raise DataError(f"'{name}' must be an integer, not {values.dtype}", where=where, remedy="Name an integer branch.")


def hash_identity(columns: Sequence[NDArray[np.generic]], salt: int = 0) -> UInt64Array:
    """One hash per event from integer columns of shape (N,) each, in the order given."""
    hashed: UInt64Array | None = None
    for column in columns:
        bits = column.astype(np.int64).view(np.uint64) if column.dtype.kind != "u" else column.astype(np.uint64)
        hashed = _mix(bits + np.uint64(salt)) if hashed is None else _mix(bits ^ hashed)
    assert hashed is not None, "an identity has at least one column"
    return hashed


def salted(identity_N: UInt64Array, salt: str) -> UInt64Array:
    """(N,) hashes that are independent of `identity_N` and of any other salt's."""
    return _mix(identity_N ^ np.uint64(hash_text(salt)))


def in_training_split(identity_N: UInt64Array, train_size: float, seed: int) -> NDArray[np.bool_]:
    """(N,) True for the events of the training split: a fraction `train_size` of all, decided event by event."""
    if train_size >= 1.0:
        return np.ones(len(identity_N), dtype=bool)
    return salted(identity_N, f"split {seed}") < np.uint64(int(train_size * 2**64))

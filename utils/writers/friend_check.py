"""Friend trees against the events they belong to: whether every entry is in its place.

ROOT pairs a tree and its friend by position and says nothing when they do not belong together.
"""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import awkward as ak
import numpy as np
import uproot

from utils.errors import OutputError
from utils.logs import get_logger

logger = get_logger(__name__)

_CHECK_ROWS = 1_000_000


class Original(Protocol):
    """A file that the friend belongs to, as far as it is looked at here. Every reader is one."""

    @property
    def where(self) -> str:
        """Its name, for messages."""

    @property
    def n_entries(self) -> int:
        """Number of its events."""

    def read(self, names: Sequence[str], start: int, stop: int) -> Mapping[str, Any]:
        """The named columns of the entries in [start, stop)."""


# Opens an original anew.
Opener: TypeAlias = Callable[[], AbstractContextManager[Original]]


def verify_friend(
    friend_path: str | os.PathLike[str], tree_name: str, originals: Sequence[Opener], identity_branches: Sequence[str]
) -> None:
    """Check a friend tree against the events it belongs to, in bounded memory.

    Parameters
    ----------
    friend_path, tree_name : the friend.
    originals : the files of the sample, a chain in the order given.
    identity_branches : flat branches of both; every value must be the same at the same entry, NaN equal to NaN.

    Raises
    ------
    OutputError
        The numbers of entries differ, or a value does.
    """
    with uproot.open({os.fspath(friend_path): None}) as file:
        friend = file[tree_name]
        n_entries = int(friend.num_entries)
        short = [branch.name for branch in friend.branches if branch.num_entries != n_entries]
        if short:
            raise OutputError(
                f"branch '{short[0]}' has fewer entries than its tree", where=f"{friend_path}:{tree_name}"
            )
        first = 0
        for opened in originals:
            with opened() as original:
                last = first + original.n_entries
                if last <= n_entries:
                    _compare(friend, first, original, identity_branches, f"{friend_path}:{tree_name}")
                first = last
        if first != n_entries:
            raise OutputError(
                f"the friend tree has {n_entries} entries and its input has {first}",
                where=f"{friend_path}:{tree_name}",
                remedy="Check that the input did not change while it was read, and predict again.",
            )
    logger.debug("%s: %d entries, %s equal to the input", friend_path, n_entries, ", ".join(identity_branches))


def _compare(friend: Any, first: int, original: Original, branches: Sequence[str], where: str) -> None:
    """Compare an original with the friend's entries from `first` on."""
    if not branches:
        return
    for start, stop in itertools.pairwise([*range(0, original.n_entries, _CHECK_ROWS), original.n_entries]):
        expected = original.read(branches, start, stop)
        actual = _read(friend, branches, first + start, first + stop)
        for name in branches:
            expected_N, actual_N = np.asarray(expected[name]), ak.to_numpy(actual[name])
            different_N = _differ(expected_N, actual_N)
            if different_N.any():
                entry = start + int(different_N.argmax())
                raise OutputError(
                    f"entry {first + entry} has {name} = {actual_N[entry - start]} ({actual_N.dtype}) where entry "
                    f"{entry} of {original.where} has {expected_N[entry - start]} ({expected_N.dtype})",
                    where=where,
                    remedy="Check that the input did not change while it was read, and predict again.",
                )


def _differ(expected_N: np.ndarray, actual_N: np.ndarray) -> np.ndarray:
    different_N = np.asarray(expected_N != actual_N)
    if expected_N.dtype.kind == "f" and actual_N.dtype.kind == "f":
        different_N &= ~(np.isnan(expected_N) & np.isnan(actual_N))
    return different_N


def _read(tree: Any, branches: Sequence[str], start: int, stop: int) -> Any:
    # By filter, because uproot takes names that are given otherwise for expressions.
    wanted = frozenset(branches)
    return tree.arrays(filter_name=wanted.__contains__, entry_start=start, entry_stop=stop, array_cache=None)

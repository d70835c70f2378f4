"""Friend trees against the trees they belong to: which types to copy, and whether every entry is in its place.

ROOT pairs a tree and its friend by position and says nothing when they do not belong together.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import awkward as ak
import numpy as np
import uproot

from utils.errors import InputFileError, MissingColumnError, OutputError, nearest_name
from utils.logs import get_logger

logger = get_logger(__name__)

_CHECK_ROWS = 1_000_000


def branch_types(input_file: str, input_tree: str, branches: Sequence[str]) -> dict[str, str]:
    """The types with which branches are to be copied into a friend tree.

    Parameters
    ----------
    input_file, input_tree : where the branches are.
    branches : their names.

    Returns
    -------
    dict
        For each branch a type in Awkward's notation: ``"uint64"``, ``"var * float32"``, ``"3 * float32"``.

    Raises
    ------
    MissingColumnError
        A branch does not exist.
    """
    with _open_tree(input_file, input_tree) as tree:
        known = set(tree.keys())
        for name in branches:
            if name not in known:
                raise MissingColumnError(
                    f"no branch '{name}'",
                    where=f"{input_file}:{input_tree}",
                    nearest=nearest_name(name, known),
                    remedy="Edit misc_features.",
                )
        empty = _read(tree, branches, 0, 0)
        return {name: str(ak.type(empty[name]).content) for name in branches}


def verify_friend(
    friend_path: str | os.PathLike[str],
    tree_name: str,
    input_files: Sequence[str],
    input_tree: str,
    identity_branches: Sequence[str],
) -> None:
    """Check a friend tree against the tree it belongs to, in bounded memory.

    Parameters
    ----------
    friend_path, tree_name : the friend.
    input_files, input_tree : the sample; several files are read as a chain, in the order given.
    identity_branches : flat branches of both trees; every value must be the same at the same entry, NaN equal to NaN.

    Raises
    ------
    OutputError
        The numbers of entries differ, or a value does.
    """
    with _open_tree(friend_path, tree_name) as friend:
        n_entries = int(friend.num_entries)
        short = [branch.name for branch in friend.branches if branch.num_entries != n_entries]
        if short:
            raise OutputError(
                f"branch '{short[0]}' has fewer entries than its tree", where=f"{friend_path}:{tree_name}"
            )
        first = 0
        for input_file in input_files:
            with _open_tree(input_file, input_tree) as tree:
                last = first + int(tree.num_entries)
                if last <= n_entries:
                    _compare(friend, first, tree, identity_branches, f"{friend_path}:{tree_name}", input_file)
                first = last
        if first != n_entries:
            raise OutputError(
                f"the friend tree has {n_entries} entries and its input has {first}",
                where=f"{friend_path}:{tree_name}",
                remedy="Check that the input did not change while it was read, and predict again.",
            )
    logger.debug("%s: %d entries, %s equal to the input", friend_path, n_entries, ", ".join(identity_branches))


def _compare(friend: Any, first: int, tree: Any, branches: Sequence[str], where: str, input_file: str) -> None:
    """Compare `tree` with the friend's entries from `first` on."""
    if not branches:
        return
    for start, stop in itertools.pairwise([*range(0, tree.num_entries, _CHECK_ROWS), tree.num_entries]):
        expected = _read(tree, branches, start, stop)
        actual = _read(friend, branches, first + start, first + stop)
        for name in branches:
            expected_N, actual_N = ak.to_numpy(expected[name]), ak.to_numpy(actual[name])
            different_N = _differ(expected_N, actual_N)
            if different_N.any():
                entry = start + int(different_N.argmax())
                raise OutputError(
                    f"entry {first + entry} has {name} = {actual_N[entry - start]} ({actual_N.dtype}) where entry "
                    f"{entry} of {input_file} has {expected_N[entry - start]} ({expected_N.dtype})",
                    where=where,
                    remedy="Check that the input did not change while it was read, and predict again.",
                )


def _differ(expected_N: np.ndarray, actual_N: np.ndarray) -> np.ndarray:
    different_N = np.asarray(expected_N != actual_N)
    if expected_N.dtype.kind == "f" and actual_N.dtype.kind == "f":
        different_N &= ~(np.isnan(expected_N) & np.isnan(actual_N))
    return different_N


@contextlib.contextmanager
def _open_tree(path: str | os.PathLike[str], tree_name: str) -> Iterator[Any]:
    try:
        file = uproot.open({os.fspath(path): None})
    except (OSError, ValueError) as error:
        raise InputFileError(f"the file cannot be read: {error}", where=str(path)) from error
    with file:
        if tree_name not in file:
            raise InputFileError(
                f"no tree '{tree_name}'", where=str(path), nearest=nearest_name(tree_name, file.keys(cycle=False))
            )
        yield file[tree_name]


def _read(tree: Any, branches: Sequence[str], start: int, stop: int) -> Any:
    # By filter, because uproot takes names that are given otherwise for expressions.
    wanted = frozenset(branches)
    return tree.arrays(filter_name=wanted.__contains__, entry_start=start, entry_stop=stop, array_cache=None)

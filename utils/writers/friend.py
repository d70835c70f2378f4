"""Scores as a friend tree: entry i of the output is entry i of the input, or there is no output.

ROOT pairs a tree and its friend by position and says nothing when they do not belong together. The writer therefore
takes every input entry, in order, and checks the finished file against the input before it gives it its name.

Shape suffixes: N events, K outputs (classes, targets, or one loss).
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import awkward as ak
import numpy as np
import uproot

from utils.errors import OutputError
from utils.outputs import Outputs
from utils.writers.atomic import atomic_output
from utils.writers.friend_check import Opener, verify_friend

UNSCORED = -1
_BASKET_ROWS = 250_000  # uproot writes one basket per branch and block; small ones cost time and space


def prediction_columns(
    scores_NK: np.ndarray, is_valid_N: np.ndarray, outputs: Outputs | None = None
) -> dict[str, np.ndarray]:
    """The columns that every prediction has.

    Parameters
    ----------
    scores_NK : (N, K) float, what the model gives; rows that are not valid are ignored.
    is_valid_N : (N,) bool, whether the event was scored.
    outputs : what it tells; None: K classes.

    Returns
    -------
    dict of (N,) arrays
        Classification: ``pred_class_{i}_proba`` (float32), ``pred_class`` (int32, the lowest class where several share
        the highest score), ``pred_class_proba`` (float32, the score of that class). Regression: ``pred_{target}``
        (float32, in the target's own unit). Autoencoder: ``pred_loss`` (float32). All: ``is_valid`` (uint8).

        An event that was not scored has −1 in every score, but NaN in ``pred_{target}``, where −1 is a value like any
        other; NaN fails every cut.

    Raises
    ------
    OutputError
        A valid row has a score that is NaN or infinite.
    """
    outputs = outputs or Outputs.of_classes(scores_NK.shape[1])
    valid_N = np.asarray(is_valid_N, dtype=bool)
    scores_NK = np.where(valid_N[:, None], np.asarray(scores_NK, dtype=np.float32), np.float32(0))
    if not np.isfinite(scores_NK).all():
        bad = int((~np.isfinite(scores_NK)).any(axis=1).sum())
        raise OutputError(
            f"the model gave a NaN or infinite score to {bad} of {len(scores_NK)} events",
            remedy="Look for NaN or infinite features in them; non_finite decides what becomes of those.",
        )
    scores_NK[~valid_N] = outputs.unscored
    columns = {name: np.ascontiguousarray(scores_NK[:, k]) for k, name in enumerate(outputs.columns)}
    if outputs.task == "classification":
        columns["pred_class"] = np.where(valid_N, scores_NK.argmax(axis=1), UNSCORED).astype(np.int32)
        columns["pred_class_proba"] = scores_NK.max(axis=1)
    columns["is_valid"] = valid_N.astype(np.uint8)
    return columns


class FriendTreeWriter:
    """Write a friend tree in contiguous blocks of entries; see the module's first lines for what it guarantees.

    Used as a context manager. When the block ends well, the file is complete, was compared with the input, and has its
    name; otherwise nothing remains.

    Parameters
    ----------
    path : the friend's file.
    tree_name : the name of the tree in it.
    originals : what opens each file of the sample, in the order of their entries (a chain).
    n_entries : the number of entries in all of `originals`.
    outputs : what the scores tell.
    misc : name → type of each branch that is copied; as NumPy dtype or in Awkward's notation (`var * float32`).
    identity_branches : those among `misc` whose every value is compared with the input's when the file is complete.
    overwrite : whether an existing file may be replaced.
    basket_rows : entries per basket; blocks are gathered until one is full.

    Raises
    ------
    OutputError
        A branch cannot be written, blocks leave a gap or overlap, entries are missing, or the comparison fails.

    Examples
    --------
    ::

        with FriendTreeWriter(
            "ww_pred.root",
            tree_name="predictions",
            originals=[lambda: open_reader("ww.root", "events")],
            n_entries=2,
            outputs=Outputs.of_classes(2),
            misc={"run": "uint32", "evt": "uint64"},
            identity_branches=["run", "evt"],
            overwrite=False,
        ) as writer:
            writer.write(0, np.array([[0.2, 0.8], [0.0, 0.0]]), np.array([True, False]), {"run": run, "evt": evt})
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        tree_name: str,
        originals: Sequence[Opener],
        n_entries: int,
        outputs: Outputs,
        misc: Mapping[str, Any],
        identity_branches: Sequence[str],
        overwrite: bool,
        basket_rows: int = _BASKET_ROWS,
    ) -> None:
        assert set(identity_branches) <= set(misc), "identity branches are compared in the friend, so it must have them"
        no_scores = prediction_columns(np.empty((0, outputs.n)), np.empty(0, dtype=bool), outputs)
        _check_names(misc, no_scores, path)
        self._path = Path(path)
        self._tree_name = tree_name
        self._originals = list(originals)
        self._n_entries = n_entries
        self._outputs = outputs
        self._misc = {name: _branch_type(name, spec, self._path) for name, spec in misc.items()}
        self._branches = {**{name: values.dtype for name, values in no_scores.items()}, **self._misc}
        self._identity_branches = list(identity_branches)
        self._overwrite = overwrite
        self._basket_rows = basket_rows
        self._next_entry = 0
        self._pending: dict[str, list[Any]] = {name: [] for name in self._branches}
        self._n_pending = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        # Left in reverse: last basket, close the file, compare it with the input, give it its name.
        with contextlib.ExitStack() as stack:
            self._part = stack.enter_context(atomic_output(self._path, overwrite=self._overwrite))
            stack.push(self._verify_if_written)
            file = stack.enter_context(uproot.recreate(self._part, compression=uproot.ZSTD(1)))
            self._tree = file.mktree(
                self._tree_name,
                self._branches,
                counter_name=self._counter_name,
                initial_basket_capacity=max(10, -(-self._n_entries // self._basket_rows)),
            )
            stack.push(self._flush_if_complete)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def write(self, first_entry: int, scores_NK: np.ndarray, is_valid_N: np.ndarray, misc: Mapping[str, Any]) -> None:
        """Add the block of entries that starts at `first_entry`, which follows the previous block's last.

        Parameters
        ----------
        first_entry : the position of the first row in the sample (all input files in a row).
        scores_NK : (N, K) float, what the model gives.
        is_valid_N : (N,) bool, whether the event was scored; for the others, see `prediction_columns`.
        misc : (N,) array or jagged array for each copied branch; kept until a basket is full, so not to be changed.

        Raises
        ------
        OutputError
            The block leaves a gap or overlaps, ends behind the input, or holds values that do not fit their branch.
        """
        n_rows = len(is_valid_N)
        assert np.shape(scores_NK) == (n_rows, self._outputs.n)
        assert set(misc) == set(self._misc), "the copied branches are fixed when the writer is created"
        if first_entry != self._next_entry or first_entry + n_rows > self._n_entries:
            raise OutputError(
                f"got entries {first_entry} to {first_entry + n_rows} where {self._next_entry} and not more than "
                f"{self._n_entries} were due",
                where=str(self._path),
                remedy="Give every entry of the input once and in order.",
            )
        columns: dict[str, Any] = prediction_columns(scores_NK, is_valid_N, self._outputs)
        for name, spec in self._misc.items():
            columns[name] = _as_branch(name, misc[name], spec, n_rows, self._path)
        self._next_entry += n_rows
        self._gather(columns, n_rows)

    def _gather(self, columns: Mapping[str, Any], n_rows: int) -> None:
        start = 0
        while start < n_rows:
            stop = min(n_rows, start + self._basket_rows - self._n_pending)
            for name, values in columns.items():
                self._pending[name].append(values[start:stop])
            self._n_pending += stop - start
            start = stop
            if self._n_pending == self._basket_rows:
                self._flush()

    def _flush(self) -> None:
        if self._n_pending:
            self._tree.extend({name: _concatenate(parts) for name, parts in self._pending.items()})
        self._pending = {name: [] for name in self._branches}
        self._n_pending = 0

    def _flush_if_complete(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        if self._next_entry != self._n_entries:
            raise OutputError(
                f"only {self._next_entry} of {self._n_entries} entries were written",
                where=str(self._path),
                remedy="Give every entry of the input, also those without a score.",
            )
        self._flush()

    def _verify_if_written(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            verify_friend(self._part, self._tree_name, self._originals, self._identity_branches)

    def _counter_name(self, branch: str) -> str:
        """A jagged branch needs one that counts its items, with a name that no copied branch has."""
        return next(name for name in (f"n{branch}", f"n_{branch}", f"n_items_{branch}") if name not in self._branches)


def _check_names(misc: Mapping[str, Any], scores: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    taken = sorted(set(misc) & set(scores))
    if taken:
        raise OutputError(
            f"branch '{taken[0]}' is to be copied but is one of the scores' own names",
            where=str(path),
            remedy="Remove it from misc_features.",
        )


def _branch_type(name: str, spec: Any, path: Path) -> Any:
    """`spec` as uproot takes it: a NumPy dtype (with a shape for fixed-size arrays), or one level of jagged numbers."""
    if isinstance(spec, str) and "*" in spec:
        length, item = (word.strip() for word in spec.split("*", 1))
    else:
        length, item = "", spec
    try:
        dtype = np.dtype(item)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or dtype == np.float16 or dtype.shape:
        raise OutputError(
            f"branch '{name}' is of type {spec}, which cannot be copied to a friend tree",
            where=str(path),
            remedy="Remove it from misc_features; numbers, booleans and one level of jagged arrays of them can.",
        )
    if length == "var":
        return f"var * {dtype.name}"
    return np.dtype((dtype, (int(length),))) if length else dtype


def _as_branch(name: str, values: Any, spec: Any, n_rows: int, path: Path) -> Any:
    assert len(values) == n_rows, f"{name} has {len(values)} rows in a block of {n_rows}"
    if isinstance(spec, str):
        item = np.dtype(spec.removeprefix("var * "))
        array = ak.Array(values)
        given = ak.to_numpy(ak.flatten(array, axis=1)).dtype
        if not _fits(given, item):
            raise _does_not_fit(name, given, item, path)
        return ak.values_astype(array, item)
    array = np.asarray(values)
    if not _fits(array.dtype, spec.base) or array.shape[1:] != spec.shape:
        raise _does_not_fit(name, array.dtype, spec, path)
    return array.astype(spec.base, copy=False)


def _fits(given: np.dtype[Any], declared: np.dtype[Any]) -> bool:
    """Whether every value survives; NumPy calls 64-bit integers to float64 safe, which event numbers do not survive."""
    rounds = given.kind in "iu" and given.itemsize == 8 and declared.kind == "f"
    return np.can_cast(given, declared, "safe") and not rounds


def _does_not_fit(name: str, given: np.dtype[Any], declared: Any, path: Path) -> OutputError:
    return OutputError(
        f"branch '{name}' holds {given}, which does not fit into {declared}",
        where=str(path),
        remedy="Make the branch's type the same in all files of the sample, or remove it from misc_features.",
    )


def _concatenate(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else ak.concatenate(parts)

"""The ntuples that a skim was made from: checked to be unchanged, and read again for what a friend tree copies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self

import numpy as np

from utils.errors import SkimError
from utils.events import hash_identity
from utils.events.identity import as_integers
from utils.inference.scoring import EntryRange
from utils.preprocessing.spec import ADDED_COLUMNS
from utils.readers.formats import open_reader
from utils.readers.places.locations import expand_paths
from utils.readers.reader import Reader
from utils.readers.skim import SkimFile
from utils.readers.spec import Access


@dataclass(frozen=True)
class Originals:
    """The files of one sample, in the order of its skim.

    Parameters
    ----------
    paths : of the files.
    indices : the skim's number of each.
    n_entries : of each.
    object_name : the tree, where the format has names.
    identity : branches that identify an event; empty where file and entry do.
    copied : branches that the friend copies, the identity among them.
    types : of these, in Awkward's notation.
    access : how the files are read.
    """

    paths: tuple[str, ...]
    indices: tuple[int, ...]
    n_entries: tuple[int, ...]
    object_name: str | None
    identity: tuple[str, ...]
    copied: tuple[str, ...]
    types: Mapping[str, str]
    access: Access

    @classmethod
    def of_skim(
        cls,
        skim: SkimFile,
        pattern: str | None,
        *,
        object_name: str | None,
        misc_features: Sequence[str] | None,
        access: Access,
    ) -> Self:
        """Find the files and check that they are those that were skimmed.

        Parameters
        ----------
        skim : made from them.
        pattern : path, glob or list; None: where they were then.
        object_name : the tree; None: as then.
        misc_features : branches to copy; None: those the skim was configured with, as far as the files have them.
        access : how to read; what it leaves at its default is as when the skim was made.

        Raises
        ------
        SkimError : a file is missing or changed.
        MissingColumnError : a branch to copy does not exist.
        """
        metadata = skim.metadata
        object_name = object_name or metadata["input_tree_name"]
        access = _as_skimmed(access, metadata["config"])
        inputs = metadata["inputs"]
        paths = [str(file["path"]) for file in inputs] if pattern is None else expand_paths(pattern, access)
        if len(inputs) != len(paths):
            raise SkimError(
                f"the skim was made from {len(inputs)} files, but there are {len(paths)} now",
                where=str(skim.path),
                remedy="Run preprocess.py again, or check orig_path.",
            )
        n_entries = []
        identity = tuple(metadata["identity"])
        copied: tuple[str, ...] = ()
        types: dict[str, str] = {}
        for i, (path, recorded) in enumerate(zip(paths, inputs, strict=True)):
            with open_reader(path, object_name, access=access) as reader:
                _check_unchanged(reader, recorded["fingerprint"])
                n_entries.append(reader.n_entries)
                if i == 0:
                    copied = _copied(skim, reader, misc_features, identity)
                    types = {name: reader.columns[name].type for name in copied}
        indices = tuple(int(file["index"]) for file in inputs)
        return cls(tuple(paths), indices, tuple(n_entries), object_name, identity, copied, types, access)

    @property
    def openers(self) -> list[Callable[[], Reader]]:
        """What opens each file anew."""
        return [partial(open_reader, path, self.object_name, access=self.access) for path in self.paths]

    def check_pairs(self, piece: EntryRange, columns: Mapping[str, Any]) -> None:
        """Every scored entry must be the event that was skimmed."""
        if not self.identity or not len(piece.identity_V):
            return
        path = self.paths[piece.file]
        scored = piece.is_valid_N.astype(bool)
        found_V = hash_identity([as_integers(columns[name], name, path)[scored] for name in self.identity])
        wrong = np.flatnonzero(found_V != piece.identity_V)
        if len(wrong):
            entry = piece.start + int(np.flatnonzero(scored)[wrong[0]])
            raise SkimError(
                f"{len(wrong)} events differ between the skim and the ntuples, the first at entry {entry}",
                where=path,
                remedy="The ntuples changed since they were skimmed: run preprocess.py again.",
            )


def _as_skimmed(access: Access, config: Mapping[str, Any]) -> Access:
    """`access`, completed by how the skim's files were reached."""
    unset = [f.name for f in fields(Access) if getattr(access, f.name) == f.default]
    known = {name: config[name] for name in ("format", "redirector", "namenode") if config.get(name) is not None}
    return replace(access, **{name: value for name, value in known.items() if name in unset})


def _check_unchanged(reader: Reader, recorded: Mapping[str, Any]) -> None:
    now = reader.fingerprint
    for what in ("n_entries", "uuid", "size"):
        if getattr(now, what) != recorded[what]:
            raise SkimError(
                f"the file changed since it was skimmed: {what} was {recorded[what]}, is {getattr(now, what)}",
                where=reader.path,
                remedy="Run preprocess.py again.",
            )


def _copied(skim: SkimFile, reader: Reader, wanted: Sequence[str] | None, identity: Sequence[str]) -> tuple[str, ...]:
    """The branches to copy: those asked for, and what identifies an event, so that the finished tree can be checked."""
    if wanted is None:
        configured = skim.metadata["config"].get("misc_features") or skim.groups.get("misc_features", ())
        wanted = [name for name in configured if name in reader.columns and name not in ADDED_COLUMNS]
    else:
        reader.require(wanted)
    return tuple(dict.fromkeys([*wanted, *identity]))

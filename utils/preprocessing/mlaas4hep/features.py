"""The event vector: flat columns by name, then jagged ones by name, padded to their greatest length."""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from utils.describing.global_specs import GlobalSpecs
from utils.errors import ConfigError, InputFileError, MissingColumnError, nearest_name
from utils.logs import get_logger
from utils.preprocessing.mlaas4hep.inputs import Listed
from utils.preprocessing.mlaas4hep.params import Params
from utils.preprocessing.mlaas4hep.preproc import Preprocessing

logger = get_logger(__name__)

_NUMBER = r"(bool|u?int(8|16|32|64)|float(16|32|64))"
_FLAT = re.compile(_NUMBER)
_JAGGED = re.compile(rf"(var|\d+) \* {_NUMBER}")


@dataclass(frozen=True)
class Vector:
    """What the features are made of, each sorted by name."""

    flat: tuple[str, ...]
    jagged: tuple[str, ...]

    def padded(self, specs: GlobalSpecs, where: str) -> dict[str, int]:
        """Jagged column → its length in the vector. One that never has a value is left out, with a line in the log.

        Raises
        ------
        ConfigError : a feature's name would be there twice.
        """
        lengths = {name: specs.jdim[name] for name in self.jagged}
        empty = [name for name, length in lengths.items() if length == 0]
        if empty:
            logger.info("never a value in %s; not a feature", ", ".join(empty))
        names = [f"{name}_{i}" for name, length in lengths.items() for i in range(length)]
        twice = sorted({*names} & {*self.flat}) or sorted({name for name in names if names.count(name) > 1})[:1]
        if twice:
            raise ConfigError(
                f"two features would be named '{twice[0]}'", where=where, remedy="Exclude one of their branches."
            )
        return {name: length for name, length in lengths.items() if length}


def event_vector(types: Mapping[str, str], params: Params, preprocessing: Preprocessing, label: str | None) -> Vector:
    """All numeric columns that params.json and preproc.json leave.

    Parameters
    ----------
    types : column → type of one event's value, new variables of preproc.json not among them.
    label : a column that is no feature.
    """
    known = {**types, **preprocessing.types}
    _check_names(params, preprocessing, known)
    taken = [name for name in known if _is_wanted(name, params)]
    removed = {*params.identifier, *preprocessing.removed, *([label] if label is not None else ())}
    flat = [n for n in taken if n not in removed and (_FLAT.fullmatch(known[n]) or known[n] == "flat")]
    jagged = [n for n in taken if n not in removed and (_JAGGED.fullmatch(known[n]) or known[n] == "jagged")]
    left_out = {n: known[n] for n in taken if n not in removed and n not in {*flat, *jagged}}
    if left_out:
        listed = ", ".join(f"{name} ({kind})" for name, kind in list(left_out.items())[:5])
        rest = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        logger.info("no features, because neither numbers nor lists of them: %s%s", listed, rest)
    if not flat and not jagged:
        raise ConfigError(
            "no feature is left", where="selected_branches", remedy="Select more branches, or exclude fewer."
        )
    return Vector(tuple(sorted(flat)), tuple(sorted(jagged)))


def _is_wanted(name: str, params: Params) -> bool:
    if params.selected is not None and not any(fnmatch.fnmatchcase(name, pattern) for pattern in params.selected):
        return False
    return not any(fnmatch.fnmatchcase(name, pattern) for pattern in params.excluded)


def _check_names(params: Params, preprocessing: Preprocessing, known: Mapping[str, str]) -> None:
    """What is selected or cut on must exist; what is excluded need not."""
    wanted: list[tuple[str, Iterable[str]]] = [
        ("selected_branches", params.selected or ()),
        *((f"{kind}_cut", [name]) for name, kind in preprocessing.of_kind.items()),
    ]
    for where, names in wanted:
        require_names(names, known, where)
    for name, kind in preprocessing.of_kind.items():
        is_flat = bool(_FLAT.fullmatch(known[name])) or known[name] == "flat"
        if is_flat != (kind == "flat"):
            raise ConfigError(
                f"'{name}' is {'flat' if is_flat else 'jagged'} ({known[name]})",
                where=f"{kind}_cut.{name}",
                remedy=f"Move it to {'flat' if is_flat else 'jagged'}_cut.",
            )
    absent = [name for name in params.excluded if not fnmatch.filter(known, name)]
    if absent:
        logger.info("excluded, but not there: %s", ", ".join(absent))


def require_names(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """MissingColumnError for a name, or a pattern, of no column."""
    there = list(known)
    for name in names:
        if name not in there and not fnmatch.filter(there, name):
            raise MissingColumnError(
                f"no branch '{name}'",
                where=where,
                nearest=nearest_name(name, there),
                remedy="Mend the name, or take it out.",
            )


def check_specs(specs: GlobalSpecs, vector: Vector, listed: Listed, where: str, *, counts: str) -> None:
    """InputFileError unless the specs are those of these files and features.

    Parameters
    ----------
    where : the specs' file.
    counts : `equal`; `below`, where the specs were made of the events behind cuts; `none`, for other files.
    """
    for name in (*vector.flat, *vector.jagged):
        keys = specs.fkeys if name in vector.flat else specs.jkeys
        lengths = specs.jdim if name in vector.jagged else specs.minv
        if name not in keys or name not in specs.minv or name not in specs.maxv or name not in lengths:
            kind = "flat" if name in vector.flat else "jagged"
            raise InputFileError(
                f"the specs have no {kind} branch '{name}', which is a feature",
                where=where,
                nearest=nearest_name(name, keys),
                remedy=_REMEDY,
            )
    if counts == "none":
        return
    by_name: dict[str, list[int]] = {}
    for path, n_events in specs.events.items():
        by_name.setdefault(path.rpartition("/")[2], []).append(n_events)
    for file in listed.files:
        candidates = [specs.events[path] for path in (file.path, file.line) if path in specs.events]
        found = candidates or by_name.get(file.path.rpartition("/")[2], [])
        if not found:
            raise InputFileError(
                f"the specs are of other files: '{file.line}' is not among them",
                where=where,
                nearest=nearest_name(file.path, specs.events),
                remedy=_REMEDY,
            )
        if not any(n == file.n_entries or (counts == "below" and n <= file.n_entries) for n in found):
            raise InputFileError(
                f"the specs are stale: '{file.line}' had {found[0]:,} events, and has {file.n_entries:,}",
                where=where,
                remedy=_REMEDY,
            )
        recorded = specs.inputs.get(file.path)
        if recorded is not None and recorded.get("uuid") != file.fingerprint.uuid:
            raise InputFileError(
                f"the specs are stale: '{file.line}' was written anew since", where=where, remedy=_REMEDY
            )


_REMEDY = "Leave specs away: they are collected anew."


def matching(names: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that are known."""
    there = set(known)
    return tuple(name for name in names if name in there)

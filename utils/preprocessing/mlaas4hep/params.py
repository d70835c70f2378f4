"""params.json: every key that MLaaS4HEP knows, checked. What only a training uses is carried to it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from utils.errors import ConfigError, InputFileError, nearest_name
from utils.logs import get_logger
from utils.preprocessing.mlaas4hep.lists import read_list

logger = get_logger(__name__)

DEFAULT_IDENTIFIER = ("run", "event", "luminosityBlock")
# What a training will ask for; here they are only checked.
CARRIED = ("epochs", "batch_size", "metrics", "training", "split", "verbose")
KNOWN = (
    "nevts", "shuffle", "chunk_size", "identifier", "branch", "selected_branches", "exclude_branches", "redirector",
    "nan", "hist", *CARRIED,
)  # fmt: skip


@dataclass(frozen=True)
class Params:
    """What params.json says of reading.

    Parameters
    ----------
    nevts : events in all, -1: every one.
    shuffle : any order of the events, by the seed; False: mixed from all files in proportion.
    chunk_size : events of a chunk that all files fill in proportion; -1: one chunk.
    identifier : branches that identify an event; never features.
    identifier_given : whether params.json names them; the default names need not exist.
    branch : the tree.
    selected, excluded : names or patterns of features; None: all, and none.
    redirector : put before paths that do not exist here.
    carried : for the training, as they stand.
    """

    nevts: int = -1
    shuffle: bool = False
    chunk_size: int = 1000
    identifier: tuple[str, ...] = DEFAULT_IDENTIFIER
    identifier_given: bool = False
    branch: str = "Events"
    selected: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    redirector: str | None = None
    carried: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | None) -> Self:
        """Read params.json; None: all defaults.

        Raises
        ------
        ConfigError : an unknown key, or a value that cannot be.
        """
        return cls() if path is None else cls.from_dict(load_json(path, "params"), path)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str) -> Self:
        """Check the keys; `where` names the file."""
        for name in content:
            if name not in KNOWN:
                raise ConfigError(
                    f"unknown key '{name}'",
                    where=where,
                    nearest=nearest_name(name, KNOWN),
                    remedy=f"Known keys: {', '.join(sorted(KNOWN))}.",
                )
        read = _Values(content, where)
        carried = {name: content[name] for name in CARRIED if name in content}
        read.check_carried()
        read.check_nan()
        if content.get("hist"):
            logger.info("histograms of every branch: python describe.py input=FILES")
        identifier = read.names("identifier")
        return cls(
            nevts=read.count("nevts", -1),
            shuffle=read.flag("shuffle", False),
            chunk_size=read.count("chunk_size", 1000),
            identifier=identifier or DEFAULT_IDENTIFIER,
            identifier_given=bool(identifier),
            branch=read.text("branch") or "Events",
            selected=read.names("selected_branches") or None,
            excluded=read.names("exclude_branches"),
            redirector=read.text("redirector"),
            carried=carried,
        )


def load_json(path: str, what: str) -> dict[str, Any]:
    """The mapping in a JSON file."""
    file = Path(path)
    if not file.is_file():
        siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise InputFileError(
            f"no such file: '{path}'", where=what, nearest=nearest_name(file.name, siblings), remedy=f"Check {what}."
        )
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError(f"not JSON ({error})", where=path, remedy="Mend the file.") from error
    if not isinstance(content, dict):
        raise ConfigError("a JSON object is needed", where=path, remedy='Write {"key": value, …}.')
    return content


class _Values:
    """The values of params.json, each in its type."""

    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self._content = content
        self._where = where

    def _wrong(self, name: str, wanted: str) -> ConfigError:
        return ConfigError(
            f"'{name}' must be {wanted}, not {self._content[name]!r}", where=self._where, remedy="Mend the value."
        )

    def count(self, name: str, default: int) -> int:
        value = self._content.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < -1 or value == 0:
            raise self._wrong(name, "a number of events, or -1 for all")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._content.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def text(self, name: str) -> str | None:
        value = self._content.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a text")
        return value or None

    def names(self, name: str) -> tuple[str, ...]:
        """A list, a text with commas, or a file with a name a line; empty text is no name."""
        value = self._content.get(name) or ()
        if not isinstance(value, str | list) and value != ():
            raise self._wrong(name, "a list of names, or a file with one a line")
        return tuple(read_list(value, name)) if value else ()

    def check_nan(self) -> None:
        value = self._content.get("nan")
        try:
            is_nan = value is None or math.isnan(float(value))
        except (TypeError, ValueError):
            is_nan = False
        if not is_nan:
            raise ConfigError(
                f"'nan' is {value!r}, but padding is always NaN, and the mask says where",
                where=self._where,
                remedy="Take 'nan' out; networks see 0 there.",
            )

    def check_carried(self) -> None:
        for name in ("epochs", "batch_size"):
            value = self._content.get(name, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise self._wrong(name, "a whole number above 0")
        metrics = self._content.get("metrics", False)
        if not isinstance(metrics, bool) and not (
            isinstance(metrics, dict)
            and set(metrics) == {"threshold"}
            and isinstance(metrics["threshold"], int | float)
            and not isinstance(metrics["threshold"], bool)
        ):
            raise self._wrong("metrics", "true, false, or {threshold: a number}")
        if not isinstance(self._content.get("training", ""), str):
            raise self._wrong("training", "'standard', or any other text for chunk by chunk")
        split = self._content.get("split", 0.3)
        if isinstance(split, bool) or not isinstance(split, int | float) or not 0 < split < 1:
            raise self._wrong("split", "a fraction")
        verbose = self._content.get("verbose", 0)
        if not isinstance(verbose, int):
            raise self._wrong("verbose", "0, 1 or 2")

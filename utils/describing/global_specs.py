"""MLaaS4HEP's `global-specs.json`: what its event vectors are made from, over all files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from utils.describing.collect import describe_files
from utils.describing.description import Description
from utils.errors import InputFileError
from utils.readers.spec import Access, ChunkSize

TOTAL = "total"
FILE_NAME = "global-specs.json"


@dataclass(frozen=True)
class GlobalSpecs:
    """Ranges and lengths of all numeric branches.

    Parameters
    ----------
    jdim : branch → most values in one event, of jagged branches and of arrays.
    minv, maxv : branch → extremes of the finite values; both 0 where there are none.
    fkeys, jkeys : the flat branches, and the others, by name.
    nans : branch → number of NaN, of those that have any.
    events : file → number of events.
    excluded : branch → why it is in none of the above: text, or not readable.
    inputs : file → size, entries and identifier, which tell whether this is still about the same file.
    """

    jdim: Mapping[str, int]
    minv: Mapping[str, float]
    maxv: Mapping[str, float]
    fkeys: tuple[str, ...]
    jkeys: tuple[str, ...]
    nans: Mapping[str, int]
    events: Mapping[str, int]
    excluded: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, description: Description) -> Self:
        """The specs of files that were described."""
        numeric = {n: b for n, b in sorted(description.branches.items()) if b.kind in ("flat", "jagged", "fixed")}
        flat = tuple(name for name, branch in numeric.items() if branch.kind == "flat")
        ranges = {name: (branch.known.minimum or 0, branch.known.maximum or 0) for name, branch in numeric.items()}
        return cls(
            jdim={name: branch.known.max_values for name, branch in numeric.items() if name not in set(flat)},
            minv={name: float(low) for name, (low, _) in ranges.items()},
            maxv={name: float(high) for name, (_, high) in ranges.items()},
            fkeys=flat,
            jkeys=tuple(name for name in numeric if name not in set(flat)),
            nans={name: branch.known.n_nan for name, branch in numeric.items() if branch.known.n_nan},
            events={file.path: file.n_entries for file in description.files},
            excluded={
                name: branch.unreadable or branch.kind
                for name, branch in sorted(description.branches.items())
                if name not in numeric
            },
            inputs={
                file.path: {
                    "size": file.fingerprint.size,
                    "n_entries": file.fingerprint.n_entries,
                    "uuid": file.fingerprint.uuid,
                    "n_read": file.n_read,
                }
                for file in description.files
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """As the file has it: `total` is among the events."""
        return {
            "jdim": dict(self.jdim),
            "minv": dict(self.minv),
            "maxv": dict(self.maxv),
            "fkeys": list(self.fkeys),
            "jkeys": list(self.jkeys),
            "nans": dict(self.nans),
            "events": {**self.events, TOTAL: sum(self.events.values())},
            "excluded": dict(self.excluded),
            "inputs": {path: dict(found) for path, found in self.inputs.items()},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], where: str) -> Self:
        """From the file's content, MLaaS4HEP's own too; InputFileError for a key that is missing or makes no sense."""
        try:
            return cls(
                jdim={str(name): int(n) for name, n in content["jdim"].items()},
                minv={str(name): float(value) for name, value in content["minv"].items()},
                maxv={str(name): float(value) for name, value in content["maxv"].items()},
                fkeys=tuple(str(name) for name in content["fkeys"]),
                jkeys=tuple(str(name) for name in content["jkeys"]),
                nans={str(name): int(n) for name, n in content.get("nans", {}).items()},
                events={str(path): int(n) for path, n in content["events"].items() if path != TOTAL},
                excluded={str(name): str(why) for name, why in content.get("excluded", {}).items()},
                inputs={str(path): dict(found) for path, found in content.get("inputs", {}).items()},
            )
        except KeyError as error:
            raise InputFileError(f"no key '{error.args[0]}'", where=where, remedy=_REMEDY) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise InputFileError(f"these are no specs ({error})", where=where, remedy=_REMEDY) from error

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """From a file."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputFileError(f"the specs cannot be read ({error})", where=str(path), remedy=_REMEDY) from error
        if not isinstance(content, dict):
            raise InputFileError("these are no specs", where=str(path), remedy=_REMEDY)
        return cls.from_dict(content, str(path))


_REMEDY = "Write them with describe.py."


def collect_specs(
    paths: Sequence[str],
    object_name: str | None,
    *,
    access: Access = Access(),
    nevts: int = -1,
    chunk_size: ChunkSize | int = ChunkSize(),
) -> GlobalSpecs:
    """The specs of files, from reading them now.

    Parameters
    ----------
    paths : files, as they are opened.
    object_name : tree in every one; None: the only one.
    access : how to reach them, and which branches to see.
    nevts : events of every file, the first ones; -1: all.

    Raises
    ------
    InputFileError : a file is missing or damaged.
    """
    return GlobalSpecs.of(
        describe_files(paths, object_name, access=access, nevts=nevts, chunk_size=chunk_size, hists=False)
    )

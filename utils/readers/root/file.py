"""One ROOT file, opened once: whether it is whole, what it holds, and which of its objects is meant."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import uproot

from utils.errors import InputFileError, nearest_name
from utils.readers.places.storage import Source
from utils.readers.reader import short_text

TREES = ("TTree", "TNtuple", "TNtupleD", "TChain")
NTUPLES = ("ROOT::RNTuple", "ROOT::Experimental::RNTuple")


class RootFile:
    """An open ROOT file.

    Raises
    ------
    InputFileError : it is no ROOT file, or it has lost its end.
    """

    def __init__(self, source: Source) -> None:
        self._path = source.path
        try:
            file, options = source.uproot_argument()
            # No caches: they would keep the trees of a hundred files. Classes of its own: what a damaged file says of a
            # class would else be believed of all files after it.
            self._directory = uproot.open(
                file, array_cache=None, object_cache=None, custom_classes=dict(uproot.classes), **options
            )
        except InputFileError:  # a server that does not deliver
            raise
        except Exception as error:  # uproot raises many kinds for a damaged header
            raise InputFileError(
                f"'{source.path}' cannot be opened as a ROOT file ({short_text(error)})",
                remedy="Copy or produce the file again.",
            ) from error
        # A file that lost its end may still open, and even give some of its branches.
        size, written = source.size, int(self._directory.file.fEND)
        if size < written:
            self.close()
            raise InputFileError(
                f"'{source.path}' is truncated: {size:,} of {written:,} bytes", remedy="Copy or produce the file again."
            )

    @property
    def uuid(self) -> str:
        """What ROOT gave the file when it was made."""
        return str(self._directory.file.uuid)

    @cached_property
    def classes(self) -> Mapping[str, str]:
        """Name, without its cycle, and class of every object, nested ones too."""
        try:
            classes: dict[str, str] = self._directory.classnames(cycle=False)
        except InputFileError:
            raise
        except Exception as error:
            raise InputFileError(
                f"the list of objects cannot be read ({short_text(error)})",
                where=self._path,
                remedy="Copy or produce the file again.",
            ) from error
        return classes

    def choose(self, wanted: str | None, classes: Sequence[str]) -> str:
        """The name of the object that is meant: `wanted`, or the only one of these classes."""
        fitting = [name for name, kind in self.classes.items() if kind in classes]
        if wanted is None and len(fitting) == 1:
            return fitting[0]
        if wanted is not None and wanted.partition(";")[0] in fitting:
            return wanted
        noun = " or RNTuple" if classes[-1] in NTUPLES else ""
        noun = f"tree{noun}" if classes[0] in TREES else "RNTuple"
        if wanted is None:
            what = f"more than one {noun}" if fitting else f"no {noun}"
        elif wanted in self.classes:
            what = f"'{wanted}' is a {self.classes[wanted]}, not a {noun}"
        else:
            what = f"no {noun} '{wanted}'"
        held = [
            name if kind in TREES else f"{name} (RNTuple)"
            for name, kind in self.classes.items()
            if kind in (*TREES, *NTUPLES)
        ]
        raise InputFileError(
            what,
            where=self._path,
            nearest=nearest_name(wanted, fitting) if wanted is not None else None,
            remedy=f"Set input_tree_name; the file holds {', '.join(held) if held else 'no tree'}.",
        )

    def get(self, name: str) -> Any:
        """uproot's object of that name."""
        try:
            return self._directory[name]
        except InputFileError:
            raise
        except Exception as error:
            raise InputFileError(f"'{name}' cannot be read ({short_text(error)})", where=self._path) from error

    def close(self) -> None:
        """Close the file."""
        self._directory.close()

"""The input files of a config, opened once before any work so that what is missing is known at once."""

from dataclasses import dataclass
from pathlib import Path

from utils.errors import MissingColumnError
from utils.preprocessing.selection import Selector, find_identity
from utils.preprocessing.spec import PreprocessSpec
from utils.readers.formats import open_reader
from utils.readers.locations import expand_paths
from utils.readers.reader import Fingerprint


@dataclass(frozen=True)
class InputFile:
    """One input file: its place in the list, the sample it belongs to, and what tells whether it changes."""

    index: int
    sample: str
    path: str
    relative_path: str
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Inputs:
    """All files, and the branches that identify an event in every one of them (none: file and entry do)."""

    files: tuple[InputFile, ...]
    identity: tuple[str, ...]

    def of(self, sample: str) -> tuple[InputFile, ...]:
        """The files of one sample, in order."""
        return tuple(file for file in self.files if file.sample == sample)


def open_inputs(spec: PreprocessSpec) -> Inputs:
    """Find every file of every sample and check that it has the tree and the branches that are needed.

    Raises
    ------
    InputFileError, MissingColumnError : a file, tree or branch is missing or unreadable.
    """
    files: list[InputFile] = []
    folder = Path(spec.input_path)
    identity: tuple[str, ...] | None = None
    for sample in spec.input_samples:
        for path in expand_paths(str(folder / spec.input_filename_template.format(sample_name=sample.name))):
            with open_reader(path, spec.input_tree_name, access=spec.access) as tree:
                found = find_identity(tree.branches, spec.identity)
                if identity is not None and found != identity:
                    raise MissingColumnError(
                        f"events are identified by {_words(found)} here, but by {_words(identity)} in the files before",
                        where=tree.where,
                        remedy="Set identity to the branches that every file has, or to entry.",
                    )
                identity = found
                tree.require(Selector(spec, sample, found).branches)
                relative = str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path
                files.append(InputFile(len(files), sample.name, path, relative, tree.fingerprint))
    return Inputs(tuple(files), identity or ())


def _words(identity: tuple[str, ...]) -> str:
    return ", ".join(identity) if identity else "file and entry"

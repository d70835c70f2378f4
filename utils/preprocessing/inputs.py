"""The input files of a config, opened once before any work so that what is missing is known at once."""

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from utils.errors import MissingColumnError
from utils.logs import get_logger
from utils.preprocessing.mixing import Mixing, drawn_entries
from utils.preprocessing.selection import Selector, find_identity
from utils.preprocessing.spec import PreprocessSpec, Sample
from utils.readers.formats import open_reader
from utils.readers.places.locations import below, expand_paths, join, redirected
from utils.readers.reader import Fingerprint, Reader

logger = get_logger(__name__)

# Headers read at a time: a remote server is waited for, and another may answer meanwhile.
_OPENING = 8
# Readers kept for the pass that follows; more would cost memory, a NanoAOD's description is megabytes.
_KEPT = 16
_LISTED = 3


@dataclass(frozen=True)
class InputFile:
    """One input file: its place in the list, the sample it belongs to, and what tells whether it changes.

    Parameters
    ----------
    relative_path : from the input folder, wherever that lies: half of the identity of an event without a number.
    """

    index: int
    sample: str
    path: str
    relative_path: str
    fingerprint: Fingerprint


class OpenReaders:
    """Readers that were opened before they are needed; each is taken over once. They stay behind when it is pickled."""

    def __init__(self) -> None:
        self._readers: dict[int, Reader] = {}
        self._lock = threading.Lock()

    def keep(self, index: int, reader: Reader) -> None:
        """Keep a reader, or close it where enough are kept."""
        with self._lock:
            if len(self._readers) < _KEPT:
                self._readers[index] = reader
                return
        reader.close()

    def take(self, index: int) -> Reader | None:
        """The reader of a file, once."""
        with self._lock:
            return self._readers.pop(index, None)

    def close(self) -> None:
        """Close those that nobody took."""
        while self._readers:
            with contextlib.suppress(KeyError):
                self._readers.popitem()[1].close()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, _: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]


@dataclass(frozen=True)
class Inputs:
    """All files, and what is known of them before they are read.

    Parameters
    ----------
    files : in the order of the config.
    identity : branches that identify an event in every one of them; empty: file and entry do.
    fills : index of a file → branch that it lacks → its type elsewhere.
    drawn : index of a file → how many of its first entries are read, where samples have no say in it; see `mixing`.
    """

    files: tuple[InputFile, ...]
    identity: tuple[str, ...]
    fills: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    drawn: Mapping[int, int] | None = None
    readers: OpenReaders = field(default_factory=OpenReaders, compare=False, repr=False)

    def of(self, sample: str) -> tuple[InputFile, ...]:
        """The files of one sample, in order."""
        return tuple(file for file in self.files if file.sample == sample)

    def ranges(self, sample: str, nevts: int = -1) -> tuple[tuple[InputFile, int, int], ...]:
        """(file, start, stop) of the sample's first `nevts` entries, of all for −1; files without entries, too.

        Where entries are drawn from all files in proportion, `nevts` was of all samples together.
        """
        if self.drawn is not None:
            return tuple((file, 0, self.drawn[file.index]) for file in self.of(sample))
        left = nevts if nevts >= 0 else sum(file.fingerprint.n_entries for file in self.of(sample))
        ranges: list[tuple[InputFile, int, int]] = []
        for file in self.of(sample):
            if left <= 0 and ranges:
                break
            stop = min(left, file.fingerprint.n_entries)
            ranges.append((file, 0, stop))
            left -= stop
        return tuple(ranges)

    def open(self, file: InputFile, spec: PreprocessSpec) -> Reader:
        """The reader of a file, with what it lacks filled in; the caller closes it. Often it was open already."""
        reader = self.readers.take(file.index)
        if reader is None:
            reader = open_reader(file.path, spec.input_tree_name, file_index=file.index, access=spec.access)
        for name, type_text in self.fills.get(file.index, {}).items():
            reader.fill(name, type_text, spec.missing_branches.values.get(name))
        return reader

    def mixing(self, chunk_size: int) -> Mixing:
        """How chunks are filled from all files in proportion."""
        drawn = {file.index: file.fingerprint.n_entries for file in self.files} if self.drawn is None else self.drawn
        return Mixing(tuple(drawn[file.index] for file in self.files), chunk_size)

    def close(self) -> None:
        """Close what was opened and never read."""
        self.readers.close()


def open_inputs(spec: PreprocessSpec) -> Inputs:
    """Find every file of every sample and check that it has the tree and the branches that are needed.

    Raises
    ------
    InputFileError, MissingColumnError : a file, tree or branch is missing or unreadable.
    """
    named = [(sample, path) for sample in spec.input_samples for path in _paths(spec, sample)]
    readers = OpenReaders()

    def look(numbered: tuple[int, tuple[Sample, str]]) -> _Header:
        index, (sample, path) = numbered
        reader = open_reader(path, spec.input_tree_name, file_index=index, access=spec.access)
        try:
            header = _header(reader, spec, sample)
        except BaseException:
            reader.close()
            raise
        readers.keep(index, reader)
        return header

    try:
        with ThreadPoolExecutor(_OPENING) as threads:
            try:
                headers = list(threads.map(look, enumerate(named)))
            except BaseException:
                threads.shutdown(wait=True, cancel_futures=True)
                raise
        identity = _common_identity(headers)
        files = tuple(
            InputFile(i, sample.name, path, _relative(spec, path), header.fingerprint)
            for i, ((sample, path), header) in enumerate(zip(named, headers, strict=True))
        )
        inputs = Inputs(files, identity, readers=readers)
        return replace(inputs, fills=_fills(spec, inputs, headers), drawn=_drawn(spec, files))
    except BaseException:
        readers.close()
        raise


def _drawn(spec: PreprocessSpec, files: Sequence[InputFile]) -> Mapping[int, int] | None:
    """What each file gives, where `nevts` are drawn from all of them in proportion."""
    if spec.order == "input":
        return None
    return dict(enumerate(drawn_entries([file.fingerprint.n_entries for file in files], spec.nevts)))


def _paths(spec: PreprocessSpec, sample: Sample) -> list[str]:
    if sample.name in spec.input_files:
        return [path for named in spec.input_files[sample.name] for path in expand_paths(named, spec.access)]
    return expand_paths(
        join(spec.input_path, spec.input_filename_template.format(sample_name=sample.name)), spec.access
    )


def _relative(spec: PreprocessSpec, path: str) -> str:
    """The same for a file that lies here, behind the redirector, or at a URL."""
    relative = below(spec.input_path, path)
    if relative == path and spec.redirector is not None:
        return below(redirected(spec.redirector, spec.input_path), path)
    return relative


@dataclass(frozen=True)
class _Header:
    """What a file says of itself before it is read; for every needed branch that it lacks, the error."""

    where: str
    fingerprint: Fingerprint
    identity: tuple[str, ...]
    needed: frozenset[str]
    missing: Mapping[str, MissingColumnError]


def _header(reader: Reader, spec: PreprocessSpec, sample: Sample) -> _Header:
    identity = find_identity(reader.branches, spec.identity)
    needed = Selector(spec, sample, identity).branches
    missing = {}
    for name in sorted(needed):
        try:
            reader.require([name])
        except MissingColumnError as error:
            missing[name] = error
    return _Header(reader.where, reader.fingerprint, identity, needed, missing)


def _common_identity(headers: Iterable[_Header]) -> tuple[str, ...]:
    """How events are identified, which must be the same everywhere."""
    identity: tuple[str, ...] | None = None
    for header in headers:
        if identity is not None and header.identity != identity:
            raise MissingColumnError(
                f"events are identified by {_words(header.identity)} here, "
                f"but by {_words(identity)} in the files before",
                where=header.where,
                remedy="Set identity to the branches that every file has, or to entry.",
            )
        identity = header.identity
    return identity or ()


def _words(identity: tuple[str, ...]) -> str:
    return ", ".join(identity) if identity else "file and entry"


def _fills(spec: PreprocessSpec, inputs: Inputs, headers: Sequence[_Header]) -> Mapping[int, Mapping[str, str]]:
    """What to fill in where files lack branches that others have.

    Raises
    ------
    MissingColumnError : a branch that no file has; or one that only some have, unless the config says to fill it in.
    """
    lacking: dict[str, list[int]] = {}
    for i, header in enumerate(headers):
        for name in header.missing:
            lacking.setdefault(name, []).append(i)
    if not lacking:
        return {}
    owners = {name: _first_with(name, headers) for name in lacking}
    for name, owner in owners.items():
        if owner is None:
            raise headers[lacking[name][0]].missing[name]
    listed = [
        f"'{name}' in {_some([headers[i].where for i in where], len(headers))}" for name, where in lacking.items()
    ]
    if spec.missing_branches.policy == "error":
        name, (first, *_) = next(iter(lacking.items()))
        error = headers[first].missing[name]
        raise MissingColumnError(
            f"branches that only some files have: no {'; no '.join(listed)}",
            where=error.where,
            nearest=error.nearest,
            remedy="Read these samples on their own, or set missing_branches to fill or to {BRANCH: VALUE}.",
        )
    fills: dict[int, dict[str, str]] = {}
    for name, line in zip(lacking, listed, strict=True):
        owner = owners[name]
        assert owner is not None
        type_text = _type_of(name, inputs.files[owner], spec, inputs)
        logger.warning("no branch %s: filled in as %s", line, type_text)
        for i in lacking[name]:
            fills.setdefault(i, {})[name] = type_text
    return fills


def _first_with(name: str, headers: Sequence[_Header]) -> int | None:
    return next((i for i, header in enumerate(headers) if name in header.needed and name not in header.missing), None)


def _type_of(name: str, file: InputFile, spec: PreprocessSpec, inputs: Inputs) -> str:
    reader = inputs.open(file, spec)
    try:
        return reader.columns[name].type
    finally:
        inputs.readers.keep(file.index, reader)


def _some(names: Sequence[str], n_all: int) -> str:
    """`2 of 7 files (a, b)`."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} of {n_all} files ({', '.join(names[:_LISTED])}{more})"

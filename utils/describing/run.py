"""Describe files: every one read once, its statistics merged with those of the others."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from utils.describing.collect import file_parts
from utils.describing.description import Description
from utils.describing.files import FilePart, Reading, describe_part, divided
from utils.describing.report import write_description
from utils.describing.spec import DescribeSpec
from utils.describing.storing import load_part, part_name, save_part
from utils.errors import InputFileError
from utils.executors.call import peak_bytes
from utils.executors.run import Task, run_tasks
from utils.executors.spec import ExecutorSpec
from utils.readers.places.locations import expand_paths
from utils.readers.spec import ChunkSize

# Folder of what is done already, inside that of the page, until the page is there.
PARTS = ".parts"


@dataclass(frozen=True)
class Described:
    """A description, and where it was written.

    Parameters
    ----------
    name : of the input, for headings.
    peak_bytes : largest memory of any process that worked on it [bytes].
    outputs : `page`, `statistics` and `specs` → path.
    """

    name: str
    description: Description
    peak_bytes: int
    outputs: dict[str, Path]


def run_describe(spec: DescribeSpec) -> Described:
    """Describe the files of a config, and write the page and the files beside it.

    Raises
    ------
    InputFileError : a file is missing or damaged, or has no such tree.
    OutputError : the output cannot be written.
    """
    try:
        return _described(spec)
    except InputFileError as error:
        raise InputFileError(
            error.what, where=error.where, nearest=error.nearest, remedy=_ours(error.remedy)
        ) from error


def _described(spec: DescribeSpec) -> Described:
    paths = [path for named in spec.inputs for path in expand_paths(named, spec.access)]
    assert isinstance(spec.chunk_size, ChunkSize)
    executor = spec.executor_spec
    # A worker of several has one core.
    access = spec.access if executor.kind == "serial" else replace(spec.access, n_threads=0)
    reading = Reading(access, spec.chunk_size, spec.hists)
    parts = file_parts(paths, spec.tree, spec.nevts)
    if executor.kind != "serial":
        parts = divided(parts, reading, 2 * executor.workers)
    folder = Path(spec.folder)
    work = [_Work(part, reading, folder.absolute() / PARTS / part_name(part, reading)) for part in parts]
    description, peak = _merged(work, executor)
    outputs = write_description(description, folder, spec.name, peak)
    for piece in work:
        piece.result.unlink(missing_ok=True)
    with suppress(OSError):  # another job's parts are there
        (folder / PARTS).rmdir()
    return Described(spec.name, description, peak, outputs)


def _ours(remedy: str | None) -> str | None:
    """What to do, with the keys of this stage."""
    if remedy is None:
        return None
    remedy = remedy.replace("Check input_path and input_filename_template", "Check input")
    return remedy.replace("input_path, input_filename_template", "input").replace("input_tree_name", "tree")


@dataclass(frozen=True)
class _Work:
    part: FilePart
    reading: Reading
    result: Path


def _merged(work: Sequence[_Work], executor: ExecutorSpec) -> tuple[Description, int]:
    """What is found in all parts, and the peak memory of whoever found it [bytes].

    Parts that an interrupted job has done are not read again, if neither file nor settings have changed.
    """
    began = perf_counter()
    description = Description()
    peak = 0
    anew = True
    tasks = [Task(piece.part.path, piece, piece.result) for piece in work]
    for finished in run_tasks(_work, tasks, executor, title="describing", unit="parts"):
        description.add(load_part(finished.task.result))
        peak = max(peak, finished.peak_bytes)
        anew = anew and bool(finished.worker)
    if anew:
        description.seconds = perf_counter() - began
    return description, max(peak, peak_bytes())


def _work(work: _Work) -> None:
    save_part(describe_part(work.part, work.reading), work.result)

"""A pass in parts: workers write what becomes of ranges of entries, the job puts these together in order.

A part is a folder with a skim per output node and the sums of its blocks of entries. It appears all at once, so what
an interrupted job leaves behind is used by the next one, if it is to do the same with the same files.
"""

import hashlib
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from utils.executors.call import code_hash, versions
from utils.executors.run import Task
from utils.logs import get_logger
from utils.preprocessing.filling import Filler
from utils.preprocessing.inputs import InputFile, Inputs
from utils.preprocessing.moments import BLOCK_ENTRIES, MomentsAccumulator
from utils.preprocessing.nodes import OutputNodes, output_file
from utils.preprocessing.selection import Rows
from utils.preprocessing.spec import PreprocessSpec, Sample
from utils.preprocessing.tallies import Tallies
from utils.readers.skim import SkimFile

logger = get_logger(__name__)

# A file with more entries is divided. Parts begin where blocks of entries do, so that sums are those of the whole file.
PART_ENTRIES = 16 * BLOCK_ENTRIES
# Memory of the rows that are copied at a time [bytes].
COPY_BYTES = 32_000_000
TALLIES = "tallies.npz"
# In a part that the disk may not have yet: the start of the machine since which it has been in memory at least.
BOOT = "boot_id"
# In a folder of parts: the outputs beside it were made from them, and may be made again.
PUT_IN_PLACE = "put_in_place"
# Keys that decide how the work is done, not what comes out.
HOW = (
    "executor", "workers", "cluster", "chunk_size", "n_threads", "overwrite", "retries", "timeout", "copy_inputs",
    "cache_path",
)  # fmt: skip


@dataclass(frozen=True)
class PartJob:
    """What a worker has to do: the entries in [start, stop) of one file.

    Parameters
    ----------
    spec : the config.
    inputs : the file alone, with what is known of all.
    file, sample, start, stop : which entries.
    nodes : names of the output nodes.
    prototype : rows of the first file, which decide about types; there are none in it.
    moments : of the kind that the input pipe needs, empty.
    path : the part.
    durable : whether the part must be on the disk, and not only on its way there, when it is done.
    """

    spec: PreprocessSpec
    inputs: Inputs
    file: InputFile
    sample: Sample
    start: int
    stop: int
    nodes: tuple[str, ...]
    prototype: Rows
    moments: MomentsAccumulator
    path: Path
    durable: bool


def write_part(job: PartJob) -> None:
    """Do one part, in the calling thread alone."""
    # Under a name of its own: where a worker is only thought to be dead, two do the same part at once.
    folder = job.path.with_name(f"{job.path.name}.{uuid.uuid4().hex[:8]}.part")
    folder.mkdir(parents=True)
    try:
        spec = replace(job.spec, n_threads=0, compression="none", overwrite="error")
        tallies = Tallies(job.moments, keep_blocks=True)
        with ExitStack() as stack:
            nodes = OutputNodes(spec, job.nodes, stack, folder, durable=job.durable)
            nodes.prepare(job.prototype, job.file.path)
            with Filler(spec, job.inputs, nodes, tallies, None) as filler:
                for _ in filler.fill(job.sample, job.file, job.start, job.stop):
                    pass
            nodes.finish({})
        tallies.save(folder / TALLIES)
        if not job.durable:
            (folder / BOOT).write_text(boot_id())
        try:
            folder.rename(job.path)
        except OSError:
            if not job.path.is_dir():  # where it is one, somebody else has done the same
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Parts:
    """The parts of one pass, beside its outputs.

    Parameters
    ----------
    spec : the config.
    inputs : all files.
    nodes, samples : of the pass.
    """

    def __init__(self, spec: PreprocessSpec, inputs: Inputs, nodes: tuple[str, ...], samples: Sequence[Sample]) -> None:
        self.spec = spec
        self.inputs = inputs
        self.nodes = nodes
        self.samples = {sample.name: sample for sample in samples}
        self.base = parts_base(spec, nodes)
        self.folder = self.base.with_name(f"{self.base.name}-{self._key()}")

    def _key(self) -> str:
        """Changes with what decides about the content of all parts: the config, the code, the types of the first file.

        What decides about a single part is in the name of that (`tasks`).
        """
        settings = {f.name: getattr(self.spec, f.name) for f in fields(PreprocessSpec)}
        for name in HOW:
            del settings[name]
        first = self.inputs.of(next(iter(self.samples)))[0]
        transform = self.spec.chunk_transform
        code = [] if transform is None else _user_code(transform.to_config())
        return _hash(settings, code, self.nodes, self.inputs.identity, first.fingerprint, code_hash(), versions())

    def tasks(self, prototype: Rows, moments: MomentsAccumulator) -> list[Task]:
        """A task per part, in the order of their rows."""
        tasks: list[Task] = []
        # Workers of this machine need not wait for its disk: only a crash of the machine loses what they wrote.
        durable = self.spec.cluster is not None or not boot_id()
        for name, sample in self.samples.items():
            for file, start, stop in self.inputs.ranges(name, self.spec.nevts):
                fills = {index: types for index, types in self.inputs.fills.items() if index == file.index}
                alone = Inputs((file,), self.inputs.identity, fills)
                for first, last in _pieces(start, stop):
                    path = self.folder.absolute() / f"{len(tasks):05d}-{_hash(file, first, last, fills)}"
                    job = PartJob(
                        self.spec, alone, file, sample, first, last, self.nodes, prototype, moments, path, durable
                    )
                    whole = (first, last) == (0, file.fingerprint.n_entries)
                    what = file.path if whole else f"{file.path}, entries {first:,} to {last:,}"
                    tasks.append(Task(what, job, path, last - first))
        return tasks

    def prepare(self) -> None:
        """Make the folder, and remove what cannot be used: what killed workers left, and what a crash may have cut."""
        self.folder.mkdir(parents=True, exist_ok=True)
        doubtful = [path.parent for path in self.folder.glob(f"*/{BOOT}") if path.read_text() != boot_id()]
        if doubtful:
            logger.info("%s parts from before this machine was started are made again", f"{len(doubtful):,}")
        for part in (*doubtful, *self.folder.glob("*.part")):
            shutil.rmtree(part, ignore_errors=True)

    @property
    def may_replace_outputs(self) -> bool:
        """Whether outputs that exist come from these very parts."""
        return (self.folder / PUT_IN_PLACE).exists()

    def remove(self) -> None:
        """Remove these parts, and those of other configs for the same outputs."""
        remove_parts(self.base)


def parts_base(spec: PreprocessSpec, nodes: tuple[str, ...]) -> Path:
    """How the folders of parts begin that become these outputs."""
    first = output_file(spec, nodes[0])
    return first.with_name(f".{first.stem}.parts")


def remove_parts(base: Path) -> None:
    """Remove all folders of parts that begin like this."""
    for folder in base.parent.glob(f"{base.name}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def blocks(path: Path, node: int) -> Iterator[dict[str, Any]]:
    """The rows of one part for the node of that number, as a skim's writer takes them, a few at a time."""
    with SkimFile(path / f"{node}.h5") as skim:
        if skim.n_rows == 0:
            return
        few = min(skim.n_rows, 1000)
        n_rows = max(1, int(COPY_BYTES * few / _size(skim.block(0, few))))
        for start in range(0, skim.n_rows, n_rows):
            yield skim.block(start, start + n_rows)


def _size(block: Any) -> int:
    if isinstance(block, Mapping):
        return sum(_size(values) for values in block.values())
    return int(block.nbytes)


@cache
def boot_id() -> str:
    """Tells one start of this machine from the next; empty where it does not say."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else ""


def _hash(*values: Any) -> str:
    return hashlib.blake2b(repr(values).encode(), digest_size=8).hexdigest()


def _user_code(value: Any) -> list[bytes]:
    """The content of the Python files that a config's value names."""
    if isinstance(value, Mapping):
        return [content for item in value.values() for content in _user_code(item)]
    if isinstance(value, list | tuple):
        return [content for item in value for content in _user_code(item)]
    name, found, _ = str(value).partition(".py")
    return [Path(f"{name}.py").read_bytes()] if found and Path(f"{name}.py").is_file() else []


def _pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Ranges of about equal length that begin with a block of entries, none longer than PART_ENTRIES."""
    n_blocks = max(1, -(-(stop - start) // BLOCK_ENTRIES))
    n_pieces = -(-n_blocks * BLOCK_ENTRIES // PART_ENTRIES)
    edges = [start + n_blocks * i // n_pieces * BLOCK_ENTRIES for i in range(n_pieces)]
    yield from zip(edges, [*edges[1:], stop], strict=True)

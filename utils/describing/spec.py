"""What a config of describe says, checked: every key and its default."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from utils.errors import ConfigError
from utils.executors.spec import ExecutorKeys
from utils.keys import key
from utils.readers.spec import ReadingKeys

DEFAULT_FOLDER = "descriptions"


@dataclass(frozen=True, kw_only=True)
class DescribeSpec(ReadingKeys, ExecutorKeys):
    """Files in, what every branch of them holds out."""

    input: tuple[str, ...] | str = key("path, glob, folder, list of files (.txt) or URL, or several of them")
    tree: str | None = key("tree, RNTuple or HDF5 group; null: the only one, or Events", default=None)
    nevts: int = key("events to read of every file, the first ones; -1: all", default=-1)
    hists: bool = key("a histogram of every branch", default=True)
    output_path: str | None = key("folder of the page and the files; null: descriptions/NAME", default=None)
    vars: Mapping[str, Any] = key("your own variables, for use as ${vars.NAME}", default_factory=dict)

    def __post_init__(self) -> None:
        self.check_reading()
        self.check_executor()
        if not self.inputs or not all(self.inputs):
            raise ConfigError("no input", where="input", remedy="Name a file: input=ntuple.root")
        if self.missing_branches.policy != "error":
            raise ConfigError(
                "describe shows where files differ, and fills nothing in",
                where="missing_branches",
                remedy="Take the key out.",
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """What is described, always a list."""
        return (self.input,) if isinstance(self.input, str) else self.input

    @property
    def name(self) -> str:
        """What to call it: the first file without its suffix, or the folder whose files are meant."""
        path = PurePosixPath(self.inputs[0].rstrip("/").partition("?")[0])
        is_pattern = any(character in path.name for character in "*?[")
        stem = path.parent.name if is_pattern else path.name.partition(".")[0] or path.name
        return re.sub(r"[^\w.-]+", "_", stem) or "input"

    @property
    def folder(self) -> str:
        """Where the page goes."""
        return self.output_path or f"{DEFAULT_FOLDER}/{self.name}"

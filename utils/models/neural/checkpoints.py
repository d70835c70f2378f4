"""Checkpoints in a folder: written aside and renamed when they are whole; the last two stay."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

_KEPT = 2


class LocalCheckpoints:
    """Checkpoints of one model.

    Parameters
    ----------
    folder : of its own; made when the first checkpoint is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def latest(self) -> Path | None:
        """The last checkpoint that is whole."""
        whole = self._whole()
        return whole[-1] if whole else None

    def save(self, epoch: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill a new folder. Older ones than the one before it go, and what a killed job left behind."""
        for left in self.folder.glob("epoch_*.part"):
            shutil.rmtree(left)
        part = self.folder / f"epoch_{epoch:05d}.part"
        part.mkdir(parents=True)
        write(part)
        for path in part.rglob("*"):
            if path.is_file():
                _to_disk(path)
        final = part.with_suffix("")
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
        _to_disk(self.folder)
        for old in self._whole()[:-_KEPT]:
            shutil.rmtree(old)

    def _whole(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("epoch_*") if path.suffix != ".part")


def _to_disk(path: Path) -> None:
    """Wait until the disk has it, so that a machine that fails does not leave an empty file under a good name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Checkpoints in a folder: written aside and renamed when they are whole; the last two stay."""

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
        """Let `write` fill a new folder; older ones than the one before it go."""
        part = self.folder / f"epoch_{epoch:05d}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write(part)
        final = part.with_suffix("")
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
        for old in self._whole()[:-_KEPT]:
            shutil.rmtree(old)

    def _whole(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("epoch_*") if not path.name.endswith(".part"))

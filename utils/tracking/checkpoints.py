"""Checkpoints as artifacts of a run, so that an interrupted training goes on from any machine that reaches its store.

`checkpoints/fold_0/epoch_00012/…` counts once `checkpoints/fold_0/epoch_00012.json`, which is written last, says
what is in it.
"""

import hashlib
import json
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlflow.exceptions import MlflowException

from utils.logs import get_logger
from utils.tracking.recorder import RunRecorder

logger = get_logger(__name__)

CHECKPOINTS = "checkpoints"
FREE_SECONDS = 1.0  # what takes longer is not done after every epoch
_KEPT = 2
_CONTENT = re.compile(r".*/epoch_\d+\.json")


class RunCheckpoints:
    """Checkpoints of one fold; the last two stay.

    Parameters
    ----------
    recorder : writes to the run.
    fold : number of the model.
    scratch : folder for files on their way.
    """

    def __init__(self, recorder: RunRecorder, fold: int, scratch: Path) -> None:
        self._recorder = recorder
        self._folder = f"{CHECKPOINTS}/fold_{fold}"
        self._scratch = scratch
        self._not_before = 0.0

    def latest(self) -> Path | None:
        """A copy of the last checkpoint that is whole."""
        for content in reversed(self._whole(self._artifacts())):
            copy = Path(tempfile.mkdtemp(dir=self._scratch))
            try:
                expected = json.loads(self._recorder.download(content, copy).read_text())
                found = self._recorder.download(content.removesuffix(".json"), copy)
                if _content_of(found) == expected:
                    return found
            except (MlflowException, OSError, ValueError) as error:
                logger.debug("%s: %s", content, error)
            logger.warning("the checkpoint %s is damaged; the one before it is taken", content.removesuffix(".json"))
        return None

    def save(self, epoch: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill a folder, and keep it in the run, with the curves up to here.

        Where the store is slow, not every epoch's: they take a tenth of the time at most.
        """
        began = time.monotonic()
        if began < self._not_before:
            return
        self._recorder.flush()
        name = f"{self._folder}/epoch_{epoch:05d}"
        with tempfile.TemporaryDirectory(dir=self._scratch) as scratch:
            write(Path(scratch))
            self._recorder.folder(Path(scratch), name)
            self._recorder.text(json.dumps(_content_of(Path(scratch)), indent=1), f"{name}.json")
        self._remove_old()
        ended = time.monotonic()
        if ended - began > FREE_SECONDS:
            self._not_before = ended + 9 * (ended - began)

    def _remove_old(self) -> None:
        present = self._artifacts()
        kept = self._whole(present)[-_KEPT:]
        # What says that it is whole goes first; a folder without that was left by a job that was killed.
        for artifact in sorted(present, key=lambda path: not path.endswith(".json")):
            if artifact not in kept and f"{artifact}.json" not in kept:
                self._recorder.remove(artifact)

    def clear(self) -> None:
        """Remove them all: the fold is finished."""
        if self._artifacts():
            self._recorder.remove(self._folder)

    def _artifacts(self) -> list[str]:
        return self._recorder.artifacts(self._folder)

    @staticmethod
    def _whole(artifacts: list[str]) -> list[str]:
        return sorted(path for path in artifacts if _CONTENT.fullmatch(path))


def _content_of(folder: Path) -> dict[str, str]:
    """File → hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

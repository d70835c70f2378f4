"""Checkpoints in a folder: whole or absent."""

from collections.abc import Callable
from pathlib import Path

import pytest

from utils.models.neural.checkpoints import LocalCheckpoints


def write(text: str) -> Callable[[Path], None]:
    def into(folder: Path) -> None:
        (folder / "state").write_text(text)

    return into


def test_the_last_two_stay(tmp_path: Path) -> None:
    checkpoints = LocalCheckpoints(tmp_path / "fold_0")
    assert checkpoints.latest() is None
    for epoch in (1, 2, 10):
        checkpoints.save(epoch, write(str(epoch)))
        latest = checkpoints.latest()
        assert latest is not None and (latest / "state").read_text() == str(epoch)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["epoch_00002", "epoch_00010"]


def test_one_that_was_interrupted_does_not_count_and_is_cleared_away(tmp_path: Path) -> None:
    checkpoints = LocalCheckpoints(tmp_path)
    checkpoints.save(1, write("one"))

    def killed(folder: Path) -> None:
        (folder / "state").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(2, killed)
    latest = checkpoints.latest()
    assert latest is not None and (latest / "state").read_text() == "one"
    checkpoints.save(3, write("three"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_00001", "epoch_00003"]


def test_the_same_epoch_again_takes_its_place(tmp_path: Path) -> None:
    checkpoints = LocalCheckpoints(tmp_path)
    for text in ("old", "new"):
        checkpoints.save(1, write(text))
    latest = checkpoints.latest()
    assert latest is not None and (latest / "state").read_text() == "new"

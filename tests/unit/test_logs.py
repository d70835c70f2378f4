"""What reaches the terminal, and what does not."""

import io
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils import logs


@pytest.fixture(autouse=True)
def _restore_loggers() -> Iterator[None]:
    yield
    logger = logs.get_logger()
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_compact_and_warnings_say_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    logger = logs.setup_logging(tmp_path / "new" / "train.log")
    logs.get_logger("utils.models.lightgbm").info("%s events read", logs.count(1_250_000))
    logger.warning("fold 1 is empty")
    logger.debug("a detail")
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line.split("  ", 1) for line in err.splitlines()]
    assert [message for _, message in lines] == ["1.25M events read", "WARNING: fold 1 is empty"]
    assert all(len(time_) == len("12:03:41") for time_, _ in lines)
    text = (tmp_path / "new" / "train.log").read_text()
    assert "INFO    crossfold.models.lightgbm: 1.25M events read" in text
    assert "a detail" in text


def test_setting_up_twice_does_not_print_twice(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    logs.setup_logging(tmp_path / "first.log")
    logger = logs.setup_logging()
    handler = logs.add_log_file(tmp_path / "second.log")
    logger.info("once")
    logs.remove_log_file(handler)
    logger.info("twice")
    assert capsys.readouterr().err.count("once") == 1
    assert (tmp_path / "first.log").read_text() == ""
    assert "once" in (tmp_path / "second.log").read_text()
    assert "twice" not in (tmp_path / "second.log").read_text()


def test_bars_are_silent_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PROGRESS_DELAY", 0.0)
    assert list(logs.progress(range(3), "reading")) == [0, 1, 2]
    with logs.progress(10, "predicting") as bar:
        bar.update(10)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "is_shown"), [(0.0, False), (0.4, True)])
def test_bars_show_on_a_terminal_only_for_long_work(
    monkeypatch: pytest.MonkeyPatch, seconds: float, is_shown: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(logs, "PROGRESS_DELAY", 0.2)
    for _ in logs.progress(range(3), "reading"):
        time.sleep(seconds / 2)
    assert ("reading" in sys.stderr.getvalue()) is is_shown


def test_a_line_goes_above_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(logs, "PROGRESS_DELAY", 0.0)
    logger = logs.setup_logging()
    with logs.progress(10, "predicting") as bar:
        bar.update(5)
        logger.info("half of it")
    last = sys.stderr.getvalue().split("half of it")[0].rpartition("\r")[2]
    assert last.strip().count(":") == 2, "the line starts where the bar was cleared"


def test_libraries_are_silenced_without_being_imported() -> None:
    code = """
import os, sys, logging, warnings
from utils.logs import quiet_third_party
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "false"
quiet_third_party()
heavy = {"mlflow", "alembic", "lightgbm", "hydra", "matplotlib", "git", "tqdm", "numpy"} & set(sys.modules)
assert not heavy, heavy
assert os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] == "false"
assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"
assert not logging.getLogger("mlflow.store.db").isEnabledFor(logging.INFO)
assert not logging.getLogger("alembic.runtime.migration").isEnabledFor(logging.INFO)
def warn(module, category):
    warnings.warn_explicit("text", category, "file.py", 1, module=module, registry={})
with warnings.catch_warnings(record=True) as seen:
    warn("mlflow.pyfunc", FutureWarning); warn("sklearn", DeprecationWarning)
    assert not seen, seen
    warn("mlflow.pyfunc", UserWarning); warn("utils.models", FutureWarning); warn("mlflower", FutureWarning)
    assert len(seen) == 3, seen
"""
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (987, "987"),
        (999.6, "1.00k"),
        (12345, "12.3k"),
        (1e6, "1.00M"),
        (4.56e6, "4.56M"),
    ],
)
def test_counts(n: float, text: str) -> None:
    assert logs.count(n) == text


def test_sizes_rates_and_durations() -> None:
    assert logs.size(512) == "512 B"
    assert logs.size(1_210_000) == "1.21 MB"
    assert logs.size(300e6) == "300 MB"
    assert logs.rate(2.5e6, 2.0) == "1.25M events/s"
    assert logs.rate(10, 0.0) == "-"
    assert [logs.duration(s) for s in (0.4213, 59.4, 185, 7620)] == ["0.421 s", "59.4 s", "3 min 05 s", "2 h 07 min"]


def test_a_summary_is_an_aligned_table_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    text = logs.summary("Cutflow", [("H_sig", 1_234, 0.5), ("H_bkgr", 7, 12.25)], ("process", "events", "yield"))
    assert capsys.readouterr().out == text
    assert text.splitlines() == [
        "",
        "Cutflow",
        "──────────────────────",
        "process  events  yield",
        "H_sig     1,234    0.5",
        "H_bkgr        7  12.25",
    ]
    assert "run ID  abc" in logs.summary("Done", {"run ID": "abc", "took": "3 s"})
    assert logs.summary("Nothing", {}).splitlines() == ["", "Nothing", "───────"]


def test_captured_log_sees_everything_in_the_block() -> None:
    logs.setup_logging()
    with logs.captured_log() as messages:
        logs.get_logger("folds").debug("inside")
    logs.get_logger().info("outside")
    assert messages == ["inside"]


def test_our_own_warnings_are_not_silenced() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        logs.quiet_third_party()
        warnings.warn_explicit("text", FutureWarning, "file.py", 1, module="utils.models.lightgbm")
    assert len(seen) == 1
    assert logging.getLogger("mlflow").level == logging.WARNING

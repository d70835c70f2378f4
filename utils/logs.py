"""What a user sees: log lines, progress bars, and a summary at the end of a stage.

The terminal shows what matters and nothing else: our own lines, with numbers, and no library's chatter. It works the
same in a notebook, and in a batch job, where progress bars stay silent.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, overload

T = TypeVar("T")

LOGGER_NAME = "crossfold"
# Work shorter than this needs no bar [s].
PROGRESS_DELAY = 2.0

_CHATTY_LOGGERS = (
    "mlflow",
    "alembic",
    "lightgbm",
    "hydra",
    "matplotlib",
    "git",
    "h5py",
    "fsspec",
    "urllib3",
    "sqlalchemy",
)
_CHATTY_PACKAGES = (
    "mlflow", "alembic", "lightgbm", "hydra", "omegaconf", "matplotlib", "mplhep", "git", "sklearn", "pandas", "tables",
    "plotly", "pydantic", "uproot", "awkward", "sqlalchemy", "google", "XRootD",
)  # fmt: skip
_QUIET_ENVIRONMENT = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # mlflow sets the level of its loggers when it is imported
    "GIT_PYTHON_REFRESH": "quiet",
}


def get_logger(name: str | None = None) -> logging.Logger:
    """The project's logger, or a child: `get_logger(__name__)` of `utils.models.lightgbm` logs as `models.lightgbm`."""
    return logging.getLogger(f"{LOGGER_NAME}.{name.removeprefix('utils.')}" if name else LOGGER_NAME)


def setup_logging(log_file: Path | None = None, level: int = logging.INFO) -> logging.Logger:
    """Send the project's log to the terminal and, with more detail, to a file. Calling it again replaces what was set.

    Parameters
    ----------
    log_file : also write there, with date, level and module; the folder is created.
    level : lowest level shown on the terminal; the file gets everything from DEBUG on.
    """
    logger = get_logger()
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    terminal = _TerminalHandler()
    terminal.setLevel(level)
    terminal.setFormatter(_TerminalFormatter())
    logger.addHandler(terminal)
    if log_file is not None:
        add_log_file(log_file)
    return logger


def add_log_file(log_file: Path) -> logging.Handler:
    """Write the project's log to a file as well, from now on. Close with :func:`remove_log_file`."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log_file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logger = get_logger()
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.DEBUG)
    return handler


def remove_log_file(handler: logging.Handler) -> None:
    """Stop writing to a file that :func:`add_log_file` opened, and close it."""
    get_logger().removeHandler(handler)
    handler.close()


def quiet_third_party() -> None:
    """Silence the libraries' chatter below warnings, and their deprecation warnings; imports none of them.

    Our own warnings, and third parties' UserWarnings, are still shown. Environment variables that the user has set win.
    """
    for name, value in _QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Alembic announces every migration of a new tracking store; matplotlib every font that it does not find.
    logging.getLogger("alembic").setLevel(logging.ERROR)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    for package in _CHATTY_PACKAGES:
        for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"{package}(\.|$)")


@overload
def progress(
    work: Iterable[T], desc: str, unit: str = ..., *, total: int | None = ..., shown: bool = ...
) -> Iterator[T]: ...
@overload
def progress(work: int, desc: str, unit: str = ..., *, shown: bool = ...) -> Any: ...
def progress(work: Any, desc: str, unit: str = "events", *, total: int | None = None, shown: bool = True) -> Any:
    """A progress bar over an iterable, or over a number of things that are reported one by one.

    It shows only on a terminal (or in a notebook), and only for work that takes more than two seconds; never with
    `shown=False`, for one of several processes that do the same.

    >>> for chunk in progress(chunks, "reading", unit="chunks"):
    ...     ...  # doctest: +SKIP
    >>> with progress(n_events, "predicting") as bar:
    ...     bar.update(n_done)  # doctest: +SKIP
    """
    with warnings.catch_warnings():
        # A notebook without ipywidgets: the bar is drawn as text, which needs no warning.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    bar = {
        "desc": desc,
        "unit": f" {unit}",
        "unit_scale": unit in ("events", "rows", "B"),
        "delay": PROGRESS_DELAY,
        "disable": not (shown and _is_interactive()),
        "leave": False,
        "dynamic_ncols": True,
    }
    return tqdm(total=work, **bar) if isinstance(work, int) else tqdm(work, total=total, **bar)


def rate(n: float, seconds: float, unit: str = "events") -> str:
    """`1.25M events/s`; `-` where there was no time to measure."""
    return f"{count(n / seconds)} {unit}/s" if seconds > 0 else "-"


def count(n: float) -> str:
    """A number of things: `987`, `12.3k`, `4.56M`, `7.89G`."""
    return _scaled(n, ("", "k", "M", "G", "T"))


def size(n_bytes: float) -> str:
    """A number of bytes: `512 B`, `1.21 MB` (powers of 1000)."""
    return _scaled(n_bytes, (" B", " kB", " MB", " GB", " TB"))


def duration(seconds: float) -> str:
    """`0.42 s`, `12.3 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def summary(title: str, rows: Mapping[str, Any] | Sequence[Sequence[Any]], header: Sequence[str] = ()) -> str:
    """Print a small table at the end of a stage, and return its text.

    Parameters
    ----------
    rows : `{name: value}`, or rows of equally many cells; numbers are aligned to the right.
    header : column names.
    """
    cells = [list(row) for row in (rows.items() if isinstance(rows, Mapping) else rows)]
    text = [[_cell(value) for value in row] for row in [list(header), *cells] if row]
    widths = [max(len(row[i]) for row in text) for i in range(len(text[0]))] if text else []
    numeric = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(widths))]
    lines = ["", title, "─" * max([len(title), sum(widths) + 2 * (len(widths) - 1)])]
    for row in text:
        aligned = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)]
        lines.append("  ".join(aligned).rstrip())
    table = "\n".join(lines) + "\n"
    sys.stdout.write(table)
    sys.stdout.flush()
    return table


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """The messages logged inside the block, for tests and for notebooks."""
    messages: list[str] = []

    class _List(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = _List()
    logger = get_logger()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _TerminalHandler(logging.Handler):
    """Writes to the `sys.stderr` of the moment (a notebook replaces it), above a progress bar that may be showing."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        tqdm = sys.modules.get("tqdm")
        if tqdm is not None and tqdm.tqdm._instances:
            tqdm.tqdm.write(text, file=sys.stderr)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


class _TerminalFormatter(logging.Formatter):
    """`12:03:41  message`, with the level where it is more than information."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s  %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        time, _, message = text.partition("  ")
        return f"{time}  {record.levelname}: {message}"


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs us. Looks only at what is loaded: a kernel has imported IPython long ago."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _is_interactive() -> bool:
    return in_notebook() or sys.stderr.isatty()


def _scaled(value: float, suffixes: Sequence[str]) -> str:
    scaled, power = float(value), 0
    # 999.6 would be rounded to 1000, which the next suffix writes as 1.00.
    while abs(scaled) >= 999.5 and power < len(suffixes) - 1:
        scaled, power = scaled / 1000, power + 1
    text = f"{scaled:.3g}" if power == 0 else f"{scaled:#.3g}".rstrip(".")
    return text + suffixes[power]


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

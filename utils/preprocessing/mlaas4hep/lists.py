"""files.txt and labels.txt: which files there are, and what each is labelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import ConfigError, InputFileError, nearest_name


@dataclass(frozen=True)
class Labelling:
    """What the events are called.

    Parameters
    ----------
    of_line : a label for every line of files.txt; None where a column tells, or nothing does.
    column : whose values are the labels; None where the files tell, or nothing does.
    """

    of_line: tuple[str, ...] | None = None
    column: str | None = None


def read_list(value: Any, where: str) -> list[str]:
    """The lines of a file, or the items of a list; text with commas is a list as well. `#` begins a line of comment."""
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    text = str(value)
    path = Path(text)
    if path.is_file():
        lines = (line.strip() for line in _lines(path))
        items = [line for line in lines if line and not line.startswith("#")]
        if not items:
            raise ConfigError("the list is empty", where=text, remedy="Write an entry a line.")
        return items
    if path.suffix == ".txt" or "/" in text.replace("://", ""):
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputFileError(
            f"no such file: '{text}'", where=where, nearest=nearest_name(path.name, siblings), remedy=f"Check {where}."
        )
    return [item.strip() for item in text.split(",") if item.strip()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise InputFileError("not a text file", where=str(path), remedy="Give a list of paths.") from error


def read_files(value: Any) -> list[str]:
    """The lines of files.txt. A data file by itself is a list of one."""
    if isinstance(value, str) and Path(value).is_file() and Path(value).suffix not in (".txt", ".list", ""):
        return [value]
    if isinstance(value, str) and "://" in value and "," not in value:
        return [value]
    lines = read_list(value, "files")
    twice = next((line for line in lines if lines.count(line) > 1), None) if len(lines) < 10_000 else None
    if twice is not None:
        raise ConfigError(f"'{twice}' is listed twice", where=str(value), remedy="List every file once.")
    return lines


def read_labels(value: Any, files: Sequence[str]) -> Labelling:
    """Labels of files, or the name of the column that holds them.

    Raises
    ------
    ConfigError : there are not as many labels as files.
    """
    if value is None:
        return Labelling()
    if isinstance(value, str) and not Path(value).is_file() and "," not in value:
        if Path(value).suffix == ".txt" or "/" in value:
            read_list(value, "labels")  # says that there is no such file
        return Labelling(column=value)
    labels = read_list(value if isinstance(value, str | list | tuple) else [value], "labels")
    if len(labels) != len(files):
        raise ConfigError(
            f"there are {len(labels)} labels for {len(files)} files",
            where=str(value),
            remedy="Write a label for every line of files.txt, or name the column that holds the labels.",
        )
    return Labelling(of_line=tuple(labels))


def classes_of(labels: Sequence[Any]) -> dict[Any, int]:
    """Label → class: whole numbers 0 … K-1 are classes themselves, anything else is numbered in ascending order."""
    return {label: i for i, label in enumerate(sorted(set(labels), key=_rank))}


def _rank(label: Any) -> tuple[int, float, str]:
    """Numbers by their value, then text."""
    try:
        return 0, float(label), str(label)
    except ValueError:
        return 1, 0.0, str(label)

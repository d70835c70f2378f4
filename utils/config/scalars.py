"""Single values of a config: numbers that were written as text, choices, paths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.errors import ConfigError, nearest_name

# The scalar types of a spec, in words.
SCALARS: dict[Any, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


def scalar(value: Any, kind: type, where: str) -> Any:
    """`value` as `kind`: `1e-2` may be text to a YAML reader, and the year 2018 an integer."""
    converted: Any
    if kind is bool:
        converted = value if isinstance(value, bool) else None
    elif kind is int:
        converted = _integer(value)
    elif kind is float:
        converted = _number(value)
    elif isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        converted = None
    else:
        converted = str(value) if kind is str else Path(value).expanduser() if isinstance(value, str | Path) else None
    if converted is None:
        raise ConfigError(f"'{where}' must be {SCALARS[kind]}, not {value!r}", where=where)
    return converted


def literal(value: Any, choices: Sequence[Any], where: str) -> Any:
    """The choice that `value` names; `null` names the choice `none`."""
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    by_text = {
        ("true" if choice is True else "false" if choice is False else str(choice)): choice for choice in choices
    }
    if text in by_text:
        return by_text[text]
    raise ConfigError(
        f"'{where}' must be one of {', '.join(by_text)}, not {text!r}", where=where, nearest=nearest_name(text, by_text)
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _integer(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None

"""How each class is called and drawn, from the config key `class_to_info`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utils.errors import ConfigError, nearest_name

# Petroff's colour-blind-safe sequences (arXiv:2107.02270), recommended by CMS: six, and ten where six are short.
SIX_COLORS = ("#5790fc", "#f89c20", "#e42536", "#964a8b", "#9c9ca1", "#7a21dd")
TEN_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip

_KEYS = ("name", "color", "alpha", "bin_size")


@dataclass(frozen=True)
class ClassInfo:
    """One class of the model.

    Parameters
    ----------
    name : as it stands in legends and metric names.
    color : `#rrggbb`.
    alpha : opacity of filled areas, 0 … 1.
    bin_size : width of the bins of this class in score densities, a multiple of it where events are few; None chooses
        it from the number of events.
    """

    name: str
    color: str = SIX_COLORS[0]
    alpha: float = 0.4
    bin_size: float | None = None

    def __post_init__(self) -> None:
        where = f"class_to_info, class {self.name}"
        if not self.name.strip():
            raise ConfigError("a class needs a name", where="class_to_info")
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.color):
            raise ConfigError(f"'{self.color}' is no colour", where=where, remedy="Write '194, 71, 92' or '#c2475c'.")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha is {self.alpha}, not within 0 and 1", where=where)
        if self.bin_size is not None and not 1e-4 <= self.bin_size <= 0.5:
            raise ConfigError(f"bin_size is {self.bin_size}, not within 0.0001 and 0.5", where=where)


def palette(n_classes: int) -> tuple[str, ...]:
    """Colour-blind-safe colours for `n_classes`; beyond ten they repeat."""
    colors = SIX_COLORS if n_classes <= len(SIX_COLORS) else TEN_COLORS
    return tuple(colors[i % len(colors)] for i in range(n_classes))


def default_classes(names: Sequence[str]) -> tuple[ClassInfo, ...]:
    """Classes of these names in the default colours."""
    return tuple(ClassInfo(name, color) for name, color in zip(names, palette(len(names)), strict=True))


def classes_from_config(class_to_info: Mapping[Any, Mapping[str, Any]]) -> tuple[ClassInfo, ...]:
    """Read `{0: {name: H_sig, color: '194, 71, 92', alpha: 0.6, bin_size: 1e-2}, …}`.

    Keys are the class numbers 0 … K-1, also as text; all but `name` may be left out. Numbers may be text, as `1e-2` is
    to a YAML 1.1 reader.
    """
    try:
        by_number = {int(key): info for key, info in class_to_info.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError("the keys are not class numbers", where="class_to_info", remedy="Use 0, 1, 2 …") from error
    if sorted(by_number) != list(range(len(by_number))) or not by_number:
        raise ConfigError(
            f"the classes are numbered {sorted(by_number)}", where="class_to_info", remedy="Number them 0, 1, 2 …"
        )
    colors = palette(len(by_number))
    classes = tuple(_one_class(k, by_number[k], colors[k]) for k in range(len(by_number)))
    names = [info.name for info in classes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two classes are called '{twice[0]}'", where="class_to_info")
    return classes


def _one_class(number: int, info: Mapping[str, Any], color: str) -> ClassInfo:
    where = f"class_to_info.{number}"
    for key in info:
        if key not in _KEYS:
            raise ConfigError(
                f"unknown key '{key}'",
                where=where,
                nearest=nearest_name(str(key), _KEYS),
                remedy=f"The keys are {', '.join(_KEYS)}.",
            )
    name = info.get("name")
    if name is None:
        raise ConfigError("the class has no name", where=where, remedy="Add 'name'.")
    bin_size = info.get("bin_size")
    given_color, alpha = info.get("color"), info.get("alpha")
    return ClassInfo(
        name=str(name),
        color=color if given_color is None else parse_color(given_color, where),
        alpha=ClassInfo.alpha if alpha is None else _number(alpha, f"{where}.alpha"),
        bin_size=None if bin_size is None else _number(bin_size, f"{where}.bin_size"),
    )


def parse_color(color: str | Sequence[int], where: str = "color") -> str:
    """`#rrggbb` from `'194, 71, 92'`, `[194, 71, 92]`, `'rgb(194, 71, 92)'` or `'#c2475c'`."""
    if isinstance(color, str) and re.fullmatch(r"\s*#[0-9a-fA-F]{6}\s*", color):
        return color.strip().lower()
    parts = re.findall(r"-?\d+", color) if isinstance(color, str) else list(color)
    shape = r"\s*(rgb)?\s*\(?\s*-?\d+\s*,\s*-?\d+\s*,\s*-?\d+\s*\)?\s*"
    if (isinstance(color, str) and not re.fullmatch(shape, color)) or len(parts) != 3:
        raise ConfigError(f"'{color}' is no colour", where=where, remedy="Write '194, 71, 92' or '#c2475c'.")
    red, green, blue = (int(part) for part in parts)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ConfigError(f"'{color}' is no colour", where=where, remedy="Each part is within 0 and 255.")
    return f"#{red:02x}{green:02x}{blue:02x}"


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"'{value}' is no number", where=where) from error


def file_name(text: str) -> str:
    """The text as part of a file or metric name: everything but letters, digits, `.`, `-` and `_` becomes `_`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_.") or "class"


def unique_names(classes: Sequence[ClassInfo]) -> tuple[str, ...]:
    """File-safe class names; where two would be the same, the class number is appended."""
    names = [file_name(info.name) for info in classes]
    return tuple(f"{name}_{k}" if names.count(name) > 1 else name for k, name in enumerate(names))

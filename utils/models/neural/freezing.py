"""Which parts of a network are not trained, by patterns of their names."""

import re
from collections.abc import Sequence

from utils.errors import ConfigError, nearest_name

_SHOWN = 20


def frozen(names: Sequence[str], patterns: Sequence[str], part: str, separator: str) -> set[str]:
    """Those of the names that begin with what a pattern (a regular expression) matches.

    Parameters
    ----------
    names : of all that could be trained.
    part : what a name is one of, for messages: `parameter`, `variable`.
    separator : between a layer's name and that of its part.

    Raises
    ------
    ConfigError : a pattern is none, or matches nothing; or nothing is left to train.
    """
    found: set[str] = set()
    for pattern in patterns:
        try:
            matched = [name for name in names if re.match(pattern, name)]
        except re.error as error:
            raise ConfigError(
                f"'{pattern}' is no regular expression ({error})",
                where="freeze",
                remedy=f"Write, e.g., '{re.escape(names[0].rpartition(separator)[0])}'.",
            ) from error
        if not matched:
            layers = {name.rpartition(separator)[0] for name in names} - {""}
            raise ConfigError(
                f"no {part} of the network matches '{pattern}'",
                where="freeze",
                nearest=nearest_name(pattern, [*names, *sorted(layers)]),
                remedy=f"It has {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}.",
            )
        found.update(matched)
    if len(found) == len(names):
        raise ConfigError(
            f"no {part} is left to train", where="freeze", remedy="Freeze less, or choose another network."
        )
    return found

"""The user's overrides, as Hydra has to be told them."""

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode


def prepared(
    loader: Any, config_name: str, overrides: Iterable[str], spec_type: type | None
) -> tuple[list[str], tuple[str, ...]]:
    """Overrides that reach keys which the file does not name, and the config groups there are to choose from.

    `key=value` becomes `++key=value` (set or add), unless `key` is a config group. A group that the config mounts
    elsewhere can be called by its short name: `model=zh` for `model@_global_=zh`.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    choices = _choices(loader, config_name, parsed)
    texts = [_prepared(loader, override, choices, spec_type) for override in parsed]
    return texts, tuple(sorted({_short(choice) for choice in choices}))


def given_keys(overrides: Iterable[str]) -> set[str]:
    """The keys that overrides set."""
    return {text.lstrip("+~").partition("=")[0].partition("@")[0] for text in overrides}


def _prepared(loader: Any, override: Override, choices: list[str], spec_type: type | None) -> str:
    text = str(override.input_line)
    key = str(override.key_or_group)
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return text
    if override.type in (OverrideType.ADD, OverrideType.FORCE_ADD):
        return _as_text(override, text, spec_type)
    if override.type is not OverrideType.CHANGE or override.package is not None or key in choices:
        return text
    matches = [choice for choice in choices if _short(choice) == key]
    is_group = bool(loader.get_group_options(key))
    # A name may be both a choice and a key, as `model`; where there is a choice, it is meant.
    if len(matches) == 1 and (is_group or spec_type is None or key not in _names(spec_type)):
        return f"{matches[0]}={text.partition('=')[2]}"
    if is_group:
        return text
    return f"++{_as_text(override, text, spec_type)}"


def _as_text(override: Override, text: str, spec_type: type | None) -> str:
    """What the schema wants: a number in quotes where it is text (a run ID such as 12345e67), `0,1` as a list."""
    if spec_type is not None and str(override.key_or_group) in _listed(spec_type):
        key, _, value = text.partition("=")
        is_list = value.strip().startswith(("[", "'", '"', "null"))
        return text if is_list else f"{key}=[{value}]"
    if spec_type is None or override.is_sweep_override() or type(override.value()) not in (int, float):
        return text
    if not _wants_text(spec_type, str(override.key_or_group)):
        return text
    key, _, value = text.partition("=")
    return f"{key}='{value.strip()}'"


def _listed(spec_type: type) -> set[str]:
    """Keys for which `0,1` is a list and no sweep."""
    return {f.name for f in fields(spec_type) if f.metadata.get("listed")}


def _wants_text(spec_type: type, key: str) -> bool:
    hints = get_type_hints(spec_type)
    if key not in hints:
        return False
    kinds = get_args(hints[key]) if get_origin(hints[key]) is not None else (hints[key],)
    return str in kinds and int not in kinds and float not in kinds


def _choices(loader: Any, config_name: str, parsed: list[Override]) -> list[str]:
    """Override keys of the config groups in the defaults list, without Hydra's own."""
    given = {str(o.key_or_group): str(o.input_line).partition("=")[2] for o in parsed}
    chosen: list[str] = []
    while True:
        try:
            found = loader.compute_defaults_list(config_name, chosen, RunMode.RUN).overrides.known_choices
        except HydraException as error:
            # A group without a default hides the others until it is chosen; where it is not, Hydra itself will say so.
            group = re.search(r"You must specify '([^']+)'", str(error))
            if group is None or _short(group[1]) not in given or len(chosen) > len(given):
                return []
            chosen.append(f"{group[1]}={given[_short(group[1])]}")
            continue
        # Hydra's grammar has no way to name a group outside the config's own folder (`../features`).
        return [key for key in found if not key.startswith(("hydra/", ".."))]


def _short(choice: str) -> str:
    return choice.partition("@")[0].rpartition("/")[2]


def _names(spec_type: type) -> set[str]:
    return {f.name for f in fields(spec_type)}

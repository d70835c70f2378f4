"""Hydra's, OmegaConf's and YAML's exceptions, as errors of our own."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from utils.errors import ConfigError


@contextmanager
def as_config_errors(folder: Path | None = None) -> Iterator[None]:
    """Turn what the libraries raise about a user's config into a ConfigError."""
    try:
        yield
    except OverrideParseException as error:
        raise ConfigError(
            f"cannot read the override '{error.override}'",
            where="the command line",
            remedy=f"""Quote a value that has spaces, commas or brackets, twice: "{_quoted(error.override)}".""",
        ) from error
    except MissingConfigException as error:
        raise ConfigError(_first_lines(error), where=str(folder) if folder else None, remedy=_options(error)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{mark.name}, line {mark.line + 1}" if mark is not None else None
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"this is not valid YAML ({problem})", where=where) from error
    except (HydraException, OmegaConfBaseException) as error:
        if found := re.search(r"You must specify '([^']+)'", str(error)):
            group = found[1].partition("@")[0].rpartition("/")[2]
            raise ConfigError(f"'{group}' has not been chosen", where=group, remedy=_options(error)) from error
        raise ConfigError(_first_lines(error), where=str(folder) if folder else None, remedy=_options(error)) from error


def _quoted(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key}='{value}'"


def _first_lines(error: Exception) -> str:
    """Hydra's messages go on with the search path and hints; the first lines say what is wrong."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    kept = [
        line
        for line in lines[:2]
        if line and not re.match(r"(Available options|Config search path|full_key|To )", line)
    ]
    return " ".join(kept).rstrip(".")


def _options(error: Exception) -> str | None:
    """`Available options in 'model':` and its indented list, as a sentence."""
    text = str(error)
    found = re.search(r"Available options(?: in '[^']*')?:\n((?:\t.*\n?)+)", text)
    if found is None:
        return None
    return f"There are: {', '.join(line.strip() for line in found[1].splitlines())}."

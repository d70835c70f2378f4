"""What `mlflow run` starts: `python -m utils.config.project train.py --year 2018 --overrides "a=1 b=2"`.

MLflow passes the parameters that were given as `--key value`, quoted for the shell. They become the stage's own command
line; one that is empty counts as not given.
"""

import os
import sys
from collections.abc import Sequence

from utils.errors import ConfigError

_FLAGS = ("config_path", "config_name", "config_dir")
# What users of MLflow projects call things, and what the stage calls them.
_RENAMED = {
    "train.py": {"num_iterations": "model_param.num_iterations"},
    "preprocess.py": {"analysis": "--config-name"},
}


def stage_arguments(script: str, parameters: Sequence[str]) -> list[str]:
    """The stage's arguments for MLflow's `--key value` pairs.

    Raises
    ------
    ConfigError : the parameters are not pairs, or `overrides` cannot be split into words.
    """
    flags: list[str] = []
    overrides: list[str] = []
    free: list[str] = []
    if len(parameters) % 2 or any(not name.startswith("--") for name in parameters[::2]):
        raise ConfigError(f"cannot read the parameters {list(parameters)}", remedy="Give each as -P key=value.")
    for option, value in zip(parameters[::2], parameters[1::2], strict=True):
        name = option.removeprefix("--")
        target = _RENAMED.get(script, {}).get(name, name)
        if not value.strip():
            continue
        if name == "overrides":
            free += _words(value)
        elif name in _FLAGS:
            flags += [f"--{name.replace('_', '-')}", value]
        elif target.startswith("--"):
            flags += [target, value]
        else:
            overrides.append(f"{target}={value}")
    # Those of `overrides` come last, so that they win.
    return [*flags, *overrides, *free]


def main() -> None:
    """Replace this process by the stage's."""
    script, *parameters = sys.argv[1:]
    try:
        arguments = stage_arguments(script, parameters)
    except ConfigError as error:
        sys.exit(f"{script}: {error}")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, script, *arguments])


def _words(text: str) -> list[str]:
    """Split at blanks outside quotes and brackets.

    Quotes within a word stay, because Hydra's grammar wants them; a word that is quoted as a whole loses them.
    """
    words = [""]
    quote, depth = "", 0
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        if character.isspace() and not quote and depth <= 0:
            words.append("")
        else:
            words[-1] += character
    if quote:
        raise ConfigError(f"a quote is not closed in overrides={text!r}", remedy="Close every quote.")
    return [
        word[1:-1] if word[0] == word[-1] and word[0] in "'\"" and len(word) > 1 else word for word in words if word
    ]


if __name__ == "__main__":
    main()

"""The text of a stage's `--help`."""

import re
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from utils.config.build import MISSING_VALUE
from utils.config.schema import Key, keys_of

if TYPE_CHECKING:
    from utils.config.stage import Stage

_MAX_DEFAULT = 28
_FLAGS = """\
  --config-path DIR   folder of the config, relative to the script or absolute
  --config-name NAME  the config, with or without .yaml
  --config-dir DIR    a further folder to search for configs and choices
  --cfg job           print the composed config and stop (--resolve: with interpolations resolved)
  -m                  run once for every combination of key=a,b,c"""


def stage_help(stage: "Stage") -> str:
    """Summary, usage, configs, every key with default and documentation, and examples."""
    script = stage.script.name
    folder = stage.script.parent / stage.config_path
    summary = textwrap.dedent(stage.__doc__ or "").strip().partition("\n\n")[0]
    sections = [
        f"{script}: {' '.join(summary.split())}",
        f"Usage: python {script} [--config-path DIR] [--config-name NAME] [key=value ...]\n\n{_FLAGS}",
        _configs(stage, folder),
        f"Keys:\n{_table(list(keys_of(stage.spec_type())))}",
        "Examples:\n" + "\n".join(f"  {line}" for line in stage.examples or _examples(stage)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _configs(stage: "Stage", folder: Path) -> str:
    if not folder.is_dir():
        return ""
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    listed = ", ".join(f"{name} (default)" if name == stage.config_name else name for name in names) or "none"
    lines = [f"Configs in {stage.config_path}: {listed}"]
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        choices = sorted(path.stem for path in group.glob("*.yaml"))
        if choices and stage.config_name in names and _mentions(folder, group.name):
            lines.append(f"  {group.name}={' | '.join(choices)}")
    return "\n".join(lines)


def _mentions(folder: Path, group: str) -> bool:
    """Whether a defaults list of the folder's configs has the group; a folder that none names is no choice."""
    entry = re.compile(rf"(^\s*-\s*|[\[,]\s*){re.escape(group)}(@[\w.]+)?\s*:", flags=re.MULTILINE)
    return any(entry.search(path.read_text()) for path in folder.glob("*.yaml"))


def _table(keys: list[Key]) -> str:
    width = max(shutil.get_terminal_size((120, 24)).columns, 80)
    outer = {key.name.rpartition(".")[0] for key in keys}
    rows = [
        # The keys below say it better than a mapping cut short.
        (key.name, "" if isinstance(key.default, dict) and key.name in outer else _default(key.default), _text(key))
        for key in keys
    ]
    n_name = max(len(name) for name, _, _ in rows)
    n_default = max(len(default) for _, default, _ in rows)
    indent = n_name + n_default + 6
    lines = []
    for name, default, doc in rows:
        text = textwrap.wrap(doc, max(width - indent, 30)) or [""]
        lines.append(f"  {name:<{n_name}}  {default:<{n_default}}  {text[0]}".rstrip())
        lines += [" " * indent + more for more in text[1:]]
    return "\n".join(lines)


def _text(key: Key) -> str:
    return key.doc or key.type_text


def _default(value: Any) -> str:
    if value == MISSING_VALUE:
        return "(required)"
    if isinstance(value, str):
        return value if value.strip() else repr(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
    return text if len(text) <= _MAX_DEFAULT else f"{text[: _MAX_DEFAULT - 1]}…"


def _examples(stage: "Stage") -> list[str]:
    script = stage.script.name
    return [
        f"python {script} year=2018",
        f"python {script} --config-path {stage.config_path} --config-name {stage.config_name} year=2018",
    ]

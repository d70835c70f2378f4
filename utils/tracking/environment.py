"""What a training ran with: packages, code, and files of the user's own."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from utils.factory import files_of_targets

ENVIRONMENT = "environment/requirements.txt"
SOURCES = "source"

_PROJECT = Path(__file__).parents[2]


def environment_text() -> str:
    """Python, platform and every installed package, as pip would be told."""
    packages = sorted((f"{name}=={version}" for name, version in _installed().items()), key=str.lower)
    return "\n".join([f"# Python {platform.python_version()} on {platform.platform()}", *packages]) + "\n"


def changed_packages(text: str, names: tuple[str, ...]) -> list[str]:
    """`torch 2.12.0 → 2.13.0` for those of the named packages that are not as `environment_text` said then."""
    before = dict(line.split("==", 1) for line in text.splitlines() if "==" in line)
    now = _installed()
    return [
        f"{name} {before.get(name, '(absent)')} → {now.get(name, '(absent)')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _installed() -> dict[str, str]:
    return {d.metadata["Name"]: d.version for d in distributions()}


def git_state() -> dict[str, str]:
    """Commit and dirty flag of the code; empty outside a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(_PROJECT), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"git.commit": git("rev-parse", "HEAD"), "git.dirty": str(bool(git("status", "--porcelain"))).lower()}
    except (OSError, subprocess.CalledProcessError):
        return {}


def sources_of(config: Mapping[str, Any]) -> dict[str, Path]:
    """Artifact → the user's file that a `_target_` of the config names."""
    found: dict[str, Path] = {}
    for path in files_of_targets(config):
        name = path.name if f"{SOURCES}/{path.name}" not in found else f"{len(found)}_{path.name}"
        found[f"{SOURCES}/{name}"] = path
    return found

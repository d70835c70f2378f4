"""What a training ran with: packages, code, and files of the user's own."""

import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path

from utils.factory import files_of_targets
from utils.models.spec import TrainSpec

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


def sources_of(spec: TrainSpec) -> dict[str, Path]:
    """Artifact → the file of the user's own that a training runs: by a `_target_`, or named in `model_param`."""
    targets = [spec.model.to_config(), spec.model_param, *(step.to_config() for step in spec.steps)]
    named = [Path(v) for v in spec.model_param.values() if isinstance(v, str) and v.endswith(".py")]
    found: dict[str, Path] = {}
    for path in dict.fromkeys([*files_of_targets(targets), *(path for path in named if path.is_file())]):
        name = path.name if f"{SOURCES}/{path.name}" not in found else f"{len(found)}_{path.name}"
        found[f"{SOURCES}/{name}"] = path
    return found

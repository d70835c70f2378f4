"""The walls of the house: layers, homes of heavy libraries, what scripts may see, no prints."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("describe.py", "preprocess.py", "train.py", "predict.py", "evaluate.py")
SCRIPTS = sorted(path for path in ROOT.glob("*.py"))
LIBRARY = sorted((ROOT / "utils").rglob("*.py"))

# Where each heavy library may be imported. Third parties that are everywhere (numpy, awkward) are not listed.
HOMES = {
    "mlflow": ("tracking",),
    "hydra": ("config",),
    "omegaconf": ("config",),
    "uproot": ("readers", "writers"),
    "plotly": ("plots",),
    "matplotlib": ("plots",),
    "mplhep": ("plots",),
    "lightgbm": ("models",),
    "sklearn": ("models",),
    "xgboost": ("models",),
    "tables": ("readers", "writers"),
    "h5py": ("readers", "writers"),
    "dask": ("executors",),
    "distributed": ("executors",),
    "dask_jobqueue": ("executors",),
    "pebble": ("executors",),
    "fsspec": ("readers",),
    "XRootD": ("readers",),
    "pyarrow": ("readers", "writers", "evaluation"),
    "torch": ("models", "loading", "export"),
    "keras": ("models", "loading", "export"),
    "tensorflow": ("models", "loading", "export"),
    "onnx": ("export",),
    "onnxruntime": ("export", "serving"),
    "tqdm": ("logs",),
}
# What a stage's script may take from the library: whatever reads, fits, draws or stores. The pure pieces below, and how
# files are written, are behind these.
FOR_SCRIPTS = {
    "config", "serving", "export", "inference", "evaluation", "tracking", "models", "loading", "preprocessing",
    "describing", "readers", "plots", "logs", "errors",
}  # fmt: skip
HEAVY = ("mlflow", "lightgbm", "torch", "tensorflow", "keras", "plotly", "matplotlib", "sklearn", "uproot", "pandas")


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """(module, line) of every import, also inside functions and through `import_module("…")`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield module, node.lineno
            if module == "utils":
                yield from ((f"utils.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            first = node.args[0] if node.args else None
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value), node.lineno


def strays(files: list[Path], root: Path) -> list[str]:
    """Imports of heavy libraries outside their home."""
    found = []
    for path in files:
        layer = path.relative_to(root).parts[0].removesuffix(".py")
        for module, line in imported(path):
            homes = HOMES.get(module.partition(".")[0])
            if homes is not None and layer not in homes:
                found.append(f"{path.relative_to(root)}:{line} imports {module}; its home is {', '.join(homes)}")
    return found


def test_layers() -> None:
    # In a process of its own: import-linter configures logging, which disables the loggers that exist.
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_heavy_libraries_have_one_home() -> None:
    assert strays(LIBRARY, ROOT / "utils") == []


def test_the_home_test_sees_every_kind_of_import(tmp_path: Path) -> None:
    (tmp_path / "folds.py").write_text(
        "def f():\n    import mlflow.pyfunc\n    from plotly import graph_objects\n    import_module('uproot')\n"
    )
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "html.py").write_text("import plotly\n")
    found = strays([tmp_path / "folds.py", tmp_path / "plots" / "html.py"], tmp_path)
    assert [line.partition(" ")[0] for line in found] == ["folds.py:2", "folds.py:3", "folds.py:4"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_wire_the_top_layers(script: Path) -> None:
    for module, line in imported(script):
        top, _, rest = module.partition(".")
        if top == "utils":
            layer = rest.partition(".")[0]
            assert not layer or layer in FOR_SCRIPTS, f"{script.name}:{line} reaches into {module}"
        else:
            assert top in {*sys.stdlib_module_names, "hydra", "omegaconf"}, f"{script.name}:{line} imports {module}"


def test_every_stage_has_its_script() -> None:
    assert {path.name for path in SCRIPTS} >= set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_help_is_light(stage: str) -> None:
    code = f"""
import runpy, sys
sys.argv = [{stage!r}, "--help"]
runpy.run_path({stage!r}, run_name="__main__")
loaded = sorted(set({HEAVY!r}) & set(sys.modules))
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{stage}: ")
    assert "Keys:" in done.stdout


def test_specs_are_light() -> None:
    specs = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in LIBRARY if path.name == "spec.py"]
    assert specs
    code = (
        f"import sys, {', '.join(specs)}\nloaded = sorted(set({HEAVY!r}) & set(sys.modules))\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [*LIBRARY, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_prints(path: Path) -> None:
    lines = path.read_text().splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert "noqa: T201" in lines[node.lineno - 1], f"line {node.lineno} prints; use utils.logs"


def test_conda_has_the_pins_of_the_requirements() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[ -]*([\w-]+==[\w.]+)", (ROOT / name).read_text(), flags=re.MULTILINE))

    assert pins("conda.yaml") == pins("requirements.txt") | pins("requirements-nn.txt")
    assert not {"torch", "tensorflow", "keras"} & {pin.partition("==")[0] for pin in pins("requirements.txt")}

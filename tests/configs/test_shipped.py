"""Every YAML under configs/ composes into its spec, with every choice there is."""

import functools
import itertools
import runpy
from pathlib import Path

import pytest

from utils.config.compose import Source, composed, spec_from

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
# Folder of a stage's configs: its script, and what a user has to give.
STAGES = {
    "describe": ("describe", ["input=ntuple.root"]),
    "preprocess/training_data": ("preprocess", ["year=2018", "input_path=/data"]),
    "preprocess/prediction_data": ("preprocess", ["year=2018", "input_path=/data"]),
    "train": ("train", ["year=2018"]),
    "predict": ("predict", ["run_id=0123456789abcdef"]),
    ".": ("evaluate", ["run_id=0123456789abcdef", "dataset=test"]),
}


@functools.cache
def spec_type(script: str) -> type:
    """The spec of a script's stage; the scripts lie beside configs/ and are no package."""
    found: type = runpy.run_path(str(ROOT / f"{script}.py"), run_name=script)["main"].spec_type()
    return found


def cases() -> list[tuple[str, str, tuple[str, ...]]]:
    """(folder, config, choices): a config with every combination of the choices in its folder's groups."""
    found = []
    for folder in (folder for folder in STAGES if (CONFIGS / folder).is_dir()):
        groups = [g for g in sorted((CONFIGS / folder).iterdir()) if g.is_dir() and _is_group(folder, g)]
        choices = [[f"{g.name}={path.stem}" for path in sorted(g.glob("*.yaml"))] for g in groups]
        for path in sorted((CONFIGS / folder).glob("*.yaml")):
            found += [(folder, path.stem, combination) for combination in itertools.product(*choices)]
    return found


def _is_group(folder: str, group: Path) -> bool:
    return folder != "." and group.name != "local" and any(group.glob("*.yaml"))


@pytest.mark.parametrize(("folder", "name", "choices"), cases(), ids=str)
def test_a_shipped_config_composes(folder: str, name: str, choices: tuple[str, ...]) -> None:
    script, needed = STAGES[folder]
    kind = spec_type(script)
    built = spec_from(kind, composed(Source.of(CONFIGS / folder, name, [*needed, *choices]), kind))
    assert isinstance(built.spec, kind)
    assert "???" not in built.config.values()


EXECUTORS = sorted(path.stem for path in (CONFIGS / "executors").glob("*.yaml"))


@pytest.mark.parametrize("name", EXECUTORS)
def test_an_executor_can_be_named_in_any_config(name: str, tmp_path: Path) -> None:
    """By name in ours, in a user's, and in a user's file itself; what is said there wins over the executor's file."""
    kind = spec_type("preprocess")
    needed = ["year=2018", "input_path=/data"]
    ours = composed(Source.of(CONFIGS / "preprocess/training_data", "htt", [*needed, f"executor={name}"]), kind)
    spec = spec_from(kind, ours).spec
    assert spec.executor == "dask"
    assert spec.workers > 1
    (tmp_path / "mine.yaml").write_text(
        "input_path: /data\ninput_samples: [{a: {A: {class: 0}}}]\ncont_features: [pt]\noutput_path: /skims\n"
        f"executor: {name}\ncluster: {{memory: 7 GB}}\n"
    )
    mine = spec_from(kind, composed(Source.of(tmp_path, "mine", ["workers=3"]), kind)).spec
    assert (mine.executor, mine.workers, mine.cluster.params["memory"]) == ("dask", 3, "7 GB")
    assert {**mine.cluster.params, "memory": ""} == {**spec.cluster.params, "memory": ""}


def test_every_stage_has_a_config() -> None:
    assert {folder for folder, _, _ in cases()} == set(STAGES)


def test_every_file_is_composed_by_something() -> None:
    reached = set()
    for folder, name, choices in cases():
        script, needed = STAGES[folder]
        composition = composed(Source.of(CONFIGS / folder, name, [*needed, *choices]), spec_type(script))
        reached |= {layer.file.resolve() for layer in composition.layers}
    script, needed = STAGES["preprocess/training_data"]
    for name in EXECUTORS:
        named = [*needed, f"executor={name}"]
        composition = composed(Source.of(CONFIGS / "preprocess/training_data", "htt", named), spec_type(script))
        reached |= {layer.file.resolve() for layer in composition.layers}
    shipped = {path.resolve() for path in CONFIGS.rglob("*.yaml") if "local" not in path.parts}
    assert {str(path.relative_to(ROOT)) for path in shipped - reached} == set()


def test_no_shipped_config_names_a_place_of_somebodys_machine() -> None:
    for path in CONFIGS.rglob("*.yaml"):
        assert "/home/" not in path.read_text(), path
        assert "/afs/" not in path.read_text(), path

"""Compose a config with Hydra, check it against a spec, resolve it, and build the spec.

Hydra composes the user's file as it stands, so that configs from elsewhere work unchanged. The spec's schema comes
in around it: an override of any key is passed on as "set it, whether the file has it or not", and afterwards every key
must be one that the schema knows, or a helper variable that the config itself refers to.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from utils.config import origin
from utils.config.build import MISSING_VALUE, build_spec, missing_keys, moved, unknown_key
from utils.config.hydra_errors import as_config_errors
from utils.config.overrides import prepared
from utils.config.references import is_referenced, referenced_keys
from utils.config.resolve import resolved, to_plain
from utils.config.schema import completed, defaults_of, keeps_unresolved
from utils.config.templates import with_templates
from utils.errors import ConfigError, CrossfoldError, nearest_name

S = TypeVar("S")

VERSION_BASE = "1.3"
# A mapping that any config may have for variables of its own, used as `${vars.NAME}`.
FREE_FORM = "vars"


@dataclass(frozen=True)
class Composed(Generic[S]):
    """A spec, and the resolved config it was built from: plain values under every key of the schema."""

    spec: S
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A config as the user names it, made absolute.

    Parameters
    ----------
    folder : where the config file lies.
    name : the file's name, without `.yaml`.
    overrides : Hydra overrides.
    config_dir : a further folder to search (`--config-dir`).
    """

    folder: Path
    name: str
    overrides: tuple[str, ...] = ()
    config_dir: Path | None = None

    @classmethod
    def of(
        cls,
        config_path: str | Path,
        config_name: str,
        overrides: Iterable[str] = (),
        config_dir: str | Path | None = None,
        beside: Path | None = None,
    ) -> "Source":
        """`config_path` may be absolute, relative to the folder `beside`, or relative to the working directory."""
        candidates = [Path(config_path).expanduser()]
        if not candidates[0].is_absolute():
            bases = dict.fromkeys([beside or Path.cwd(), Path.cwd()])
            candidates = [base / candidates[0] for base in bases]
        folder = next((candidate for candidate in candidates if candidate.is_dir()), None)
        if folder is None:
            raise ConfigError(
                f"no config folder '{config_path}'",
                nearest=_nearest_folder(candidates[0]),
                remedy=f"It was looked for as {' and as '.join(str(c) for c in candidates)}.",
            )
        extra = None if config_dir is None else Path(config_dir).expanduser().absolute()
        if extra is not None and not extra.is_dir():
            raise ConfigError(f"no config folder '{config_dir}'", nearest=_nearest_folder(extra))
        source = cls(folder.absolute(), config_name.removesuffix(".yaml"), tuple(overrides), extra)
        source._check_name()
        return source

    def _check_name(self) -> None:
        folders = [self.folder] if self.config_dir is None else [self.folder, self.config_dir]
        if any((folder / f"{self.name}.yaml").is_file() for folder in folders):
            return
        names = [name for folder in folders for name in config_names(folder)]
        raise ConfigError(
            f"no config '{self.name}'",
            where=os.path.relpath(self.folder),
            nearest=nearest_name(self.name, names),
            remedy=f"There are: {', '.join(names) or 'none'}.",
        )


@dataclass
class Composition:
    """What Hydra makes of a source: the config, still with its interpolations, and where its parts come from."""

    source: Source
    config: DictConfig
    hydra: DictConfig | None = None
    layers: list[origin.Layer] = field(default_factory=list)
    groups: tuple[str, ...] = ()


def config_names(folder: Path) -> list[str]:
    """The configs of a folder, by name."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def compose(config_path: str | Path, config_name: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """A config as Hydra composes it, resolved, without a schema. For notebooks and tests.

    Values that must still be given stay `???`.
    """
    composition = composed(Source.of(config_path, config_name, overrides), None)
    with _hydra_config(composition), as_config_errors():
        return to_plain(composition.config, resolve=True)


def load_spec(
    spec_type: type[S], config_path: str | Path, config_name: str, overrides: Iterable[str] = ()
) -> Composed[S]:
    """Compose a config and build its spec, as the stage's command would. For notebooks and tests.

    >>> from utils.preprocessing.spec import PreprocessSpec  # doctest: +SKIP
    >>> load_spec(PreprocessSpec, "configs/preprocess/training_data", "htt", ["year=2018"]).spec  # doctest: +SKIP
    """
    return spec_from(spec_type, composed(Source.of(config_path, config_name, overrides), spec_type))


def composed(source: Source, spec_type: type | None) -> Composition:
    """Run Hydra on a source. With a spec, its keys can be overridden even where the file does not name them."""
    with as_config_errors(source.folder), initialize_config_dir(str(source.folder), version_base=VERSION_BASE):
        loader = GlobalHydra.instance().config_loader()
        overrides, groups = _prepared(loader, source, spec_type)
        config = hydra_compose(source.name, overrides=overrides, return_hydra_config=True)
        layers = origin.layers(loader, source.name, overrides, config.hydra.runtime.config_sources)
    hydra = OmegaConf.masked_copy(config, "hydra")
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return with_files(Composition(source, config, hydra, layers, groups), spec_type)


def with_files(composition: Composition, spec_type: type | None) -> Composition:
    """The composition with the files that values of it name, such as `executor=htcondor_cern`, put below it."""
    if spec_type is None:
        return composition
    source = composition.source
    folders = (source.folder, *source.folder.parents[:2])
    if source.config_dir is not None:
        folders = (source.config_dir, *folders)
    config, files = with_templates(spec_type, composition.config, folders)
    return replace(composition, config=config, layers=[*files, *composition.layers])


def hydra_overrides(source: Source, spec_type: type | None) -> list[str]:
    """The source's overrides as Hydra has to be told them."""
    with as_config_errors(source.folder), initialize_config_dir(str(source.folder), version_base=VERSION_BASE):
        return _prepared(GlobalHydra.instance().config_loader(), source, spec_type)[0]


def spec_from(spec_type: type[S], composition: Composition) -> Composed[S]:
    """Check a composed config against the spec's schema, resolve it, and build the spec.

    Raises
    ------
    ConfigError : with the file that the key stands in.
    """
    try:
        values = _schema_values(spec_type, composition)
        search = (composition.source.folder, *composition.source.folder.parents[:2])
        spec = build_spec(spec_type, values, search=search)
    except CrossfoldError as error:
        raise _with_file(error, composition) from error
    # What was not given is recorded as well: a run says by itself which defaults it was made with.
    config = defaults_of(spec_type) | values
    return Composed(spec, {key: completed(value, getattr(spec, key)) for key, value in config.items()})


def _prepared(loader: Any, source: Source, spec_type: type | None) -> tuple[list[str], tuple[str, ...]]:
    overrides, groups = prepared(loader, source.name, source.overrides, spec_type)
    if source.config_dir is not None:
        overrides.append(f"hydra.searchpath=['file://{source.config_dir}']")
    return overrides, groups


def _schema_values(spec_type: type, composition: Composition) -> dict[str, Any]:
    """The resolved values of the keys that belong to the schema."""
    config = composition.config
    raw = to_plain(config, resolve=False)
    names = [f.name for f in fields(spec_type) if f.init]
    references = referenced_keys(raw)
    guests = origin.guest_keys(composition.layers)
    for key in raw:
        helper = str(key) == FREE_FORM or str(key) in guests or is_referenced(str(key), references)
        if str(key) not in names and not helper:
            raise unknown_key(str(key), spec_type, extra=composition.groups)
    missing = [
        str(key)
        for key, value in raw.items()
        if value == MISSING_VALUE and (str(key) in names or is_referenced(str(key), references))
    ]
    if missing:
        raise missing_keys(missing)
    # Interpolations may refer to defaults that only the schema has.
    left_out = {name: value for name, value in defaults_of(spec_type).items() if name not in raw}
    whole: Any = OmegaConf.unsafe_merge(OmegaConf.create(left_out), config)
    kept = keeps_unresolved(spec_type)
    wanted = [key for key in raw if str(key) in names] + [key for key in left_out if "${" in repr(left_out[key])]
    with _hydra_config(composition):
        return {str(key): resolved(whole, key, lenient=str(key) in kept) for key in wanted}


def _with_file(error: CrossfoldError, composition: Composition) -> CrossfoldError:
    """The error with the file (or the command line) that its key stands in."""
    if error.where is None:
        return moved(error, origin.display(composition.source.folder / f"{composition.source.name}.yaml"))
    place = origin.place(error.where, composition.layers, composition.source.overrides)
    if place is None:
        return error
    return moved(error, place if f"'{error.where}'" in error.what else f"{error.where} ({place})")


class _hydra_config:  # noqa: N801 (used like a function)
    """Make `${hydra:…}` work while a config is resolved."""

    def __init__(self, composition: Composition) -> None:
        self._hydra = composition.hydra

    def __enter__(self) -> None:
        self._before = HydraConfig.instance().cfg
        if self._hydra is not None:
            HydraConfig.instance().set_config(self._hydra)

    def __exit__(self, *_: object) -> None:
        HydraConfig.instance().cfg = self._before


def _nearest_folder(path: Path) -> str | None:
    if not path.parent.is_dir():
        return None
    return nearest_name(path.name, [p.name for p in path.parent.iterdir() if p.is_dir()])

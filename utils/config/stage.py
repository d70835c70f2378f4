"""`@stage`: a script's `main(spec)` becomes a command with Hydra's command line.

Only what a command line needs is imported here: `--help` of a stage has to be there at once.
"""

import argparse
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import hydra
from omegaconf import DictConfig, OmegaConf

from utils.config.build import MISSING_VALUE
from utils.config.compose import (
    VERSION_BASE,
    Composed,
    Composition,
    Source,
    composed,
    hydra_overrides,
    spec_from,
    with_files,
)
from utils.config.help import stage_help
from utils.config.hydra_errors import as_config_errors
from utils.config.schema import defaults_of
from utils.errors import CrossfoldError
from utils.logs import quiet_third_party, setup_logging

# Exit codes: the configuration is wrong, nothing was started; the stage started and met an error of the user's.
CONFIG_EXIT = 2
STAGE_EXIT = 1
INTERRUPTED_EXIT = 130  # as a shell has it

# Where Hydra would make folders and log files for every job of a multirun.
_MULTIRUN_SETTINGS = {
    "hydra.sweep.subdir": "'.'",
    "hydra.output_subdir": "null",
    "hydra/job_logging": "none",
    "hydra/hydra_logging": "none",
}


class Stage:
    """A stage of the chain, as a command and as a function.

    Called without arguments, it reads the command line; called with a spec, it is the function itself.

    Parameters
    ----------
    function : `main(spec)` or `main(spec, config)`; `config` is the resolved config as plain values.
    config_path : default folder of its configs, relative to the script.
    config_name : default config.
    spec : `package.module:Class` of the spec, imported when it is needed.
    examples : command lines for `--help`.
    """

    def __init__(
        self, function: Callable[..., Any], config_path: str, config_name: str, spec: str, examples: Sequence[str] = ()
    ) -> None:
        self.function = function
        self.config_path = config_path
        self.config_name = config_name
        self.spec = spec
        self.examples = tuple(examples)
        self.script = Path(inspect.getfile(function)).resolve()
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            setup_logging()
            quiet_third_party()
            return self.function(*args, **kwargs)
        return self.command(sys.argv[1:])

    def spec_type(self) -> type:
        """The spec's class."""
        module, _, name = self.spec.partition(":")
        found: type = getattr(importlib.import_module(module), name)
        return found

    def compose(
        self,
        overrides: Sequence[str] = (),
        *,
        config_name: str | None = None,
        config_path: str | Path | None = None,
        config_dir: str | Path | None = None,
    ) -> Composed[Any]:
        """Spec and config as the command would make them. `stage(stage.compose(["year=2018"]).spec)` runs it."""
        return spec_from(self.spec_type(), self._composition(overrides, config_name, config_path, config_dir))

    def command(self, arguments: Sequence[str]) -> None:
        """Run as a command. Errors of the user's end it with one message and an exit code."""
        options, unknown = _parser().parse_known_intermixed_args(list(arguments))
        if options.help:
            print(stage_help(self), end="")  # noqa: T201 (the answer to --help)
            return
        if unknown:
            _fail_with(f"unknown option {unknown[0]}. See --help.", CONFIG_EXIT)
        try:
            task = self._task(options)
        except CrossfoldError as error:
            _fail(error, CONFIG_EXIT)
        task()

    def _task(self, options: argparse.Namespace) -> Callable[[], None]:
        """What the command line asks for, with everything checked that can be before it starts."""
        if options.multirun or options.hydra_only:
            return self._through_hydra(options)
        made = self._composition(options.overrides, options.config_name, options.config_path, options.config_dir)
        if options.cfg:
            return _show(options, made, self.spec_type())
        built: Composed[Any] = spec_from(self.spec_type(), made)
        return lambda: self._run(built)

    def _composition(
        self,
        overrides: Sequence[str],
        config_name: str | None,
        config_path: str | Path | None,
        config_dir: str | Path | None,
    ) -> Composition:
        return composed(self._source(overrides, config_name, config_path, config_dir), self.spec_type())

    def _source(
        self,
        overrides: Sequence[str],
        config_name: str | None,
        config_path: str | Path | None,
        config_dir: str | Path | None,
    ) -> Source:
        return Source.of(
            config_path or self.config_path,
            config_name or self.config_name,
            overrides,
            config_dir,
            beside=self.script.parent,
        )

    def _run(self, built: Composed[Any]) -> None:
        setup_logging()
        quiet_third_party()
        wants_config = len(inspect.signature(self.function).parameters) > 1
        try:
            self.function(built.spec, built.config) if wants_config else self.function(built.spec)
        except CrossfoldError as error:
            _fail(error, STAGE_EXIT)
        except KeyboardInterrupt:
            _fail_with("interrupted", INTERRUPTED_EXIT)

    def _through_hydra(self, options: argparse.Namespace) -> Callable[[], None]:
        """What only Hydra's own machinery does: several jobs, `--info`, shell completion."""
        source = self._source(options.overrides, options.config_name, options.config_path, options.config_dir)
        spec_type = self.spec_type()

        def job(config: DictConfig) -> None:
            OmegaConf.set_struct(config, False)
            try:
                built: Composed[Any] = spec_from(spec_type, with_files(Composition(source, config), spec_type))
            except CrossfoldError as error:
                _fail(error, CONFIG_EXIT)
            self._run(built)

        job.__module__ = "__main__"  # Hydra takes the job's name and the log from the script
        overrides = hydra_overrides(source, spec_type)
        if options.multirun:
            given = {text.partition("=")[0] for text in overrides}
            overrides += [f"{key}={value}" for key, value in _MULTIRUN_SETTINGS.items() if key not in given]

        def task() -> None:
            sys.argv = [sys.argv[0], *overrides, *options.hydra_only, *(["--multirun"] if options.multirun else [])]
            hydra.main(version_base=VERSION_BASE, config_path=str(source.folder), config_name=source.name)(job)()

        return task


def stage(
    config_path: str, config_name: str, spec: str, examples: Sequence[str] = ()
) -> Callable[[Callable[..., Any]], Stage]:
    """Make a function a stage; see :class:`Stage`.

    >>> @stage("configs/preprocess/training_data", "htt", "utils.preprocessing.spec:PreprocessSpec")
    ... def main(spec): ...  # doctest: +SKIP
    """
    return lambda function: Stage(function, config_path, config_name, spec, examples)


def _parser() -> argparse.ArgumentParser:
    """Hydra's own flags, under Hydra's names."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--run", "-r", action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    parser.add_argument("--hydra-help", dest="hydra_only", action="append_const", const="--hydra-help", default=[])
    parser.add_argument("--info", "-i", dest="hydra_only", action="append_const", const="--info")
    return parser


def _show(options: argparse.Namespace, made: Composition, spec_type: type) -> Callable[[], None]:
    """`--cfg`: print the composed config, the schema's defaults included, without running anything."""
    defaults = defaults_of(spec_type)
    # In the schema's order, for a reader; a value that must be given stays `???`, whatever its default.
    given = set(defaults) - {str(key) for key in made.config if OmegaConf.is_missing(made.config, key)}
    order = {f.name: defaults[f.name] if f.name in given else MISSING_VALUE for f in fields(spec_type) if f.init}
    config = OmegaConf.unsafe_merge(OmegaConf.create(order), made.config)
    if options.cfg != "job" and made.hydra is not None:
        config = made.hydra if options.cfg == "hydra" else OmegaConf.unsafe_merge(config, made.hydra)
    if options.package:
        config = OmegaConf.select(config, options.package.removeprefix("_global_"))
    with as_config_errors(made.source.folder):
        text = OmegaConf.to_yaml(config, resolve=options.resolve)
    return lambda: print(text, end="")  # noqa: T201 (the answer to --cfg)


def _fail(error: CrossfoldError, code: int) -> NoReturn:
    if os.environ.get("CROSSFOLD_DEBUG") == "1":
        traceback.print_exception(error)
    _fail_with(str(error), code)


def _fail_with(message: str, code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(f"{Path(sys.argv[0]).name}: {message}\n")
    raise SystemExit(code)

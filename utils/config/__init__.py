"""From YAML and command line to specs. The only place, besides the scripts, that knows Hydra."""

from utils.config.build import build_spec
from utils.config.compose import Composed, compose, load_spec
from utils.config.stage import Stage, stage

__all__ = ["Composed", "Stage", "build_spec", "compose", "load_spec", "stage"]

"""Write config-reference.md and the function tables of expressions.md: `python -m docs.generate_reference`."""

from pathlib import Path

import yaml

from utils.config.build import MISSING_VALUE
from utils.config.schema import Key, keys_of
from utils.describing.spec import DescribeSpec
from utils.evaluation.spec import EvaluateSpec
from utils.expressions import describe_functions
from utils.inference.spec import PredictSpec
from utils.models.spec import TrainSpec
from utils.preprocessing.spec import PreprocessSpec

HERE = Path(__file__).parent
STAGES = {
    "describe.py": DescribeSpec,
    "preprocess.py": PreprocessSpec,
    "train.py": TrainSpec,
    "predict.py": PredictSpec,
    "evaluate.py": EvaluateSpec,
}
# Shorthands, which a dataclass reads in its own way: type and default as a user writes them.
SHORTHANDS = {
    "non_finite": ("error | drop | {fill: a number}", "`error`"),
    "input_samples": ("a list of `NAME` or `NAME: {PROCESS: {cut, class}}`", "required"),
    "sample_names": ("a list of text or null", "`null`"),
}
HEAD = """# Config reference

Every key of every stage. `python STAGE.py --help` prints the same list, `python STAGE.py --cfg job …` the config that
your files and overrides compose to.

A key can be set in YAML or on the command line (`seed=3`, `folds.by=hash`, `'non_finite={fill: -10}'`), also where the
YAML does not name it. An unknown key is an error that names the nearest one. Variables of your own go under `vars`, for
use as `${vars.NAME}`; a top-level key of your own is accepted where the config itself refers to it as `${NAME}`.

Written by `python -m docs.generate_reference`; a test compares it with the code.
"""
MARK = "<!-- Below: written by python -m docs.generate_reference -->"


def row(key: Key) -> str:
    default = yaml.safe_dump(key.default, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")
    shown = "required" if key.default == MISSING_VALUE else f"`{default}`"
    kind, shown = SHORTHANDS.get(key.name, (key.type_text, shown))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{key.name}`", kind, shown, key.doc)) + " |"


def config_reference() -> str:
    """The page with every key."""
    header = "| key | type | default | meaning |\n| --- | --- | --- | --- |"
    tables = ("\n".join([f"## {script}", "", header, *map(row, keys_of(spec))]) for script, spec in STAGES.items())
    return "\n\n".join([HEAD.rstrip(), *tables]) + "\n"


def expressions(page: str) -> str:
    """The page with the functions below the mark renewed."""
    assert MARK in page
    return page.partition(MARK)[0] + f"{MARK}\n\n{describe_functions().replace(' a | b ', ' a &#124; b ').rstrip()}\n"


if __name__ == "__main__":
    (HERE / "config-reference.md").write_text(config_reference())
    (HERE / "expressions.md").write_text(expressions((HERE / "expressions.md").read_text()))

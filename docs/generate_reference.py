"""Write config-reference.md, the functions in expressions.md, and the options in networks.md.

`python -m docs.generate_reference`
"""

import inspect
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import yaml

from utils.config.build import MISSING_VALUE
from utils.config.schema import Key, keys_of
from utils.describing.spec import DescribeSpec
from utils.evaluation.spec import EvaluateSpec
from utils.expressions import describe_functions
from utils.inference.spec import PredictSpec
from utils.models.neural.plan import NeuralPlan
from utils.models.neural.schedules import PARAMETERS
from utils.models.spec import TrainSpec
from utils.preprocessing.spec import PreprocessSpec
from utils.readers.spec import ChunkSize

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
    shown = "required" if key.default == MISSING_VALUE else f"`{yaml_text(key.default)}`"
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


def networks(page: str) -> str:
    """The page with the options below the mark renewed: the fields of `NeuralPlan`, as its docstring explains them."""
    assert MARK in page
    parameters = (inspect.getdoc(NeuralPlan) or "").partition("----------\n")[2]
    said = dict(re.findall(r"^([a-z_, ]+) : (.+?)(?=^\S|\Z)", parameters, flags=re.DOTALL | re.MULTILINE))
    defaults = {field.name: _default(field) for field in fields(NeuralPlan)}
    rows = []
    for together, text in said.items():
        names = together.split(", ")
        meaning = " ".join(text.split()).replace("None:", "null:")
        rows.append(f"| {' '.join(f'`{n}`' for n in names)} | {', '.join(defaults[n] for n in names)} | {meaning} |")
    options = "\n".join(["| `model_param` | default | meaning |", "| --- | --- | --- |", *rows])
    schedules = "\n".join(
        f"| `{name}` | {', '.join(f'`{key}: {yaml_text(value)}`' for key, value in numbers.items()) or 'none'} |"
        for name, numbers in PARAMETERS.items()
    )
    return (
        f"{page.partition(MARK)[0]}{MARK}\n\n{options}\n\n"
        f"| `schedule` | `schedule_param` and what it is by default |\n| --- | --- |\n{schedules}\n"
    )


def _default(field: Field[Any]) -> str:
    """A field's default as a user writes it."""
    if field.name == "network":
        return "the shipped perceptron"
    if field.default_factory is not MISSING:
        return f"`{yaml_text(field.default_factory())}`"
    if isinstance(field.default, ChunkSize):
        return f"`{field.default.n_bytes // 10**6} MB`"
    return f"`{yaml_text(field.default)}`"


def yaml_text(value: Any) -> str:
    """A value in one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


if __name__ == "__main__":
    (HERE / "config-reference.md").write_text(config_reference())
    (HERE / "expressions.md").write_text(expressions((HERE / "expressions.md").read_text()))
    (HERE / "networks.md").write_text(networks((HERE / "networks.md").read_text()))

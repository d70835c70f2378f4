"""The pages hold what they say: generated parts are current, links lead somewhere, examples work."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from docs.generate_reference import HERE, config_reference, expressions, networks
from utils.factory import Factory
from utils.models.neural.plan import NeuralPlan
from utils.preprocessing.fitting import fit_pipe
from utils.preprocessing.moments import MomentsAccumulator
from utils.preprocessing.pipe import FittedPipe, Scaler

ROOT = HERE.parent
PAGES = sorted([*ROOT.glob("*.md"), *HERE.rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_config_reference_is_current() -> None:
    assert (HERE / "config-reference.md").read_text() == config_reference(), "run python -m docs.generate_reference"


def test_the_table_of_functions_is_current() -> None:
    page = (HERE / "expressions.md").read_text()
    assert page == expressions(page), "run python -m docs.generate_reference"


def test_the_options_of_networks_are_current_and_all_there() -> None:
    page = (HERE / "networks.md").read_text()
    assert page == networks(page), "run python -m docs.generate_reference"
    missing = [field.name for field in fields(NeuralPlan) if f"`{field.name}`" not in page.partition("| --- |")[2]]
    assert not missing, "the docstring of NeuralPlan says nothing of these"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} in {page.name}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link} in {page.name}"


def test_every_page_can_be_found_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        links = [link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link]
        targets = [(page.parent / link).resolve() for link in links if link.endswith(".md")]
        waiting += [target for target in targets if target.exists()]
    assert {str(page.relative_to(ROOT)) for page in set(PAGES) - reached} == set()


def test_the_step_of_the_recipe_survives_its_file() -> None:
    target = f"{HERE}/examples/steps.py:LogScale"
    names = ("met", "eta")
    values_NF = np.array([[30.0, -1.0], [90.0, 2.0], [0.0, 0.5]], np.float32)
    moments = MomentsAccumulator(2, with_covariance=True)
    moments.add(0, np.arange(3), values_NF)
    steps = [(target, Factory(target, {"features": ["met"]})()), ("scaler", Scaler())]
    pipe = fit_pipe(names, steps, moments.result(), lambda: iter([(0, np.arange(3), values_NF)]))
    again = FittedPipe.from_dict(pipe.to_dict(), {target: Factory(target).load()})
    np.testing.assert_array_equal(again.transform(values_NF), pipe.transform(values_NF))
    np.testing.assert_allclose(pipe.steps[0][1].transform(values_NF)[:, 0], np.log1p([1.0, 3.0, 0.0]))
    np.testing.assert_allclose(pipe.transform(values_NF).mean(axis=0), 0, atol=1e-6)

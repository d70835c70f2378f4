"""Chromium shows the figures: the page of an evaluation without a network, and MLflow's artifact viewer."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs the development requirements")

from mlflow.tracking import MlflowClient  # noqa: E402
from selenium.common.exceptions import (  # noqa: E402
    NoSuchFrameException,
    NoSuchWindowException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE = 180.0  # seconds that a page may take where the machine is busy

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (Debian: apt install chromium)"),
    pytest.mark.skipif(DRIVER is None, reason="there is no chromedriver (Debian: apt install chromium-driver)"),
]

CLASSES = ("H_sig", "H_bkgr", "Fakes", "Taus")
FIGURES = {"roc_curve", "background_rejection", "pr_curve", "confusion_matrix_true", "confusion_matrix_pred"} | {
    f"density_{name}" for name in CLASSES
}

METRIC_SEARCH = "input[placeholder='Search metrics']"

# Whether the page has finished, or says that it cannot; and of every figure what there is to see: the size of plotly's
# SVG, and how many marks of its traces (curves, areas, cells) cover any of it.
DRAWN = """
const text = document.body ? document.body.innerText : "";
return document.documentElement.dataset.drawn === "yes" || text.includes("The figures need");
"""
SEEN = """
const seen = mark => { const box = mark.getBoundingClientRect(); return box.width > 1 || box.height > 1; };
return [...document.querySelectorAll("figure")].map(figure => {
  const svg = figure.querySelector("svg.main-svg");
  const box = svg ? svg.getBoundingClientRect() : { width: 0, height: 0 };
  const marks = [...figure.querySelectorAll(".scatterlayer .trace path, .heatmaplayer image, .barlayer path")];
  return { name: figure.id, width: box.width, height: box.height, marks: marks.filter(seen).length,
    text: svg ? [...figure.querySelectorAll("text")].map(text => text.textContent).join(" ") : "" };
});
"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """A fresh Chromium whose network ends at this machine; it writes down what it asks for and complains of."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "disable-dev-shm-usage", "window-size=1500,1100",
        f"user-data-dir={tmp_path / 'profile'}", "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()


@dataclass(frozen=True)
class Run:
    """The run that is looked at.

    Parameters
    ----------
    place : where it was made.
    run_id, experiment_id : as MLflow names them.
    metrics : its numbers.
    plots : a copy of its artifacts under `plots/test`.
    """

    place: Any
    run_id: str
    experiment_id: str
    metrics: dict[str, float]
    plots: Path


@pytest.fixture(scope="module")
def run(toy_chain: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    place, run_id = toy_chain
    client = MlflowClient(place.tracking_uri)
    found = client.get_run(run_id)
    plots = client.download_artifacts(run_id, "plots/test", str(tmp_path_factory.mktemp("artifacts")))
    return Run(place, run_id, found.info.experiment_id, found.data.metrics, Path(plots))


def until(driver: Any, found: Callable[[Any], Any], what: str) -> Any:
    """What `found` gives as soon as it gives anything; pages that are still being built are looked at again."""
    being_built = (StaleElementReferenceException, NoSuchFrameException, NoSuchWindowException)
    return WebDriverWait(driver, PATIENCE, poll_frequency=0.2, ignored_exceptions=being_built).until(found, what)


def figures_of(driver: Any) -> dict[str, dict[str, Any]]:
    """The figures of the page or frame, as soon as it says that it has drawn them."""
    until(driver, lambda d: d.execute_script(DRAWN), "the page never finished")
    return {figure["name"]: figure for figure in driver.execute_script(SEEN)}


def complaints(driver: Any) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def requested(driver: Any) -> set[str]:
    """Addresses that were asked for: no parts of Chromium itself, nor addresses that are their own content."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    return {url for url in urls if not url.startswith(("data:", "blob:", "chrome:"))}


def assert_drawn(figure: dict[str, Any]) -> None:
    assert min(figure["width"], figure["height"]) > 200, figure
    assert figure["marks"] >= (1 if figure["name"].startswith("confusion") else len(CLASSES)), figure


def test_the_page_of_an_evaluation_opens_without_a_network(run: Run, browser: Any) -> None:
    address = (run.plots / "index.html").as_uri()
    browser.get(address)
    figures = figures_of(browser)
    assert complaints(browser) == []
    assert requested(browser) == {address}
    assert set(figures) == FIGURES == {path.stem for path in run.plots.glob("*.html")} - {"index"}
    for figure in figures.values():
        assert_drawn(figure)
    for k, name in enumerate(CLASSES):
        assert name in figures["roc_curve"]["text"]
        efficiency = run.metrics[f"test/cm_{k}{k}_true"]
        cells = [float(cell) for cell in re.findall(r"\b[01]\.\d\d+", figures["confusion_matrix_true"]["text"])]
        assert any(cell == pytest.approx(efficiency, abs=0.006) for cell in cells), (efficiency, cells)


def test_its_table_holds_the_numbers_of_the_run(run: Run, browser: Any) -> None:
    browser.get((run.plots / "index.html").as_uri())
    table = browser.find_element(By.CSS_SELECTOR, "section table")
    header = [cell.text for cell in table.find_elements(By.TAG_NAME, "th")]
    rows = [
        [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
        for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
    ]
    numbers = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert tuple(numbers) == CLASSES
    for name, row in numbers.items():
        assert_shows(row["ROC area"], run.metrics[f"test/roc_auc_{name}"])
        assert_shows(row["Average precision"], run.metrics[f"test/pr_average_prec_{name}"])
        assert int(row["Events"].replace(",", "")) > 0
    caption = browser.find_element(By.CSS_SELECTOR, "section p.note").text
    macro = re.search(r"Macro average of the areas: ([\d.]+)\.", caption)
    assert macro is not None
    assert_shows(macro[1], run.metrics["test/roc_auc_macro"])
    assert run.run_id in browser.find_element(By.TAG_NAME, "header").text


def assert_shows(text: str, value: float) -> None:
    """The text is the value, rounded to the digits that are shown."""
    shown = text.partition(" ")[0]
    assert shown == f"{value:.{len(shown.partition('.')[2])}f}"


@pytest.mark.server
def test_mlflow_shows_the_figures_and_the_metrics(run: Run, browser: Any) -> None:
    with run.place.mlflow("ui") as address:
        page = f"{address}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
        for name in ("roc_curve", "index"):
            browser.get("about:blank")
            browser.get(f"{page}/artifacts/plots/test/{name}.html")
            size = until(browser, enter_viewer, "the artifact view shows no page")
            assert size["width"] > 300
            assert size["height"] > 200
            figures = figures_of(browser)
            assert set(figures) == (FIGURES if name == "index" else {name})
            for figure in figures.values():
                assert_drawn(figure)
        browser.switch_to.default_content()
        browser.get(page)
        search = until(browser, lambda d: d.find_elements(By.CSS_SELECTOR, METRIC_SEARCH), "no table of metrics")[0]
        search.send_keys("test/roc_auc_")
        for name in (*CLASSES, "macro"):
            metric = f"test/roc_auc_{name}"
            until(browser, partial(shows_metric, name=metric, value=run.metrics[metric]), f"{metric} is not shown")


def shows_metric(driver: Any, name: str, value: float) -> bool:
    """Whether a line of MLflow's table names the metric and gives its value."""
    rows = [row.text for row in driver.find_elements(By.CSS_SELECTOR, "[role=row]")]
    numbers = [float(number) for row in rows if name in row.split() for number in re.findall(r"\b0\.\d+", row)]
    return any(number == pytest.approx(value, abs=1e-3) for number in numbers)


def enter_viewer(driver: Any) -> Any:
    """Go into the frame in which MLflow shows an artifact that is a page, and give its size; None without one."""
    driver.switch_to.default_content()
    frames = driver.find_elements(By.TAG_NAME, "iframe")
    if not frames:
        return None
    size = frames[0].size
    driver.switch_to.frame(frames[0])
    return size if driver.find_elements(By.TAG_NAME, "figure") else None

"""What an evaluation config says, checked: every key and its default. What is null is taken from the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from utils.errors import ConfigError
from utils.keys import key
from utils.plots.style import PdfStyle

MetricWeights = Literal["class", "event", "both", "none"]


@dataclass(frozen=True, kw_only=True)
class EvaluateSpec:
    """A run ID and a dataset in, metrics and figures of its predictions out."""

    run_id: str = key("the training run")
    experiment_id: str | None = key("not needed; checked where it is given", default=None)
    dataset: str = key("which prediction of the run: train or test", default="test")
    class_to_info: Mapping[Any, Any] | None = key(
        "0: {name, color: 'R, G, B', alpha, bin_size}, …; null: as in the run", default=None
    )
    metric_weights: MetricWeights = key("class (balanced) | event | both | none", default="class")
    event_weight: str | None = key("column with the signed event weight; null: as in the run", default=None)
    figures: PdfStyle = key("experiment style of the PDFs", default=PdfStyle())
    output_path: str | None = key("keep the figures and index.html in this folder, too", default=None)
    tracking_uri: str | None = key(
        "MLflow store; null: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here", default=None
    )
    year: str | None = key("accepted for ml-framework's configs", default=None)
    vars: Mapping[str, Any] = key("your own variables, for use as ${vars.NAME}", default_factory=dict)

    @property
    def label(self) -> str:
        """Prefix of metrics and folder of figures: the dataset, with the weights where they are not the usual ones."""
        return self.dataset if self.metric_weights == "class" else f"{self.dataset}_{self.metric_weights}"

    def __post_init__(self) -> None:
        if "/" in self.dataset or not self.dataset:
            raise ConfigError(f"'{self.dataset}' is no dataset", where="dataset", remedy="Use train or test.")

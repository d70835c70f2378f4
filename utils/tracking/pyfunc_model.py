"""The routed ensemble as an MLflow model, logged as code: nothing but the models themselves is ever unpickled."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel

from utils.models.ensemble import RoutedEnsemble
from utils.models.frames import predict_frame


class CrossfoldModel(PythonModel):
    """Raw features in, scores out.

    The input frame has the raw features by name, in physical units, and where it is known the split feature: with it,
    every event goes to the model that has not trained on its fold; without it, all models are averaged.
    """

    def load_context(self, context: Any) -> None:
        """Load the models from the artifacts."""
        self.ensemble = RoutedEnsemble.load(Path(context.artifacts["ensemble"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """The columns of a prediction, as the task has them (see `predict_frame`), a row per event."""
        return predict_frame(self.ensemble, model_input)


mlflow.models.set_model(CrossfoldModel())

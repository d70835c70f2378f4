"""What to evaluate, and how."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate.

    Parameters
    ----------
    dataset : prefix of every metric, `train` or `test`.
    metric_weights : `class`, `event`, `both` or `none`, see `evaluation_weights`; governs curves, areas and confusion.
    max_curve_points : curves are thinned to so many points for drawing, after their areas are computed.
    """

    dataset: str = "test"
    metric_weights: str = "class"
    max_curve_points: int = 2000

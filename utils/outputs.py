"""What a model is trained to tell, and what its numbers are called wherever they are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Task = Literal["classification", "regression", "autoencoder"]

LOSS = "loss"


@dataclass(frozen=True)
class Outputs:
    """The numbers that a model gives for every event.

    Parameters
    ----------
    task : `classification`: a probability for each class. `regression`: a value for each target, in its own unit.
        `autoencoder`: one loss, which is large where the event cannot be made again from few numbers.
    names : of the K classes, or of the T targets; `loss` alone.
    """

    task: Task
    names: tuple[str, ...]

    @classmethod
    def of(cls, task: Task, class_names: Sequence[str], targets: Sequence[str]) -> "Outputs":
        """The outputs of a task: of the classes, of the targets, or of neither."""
        names = {"classification": class_names, "regression": targets, "autoencoder": (LOSS,)}
        return cls(task, tuple(names[task]))

    @classmethod
    def of_classes(cls, n_classes: int) -> "Outputs":
        """Probabilities of so many classes."""
        return cls("classification", tuple(str(k) for k in range(n_classes)))

    @property
    def n(self) -> int:
        """Columns of what `Estimator.predict` gives: K, T, or 1."""
        return len(self.names)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of these columns in friend trees and tables."""
        if self.task == "classification":
            return tuple(f"pred_class_{k}_proba" for k in range(self.n))
        return tuple(f"pred_{name}" for name in self.names)

    @property
    def unscored(self) -> float:
        """What an event without a score carries: −1 where that is no legal value, else NaN."""
        return float("nan") if self.task == "regression" else -1.0

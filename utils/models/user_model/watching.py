"""What a training is watched by: loss and AUC after every epoch, and MLaaS4HEP's metrics at its end.

Shape suffixes: N events, K classes.
"""

import numpy as np
from numpy.typing import NDArray

from utils.metrics import confusion
from utils.models.neural.watch import macro_auc
from utils.models.user_model.kinds import Events
from utils.models.user_model.outputs import TINY


def measured(scores_NK: NDArray[np.float32], events: Events) -> dict[str, float]:
    """Cross entropy and AUC of probabilities; without labels the mean of the losses. What is NaN is left out."""
    weight_N = events.weight_N
    if events.class_N is None:
        values = {"loss": float(np.average(scores_NK[:, 0], weights=weight_N))}
    else:
        chosen_N = scores_NK[np.arange(len(scores_NK)), events.class_N].astype(np.float64)
        loss = float(np.average(-np.log(np.maximum(chosen_N, TINY)), weights=weight_N))
        values = {"loss": loss, "auc": macro_auc(scores_NK, events.class_N)}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def performance(scores_NK: NDArray[np.float32], class_N: NDArray[np.int32], threshold: float) -> str:
    """AUC, confusion matrix, precision and recall, as lines for the log.

    Parameters
    ----------
    threshold : of the probability of class 1, where there are two classes; of several, the largest counts.
    """
    n_classes = scores_NK.shape[1]
    chosen_N = (scores_NK[:, 1] >= threshold).astype(np.int32) if n_classes == 2 else scores_NK.argmax(axis=1)
    counts_KK = confusion(class_N, chosen_N, n_classes, normalise=None).values
    lines = [f"AUC {macro_auc(scores_NK, class_N):.4f}, accuracy {np.mean(chosen_N == class_N):.4f}"]
    for k, row in enumerate(counts_KK):
        said, there, right = counts_KK[:, k].sum(), row.sum(), row[k]
        precision, recall = (right / n if n else float("nan") for n in (said, there))
        cells = "  ".join(f"{int(n):,}".rjust(9) for n in row)
        lines.append(
            f"  class {k} told as 0 … {n_classes - 1}: {cells}   precision {precision:.3f}, recall {recall:.3f}"
        )
    return "\n".join(lines)

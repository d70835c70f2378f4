"""The loss while the learning rate grows, to choose a rate by."""

import numpy as np
import numpy.typing as npt

from utils.plots.classes import palette
from utils.plots.description import Axis, Figure, Layer, Line, Points


def learning_rate_figure(
    rates: npt.ArrayLike, losses: npt.ArrayLike, suggestion: float | None, chosen: float
) -> Figure:
    """Loss over learning rate, with the suggested and the chosen rate; named `learning_rate`.

    Parameters
    ----------
    rates, losses : (S,), ascending rates and the smoothed loss at each.
    suggestion : where the loss falls fastest; None: nowhere.
    chosen : the rate of the config.
    """
    x, y = np.asarray(rates, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    main, marked = palette(2)
    layers: list[Layer] = []
    if x.size:
        layers.append(Line(x, y, main))
        for rate, symbol, label in ((suggestion, "star", "Steepest descent"), (chosen, "circle", "learning_rate")):
            if rate is not None and x[0] <= rate <= x[-1]:
                at = np.array([float(np.interp(np.log(rate), np.log(x), y))])
                layers.append(
                    Points(
                        np.array([rate]),
                        at,
                        marked,
                        label=f"{label}: {rate:.2g}",
                        symbol="star" if symbol == "star" else "circle",
                        size=2.0 if symbol == "star" else 1.5,
                    )
                )
    return Figure(
        name="learning_rate",
        title="Loss while the learning rate grows",
        x_axis=Axis("Learning rate", (float(x[0]), float(x[-1])) if x.size > 1 else None, log=x.size > 1),
        y_axis=Axis("Training loss"),
        layers=tuple(layers),
        legend="upper left",
        caption="Smoothed loss of single batches. Choose a rate where it falls, well before the minimum.",
        message=None if x.size else "The loss diverged at once",
        headroom=0.15,
    )

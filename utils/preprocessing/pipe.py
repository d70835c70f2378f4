"""The input pipe: steps on the continuous features, fitted once on the training split, frozen, kept as plain numbers.

Loading a pipe never executes what it holds: the built-in steps are known by name, and a user's own step must be handed
in as a class by whoever is trusted (the config or the run), never taken from the file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from utils.errors import CrossfoldError, SkimError
from utils.preprocessing.minmax import FillPadding, MinMax
from utils.preprocessing.moments import Moments

Matrix = NDArray[Any]

NO_VARIANCE = 1e-12  # of the largest component's
# Rows that are transformed at a time: their float64 values stay in the processor's cache.
BLOCK_ROWS = 8192


@runtime_checkable
class Step(Protocol):
    """A transformation of the (N, F) continuous features into (N, G).

    `fit` returns the frozen step; `state` gives plain numbers and names, from which `from_state` makes the same step.
    """

    def fit(self, moments: Moments, names: Sequence[str]) -> "Step": ...

    def transform(self, features_NF: Matrix) -> Matrix: ...

    def output_names(self, names: Sequence[str]) -> tuple[str, ...]: ...

    def state(self) -> dict[str, Any]: ...

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Step": ...


@runtime_checkable
class ElementWise(Step, Protocol):
    """A step whose output i is made from input i alone, so that some of the features can do without the others."""

    def restricted(self, columns: Sequence[int]) -> "ElementWise": ...


@dataclass(frozen=True)
class Scaler:
    """(x − mean) / std. A feature that is constant in the training split is only shifted, as in scikit-learn."""

    with_mean: bool = True
    with_std: bool = True
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def fit(self, moments: Moments, names: Sequence[str]) -> "Scaler":
        """Take means and standard deviations from the moments."""
        n = len(names)
        std = moments.std_F
        # A variance that is rounding noise of a constant would blow that noise up to unit size.
        constant = std <= 10 * np.finfo(np.float64).eps * np.maximum(np.abs(moments.mean_F), 1e-300)
        mean = moments.mean_F if self.with_mean else np.zeros(n)
        scale = np.where(constant, 1.0, std) if self.with_std else np.ones(n)
        return Scaler(self.with_mean, self.with_std, tuple(mean.tolist()), tuple(scale.tolist()))

    def transform(self, features_NF: Matrix) -> Matrix:
        """(N, F) → (N, F) float64."""
        scaled: Matrix = features_NF - np.asarray(self.mean)
        scaled /= np.asarray(self.scale)
        return scaled

    def propagate(self, moments: Moments) -> Moments:
        """Moments of the transformed features."""
        return moments.shifted_and_scaled(np.asarray(self.mean), np.asarray(self.scale))

    def restricted(self, columns: Sequence[int]) -> "Scaler":
        """The scaler of some of the features."""
        return replace(self, mean=tuple(self.mean[i] for i in columns), scale=tuple(self.scale[i] for i in columns))

    def output_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """The same names."""
        return tuple(names)

    def state(self) -> dict[str, Any]:
        """Numbers only."""
        return {
            "with_mean": self.with_mean,
            "with_std": self.with_std,
            "mean": list(self.mean),
            "scale": list(self.scale),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Scaler":
        """The inverse of `state`."""
        return cls(bool(state["with_mean"]), bool(state["with_std"]), tuple(state["mean"]), tuple(state["scale"]))


@dataclass(frozen=True)
class Pca:
    """Projection onto the principal components, from the covariance of summed moments (so no batch size enters).

    The sign of a component is fixed by making its largest loading positive.
    """

    n_components: int | None = None
    whiten: bool = False
    mean: tuple[float, ...] = ()
    components: tuple[tuple[float, ...], ...] = ()
    variance: tuple[float, ...] = ()

    def fit(self, moments: Moments, names: Sequence[str]) -> "Pca":
        """Diagonalise the covariance."""
        n_components = self.n_components or len(names)
        if not 1 <= n_components <= len(names):
            raise CrossfoldError(
                f"pca.n_components is {n_components} for {len(names)} features",
                where="pca.n_components",
                remedy=f"Use 1 to {len(names)}.",
            )
        variance, vectors = np.linalg.eigh(moments.covariance_FF)
        order = np.argsort(variance)[::-1][:n_components]
        components = vectors[:, order].T
        largest = np.argmax(np.abs(components), axis=1)
        components *= np.sign(components[np.arange(n_components), largest])[:, None]
        return Pca(
            n_components,
            self.whiten,
            tuple(moments.mean_F.tolist()),
            tuple(tuple(row) for row in components.tolist()),
            tuple(np.maximum(variance[order], 0.0).tolist()),
        )

    def transform(self, features_NF: Matrix) -> Matrix:
        """(N, F) → (N, n_components) float64."""
        projected: Matrix = (features_NF - np.asarray(self.mean)) @ np.asarray(self.components).T
        if self.whiten:
            projected /= self._widths()
        return projected

    def _widths(self) -> NDArray[np.float64]:
        """Standard deviations; 1 for a component that is rounding noise of float32 features that follow from others."""
        variance = np.asarray(self.variance)
        return np.where(variance > NO_VARIANCE * variance.max(), np.sqrt(variance), 1.0)

    def output_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """pca_0, pca_1, …"""
        return tuple(f"pca_{i}" for i in range(len(self.components)))

    def state(self) -> dict[str, Any]:
        """Numbers only."""
        return {
            "n_components": self.n_components,
            "whiten": self.whiten,
            "mean": list(self.mean),
            "components": [list(row) for row in self.components],
            "variance": list(self.variance),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Pca":
        """The inverse of `state`."""
        return cls(
            state["n_components"],
            bool(state["whiten"]),
            tuple(state["mean"]),
            tuple(tuple(row) for row in state["components"]),
            tuple(state["variance"]),
        )


BUILT_IN: Mapping[str, type[Step]] = {"minmax": MinMax, "scaler": Scaler, "pca": Pca, "fill_padding": FillPadding}


@dataclass(frozen=True)
class FittedPipe:
    """Frozen steps for the named inputs; without steps, the identity.

    Parameters
    ----------
    inputs : names of the continuous features, in order.
    steps : (name, fitted step), in order; the name is a built-in one's, or a user step's target.
    """

    inputs: tuple[str, ...]
    steps: tuple[tuple[str, Step], ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the features that come out."""
        names = self.inputs
        for _, step in self.steps:
            names = step.output_names(names)
        return names

    def transform(self, features_NF: Matrix) -> NDArray[np.float32]:
        """(N, F) raw features in physical units → (N, G) float32; NaN stays NaN in its row."""
        out_NG = np.empty((len(features_NF), len(self.outputs)), np.float32)
        for start in range(0, len(features_NF), BLOCK_ROWS):
            values: Matrix = features_NF[start : start + BLOCK_ROWS]
            for _, step in self.steps:
                values = step.transform(values)
            out_NG[start : start + BLOCK_ROWS] = values
        return out_NG

    def restricted(self, names: Sequence[str]) -> "FittedPipe":
        """The same pipe for a subset of its inputs, in the given order; only element-wise steps allow that."""
        if tuple(names) == self.inputs:
            return self
        columns = [self.inputs.index(name) for name in names]
        steps = []
        for name, step in self.steps:
            if not isinstance(step, ElementWise):
                raise SkimError(
                    f"step '{name}' of the input pipe mixes features, so a model must use all of them",
                    where="cont_features",
                    remedy=f"Use the features {list(self.inputs)}, or preprocess with those you want.",
                )
            steps.append((name, step.restricted(columns)))
        return FittedPipe(tuple(names), tuple(steps))

    def to_dict(self) -> dict[str, Any]:
        """Names and numbers, fit for JSON."""
        return {"inputs": list(self.inputs), "steps": [{"step": name, **step.state()} for name, step in self.steps]}

    @classmethod
    def from_dict(
        cls,
        content: Any,
        user_steps: Mapping[str, type[Step]] | None = None,
        where: str = "input pipe",
    ) -> Self:
        """The inverse of `to_dict`.

        Parameters
        ----------
        content : what a skim or a pipe file holds, so anything; what is no pipe is a SkimError.
        user_steps : the classes behind the names that are not built in.
        where : the file, for messages.
        """
        known = {**BUILT_IN, **(user_steps or {})}
        try:
            entries = [(str(entry["step"]), entry) for entry in content["steps"]]
            unknown = [name for name, _ in entries if name not in known]
            if not unknown:
                steps = [(n, known[n].from_state({k: v for k, v in e.items() if k != "step"})) for n, e in entries]
                return cls(tuple(content["inputs"]), tuple(steps))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SkimError(
                f"not an input pipe ({type(error).__name__}: {error})",
                where=where,
                remedy="Preprocess the training data again.",
            ) from error
        raise SkimError(
            f"the input pipe has a step '{unknown[0]}' that is not built in",
            where=where,
            remedy="List it under 'steps' in this config, too: it is never loaded on the file's word alone.",
        )

    @classmethod
    def load(cls, path: str | Path, user_steps: Mapping[str, type[Step]] | None = None) -> Self:
        """Read a pipe file. ml-framework's configs name it `….pkl`: the `.json` beside it is meant."""
        file = pipe_file(path)
        try:
            content = json.loads(file.read_text())
        except ValueError:
            content = None
        return cls.from_dict(content, user_steps, str(file))


def pipe_file(path: str | Path) -> Path:
    """The JSON file that `path` means, whichever suffix it was given; SkimError where there is none."""
    path = Path(path)
    candidate = path.with_suffix(".json") if path.suffix in (".pkl", ".json") else path.with_name(path.name + ".json")
    if not candidate.is_file():
        raise SkimError("no such input pipe", where=str(candidate), remedy="Preprocess the training data first.")
    return candidate

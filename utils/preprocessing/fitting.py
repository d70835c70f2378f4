"""How the input pipe of a config is fitted: its steps, in turn, on the moments of the training split."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from utils.describing.global_specs import GlobalSpecs
from utils.errors import DataError
from utils.logs import get_logger
from utils.preprocessing.jagged_spec import branches_of_columns
from utils.preprocessing.minmax import FillPadding, Limits, MinMax, known
from utils.preprocessing.moments import Moments, MomentsAccumulator
from utils.preprocessing.pipe import FittedPipe, Pca, Scaler, Step
from utils.preprocessing.spec import PreprocessSpec

logger = get_logger(__name__)

Batches = Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]


def configured_steps(spec: PreprocessSpec) -> tuple[tuple[str, Step], ...]:
    """The unfitted steps of a config in the order of their work: the user's own, min-max, scaler, PCA, padding."""
    steps: list[tuple[str, Step]] = [(factory.target, factory()) for factory in spec.steps]
    if spec.minmax is not None:
        limits = None if spec.minmax.specs is None else _specs_limits(spec)
        steps.append(("minmax", MinMax(branches_of_columns(spec.padded_features), limits)))
    if spec.scaler is not None:
        steps.append(("scaler", Scaler(spec.scaler.with_mean, spec.scaler.with_std)))
    if spec.pca is not None:
        steps.append(("pca", Pca(spec.pca.n_components, spec.pca.whiten)))
    if spec.fill_padding is not None:
        steps.append(("fill_padding", FillPadding(spec.fill_padding)))
    return tuple(steps)


def moments_for(
    spec: PreprocessSpec, steps: Sequence[tuple[str, Step]], *, keep_blocks: bool = False
) -> MomentsAccumulator:
    """What gathers the moments that the steps are fitted on, from the continuous features of the training split."""
    # PCA and users' steps may look at more than means, variances and extremes; with padding there is no more.
    closed = all(isinstance(step, MinMax | Scaler | FillPadding) for _, step in steps)
    n_padded = len(spec.padded_columns)
    return MomentsAccumulator(
        len(spec.cont_columns), not closed and not n_padded, n_padded=n_padded, keep_blocks=keep_blocks
    )


def fit_pipe(
    inputs: Sequence[str],
    steps: Sequence[tuple[str, Step]],
    moments: Moments,
    batches: Callable[[], Batches],
) -> FittedPipe:
    """Fit the steps in turn, each on what comes out of those before it.

    Parameters
    ----------
    inputs : names of the continuous features.
    steps : what to fit.
    moments : of the raw features of the training split.
    batches : gives (file index, entries, features) of the training split anew; only called after a step whose effect on
        the moments is not known in closed form.
    """
    pipe = FittedPipe(tuple(inputs))
    may_miss = bool((moments.count_F < moments.n_rows).any())
    for i, (name, step) in enumerate(steps):
        before = pipe
        fitted = step.fit(moments, before.outputs)
        pipe = FittedPipe(pipe.inputs, (*pipe.steps, (name, fitted)))
        if isinstance(step, MinMax) and isinstance(fitted, MinMax):
            _report_outside(step, fitted, before, moments, batches)
        if i + 1 == len(steps):
            break
        if isinstance(fitted, Scaler | MinMax):
            moments = fitted.propagate(moments)
        else:
            moments = _moments_after(pipe, batches(), may_miss)
    return pipe


def _moments_after(pipe: FittedPipe, batches: Batches, may_miss: bool) -> Moments:
    """Moments of what comes out of a pipe that ends with a step of the user's.

    Where features may be missing, so may what is made of them; where the pipe keeps its features, only of those.
    """
    n_features = len(pipe.outputs)
    same = pipe.outputs == pipe.inputs
    accumulator = MomentsAccumulator(n_features, not may_miss, n_padded=n_features if may_miss else 0)
    is_spoilt = False
    for file_index, entry_N, features_NF in batches:
        outputs_NF = pipe.transform(features_NF)
        accumulator.add(file_index, entry_N, outputs_NF)
        bad = ~np.isfinite(outputs_NF)
        if may_miss:
            bad &= ~np.isnan(features_NF) if same else np.isinf(outputs_NF)
        is_spoilt |= bool(bad.any())
    if is_spoilt:
        raise DataError(
            f"step '{pipe.steps[-1][0]}' of the input pipe makes NaN or infinite features of finite ones",
            where="steps",
            remedy="Mend the step, or clip the features it cannot take.",
        )
    return accumulator.result()


def _report_outside(
    step: MinMax, fitted: MinMax, before: FittedPipe, moments: Moments, batches: Callable[[], Batches]
) -> None:
    """Count what is outside the limits that were given; without any, the data is not read again."""
    extremes = np.stack([moments.minimum_F, moments.maximum_F])
    if step.limits is None or not np.where(moments.count_F > 0, fitted.outside(extremes), 0).any():
        return
    outside_F = np.zeros(len(fitted.minimum), np.int64)
    for _, _, features_NF in batches():
        outside_F += fitted.outside(before.transform(features_NF))
    _log_outside(step, fitted, before.outputs, outside_F)


def _specs_limits(spec: PreprocessSpec) -> Limits:
    """The limits of all branches in the config's specs file; ConfigError where one of a feature is missing there."""
    assert spec.minmax is not None and spec.minmax.specs is not None
    specs = GlobalSpecs.load(spec.minmax.specs)
    limits = {name: (low, specs.maxv[name]) for name, low in specs.minv.items() if name in specs.maxv}
    if not spec.steps:  # which may give other names to the features
        known(limits, [*spec.cont_features, *spec.padded_features], spec.minmax.specs)
    return limits


def _log_outside(step: MinMax, fitted: MinMax, names: Sequence[str], outside_F: NDArray[np.int64]) -> None:
    """Log how many values of every branch lie outside the limits that were given."""
    counts: dict[str, int] = {}
    limits = dict(zip(names, zip(fitted.minimum, fitted.maximum, strict=True), strict=True))
    for name, n in zip(names, outside_F.tolist(), strict=True):
        if n:
            branch = step.branches.get(name, name)
            counts[branch] = counts.get(branch, 0) + n
            limits[branch] = limits[name]
    for branch, n in counts.items():
        low, high = limits[branch]
        logger.warning(
            "minmax: %s values of %s are outside [%g, %g] of the specs; they come out below 0 or above 1",
            f"{n:,}",
            branch,
            low,
            high,
        )

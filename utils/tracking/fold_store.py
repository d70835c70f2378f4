"""The folds of a training run: where one goes on, which are finished, what is left of them when all are."""

import shutil
from collections.abc import Callable
from pathlib import Path

from utils.logs import get_logger
from utils.models.ensemble import RoutedEnsemble
from utils.models.estimator import Estimator, FitContext
from utils.models.spec import TrainSpec
from utils.tracking.checkpoints import RunCheckpoints
from utils.tracking.model_store import load_ensemble, log_ensemble
from utils.tracking.recorder import RunRecorder

logger = get_logger(__name__)

MODEL = "model_{fold}"
_FINISHED = "finished"


class FoldStore:
    """Keeps every fold as soon as it is finished, and gives it back after an interruption.

    Parameters
    ----------
    recorder : writes to the run.
    spec : of the training.
    scratch : a folder that stays until the training ends.
    initial : fold → folder of a saved estimator to start from; None: from nothing.
    """

    def __init__(
        self, recorder: RunRecorder, spec: TrainSpec, scratch: Path, initial: Callable[[int], Path] | None = None
    ) -> None:
        self._recorder = recorder
        self._spec = spec
        self._scratch = scratch
        self._initial = initial

    def context(self, fold: int) -> FitContext:
        """What the fit of a fold may use."""
        return FitContext(
            fold=fold,
            checkpoints=None if self._spec.fast_dev_run else self._checkpoints(fold),
            fast_dev_run=self._spec.fast_dev_run,
            gpus=self._spec.gpus,
            n_processes=self._spec.n_processes,
            initial=None if self._initial is None else self._initial(fold),
            freeze=self._spec.freeze,
        )

    def finished(self, fold: int) -> Estimator | None:
        """The model of a fold that was finished before an interruption."""
        if not self._recorder.resumed or self._recorder.tags().get(_tag(fold)) != _FINISHED:
            return None
        self._checkpoints(fold).clear()
        folder = self._scratch / f"finished_{fold}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (estimator,) = load_ensemble(self._recorder.run_id, MODEL.format(fold=fold), folder).models
        logger.info("fold %d: finished before, taken from the run", fold)
        return estimator

    def keep(self, fold: int, ensemble: RoutedEnsemble) -> None:
        """Log `model_{fold}`, which is the ensemble of this one. What else is to be logged of the fold has to be.

        From now on the fold is finished, and its checkpoints go.
        """
        log_ensemble(ensemble, MODEL.format(fold=fold), self._recorder)
        self._recorder.tag(_tag(fold), _FINISHED)
        self._checkpoints(fold).clear()

    def _checkpoints(self, fold: int) -> RunCheckpoints:
        return RunCheckpoints(self._recorder, fold, self._scratch)


def _tag(fold: int) -> str:
    return f"crossfold.fold_{fold}"

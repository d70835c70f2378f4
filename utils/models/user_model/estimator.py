"""The estimator of `model=user_file`: whatever `model(idim)` of a user's file gives, trained in chunks.

Shape suffixes: N events, F features, K classes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from utils.errors import ConfigError, OutputError, RunError
from utils.loading import EventSource
from utils.loading.inputs import NetworkInputs
from utils.loading.shuffled import few_events
from utils.logs import get_logger
from utils.models.estimator import FitContext, Monitor
from utils.models.user_model.kinds import Events, Handled, handled, seeded
from utils.models.user_model.model_file import ModelFile
from utils.models.user_model.outputs import as_scores, check_width, meaning
from utils.models.user_model.settings import Settings
from utils.models.user_model.watching import measured, performance
from utils.plots.chunks import chunks_figure
from utils.plots.description import Figure

logger = get_logger(__name__)

DESCRIPTION_FILE, SOURCES = "user_model.json", "source"
# Events that are looked at after every epoch, of those trained on and of those watched.
WATCHED = 20_000
PREDICT_ROWS = 100_000


@dataclass(frozen=True)
class _Shape:
    """What is known of the data."""

    names: tuple[str, ...]
    padded: tuple[int, ...]
    n_classes: int
    is_autoencoder: bool

    @property
    def n_features(self) -> int:
        return len(self.names)

    @property
    def inputs(self) -> NetworkInputs:
        return NetworkInputs(self.names, self.padded)


class UserModelEstimator:
    """A Keras model, a torch module, or an estimator of scikit-learn's interface from a user's file.

    Parameters
    ----------
    params : see :class:`~utils.models.user_model.settings.Settings`.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = dict(params)
        self.settings = Settings.from_params(params)
        self.file = ModelFile.of(self.settings.file)
        self._shape = _Shape((), (), 0, False)
        self._model: Handled | None = None
        self._n_steps = 0
        self._fold = 0
        self._curves: dict[str, list[float]] = {}
        self._chunk_ends: list[int] = []

    def fit(self, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext = FitContext()) -> None:
        """Train on chunk after chunk; what the last one leaves is the model, as in MLaaS4HEP."""
        self._refuse(train, context)
        self._fold = context.fold
        data = train.data
        self.settings = self.settings.filled(data.skim.metadata.get("config", {}))
        self._shape = _Shape(data.feature_names, data.padded_indices, data.n_classes, data.task == "autoencoder")
        if context.fast_dev_run:
            train, valid = (few_events(source, int(self.settings.batch_size or 1)) for source in (train, valid))
        watched = self._events(few_events(valid, WATCHED), "validation events")
        with seeded(self._seed_of_libraries()):
            model = self._make()
            chunks = self._chunks(train, model)
            self._say(model, chunks, train)
            self._train(model, chunks, watched, monitor)
        self._model = model
        if self.settings.threshold is not None and not self._shape.is_autoencoder:
            scores_NK = self.predict(watched.features_NF)
            assert watched.class_N is not None
            logger.info("watched events: %s", performance(scores_NK, watched.class_N, self.settings.threshold))
        if self.settings.fout is not None and not context.fast_dev_run:
            self._write_copy(model, Path(self.settings.fout), context.fold)

    def _seed_of_libraries(self) -> int:
        """The seed, once the file has imported the libraries that it is for."""
        self.file.torch_train()
        return self.settings.seed

    def _refuse(self, train: EventSource, context: FitContext) -> None:
        if train.data.task == "regression":
            raise ConfigError(
                "a model file tells classes, or needs no labels", where="task", remedy="Choose another model."
            )
        for key, given in context.given().items():
            if given:
                raise ConfigError(
                    f"a model file has no use for {key}",
                    where=key,
                    remedy="Leave it out, or name your network to model=torch_mlp: model_param.network._target_=…",
                )

    def _make(self) -> Handled:
        """The model before its training, with its outputs understood."""
        shape = self._shape
        model = handled(self.file.make(shape.n_features), self.file)
        model.begin(self.settings, shape.n_classes, shape.n_features, shape.is_autoencoder)
        if model.is_network:
            zeros_NF = np.zeros((2, shape.n_features), np.float32)
            width = self._checked_width(model, zeros_NF)
            if self.settings.outputs != "auto":
                model.kind = self.settings.outputs
            elif model.kind == "probabilities":
                model.kind = meaning(model.outputs, shape.n_features, width)
        return model

    def _checked_width(self, model: Handled, features_NF: NDArray[np.float32]) -> int:
        shape = self._shape
        try:
            outputs = model.outputs(features_NF)
        except Exception as error:
            error.add_note(f"This came from the model of {self.file.path} with {features_NF.shape} features.")
            raise
        return check_width(outputs, len(features_NF), shape.n_classes, shape.n_features, shape.is_autoencoder)

    def _chunks(self, train: EventSource, model: Handled) -> list[EventSource]:
        """The training events in the order of the skim, as many at a time as params.json says."""
        size = int(self.settings.chunk_size or -1)
        if size == -1 or size >= train.n_events:
            return [train]
        if not model.learns_in_chunks:
            logger.info("the model learns from all events at once, not in chunks of %s", f"{size:,}")
            return [train]
        return [
            replace(
                train,
                rows_N=train.rows_N[start : start + size],
                weight_N=None if train.weight_N is None else train.weight_N[start : start + size],
            )
            for start in range(0, train.n_events, size)
        ]

    def _say(self, model: Handled, chunks: list[EventSource], train: EventSource) -> None:
        settings = self.settings
        order = "each over all chunks" if settings.is_standard else "of each chunk"
        how = f", {settings.epochs} epochs {order}, batches of {settings.batch_size}" if model.learns_in_chunks else ""
        n_events, path = f"{train.n_events:,}", self.file.path
        logger.info("%s model of %s: %s events in %d chunks%s", model.name, path, n_events, len(chunks), how)

    def _train(self, model: Handled, chunks: list[EventSource], watched: Events, monitor: Monitor) -> None:
        """All epochs of all chunks, in the order that the settings ask for."""
        self._n_steps, self._curves, self._chunk_ends = 0, {}, []
        before, events = None, None
        for chunk, n_epochs in self._schedule(chunks, int(self.settings.epochs or 1)):
            if events is None or chunk is not before:  # a chunk that is trained on again at once is read once
                before, events = chunk, self._events(chunk, "training events")
            watch = partial(self._watch, model, events, watched, monitor)
            model.fit(events, watched, n_epochs, watch)
            if not model.is_network and not self._chunk_ends and model.kind != "losses":
                self._checked_width(model, events.features_NF[:2])
            self._chunk_ends.append(self._n_steps)

    def _schedule(self, chunks: list[EventSource], n_epochs: int) -> Iterator[tuple[EventSource, int]]:
        """Chunks with the number of epochs to train on each before the next one."""
        if self.settings.is_standard and len(chunks) > 1:
            for _ in range(n_epochs):
                for chunk in chunks:
                    yield chunk, 1
        else:
            for chunk in chunks:
                yield chunk, n_epochs

    def _watch(self, model: Handled, events: Events, watched: Events, monitor: Monitor, own: dict[str, float]) -> None:
        self._n_steps += 1
        values = {f"train-model_{name}": value for name, value in own.items() if np.isfinite(value)}
        looked_at = Events(
            events.features_NF[:WATCHED],
            None if events.class_N is None else events.class_N[:WATCHED],
            None if events.weight_N is None else events.weight_N[:WATCHED],
        )
        for kind, some in (("train", looked_at), ("valid", watched)):
            scores_NK = self._scores(model, some.features_NF, None)
            values |= {f"{kind}-{name}": value for name, value in measured(scores_NK, some).items()}
        monitor(self._n_steps, values)
        for name, value in values.items():
            self._curves.setdefault(name, []).append(value)

    def _events(self, source: EventSource, what: str) -> Events:
        """Events as the model sees them: zero for padding."""
        batch = source.whole()
        features_NF, _ = self._shape.inputs.checked(batch.features_NF, what)
        return Events(features_NF, None if self._shape.is_autoencoder else batch.target_N, batch.weight_N)

    def _scores(
        self, model: Handled, features_NF: NDArray[np.float32], mask_NF: NDArray[np.bool_] | None
    ) -> NDArray[np.float32]:
        outputs = model.outputs(features_NF)
        if model.kind == "losses":
            return np.asarray(outputs, np.float32)
        if model.kind != "features":
            return as_scores(outputs, model.kind)
        squares_NF: NDArray[np.float64] = np.square(outputs.astype(np.float64) - features_NF)
        there_NF = np.ones(squares_NF.shape) if mask_NF is None else ~mask_NF
        mean_N = (squares_NF * there_NF).sum(axis=1) / np.maximum(there_NF.sum(axis=1), 1)
        losses_N1: NDArray[np.float32] = mean_N[:, None].astype(np.float32)
        return losses_N1

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, F) → (N, K) probabilities; without labels (N, 1) losses."""
        assert self._model is not None, "fit or load comes first"
        n_columns = 1 if self._shape.is_autoencoder else self._shape.n_classes
        scores_NK = np.empty((len(features_NF), n_columns), np.float32)
        for start in range(0, len(features_NF), PREDICT_ROWS):
            part_NF = features_NF[start : start + PREDICT_ROWS]
            what = f"events {start + 1:,} to {start + len(part_NF):,} of those to predict"
            checked_NF, mask_NF = self._shape.inputs.checked(part_NF, what)
            scores_NK[start : start + PREDICT_ROWS] = self._scores(self._model, checked_NF, mask_NF)
        return scores_NK

    def _write_copy(self, model: Handled, path: Path, fold: int) -> None:
        if fold:
            path = path.with_name(f"{path.stem}_{fold}{path.suffix}")
        # Libraries tell the format by the suffix, so what is unfinished keeps it.
        writing = path.with_name(f".writing_{path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OutputError("the folder exists already", where=str(path), remedy="Remove it, or name another fout.")
        model.write_copy(writing)
        writing.replace(path)
        logger.info("a copy of the model: %s", path)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the model."""
        assert self._model is not None, "fit or load comes first"
        return tuple(self._model.libraries)

    @property
    def n_iterations(self) -> int | None:
        """Epochs, those of all chunks counted."""
        return self._n_steps

    def figures(self) -> tuple[Figure, ...]:
        """AUC and loss over chunks and epochs."""
        if self._n_steps < 2 or not self._curves:
            return ()
        curves = {name: np.array(values) for name, values in self._curves.items()}
        figure = chunks_figure(curves, self._chunk_ends, f"fold {self._fold}")
        return (replace(figure, name=f"chunks_{self._fold}"),)

    def importances(self) -> Mapping[str, NDArray[np.float64]]:
        """Those of the model, where it has any."""
        assert self._model is not None, "fit or load comes first"
        return self._model.importances()

    def save(self, folder: Path) -> None:
        """The user's file with those it imports, and what the library of the model writes."""
        assert self._model is not None, "fit comes first"
        sources = folder / SOURCES
        sources.mkdir(exist_ok=True)
        for path in self.file.files():
            (sources / path.name).write_bytes(path.read_bytes())
        self._model.save(folder)
        content = {
            "settings": asdict(self.settings) | {"file": self.file.path.name, "params": None},
            "shape": asdict(self._shape),
            "kind": self._model.kind,
            "n_steps": self._n_steps,
        }
        (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`; the user's file is executed, as a run is trusted."""
        path = folder / DESCRIPTION_FILE
        if not path.is_file():
            raise RunError("no model of a user's file", where=str(folder), remedy="Train again.")
        content = json.loads(path.read_text())
        loaded = cls(content["settings"] | {"file": str(folder / SOURCES / content["settings"]["file"])})
        loaded._n_steps = content["n_steps"]
        shape = content["shape"]
        loaded._shape = _Shape(**{**shape, "names": tuple(shape["names"]), "padded": tuple(shape["padded"])})
        model = loaded._make()
        model.restore(folder)
        model.kind = content["kind"]
        loaded._model = model
        return loaded

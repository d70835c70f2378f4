"""LightGBM: the same trees as `lightgbm.train` on matrices, from a stream; and parameters that cannot be."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from tests.skims import open_skim, toy_events
from utils.errors import ConfigError
from utils.loading import EventSource, SkimData
from utils.logs import captured_log
from utils.models import lightgbm as module
from utils.models.crosstrain import predict_rows
from utils.models.lightgbm import LightGBMEstimator

N = 1200
PARAMS = {"num_iterations": 10, "num_leaves": 7, "min_data_in_leaf": 5, "seed": 1, "deterministic": True, "force_row_wise": True, "num_threads": 1}  # fmt: skip  # noqa: E501


def silent(step: int, values: Mapping[str, float]) -> None: ...


@pytest.fixture(params=[2, 4])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SkimData]:
    with open_skim(tmp_path / "train.h5", toy_events(N, n_classes=request.param)) as skim:
        yield SkimData.open(skim)


def halves(data: SkimData, weight: bool = False) -> tuple[EventSource, EventSource]:
    rows_N = np.arange(N)
    weight_N = np.linspace(0.5, 1.5, N // 2, dtype=np.float32) if weight else None
    return EventSource(data, rows_N[rows_N % 2 == 1], weight_N), EventSource(data, rows_N[rows_N % 2 == 0], weight_N)


def fitted(data: SkimData, monitor: Any = silent, weight: bool = False, **params: Any) -> LightGBMEstimator:
    made = LightGBMEstimator({**PARAMS, **params})
    made.fit(*halves(data, weight), monitor)
    return made


def scores(model: LightGBMEstimator, data: SkimData) -> np.ndarray:
    return predict_rows(model, data, np.arange(N))


@pytest.mark.parametrize("weight", [False, True])
def test_it_is_what_lightgbm_makes_of_the_whole_matrix(data: SkimData, weight: bool) -> None:
    """Bins are those of all events, so the reference shares them as well."""
    train, valid = halves(data, weight)
    everything = lightgbm.Dataset(
        data.features(0, N).astype(np.float64),
        label=data.target_N,
        categorical_feature=[3],
        params={"feature_pre_filter": False, "verbosity": -1},
        free_raw_data=False,
    ).construct()
    objective = {"objective": "binary"} if data.n_classes == 2 else {"objective": "multiclass", "num_class": 4}
    subset = everything.subset(train.rows_N.tolist()).construct()
    if weight:
        subset.set_weight(train.weight_N)
    booster = lightgbm.train({**PARAMS, **objective, "feature_pre_filter": False, "verbosity": -1}, subset)
    reference = booster.predict(data.features(0, N))
    reference_NK = np.stack([1 - reference, reference], axis=1) if data.n_classes == 2 else reference
    np.testing.assert_allclose(scores(fitted(data, weight=weight), data), reference_NK, atol=1e-6)
    assert valid.n_events == N // 2


@pytest.mark.parametrize("rows", [1, 37, 500])
def test_the_size_of_the_batches_it_is_binned_from_does_not_matter(
    data: SkimData, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_NK = scores(fitted(data), data)
    monkeypatch.setattr(module, "SEQUENCE_ROWS", rows)
    monkeypatch.setattr(module._SkimSequence, "batch_size", rows)
    module._binned.clear()
    # Fewer sampled rows than there are, so that single rows are asked for as well.
    np.testing.assert_array_equal(scores(fitted(data), data), expected_NK)
    sampled_NK = scores(fitted(data, bin_construct_sample_cnt=300), data)
    module._binned.clear()
    monkeypatch.undo()
    np.testing.assert_array_equal(scores(fitted(data, bin_construct_sample_cnt=300), data), sampled_NK)


def test_bins_are_shared_only_between_those_that_agree_on_them(data: SkimData) -> None:
    module._binned.clear()
    first_NK = scores(fitted(data), data)
    coarse_NK = scores(fitted(data, max_bin=5), data)
    assert not np.array_equal(first_NK, coarse_NK)
    assert len(module._binned[data.skim]) == 2
    np.testing.assert_array_equal(
        scores(fitted(data, min_data_in_leaf=20, learning_rate=0.05), data).shape, (N, data.n_classes)
    )
    assert len(module._binned[data.skim]) == 2
    np.testing.assert_array_equal(scores(fitted(data), data), first_NK)


def test_bins_are_forgotten_with_the_skim(tmp_path: Path) -> None:
    module._binned.clear()
    with open_skim(tmp_path / "train.h5", toy_events(N)) as skim:
        fitted(SkimData.open(skim))
        assert len(module._binned) == 1
    del skim
    assert len(module._binned) == 0


def test_early_stopping_keeps_the_best_iteration(data: SkimData, tmp_path: Path) -> None:
    points: dict[str, dict[int, float]] = {}

    def monitor(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            points.setdefault(name, {})[step] = value

    loss = "binary_logloss" if data.n_classes == 2 else "multi_logloss"
    model = fitted(data, monitor, num_iterations=300, early_stopping=5, learning_rate=0.5, is_training_metric=True)
    assert set(points) == {f"train-{loss}", f"valid-{loss}"}
    curve = points[f"valid-{loss}"]
    best = min(curve, key=lambda step: curve[step])
    assert model.n_iterations == best < 300
    assert max(curve) == best + 5
    shorter = fitted(data, num_iterations=best, learning_rate=0.5)
    np.testing.assert_array_equal(scores(model, data), scores(shorter, data))
    model.save(tmp_path)
    assert LightGBMEstimator.load(tmp_path).n_iterations == best


@pytest.mark.parametrize(
    "metric", [["multi_logloss", "multi_error"], ["binary_logloss", "binary_error"], "multi_logloss"]
)
def test_the_loss_has_the_name_that_the_number_of_classes_gives_it(data: SkimData, metric: Any) -> None:
    names: set[str] = set()
    fitted(data, lambda _, values: names.update(values), metric=metric, num_iterations=1)
    kind = "binary" if data.n_classes == 2 else "multi"
    losses = ["logloss", "error"] if isinstance(metric, list) else ["logloss"]
    assert names == {f"valid-{kind}_{loss}" for loss in losses}


def test_the_curve_is_the_loss(data: SkimData) -> None:
    points: list[float] = []
    model = fitted(data, lambda step, values: points.append(values[next(iter(values))]), weight=True)
    valid = halves(data, weight=True)[1]
    scores_NK = scores(model, data)[valid.rows_N].astype(np.float64)
    losses_N = -np.log(np.take_along_axis(scores_NK, valid.target_N[:, None].astype(int), axis=1)[:, 0])
    assert points[-1] == pytest.approx(np.average(losses_N, weights=valid.weight_N), rel=1e-4)
    assert len(points) == 10


@pytest.mark.parametrize("objective", ["multiclassova", "softmax"])
def test_scores_of_any_multiclass_objective_add_up_to_one(data: SkimData, objective: str) -> None:
    np.testing.assert_allclose(scores(fitted(data, objective=objective), data).sum(axis=1), 1, atol=1e-5)


def test_nothing_is_said_on_the_side(data: SkimData, capfd: pytest.CaptureFixture[str], recwarn: Any) -> None:
    """What `verbosity: 1` makes LightGBM say goes into the log file, at its level of detail."""
    with captured_log() as messages:
        fitted(data, num_boost_round=3, first_metric_only=True, verbosity=1, subsample=0.5, bagging_fraction=0.5)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn if "arameter" in str(warning.message)] == []
    assert any("Start training from score" in message for message in messages)


@pytest.mark.parametrize(
    ("params", "where", "text"),
    [
        (
            {"num_iteratons": 5},
            "model_param.num_iteratons",
            "no parameter 'num_iteratons'.*did you mean 'num_iterations'",
        ),
        (
            {"num_class": 7, "objective": "multiclass"},
            "model_param.num_class",
            r"num_class is 7, but the skim has [24] classes",
        ),
        ({"objective": "regression"}, "model_param.objective", "objective 'regression' gives no probabilities"),
        ({"objective": "binery"}, "model_param.objective", "objective 'binery' gives no probabilities"),
        ({"num_leaves": 1}, "model_param", "LightGBM refuses its parameters.*num_leaves"),
        ({"metric": "rocauc", "early_stopping": 5}, "model_param", "LightGBM refuses its parameters"),
    ],
)
def test_parameters_that_cannot_be_are_errors(data: SkimData, params: dict, where: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as raised:
        fitted(data, **params)
    assert raised.value.where == where


def test_parameters_may_be_text_as_yaml_reads_them(data: SkimData) -> None:
    np.testing.assert_array_equal(scores(fitted(data, learning_rate="2e-1"), data), scores(fitted(data, eta=0.2), data))


@pytest.mark.parametrize(("shift", "n_warnings"), [(0, 0), (-1, 1)])
def test_categories_that_lightgbm_would_take_for_missing_are_named(tmp_path: Path, shift: int, n_warnings: int) -> None:
    events = toy_events(N, n_classes=2)
    events.cat["njets"] = (events.cat["njets"] + shift).astype(np.int32)
    with captured_log() as log, open_skim(tmp_path / "train.h5", events) as skim:
        data = SkimData.open(skim)
        fitted(data)
        fitted(data, learning_rate=0.3)  # the bins are there already
    found = [line for line in log if "'njets' is negative for" in line]
    assert len(found) == n_warnings
    assert all(f"{(events.cat['njets'] < 0).sum()} events" in line for line in found)


# --- values ---


@pytest.fixture
def valued(tmp_path: Path) -> Iterator[SkimData]:
    events = toy_events(N, n_classes=2)
    misc = {"mass": 3 * events.cont["x"] + 5, "jets": events.cat["njets"].astype(np.float64)}
    with open_skim(tmp_path / "valued.h5", toy_events(N, n_classes=2, misc=misc)) as skim:
        yield SkimData.open(skim, task="regression", targets=("mass", "jets"))


def test_each_target_is_what_lightgbm_makes_of_it(valued: SkimData) -> None:
    model = fitted(valued, weight=True)
    train, _ = halves(valued, weight=True)
    for t in range(2):
        everything = lightgbm.Dataset(
            valued.features(0, N).astype(np.float64),
            label=valued.target_N[:, t],
            categorical_feature=[3],
            params={"feature_pre_filter": False, "verbosity": -1},
            free_raw_data=False,
        ).construct()
        subset = everything.subset(train.rows_N.tolist()).construct()
        subset.set_weight(train.weight_N)
        parameters = {**PARAMS, "objective": "regression", "feature_pre_filter": False, "verbosity": -1}
        expected = lightgbm.train(parameters, subset).predict(valued.features(0, N))
        np.testing.assert_array_equal(scores(model, valued)[:, t], expected.astype(np.float32))


def test_classes_and_values_of_one_skim_do_not_share_labels(valued: SkimData) -> None:
    classes = SkimData.open(valued.skim)
    before = scores(fitted(classes), classes)
    module._binned.clear()
    values = scores(fitted(valued), valued)
    np.testing.assert_array_equal(scores(fitted(classes), classes), before)
    one = SkimData.open(valued.skim, task="regression", targets=("jets",))
    np.testing.assert_array_equal(scores(fitted(one), one)[:, 0], values[:, 1])


@pytest.mark.parametrize(
    ("params", "metrics"),
    [
        ({}, {"l2"}),
        ({"metric": ["multi_logloss", "multi_error"]}, {"l2", "l1"}),
        ({"objective": "mae", "metric": ["multi_logloss", "multi_error"]}, {"l1"}),
        ({"objective": "huber", "metric": "binary_logloss"}, {"huber"}),
        ({"objective": "quantile", "metric": ["quantile", "l2"]}, {"quantile", "l2"}),
    ],
)
def test_the_metrics_of_classes_stand_for_those_of_values(
    valued: SkimData, params: dict[str, Any], metrics: set[str]
) -> None:
    seen: set[str] = set()
    fitted(valued, lambda step, values: seen.update(values), **params)
    assert seen == {f"valid-{metric}_{target}" for metric in metrics for target in ("mass", "jets")}


def test_an_objective_of_classes_tells_no_values(valued: SkimData) -> None:
    with pytest.raises(ConfigError, match=r"objective 'multiclass' gives no values"):
        fitted(valued, objective="multiclass")
    with pytest.raises(ConfigError, match=r"did you mean 'huber'"):
        fitted(valued, objective="hubr")
    with pytest.raises(ConfigError, match=r"LightGBM refuses its parameters"):
        fitted(SkimData.open(valued.skim, ("noise",), task="regression", targets=("y",)), objective="poisson")


def test_a_model_of_before_there_were_tasks_is_loaded(data: SkimData, tmp_path: Path) -> None:
    model = fitted(data)
    model.save(tmp_path)
    (tmp_path / module.OUTPUT_FILE).write_text(f'{{"n_classes": {data.n_classes}}}')
    np.testing.assert_array_equal(scores(LightGBMEstimator.load(tmp_path), data), scores(model, data))

"""The descriptions hold the right numbers, and classes are read from config as users write them."""

import re

import numpy as np
import pytest

from utils.errors import ConfigError, DataError
from utils.metrics import residual_histogram, residuals, response_profile, roc, value_plane
from utils.metrics.distributions import compare_fold
from utils.plots.anomaly import loss_figure
from utils.plots.classes import ClassInfo, classes_from_config, default_classes, parse_color, unique_names
from utils.plots.curves import error_envelope, rejection_figure, roc_figure
from utils.plots.description import Band, Bars, Heatmap, Line, Points, Steps
from utils.plots.numbers import plus_minus
from utils.plots.regression import plane_figure, residual_figure, response_figure
from utils.plots.scores import overtraining_figure
from utils.plots.style import PdfStyle
from utils.plots.training import LearningCurve, importance_figure, learning_figure


def test_every_figure_is_there_under_its_name(figures):
    assert set(figures) == {
        "roc_curve", "background_rejection", "pr_curve", "confusion_matrix_true", "confusion_matrix_pred",
        "density_H_sig", "density_fakes_b_others_b_x", "density_Z", "density_nothing",
        "overtraining_H_sig_fold_1", "learning_multi_logloss", "importance_gain",
        "residual_p_T_b_x_b", "response_p_T_b_x_b", "predicted_p_T_b_x_b", "loss",
    }  # fmt: skip


def test_roc_figure_draws_the_curve_and_prints_its_area(figures, events):
    scores, target, weight = events
    curve = roc(scores[:, 0], target == 0, weight)
    figure = figures["roc_curve"]
    lines = [layer for layer in figure.layers if isinstance(layer, Line)]
    np.testing.assert_array_equal(lines[0].x, curve.background_efficiency)
    np.testing.assert_array_equal(lines[0].y, curve.signal_efficiency)
    assert lines[0].label == f"H_sig: {curve.auc:.3f} ± {curve.auc_error:.3f}"
    assert lines[0].extra[0] == "score ≥"
    assert "nothing: undefined" in figure.labels
    assert "nothing: no signal events" in figure.caption
    assert sum(isinstance(layer, Band) for layer in figure.layers) == 3


def test_rejection_is_the_inverse_efficiency_down_to_one_effective_event(classes):
    curve = roc([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 0, 0])
    figure = rejection_figure([curve], classes[:1])
    line = next(layer for layer in figure.layers if isinstance(layer, Line))
    np.testing.assert_allclose(line.y, [3, 3, 1.5, 1])
    np.testing.assert_allclose(line.x, [0.5, 1, 1, 1])
    assert figure.y_axis.log


def test_no_curve_at_all_gives_a_message(classes):
    figure = roc_figure([roc([0.5], [1])], classes[:1])
    assert figure.layers == ()
    assert figure.message == "No class has a curve"


def test_band_has_the_height_of_the_error_on_a_flat_curve_and_its_width_on_a_steep_one():
    x, y = np.linspace(0, 1, 50), np.full(50, 0.5)
    flat = error_envelope(x, y, np.full(50, 0.1), np.full(50, 0.02), "#000000")
    np.testing.assert_allclose(flat.upper - flat.lower, 0.04)
    np.testing.assert_allclose(flat.x_upper, flat.x_lower)
    steep = error_envelope(y, x, np.full(50, 0.1), np.full(50, 0.02), "#000000")
    np.testing.assert_allclose(steep.x_lower - steep.x_upper, 0.2)
    diagonal = error_envelope(x, x, np.full(50, 0.3), np.full(50, 0.4), "#000000")
    # Perpendicular half-width: √((0.3² + 0.4²) / 2).
    distance = (diagonal.upper - diagonal.x_upper) / np.sqrt(2)
    np.testing.assert_allclose(distance, np.sqrt((0.09 + 0.16) / 2))


def test_densities_have_unit_area_and_shares_of_the_category(figures, events):
    scores, target, weight = events
    figure = figures["density_H_sig"]
    steps = [layer for layer in figure.layers if isinstance(layer, Steps)]
    assert len(steps) == 3
    for layer in steps:
        assert np.sum(layer.values * np.diff(layer.edges)) == pytest.approx(1)
    inside = scores.argmax(axis=1) == 0
    share = weight[inside & (target == 0)].sum() / weight[inside].sum()
    assert steps[0].label == f"H_sig ({100 * share:.1f}%)"
    assert [layer.fill > 0 for layer in steps] == [True, False, False]


def test_headroom_and_limits_leave_the_data_inside(figures):
    figure = figures["density_H_sig"]
    highest = max(float(np.max(layer.values)) for layer in figure.layers)
    assert figure.y_axis.limits[1] > highest
    assert figure.headroom > 0.2


def test_confusion_figure_keeps_rows_and_names(figures):
    (cells,) = figures["confusion_matrix_true"].layers
    assert isinstance(cells, Heatmap)
    np.testing.assert_allclose(cells.values[:3].sum(axis=1), 1)
    assert np.isnan(cells.values[3]).all()
    assert "nothing: no events of this true class" in figures["confusion_matrix_true"].caption


def test_overtraining_figure_shows_the_ks(figures):
    figure = figures["overtraining_H_sig_fold_1"]
    assert sum(isinstance(layer, Points) for layer in figure.layers) == 2
    assert sum("KS p" in label for label in figure.labels) == 2


def test_others_are_not_drawn_in_the_grey_of_the_class(events):
    scores, target, weight = events
    half = np.arange(600) % 2 == 0
    first, second = ((scores[m, 0], target[m], weight[m]) for m in (half, ~half))
    comparison = compare_fold(0, 1, first, second)
    colors = {}
    for name, color in (("Fakes", "#9c9ca1"), ("H_sig", "#e42536")):
        figure = overtraining_figure(comparison, [ClassInfo(name, color)])
        by_label = {layer.label.partition(",")[0]: layer.color for layer in figure.layers}
        assert by_label[name] == color
        colors[name] = by_label["others"]
    assert colors["H_sig"] == "#5a5a5a" != colors["Fakes"]


@pytest.mark.parametrize(("least", "decimals"), [(0.004, 3), (0.006, 2)])
def test_no_error_of_a_confusion_matrix_is_written_as_zero(least, decimals):
    errors = np.array([[0.02, least], [0.03, 0.02]])
    assert Heatmap(("a", "b"), ("a", "b"), np.full((2, 2), 0.5), errors, "share").decimals == decimals


def test_learning_figure_marks_the_best_round():
    figure = learning_figure("auc", [LearningCurve(2, np.array([0.6, 0.7]), np.array([0.5, 0.6]), 2)])
    (star,) = [layer for layer in figure.layers if isinstance(layer, Points)]
    assert (star.x[0], star.y[0]) == (2.0, 0.6)
    assert figure.labels == ("Fold 2, best at 2", "Training events")
    assert figure.legend == "lower right"
    assert learning_figure("x", []).message == "Nothing was monitored"
    assert learning_figure("x", [LearningCurve(0, np.array([1.0]), np.zeros(0))]).labels[0] == "Fold 0"


def test_importance_is_the_mean_of_shares_sorted(figures):
    (bars,) = figures["importance_gain"].layers
    assert isinstance(bars, Bars)
    assert bars.names == ("b", "a")
    np.testing.assert_allclose(bars.values, [0.5, 0.25])
    np.testing.assert_allclose(bars.errors, 0, atol=1e-12)
    assert "1 features of lower importance" in figures["importance_gain"].caption
    assert importance_figure(["a"], [[0.0]]).layers[0].values.tolist() == [0.0]
    with pytest.raises(DataError, match="2 feature names"):
        importance_figure(["a", "b"], [[1.0]])


def test_classes_as_users_write_them():
    classes = classes_from_config(
        {"1": {"name": "bkg"}, 0: {"name": "H_sig", "color": "194, 71, 92", "alpha": "0.6", "bin_size": "1e-2"}}
    )
    assert classes[0] == ClassInfo("H_sig", "#c2475c", 0.6, 0.01)
    assert classes[1] == ClassInfo("bkg", default_classes(["a", "b"])[1].color)
    assert parse_color("#C2475C") == parse_color([194, 71, 92]) == parse_color("rgb(194,71,92)") == "#c2475c"


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({0: {"name": "a", "colour": "1, 2, 3"}}, "did you mean 'color'"),
        ({0: {"name": "a", "color": "red"}}, "'red' is no colour"),
        ({0: {"name": "a", "color": "1, 2, 300"}}, "within 0 and 255"),
        ({0: {"color": "1, 2, 3"}}, "no name"),
        ({0: {"name": "a"}, 2: {"name": "b"}}, r"numbered \[0, 2\]"),
        ({"x": {"name": "a"}}, "not class numbers"),
        ({0: {"name": "a"}, 1: {"name": "a"}}, "two classes are called 'a'"),
        ({0: {"name": "a", "bin_size": "wide"}}, "'wide' is no number"),
        ({0: {"name": "a", "bin_size": 0}}, "bin_size is 0"),
        ({0: {"name": "a", "alpha": 2}}, "alpha is 2"),
        ({}, "numbered"),
    ],
)
def test_bad_classes_are_named(info, message):
    with pytest.raises(ConfigError, match=message):
        classes_from_config(info)


def test_file_names_are_safe_and_differ():
    assert unique_names(default_classes(["t#bar{t}", "a/b", "a b", "Z→ττ"])) == ("t_bar_t", "a_b_1", "a_b_2", "Z")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.91284, 0.0041, "0.913 ± 0.004"),
        (0.91284, 0.0013, "0.9128 ± 0.0013"),
        (0.91284, 0.00097, "0.9128 ± 0.0010"),
        (12.3, 4.0, "12 ± 4"),
        (0.5, float("nan"), "0.500"),
        (float("nan"), 0.1, "undefined"),
    ],
)
def test_numbers_are_rounded_as_the_pdg_does(value, error, text):
    assert plus_minus(value, error) == text


def test_styles():
    assert PdfStyle("LHCb2", "Preliminary").experiment == "LHCb"
    assert PdfStyle("CMS", "Private work (CMS simulation)").experiment == ""
    with pytest.raises(ConfigError, match="did you mean 'CMS'"):
        PdfStyle("cms")


def test_residuals_say_bias_and_resolution_and_what_lies_outside(figures):
    figure = figures["residual_p_T_b_x_b"]
    (steps,) = figure.layers
    assert re.fullmatch(r"bias -?\d\.\d+ ± 0\.\d+, resolution \d\.\d+", steps.label)
    assert re.search(r"[\d.]+% lie outside", figure.caption)
    assert figure.x_axis.limits == (steps.edges[0], steps.edges[-1])


def test_the_response_has_a_point_in_the_middle_of_every_bin(figures):
    band, line, points = figures["response_p_T_b_x_b"].layers
    np.testing.assert_allclose(points.y, 1.0, atol=0.1)
    np.testing.assert_array_equal(line.y, 1.0)
    assert (np.diff(band.x_lower)[1::2] == 0).all(), "bins touch"
    assert (band.lower[::2] <= points.y).all()
    assert (points.y <= band.upper[::2]).all()


def test_a_regression_without_events_says_so():
    nothing = residual_figure("pt", residual_histogram([], []), residuals([], []))
    assert nothing.message == "No residuals: no events"
    assert response_figure("pt", response_profile([], [])).message is not None
    assert plane_figure("pt", value_plane([], [])).message == "No events"
    assert loss_figure([None], default_classes(["qcd"])).message == "No events"

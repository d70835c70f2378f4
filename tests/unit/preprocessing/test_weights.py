"""The columns that are known only at the end, and the cutflow, against numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from utils.errors import DataError
from utils.preprocessing.spec import NonFinite, Process, Sample

CP = ("evt", "weight", "w_class_imbalance", "class_weight", "w_cp")


def test_the_class_imbalance_is_per_node(skims: Callable[..., Any]) -> None:
    run = skims()
    for node in run.nodes.values():
        n_class = np.bincount(node["target"])
        assert np.array_equal(node["w_class_imbalance"], len(node["target"]) / n_class[node["target"]])
    assert not np.array_equal(
        np.unique(run.nodes["train"]["w_class_imbalance"]), np.unique(run.nodes["test"]["w_class_imbalance"])
    )


def test_class_weights_are_signed_and_over_both_nodes(skims: Callable[..., Any]) -> None:
    run = skims(misc_features=CP, compute_w_CP=True)
    weight, target = run.both("weight").astype(np.float64), run.both("target")
    assert (weight < 0).any()
    sums = np.array([weight[target == i].sum() for i in range(4)])
    class_weight = sums.sum() / sums
    np.testing.assert_allclose(run.both("class_weight"), class_weight[target], rtol=1e-12)
    np.testing.assert_allclose(run.both("w_cp"), np.abs(weight) * class_weight[target], rtol=1e-12)
    assert run.nodes["train"]["w_cp"].dtype == np.float64
    # What the weights are for: every class has the same sum of |w| · class_weight · sign(w).
    np.testing.assert_allclose(
        [(run.both("w_cp") * np.sign(weight))[target == i].sum() for i in range(4)], sums.sum(), rtol=1e-9
    )


def test_a_class_of_negative_yield_has_a_negative_weight(skims: Callable[..., Any]) -> None:
    run = skims(
        misc_features=CP,
        new_variables={"weight": "where(njets>2, -0.1, 0.25)"},
        input_samples=(Sample("signal", (Process("neg", "njets>2", 0), Process("pos", "njets<=2", 1))),),
    )
    for name in ("class_weight", "w_cp"):
        assert (run.of("train", target=0)[name] < 0).all()
        assert (run.of("train", target=1)[name] > 0).all()


def test_a_class_whose_weights_sum_to_zero_has_no_class_weight(skims: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="weights of class zero sum to zero"):
        skims(
            misc_features=CP,
            new_variables={"weight": "where(njets>1, 0., 1.)"},
            input_samples=(Sample("signal", (Process("zero", "njets>1", 0), Process("one", "njets<=1", 1))),),
        )


@pytest.mark.parametrize("misc", [None, ("evt",), ("w_cp",), ("weight", "w_cp", "evt")])
def test_compute_w_cp_adds_the_columns_it_computes(skims: Callable[..., Any], misc: tuple[str, ...] | None) -> None:
    run = skims(misc_features=misc, compute_w_CP=True)
    assert {"class_weight", "w_cp", *(misc or ())} <= set(run.groups["train"]["misc_features"])
    assert (run.both("w_cp") == np.abs(run.both("weight")) * run.both("class_weight")).all()


def test_a_weight_that_is_also_a_feature(skims: Callable[..., Any]) -> None:
    run = skims(cont_features=("pt_1", "weight"), misc_features=("w_cp",))
    assert (run.both("w_cp") > 0).all()


def test_a_misc_feature_that_is_a_feature_is_stored_once(skims: Callable[..., Any]) -> None:
    run = skims(misc_features=("pt_1", "njets", "evt", "target", "group_name", "entry"))
    assert run.groups["train"]["misc_features"] == ("evt",)
    assert {"pt_1", "njets", "target", "group_name", "entry"} <= set(run.nodes["train"])


def lines(run: Any) -> dict[tuple[str, str, str], tuple[int, float, float]]:
    return {(s.sample, s.process, s.step): (s.n_events, s.sum_w, s.sqrt_sum_w2) for s in run.result.cutflow}


def sums(weight: np.ndarray) -> tuple[int, float, float]:
    weight = weight.astype(np.float64)
    return len(weight), weight.sum(), np.sqrt((weight**2).sum())


def test_the_cutflow(skims: Callable[..., Any], toy_file: Callable[..., Any]) -> None:
    run = skims()
    flow = lines(run)
    signal, taus = toy_file(400, 0), toy_file(330, 2)
    cut = (signal["pt_1"] > 20) & (signal["njets"] < 4)
    expected = {
        ("signal", "H_sig", "read"): sums(signal["weight"]),
        ("signal", "H_sig", "cut"): sums(signal["weight"][cut]),
        ("signal", "H_loose", "read"): sums(signal["weight"]),
        ("signal", "H_loose", "cut"): sums(signal["weight"][signal["pt_1"] > 10]),
        ("taus", "Taus", "read"): sums(taus["weight"]),
        ("taus", "Taus", "cut"): sums(taus["weight"]),
    }
    for key, numbers in expected.items():
        assert flow[key] == pytest.approx(numbers, rel=1e-12), key
    for node in ("train", "test"):
        for sample, process in (("signal", "H_sig"), ("signal", "H_loose"), ("fakes", "Fakes"), ("rare", "Rare")):
            assert flow[sample, process, node] == pytest.approx(sums(run.of(node, group_name=process)["weight"]))
    assert len(flow) == 5 * 4
    stored = [tuple(line.values()) for line in run.metadata["test"]["cutflow"]]
    assert stored == [(*key, *numbers) for key, numbers in flow.items()]


def test_without_a_weight_yields_are_numbers_of_events(skims: Callable[..., Any]) -> None:
    for n, sum_w, sqrt_sum_w2 in lines(skims(weight_name=None)).values():
        assert sum_w == n
        assert sqrt_sum_w2 == pytest.approx(np.sqrt(n))


def test_dropped_events_are_gone_from_the_nodes_lines(skims: Callable[..., Any]) -> None:
    run = skims(
        new_variables={"root": "sqrt(eta_1)"}, cont_features=("root",), non_finite=NonFinite("drop"), scaler=None
    )
    flow = lines(run)
    kept = flow["taus", "Taus", "train"][0] + flow["taus", "Taus", "test"][0]
    assert 0 < kept < flow["taus", "Taus", "cut"][0] == 330


def test_the_result_counts_what_it_did(skims: Callable[..., Any], toys: Callable[[int], Any]) -> None:
    run = skims()
    result = run.result
    assert result.n_read == 400 + 250 + 330 + 9
    assert result.n_bytes == sum(path.stat().st_size for path in toys(100).glob("*.root"))
    assert result.n_rows == {node: len(columns["evt"]) for node, columns in run.nodes.items()}
    assert result.class_names == ("H_sig", "H_loose", "Fakes", "Taus")
    for node, columns in run.nodes.items():
        assert list(result.class_counts[node]) == np.bincount(columns["target"], minlength=4).tolist()
        assert run.metadata[node]["class_counts"] == list(result.class_counts[node])
        assert run.metadata[node]["n_rows"] == result.n_rows[node]
        assert run.metadata[node]["node"] == node
        assert run.metadata[node]["config"] == {"year": "2018"}

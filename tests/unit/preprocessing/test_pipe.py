"""The input pipe: fitted on the train node, as scikit-learn would, and loaded without executing anything."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from utils.errors import CrossfoldError, DataError, SkimError
from utils.factory import Factory
from utils.preprocessing.pipe import FittedPipe, Pca, Scaler
from utils.preprocessing.spec import PcaSpec, ScalerSpec

FEATURES = ("pt_1", "m_vis", "eta_1")
# Correlated, and of very different scales.
CORRELATED = {"mix": "m_vis + 2*eta_1 + 0.01*pt_1", "large": "1e6 + pt_1"}


def raw(run: Any, node: str = "train", names: tuple[str, ...] = FEATURES) -> np.ndarray:
    return np.stack([run.nodes[node][name] for name in names], axis=1).astype(np.float64)


@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize("with_std", [True, False])
def test_the_scaler_is_scikit_learns_on_the_train_node(
    skims: Callable[..., Any], with_mean: bool, with_std: bool
) -> None:
    run = skims(scaler=ScalerSpec(with_mean, with_std))
    reference = StandardScaler(with_mean=with_mean, with_std=with_std).fit(raw(run))
    for node in ("train", "test"):
        np.testing.assert_allclose(
            run.result.pipe.transform(raw(run, node)), reference.transform(raw(run, node)), rtol=1e-5, atol=1e-6
        )
    (_, scaler) = run.result.pipe.steps[0]
    if with_std:
        np.testing.assert_allclose(scaler.scale, reference.scale_, rtol=1e-9)
    if with_mean:
        np.testing.assert_allclose(scaler.mean, reference.mean_, rtol=1e-9)


def test_a_large_offset_costs_no_digits(skims: Callable[..., Any]) -> None:
    run = skims(new_variables=CORRELATED, cont_features=("large", "mix"))
    reference = StandardScaler().fit(raw(run, names=("large", "mix")))
    np.testing.assert_allclose(run.result.pipe.steps[0][1].scale, reference.scale_, rtol=1e-9)


@pytest.mark.parametrize("value", ["5.5", "0*pt_1", "0.1 + 0*pt_1", "1e30 + 0*pt_1"])
def test_a_constant_feature_is_only_shifted(skims: Callable[..., Any], value: str) -> None:
    run = skims(new_variables={"flat": value}, cont_features=("pt_1", "flat"))
    assert run.result.pipe.steps[0][1].scale[1] == 1.0
    transformed = run.result.pipe.transform(raw(run, names=("pt_1", "flat")))
    assert np.array_equal(transformed[:, 1], np.zeros(len(transformed)))


@pytest.mark.parametrize("scaler", [ScalerSpec(), ScalerSpec(with_std=False), None])
@pytest.mark.parametrize(("n_components", "whiten"), [(None, False), (2, False), (3, True), (1, True)])
def test_pca_is_scikit_learns_up_to_the_sign(
    skims: Callable[..., Any], scaler: ScalerSpec | None, n_components: int | None, whiten: bool
) -> None:
    names = (*FEATURES, "mix")
    run = skims(new_variables=CORRELATED, cont_features=names, scaler=scaler, pca=PcaSpec(n_components, whiten))
    prepared = {node: raw(run, node, names) for node in ("train", "test")}
    if scaler is not None:
        standard = StandardScaler(with_std=scaler.with_std).fit(prepared["train"])
        prepared = {node: standard.transform(values) for node, values in prepared.items()}
    reference = PCA(n_components=n_components, whiten=whiten, svd_solver="full").fit(prepared["train"])
    pipe = run.result.pipe
    for node in ("train", "test"):
        ours, theirs = pipe.transform(raw(run, node, names)), reference.transform(prepared[node])
        assert ours.shape == theirs.shape
        n_meaningful = ours.shape[1] if n_components else 3  # `mix` follows from the others: one direction is noise
        signs = np.sign((ours * theirs).sum(axis=0))
        # scikit-learn whitens by N − 1.
        tolerance = 2e-3 if whiten else 1e-4
        np.testing.assert_allclose(
            (ours * signs)[:, :n_meaningful], theirs[:, :n_meaningful], rtol=tolerance, atol=tolerance
        )
    assert pipe.outputs == tuple(f"pca_{i}" for i in range(ours.shape[1]))


def test_the_sign_of_a_component_is_fixed(skims: Callable[..., Any]) -> None:
    components = np.array(skims(pca=PcaSpec()).result.pipe.steps[-1][1].components)
    assert (components[np.arange(3), np.abs(components).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("n_components", [4, -1])
def test_more_components_than_features(skims: Callable[..., Any], n_components: int) -> None:
    with pytest.raises(CrossfoldError, match=f"n_components is {n_components} for 3 features"):
        skims(pca=PcaSpec(n_components))


def test_no_scaler_and_no_pca_is_the_identity(skims: Callable[..., Any]) -> None:
    run = skims(scaler=None)
    assert run.result.pipe == FittedPipe(FEATURES)
    assert np.array_equal(run.result.pipe.transform(raw(run)), raw(run).astype(np.float32))
    assert json.loads(run.pipe_text) == {"inputs": list(FEATURES), "steps": []}


def test_a_step_from_a_users_file_comes_first(skims: Callable[..., Any], steps_file: Path) -> None:
    target = f"{steps_file}:SignedLog"
    run = skims(steps=(Factory(target, {"unit": 10.0}),), pca=PcaSpec(2))
    pipe = run.result.pipe
    assert [name for name, _ in pipe.steps] == [target, "scaler", "pca"]

    features = np.concatenate([raw(run), raw(run)[:, :1] * raw(run)[:, 1:2]], axis=1)
    logs = np.sign(features) * np.log1p(np.abs(features) / 10.0)
    scaled = StandardScaler().fit_transform(logs)
    np.testing.assert_allclose(pipe.steps[1][1].mean, logs.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(pipe.steps[1][1].scale, logs.std(axis=0), rtol=1e-6)
    reference = PCA(2).fit_transform(scaled)
    ours = pipe.transform(raw(run))
    np.testing.assert_allclose(np.abs(ours), np.abs(reference), rtol=1e-3, atol=1e-4)


def test_a_users_step_is_never_loaded_on_the_files_word(skims: Callable[..., Any], steps_file: Path) -> None:
    target = f"{steps_file}:SignedLog"
    run = skims(steps=(Factory(target, {"unit": 10.0}),))
    path = run.folder / "input_pipe.json"
    written = path.read_text()
    for text in (written, written.replace(target, "os.system")):
        path.write_text(text)
        with pytest.raises(SkimError, match=r"a step '.*' that is not built in"):
            FittedPipe.load(path)
    path.write_text(written)
    again = FittedPipe.load(path, {target: type(Factory(target)())})
    assert again == run.result.pipe
    assert np.array_equal(again.transform(raw(run)), run.result.pipe.transform(raw(run)))


def test_a_step_that_makes_nan_is_an_error(skims: Callable[..., Any], steps_file: Path) -> None:
    with pytest.raises(DataError, match=r"step '.*:Root' of the input pipe makes NaN"):
        skims(steps=(Factory(f"{steps_file}:Root"),))


@pytest.mark.parametrize("name", ["input_pipe", "input_pipe.json", "input_pipe.pkl"])
def test_the_file_is_found_under_its_old_name(skims: Callable[..., Any], name: str) -> None:
    run = skims(pca=PcaSpec())
    (run.folder / "input_pipe.pkl").write_bytes(b"\x80never opened")
    pipe = FittedPipe.load(run.folder / name)
    assert pipe == run.result.pipe
    assert pipe.transform(raw(run)).tobytes() == run.result.pipe.transform(raw(run)).tobytes()


def test_a_pipe_named_with_a_dot(skims: Callable[..., Any]) -> None:
    run = skims(pipe_name="pipe.v2")
    assert FittedPipe.load(run.folder / "pipe.v2") == run.result.pipe


def test_the_skims_carry_the_pipe(skims: Callable[..., Any]) -> None:
    run = skims(pca=PcaSpec())
    for node in ("train", "test"):
        assert FittedPipe.from_dict(run.metadata[node]["input_pipe"]) == run.result.pipe


def test_a_missing_pipe(tmp_path: Path) -> None:
    with pytest.raises(SkimError, match=r"no such input pipe, in .*nowhere\.json"):
        FittedPipe.load(tmp_path / "nowhere.pkl")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"inputs": ["pt"]}', '{"inputs": ["pt"], "steps": [{"step": "scaler"}]}']
)
def test_a_file_that_is_no_pipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "input_pipe.json").write_text(text)
    with pytest.raises(SkimError, match=r"not an input pipe.*input_pipe\.json"):
        FittedPipe.load(tmp_path / "input_pipe")


def test_bytes_that_are_no_text_are_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "input_pipe.json").write_bytes(b"\x80\x04\x95")
    with pytest.raises(SkimError, match="not an input pipe"):
        FittedPipe.load(tmp_path / "input_pipe")


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.permutations(range(4)), st.integers(1, 4), st.lists(NUMBERS, min_size=4, max_size=4))
def test_a_restricted_scaler_does_the_same_to_what_is_left(order: list[int], n: int, mean: list[float]) -> None:
    names = ("a", "b", "c", "d")
    pipe = FittedPipe(names, (("scaler", Scaler(True, True, tuple(mean), (1.0, 2.0, 0.5, 10.0))),))
    chosen = order[:n]
    few = pipe.restricted([names[i] for i in chosen])
    features = np.random.default_rng(0).normal(0, 100, (20, 4)).astype(np.float32)
    assert few.inputs == few.outputs == tuple(names[i] for i in chosen)
    assert np.array_equal(few.transform(features[:, chosen]), pipe.transform(features)[:, chosen])


def test_a_pipe_that_mixes_features_is_not_restricted() -> None:
    pipe = FittedPipe(("a", "b"), (("pca", Pca(1, False, (0.0, 0.0), ((1.0, 0.0),), (1.0,))),))
    assert pipe.restricted(["a", "b"]) is pipe
    with pytest.raises(SkimError, match="step 'pca' of the input pipe mixes features"):
        pipe.restricted(["a"])


def test_nan_stays_in_its_row() -> None:
    pipe = FittedPipe(
        ("a", "b"),
        (
            ("scaler", Scaler(True, True, (1.0, 2.0), (2.0, 2.0))),
            ("pca", Pca(2, True, (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)), (1.0, 0.0))),
        ),
    )
    features = np.array([[1, 2], [np.nan, 0], [3, 4]], np.float32)
    transformed = pipe.transform(features)
    assert transformed.dtype == np.float32
    assert np.array_equal(transformed[[0, 2]], [[0, 0], [1, 1]])
    assert np.isnan(transformed[1]).any()
    assert np.isnan(features[1, 0]), "the input was changed"


def test_a_feature_that_follows_from_others_is_not_blown_up(skims: Callable[..., Any]) -> None:
    run = skims(
        new_variables={"twice": "2*pt_1", "flat": "3.0"},
        cont_features=("pt_1", "twice", "eta_1", "flat"),
        pca=PcaSpec(whiten=True),
    )
    transformed = run.result.pipe.transform(raw(run, names=("pt_1", "twice", "eta_1", "flat")))
    np.testing.assert_allclose(transformed.std(axis=0), [1, 1, 0, 0], atol=1e-5)


@pytest.mark.parametrize(
    "content",
    [None, [], "pipe", {}, {"inputs": ["x"]}, {"inputs": ["x"], "steps": [{}]}, {"inputs": ["x"], "steps": 3},
     {"inputs": ["x"], "steps": [{"step": "scaler", "mean": [0.0]}]}, {"inputs": 5, "steps": []}],
)  # fmt: skip
def test_what_is_no_pipe_is_an_error_with_its_place(content: Any) -> None:
    with pytest.raises(SkimError, match="not an input pipe") as raised:
        FittedPipe.from_dict(content, where="train.h5")
    assert raised.value.where == "train.h5"

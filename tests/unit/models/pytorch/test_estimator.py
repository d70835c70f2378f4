"""The estimator in torch: users' networks, weights to start from, what is frozen, and inputs that cannot be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.networks import Recorder, fitted, halves  # noqa: E402
from tests.skims import open_skim, toy_events  # noqa: E402
from utils.errors import ConfigError, DataError, RunError  # noqa: E402
from utils.loading import EventSource, SkimData  # noqa: E402
from utils.models.estimator import Described, FitContext, load_estimator, save_estimator  # noqa: E402
from utils.models.neural.world import World  # noqa: E402
from utils.models.pytorch.estimator import TorchEstimator  # noqa: E402

N = 600
SMALL: dict[str, Any] = {"network": {"hidden": [16]}, "epochs": 3, "batch_size": 64, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    with open_skim(tmp_path_factory.mktemp("skim") / "train.h5", toy_events(N, n_classes=3)) as skim:
        yield SkimData.open(skim)


@pytest.fixture(scope="module")
def saved(data: SkimData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "fold_0"
    save_estimator(fitted(data, TorchEstimator(SMALL)), folder)
    return folder


def weights(estimator: Any) -> dict[str, Any]:
    return dict(estimator.network.state_dict())


class Own(torch.nn.Module):
    """A user's network: a convolution over the features, asking for no categories, told what is padding."""

    def __init__(self, n_features: int, n_outputs: int, channels: int = 4) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv1d(1, channels, 3, padding=1)
        self.norm = torch.nn.BatchNorm1d(channels)
        self.last = torch.nn.LazyLinear(n_outputs)

    def forward(self, features: Any, mask: Any) -> Any:
        assert mask.shape == features.shape and mask.dtype == torch.bool
        kept = torch.where(mask, torch.zeros_like(features), features)
        return self.last(self.norm(self.convolution(kept[:, None])).relu().flatten(1))


def test_a_network_of_the_users_own_goes_along_with_the_model(data: SkimData, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(Path(__file__).read_text())
    params = {**SMALL, "epochs": 8, "network": {"_target_": f"{mine}:Own", "channels": 3}}
    recorder = Recorder()
    made = fitted(data, TorchEstimator(params), monitor=recorder)
    assert recorder.curve("valid-auc")[-1] > 0.7
    assert made.network.convolution.out_channels == 3
    save_estimator(made, tmp_path / "model")
    mine.unlink()
    features_NF = data.features(0, N)
    loaded = load_estimator(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(features_NF), made.predict(features_NF))
    save_estimator(loaded, tmp_path / "again")
    (tmp_path / "model").rename(tmp_path / "moved")
    again = load_estimator(tmp_path / "again")
    np.testing.assert_array_equal(again.predict(features_NF), made.predict(features_NF))


WRONG = """
import torch

class Shape(torch.nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layer = torch.nn.Linear(n_features, n_outputs + 1)
    def forward(self, features):
        return self.layer(features)

class Pair(Shape):
    def forward(self, features):
        return self.layer(features), features

class Raises(Shape):
    def forward(self, features):
        return self.layer(features[:, :2])

class Broken(torch.nn.Module):
    def __init__(self, n_features, n_outputs):
        raise KeyError("depth")

def none(n_features):
    return None
"""


@pytest.mark.parametrize(
    ("name", "kind", "message", "note"),
    [
        ("Shape", ConfigError, r"gives \(2, 4\) for two events, not \(2, 3\).*n_outputs = 3", None),
        ("Pair", ConfigError, "gives tuple for two events", None),
        ("Raises", RuntimeError, "shapes cannot be multiplied", r"network Raises with \(2, 4\) features"),
        ("Broken", KeyError, "depth", "making the network .*Broken"),
        ("none", ConfigError, "gives a NoneType, not a torch.nn.Module", None),
    ],
)
def test_a_network_that_does_not_fit(
    data: SkimData, tmp_path: Path, name: str, kind: type[Exception], message: str, note: str | None
) -> None:
    (tmp_path / "net.py").write_text(WRONG)
    with pytest.raises(kind, match=message) as caught:
        fitted(data, TorchEstimator({**SMALL, "network": {"_target_": f"{tmp_path / 'net.py'}:{name}"}}))
    if note is not None:
        import re

        assert re.search(note, "\n".join(caught.value.__notes__))
        assert any("net.py" in str(entry.path) for entry in caught.traceback), "its own traceback is there"


def test_other_features_than_it_was_asked_for(data: SkimData) -> None:
    with pytest.raises(ConfigError, match="takes no argument 'hiden'.*did you mean 'hidden'"):
        fitted(data, TorchEstimator({**SMALL, "network": {"hiden": [4]}}))


def test_it_starts_from_other_weights(data: SkimData, saved: Path) -> None:
    slow = {**SMALL, "epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    continued = fitted(data, TorchEstimator(slow), FitContext(initial=saved))
    for name, value in weights(load_estimator(saved)).items():
        torch.testing.assert_close(weights(continued)[name], value, atol=1e-6, rtol=0)


def test_weights_that_do_not_fit_name_the_first_layer(data: SkimData, saved: Path) -> None:
    wide = TorchEstimator({**SMALL, "network": {"hidden": [17]}})
    with pytest.raises(ConfigError, match=r"'layers.0.weight' of the network is \(17, 8\), and \(16, 8\)") as caught:
        fitted(data, wide, FitContext(initial=saved))
    assert caught.value.where == "init_from"
    with pytest.raises(ConfigError, match="'layers.2.weight' of the network is .16, 16., and .3, 16."):
        fitted(data, TorchEstimator({**SMALL, "network": {"hidden": [16, 16]}}), FitContext(initial=saved))


def test_features_that_do_not_fit(data: SkimData, saved: Path) -> None:
    fewer = SkimData.open(data.skim, ("x", "noise"), data.cat_features)
    with pytest.raises(ConfigError, match="other features .differing: y."):
        fitted(fewer, TorchEstimator(SMALL), FitContext(initial=saved))
    turned = SkimData.open(data.skim, ("y", "x", "noise"), data.cat_features)
    with pytest.raises(ConfigError, match="their order"):
        fitted(turned, TorchEstimator(SMALL), FitContext(initial=saved))


def test_a_model_of_another_kind_to_start_from(data: SkimData, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no network in torch"):
        fitted(data, TorchEstimator(SMALL), FitContext(initial=tmp_path))


def test_what_is_frozen_stays(data: SkimData, saved: Path) -> None:
    before = weights(load_estimator(saved))
    made = fitted(data, TorchEstimator(SMALL), FitContext(initial=saved, freeze=("embeddings", r"layers\.0\.bias")))
    for name, value in weights(made).items():
        stays = name.startswith("embeddings") or name == "layers.0.bias"
        assert torch.equal(value, before[name]) == stays, name


def test_frozen_norms_keep_their_statistics(data: SkimData) -> None:
    params = {**SMALL, "network": {"_target_": f"{__file__}:Own"}}
    free = weights(fitted(data, TorchEstimator(params)))
    frozen = weights(fitted(data, TorchEstimator(params), FitContext(freeze=("norm",))))
    assert int(frozen["norm.num_batches_tracked"]) == 0 < int(free["norm.num_batches_tracked"])
    assert torch.equal(frozen["norm.running_mean"], torch.zeros(4))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("layer.0", "no parameter of the network matches 'layer.0'.*did you mean 'layers.0'"),
        ("(", "is no regular expression"),
        (".*", "no parameter is left to train"),
    ],
)
def test_what_cannot_be_frozen(data: SkimData, pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        fitted(data, TorchEstimator(SMALL), FitContext(freeze=(pattern,)))
    assert caught.value.where == "freeze"


def test_a_try_is_one_batch_of_one_epoch(data: SkimData) -> None:
    recorder, seen = Recorder(), []

    class Noting(TorchEstimator):
        def batches(self, train: EventSource, *rest: Any) -> Any:
            seen.append(train.n_events)
            return super().batches(train, *rest)

        def _watched(self, train: EventSource, valid: EventSource, world: World) -> Any:
            seen.append(valid.n_events)
            return super()._watched(train, valid, world)

    made = fitted(data, Noting({**SMALL, "batch_size": 50}), FitContext(fast_dev_run=True), recorder)
    assert seen == [50, 50]
    assert len(recorder.values) == made.n_iterations == 1
    assert made.predict(data.features(0, 10)).shape == (10, 3)


def test_an_input_that_is_no_number_is_named(tmp_path: Path) -> None:
    events = toy_events(N, n_classes=3)
    events.cont["y"][21] = np.nan
    message = r"batch \d of epoch 1: .* input 'y' for 1 of its 64 events"
    with open_skim(tmp_path / "train.h5", events, steps=()) as skim, pytest.raises(DataError, match=message):
        fitted(SkimData.open(skim), TorchEstimator(SMALL))
    events.cont["y"][21:23] = 0, np.inf
    message = "validation events 1 to 300: .* 'y' for 1 of its 300 events"
    with open_skim(tmp_path / "valid.h5", events, steps=()) as skim, pytest.raises(DataError, match=message):
        fitted(SkimData.open(skim), TorchEstimator(SMALL))


def test_an_event_to_predict_that_is_no_number(data: SkimData, saved: Path) -> None:
    features_NF = data.features(0, 300).copy()
    features_NF[200, 0] = np.nan
    with pytest.raises(DataError, match="events 129 to 256 of those to predict: .* 'x' for 1 of its 128"):
        load_estimator(saved).predict(features_NF)


def test_padding_is_seen_as_zero_and_told(tmp_path: Path) -> None:
    events = toy_events(N, n_classes=3)
    events.cont["pt_1"] = events.cont.pop("noise")  # type: ignore[attr-defined]
    events.cont["pt_1"][::2] = np.nan
    with open_skim(tmp_path / "train.h5", events, steps=(), metadata={"padded_features": {"pt": 2}}) as skim:
        data = SkimData.open(skim)
        for network in ({"hidden": [8]}, {"_target_": f"{__file__}:Own"}):
            made = fitted(data, TorchEstimator({**SMALL, "network": network}))
            features_NF = data.features(0, 50)
            assert np.isnan(features_NF).any()
            zero_NF = np.nan_to_num(features_NF)
            np.testing.assert_allclose(made.predict(features_NF), made.predict(zero_NF), atol=1e-6)
            save_estimator(made, tmp_path / "model")
            np.testing.assert_array_equal(load_estimator(tmp_path / "model").predict(features_NF), made.predict(features_NF))  # noqa: E501 # fmt: skip


def test_auc_needs_every_class_among_the_validation_events(data: SkimData) -> None:
    train, valid = halves(data)
    some = valid.take(valid.target_N != 2)
    with pytest.raises(DataError, match="class 2 .* validation events, which best_by=auc"):
        TorchEstimator({**SMALL, "best_by": "auc"}).fit(train, some, Recorder())
    recorder = Recorder()
    TorchEstimator(SMALL).fit(train, some, recorder)
    assert np.isfinite(recorder.curve("valid-loss")).all()


def test_a_fit_leaves_the_random_numbers_of_others_alone(data: SkimData) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    fitted(data, TorchEstimator(SMALL))
    assert torch.equal(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_the_seed_decides(data: SkimData) -> None:
    same, other = (weights(fitted(data, TorchEstimator({**SMALL, "seed": seed}))) for seed in (1, 2))
    assert not torch.equal(same["layers.0.weight"], other["layers.0.weight"])


def test_the_learning_rate_finder_shows_a_curve_and_changes_nothing(data: SkimData) -> None:
    params = {**SMALL, "lr_finder": {"start": 1e-5, "end": 10.0, "n_steps": 60}}
    plain, looked = fitted(data, TorchEstimator(SMALL)), fitted(data, TorchEstimator(params))
    for name, value in weights(plain).items():
        assert torch.equal(weights(looked)[name], value), name
    curve = looked.learning_rates
    assert curve.suggestion is not None and 1e-4 < curve.suggestion < 1
    (figure,) = looked.figures()
    assert figure.name == "learning_rate"
    assert plain.figures() == ()
    assert fitted(data, TorchEstimator(params), FitContext(fold=1)).figures() == (), "of the first fold alone"


def test_a_regression_is_in_the_units_of_its_targets(tmp_path: Path) -> None:
    events = toy_events(2000, n_classes=2)
    energy = 500 + 40 * (events.cont["x"] - 50) / 14 + 10 * events.cont["y"]
    events.misc["energy"], events.misc["flag"] = energy, np.full(2000, 3.0)  # type: ignore[index]
    with open_skim(tmp_path / "train.h5", events) as skim:
        data = SkimData.open(skim, task="regression", targets=("energy", "flag"))
        recorder = Recorder()
        made = fitted(data, TorchEstimator({**SMALL, "epochs": 20}), monitor=recorder)
        values_NT = made.predict(data.features(0, 2000))
        assert set(recorder.values[0]) == {"train-loss", "valid-loss"}
        with pytest.raises(ConfigError, match="no AUC of a regression"):
            fitted(data, TorchEstimator({**SMALL, "best_by": "auc"}))
    assert values_NT.shape == (2000, 2)
    assert np.corrcoef(values_NT[:, 0], energy)[0, 1] > 0.98
    assert abs(values_NT[:, 0].mean() - energy.mean()) < 10


def test_an_autoencoder_gives_large_losses_to_what_it_never_saw(data: SkimData) -> None:
    usual = SkimData.open(data.skim, task="autoencoder")
    made = fitted(usual, TorchEstimator({**SMALL, "network": {"hidden": [32, 2, 32]}, "epochs": 30}))
    features_NF = usual.features(0, N)
    losses_N1 = made.predict(features_NF)
    assert losses_N1.shape == (N, 1)
    odd_NF = features_NF.copy()
    odd_NF[:, 0] += 8
    assert made.predict(odd_NF).mean() > 5 * losses_N1.mean()


def test_a_model_that_is_damaged(saved: Path, tmp_path: Path, data: SkimData) -> None:
    save_estimator(load_estimator(saved), tmp_path / "model")
    path = tmp_path / "model" / "weights.pt"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunError, match="weights cannot be read"):
        load_estimator(tmp_path / "model")
    path.unlink()
    with pytest.raises(RunError, match="there are no weights"):
        load_estimator(tmp_path / "model")


def test_it_says_what_it_is_made_of(data: SkimData, tmp_path: Path) -> None:
    made = fitted(data, TorchEstimator(SMALL), FitContext(freeze=("embeddings",)))
    assert isinstance(made, Described)
    said = made.description()
    # Embedding 5 × 5, layers 8 → 16 → 3; a product of (m, k) and (k, n) is 2 m k n operations.
    assert said.numbers["parameters"] == 25 + 8 * 16 + 16 + 16 * 3 + 3
    assert said.numbers["trained_parameters"] == said.numbers["parameters"] - 25
    assert said.numbers["flops_per_event"] == 2 * (8 * 16 + 16 * 3)
    assert said.numbers["best_epoch"] == made.n_iterations
    assert said.numbers["events_per_second"] > 0
    assert 0 <= said.numbers["wait_share"] <= 1
    assert said.params == {"network/precision": "fp32", "network/device": "cpu"}
    assert "16×8" in said.texts["layers.txt"]
    assert said.texts["source.py"].startswith("class Mlp")
    save_estimator(made, tmp_path / "model")
    assert load_estimator(tmp_path / "model").description() == said  # type: ignore[attr-defined]

"""The loop: what a step does, what an epoch reports, and that no step waits for the device."""

import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.networks import Recorder, fitted, halves  # noqa: E402
from tests.skims import open_skim, toy_events  # noqa: E402
from utils.errors import ConfigError, DataError  # noqa: E402
from utils.loading import SkimData  # noqa: E402
from utils.loading.shuffled import OrderedBatches, ShuffledBatches  # noqa: E402
from utils.logs import captured_log  # noqa: E402
from utils.models.estimator import FitContext  # noqa: E402
from utils.models.neural import loop  # noqa: E402
from utils.models.neural.plan import NeuralPlan  # noqa: E402
from utils.models.pytorch.average import MovingAverage  # noqa: E402
from utils.models.pytorch.devices import compiled, device_of, explained  # noqa: E402
from utils.models.pytorch.estimator import MLP, TorchEstimator  # noqa: E402
from utils.models.pytorch.loop import Training  # noqa: E402
from utils.models.pytorch.networks import Mlp  # noqa: E402
from utils.models.pytorch.objective import Autoencoder, Classification, Regression  # noqa: E402

N = 600
SMALL: dict[str, Any] = {"network": {"hidden": [16]}, "epochs": 3, "batch_size": 64, "learning_rate": 0.01}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkimData]:
    with open_skim(tmp_path_factory.mktemp("skim") / "train.h5", toy_events(N, n_classes=3)) as skim:
        yield SkimData.open(skim)


def training_of(data: SkimData, device: Any = CPU, **params: Any) -> Training:
    torch.manual_seed(1)
    plan = NeuralPlan.from_params({**SMALL, **params}, MLP)
    network = Mlp(len(data.feature_names), data.n_classes, {3: 4}, hidden=[16]).to(device)
    batches = ShuffledBatches(halves(data)[0], plan.batch_size, plan.seed)
    objective = Classification().to(device)
    return Training(plan=plan, network=network, batches=batches, objective=objective, device=device, epochs=plan.epochs)


def test_a_step_is_what_its_equations_say(data: SkimData) -> None:
    """Plain gradient descent, the gradient taken of weighted cross entropies written out by hand."""
    made = training_of(data, optimizer="sgd", weight_decay=0.0, learning_rate=0.1)
    batch = next(made.batches.epoch(0))
    weights = [value.detach().clone().requires_grad_() for value in made.network.parameters()]
    embedding, first, first_bias, last, last_bias = weights
    assert batch.weight_N is not None
    features = torch.from_numpy(batch.features_NF)
    inputs = torch.cat([features[:, :3], embedding[features[:, 3].long() + 1]], dim=1)
    logits = torch.relu(inputs @ first.T + first_bias) @ last.T + last_bias
    chosen = torch.log_softmax(logits, dim=1)[torch.arange(len(logits)), torch.from_numpy(batch.target_N).long()]
    loss = (-chosen * torch.from_numpy(batch.weight_N)).sum() / len(logits)
    loss.backward()
    found = made.step(batch)
    torch.testing.assert_close(found, loss.detach())
    for value, own in zip(made.network.parameters(), weights, strict=True):
        torch.testing.assert_close(value.detach(), own.detach() - 0.1 * own.grad)


def test_gradients_are_clipped_to_their_norm(data: SkimData) -> None:
    made = training_of(data, optimizer="sgd", weight_decay=0.0, learning_rate=1.0, clip_grad_norm=1e-3)
    before = [value.detach().clone() for value in made.network.parameters()]
    made.step(next(made.batches.epoch(0)))
    moved = [(a.detach() - b).flatten() for a, b in zip(made.network.parameters(), before, strict=True)]
    assert float(torch.cat(moved).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_the_training_loss_is_the_mean_over_all_events(data: SkimData) -> None:
    made = training_of(data, optimizer="sgd", learning_rate=1e-12, weight_decay=0.0)
    train, _ = halves(data)
    reported = made.one_epoch()
    assert reported == pytest.approx(made.validate(OrderedBatches(train, 100))["valid-loss"] * train.weight_N.mean(), rel=1e-5)  # type: ignore[union-attr]  # noqa: E501 # fmt: skip


def test_validation_does_not_depend_on_its_batches(data: SkimData) -> None:
    made = training_of(data)
    made.one_epoch()
    _, valid = halves(data)
    one, many = made.validate(OrderedBatches(valid, 10_000)), made.validate(OrderedBatches(valid, 7))
    assert many == pytest.approx(one, rel=1e-6)


STEPS: list[dict[str, Any]] = [
    {},
    {"precision": "bf16"},
    {"clip_grad_norm": 1.0, "ema": 0.99, "schedule": "one-cycle"},
    {"optimizer": "sgd", "schedule": "plateau"},
    {"optimizer": "ranger", "ema": 0.9},
]
WAITING = {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::equal"}


def waits(made: Training) -> list[str]:
    """What a profile of some steps shows of copies of single numbers to the host.

    Not counted are those inside the optimizer: a count of its steps that it keeps where it needs it.
    """
    batches = list(made.batches.epoch(0))
    made.step(batches[0])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for batch in batches[1:]:
            made.step(batch)
    events = profile.events()
    assert sum(event.name == "aten::addmm" for event in events) >= 2 * (len(batches) - 1), "it sees the steps"
    found = []
    for event in events:
        parent = event
        while parent is not None and not parent.name.startswith("Optimizer.step"):
            parent = parent.cpu_parent
        if event.name in WAITING and parent is None:
            found.append(event.name)
    return found


@pytest.mark.parametrize("params", STEPS, ids=str)
def test_no_step_waits_for_the_device(data: SkimData, params: dict[str, Any]) -> None:
    assert waits(training_of(data, **params)) == []


def test_the_profile_would_show_it(data: SkimData) -> None:
    made = training_of(data)
    step = made.schedule.after_step
    made.schedule.after_step = lambda: (float(made.network.layers[0].bias.detach()[0]), step())[1]  # type: ignore[method-assign]
    assert "aten::_local_scalar_dense" in waits(made)


@pytest.mark.parametrize("params", STEPS, ids=str)
def test_an_optimizer_looks_at_its_own_count_alone(data: SkimData, params: dict[str, Any]) -> None:
    """The count is on the host, or with a fused kernel on the device."""
    from torch.utils._python_dispatch import TorchDispatchMode

    made = training_of(data, **params)
    batches = list(made.batches.epoch(0))
    made.step(batches[0])
    counts = {value.data_ptr() for state in made.optimizer.state.values() for name, value in state.items() if name == "step"}  # noqa: E501 # fmt: skip

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if str(function).split(".")[1] in {name.removeprefix("aten::") for name in WAITING}:
                assert args[0].data_ptr() in counts, function
            return function(*args, **(kwargs or {}))

    with Watch():
        for batch in batches[1:]:
            made.step(batch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("params", [*STEPS, {"precision": "fp16", "clip_grad_norm": 1.0}], ids=str)
def test_on_a_gpu_nothing_waits_either(data: SkimData, params: dict[str, Any]) -> None:
    device = torch.device("cuda", 0)
    made = training_of(data, device, **params)
    batches = list(made.batches.epoch(0))
    made.step(batches[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches[1:]:
            made.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_well(data: SkimData, precision: str) -> None:
    params = {**SMALL, "epochs": 8}
    full, half = Recorder(), Recorder()
    fitted(data, TorchEstimator(params), monitor=full)
    fitted(data, TorchEstimator({**params, "precision": precision}), monitor=half)
    assert half.curve("valid-loss") != full.curve("valid-loss")
    assert half.curve("valid-loss")[-1] == pytest.approx(full.curve("valid-loss")[-1], abs=0.03)


def test_the_scaler_skips_a_step_that_overflows(data: SkimData) -> None:
    made = training_of(data, precision="fp16")
    before = [value.detach().clone() for value in made.network.parameters()]
    made.scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
    made.step(next(made.batches.epoch(0)))
    assert all(torch.equal(a, b) for a, b in zip(made.network.parameters(), before, strict=True))
    assert float(made.scaler.get_scale()) < 1e38


def test_the_average_follows_the_weights() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = MovingAverage(network, 0.9)
    expected = network[0].weight.detach().clone()
    for step in range(30):
        network(torch.randn(8, 3))
        with torch.no_grad():
            network[0].weight.add_(1.0)
        average.update(network)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
    torch.testing.assert_close(average.network[0].weight, expected)
    assert int(average.network[1].num_batches_tracked) == 30
    assert not any(value.requires_grad for value in average.network.parameters())


def test_the_average_is_judged_and_kept(data: SkimData) -> None:
    recorder = Recorder()
    made = training_of(data, ema=0.999, epochs=2)
    _, valid = halves(data)
    made.run(OrderedBatches(valid, 100), recorder)
    assert made.average is not None
    assert made.trained is made.average.network
    assert made.validate(OrderedBatches(valid, 100))["valid-loss"] == pytest.approx(min(recorder.curve("valid-loss")))
    assert not torch.equal(made.network.layers[0].weight, made.trained.layers[0].weight)


@pytest.mark.parametrize("by", ["loss", "auc"])
def test_the_best_epoch_is_kept(data: SkimData, by: str) -> None:
    recorder = Recorder()
    made = fitted(data, TorchEstimator({**SMALL, "epochs": 12, "learning_rate": 0.3, "best_by": by}), monitor=recorder)
    curve = recorder.curve(f"valid-{by}")
    best = int(np.argmin(curve) if by == "loss" else np.argmax(curve))
    assert best < len(curve) - 1, "the last epoch is not the best one, or this shows nothing"
    assert made.n_iterations == best + 1
    _, valid = halves(data)
    batch = valid.whole()
    chosen = made.predict(batch.features_NF)[np.arange(valid.n_events), batch.target_N]
    loss = np.average(-np.log(chosen), weights=batch.weight_N)
    assert loss == pytest.approx(recorder.curve("valid-loss")[best], rel=1e-4)


def test_training_ends_early(data: SkimData) -> None:
    recorder = Recorder()
    made = fitted(
        data, TorchEstimator({**SMALL, "epochs": 40, "learning_rate": 0.3, "early_stopping": 2}), monitor=recorder
    )
    assert len(recorder.values) == made.n_iterations + 2 < 40


class Diverging(torch.nn.Module):
    """Gives NaN from its third batch on."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(n_features, n_outputs)
        self.n_seen = 0

    def forward(self, features: Any) -> Any:
        self.n_seen += self.training
        return self.layer(features) * (float("nan") if self.n_seen >= 3 else 1.0)


@pytest.mark.parametrize("check_every", [1, 2, 200])
def test_a_loss_that_is_no_number_stops_with_its_batch(
    data: SkimData, check_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECK_EVERY", check_every)
    estimator = TorchEstimator({**SMALL, "network": {"_target_": f"{__file__}:Diverging"}})
    with pytest.raises(DataError, match="loss is NaN or infinite in batch 3 of epoch 1.*learning_rate"):
        fitted(data, estimator)


def test_a_validation_loss_that_is_no_number_stops(data: SkimData) -> None:
    made = training_of(data)
    with torch.no_grad():
        made.network.layers[0].bias.fill_(float("inf"))
    with pytest.raises(DataError, match="validation loss is NaN or infinite"):
        made.validate(OrderedBatches(halves(data)[1], 100))


def test_a_line_per_epoch_and_one_for_the_fold(data: SkimData) -> None:
    with captured_log() as messages:
        fitted(data, TorchEstimator(SMALL), FitContext(fold=2))
    assert sum("epoch" in message and "train-loss" in message for message in messages) == 3
    (last,) = [message for message in messages if "best epoch" in message]
    assert last.startswith("fold 2: best epoch ")
    assert "events/s" in last and "waiting for data" in last


def test_regression_is_a_square_in_units_of_the_spread() -> None:
    task = Regression([10.0, 0.0], [2.0, 1.0])
    outputs, target = torch.tensor([[1.0, 0.5]]), torch.tensor([[14.0, 0.5]])
    assert float(task.loss(outputs, target, None, None)) == pytest.approx(0.5)
    assert task.finish(outputs, None, None).tolist() == [[12.0, 0.5]]


def test_padding_is_no_part_of_a_reconstruction() -> None:
    task = Autoencoder([0, 2])
    features, outputs = torch.tensor([[1.0, 9.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    mask = torch.tensor([[False, False, True]])
    assert task.finish(outputs, features, mask).tolist() == [[1.0]]
    assert task.finish(outputs, features, None).tolist() == [[13.0]]
    nothing = torch.ones(1, 3, dtype=torch.bool)
    assert task.loss(outputs, None, features, nothing).tolist() == [0.0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_where_there_is_none(data: SkimData) -> None:
    with pytest.raises(ConfigError, match="GPU 1 is asked for, and torch sees none here"):
        fitted(data, TorchEstimator(SMALL), FitContext(gpus=(1,)))


def test_a_processor_needs_no_gpu() -> None:
    assert device_of(()) == CPU


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 3 GiB"), RuntimeError("can't allocate memory: x")])
def test_out_of_memory_says_what_to_lower(error: Exception) -> None:
    plan = NeuralPlan.from_params({"batch_size": 512}, MLP)
    message = r"out of memory while training .*Lower .*batch_size \(512\)"
    with pytest.raises(ConfigError, match=message), explained(plan, "training"):
        raise error
    with pytest.raises(RuntimeError, match="something else"), explained(plan, "training"):
        raise RuntimeError("something else")


class Greedy(torch.nn.Module):
    """Asks for more memory than any machine has, once it is trained."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(n_features, n_outputs)

    def forward(self, features: Any) -> Any:
        if self.training:
            torch.empty(2**60)
        return self.layer(features)


def test_memory_that_is_really_too_small(data: SkimData) -> None:
    with pytest.raises(ConfigError, match="out of memory while training .*batch_size"):
        fitted(data, TorchEstimator({**SMALL, "network": {"_target_": f"{__file__}:Greedy"}}))
    with pytest.raises(ConfigError, match="out of memory while making the network .*less wide"):
        fitted(data, TorchEstimator({**SMALL, "network": {"hidden": [2**50]}}))


def test_compiling_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match="torch.compile needs a C\\+\\+ compiler"):
        compiled(torch.nn.Linear(2, 2), CPU)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None or sys.platform != "linux", reason="needs a C++ compiler")
def test_compiled_it_computes_the_same(data: SkimData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    eager, fast = Recorder(), Recorder()
    fitted(data, TorchEstimator(SMALL), monitor=eager)
    made = fitted(data, TorchEstimator({**SMALL, "compile": True}), monitor=fast)
    np.testing.assert_allclose(fast.curve("valid-loss"), eager.curve("valid-loss"), rtol=1e-3)
    assert not any(name.startswith("_orig_mod") for name in made.network.state_dict())


def test_threads_are_given_back(data: SkimData) -> None:
    before, active = torch.get_num_threads(), threading.active_count()
    seen: list[int] = []
    fitted(
        data,
        TorchEstimator({**SMALL, "epochs": 1, "threads": 2}),
        monitor=lambda step, values: seen.append(torch.get_num_threads()),
    )
    assert set(seen) == {2}
    assert torch.get_num_threads() == before
    assert threading.active_count() == active


def test_the_scale_of_the_loss_is_part_of_the_state(data: SkimData) -> None:
    made = training_of(data, precision="fp16")
    made.scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
    batches = list(made.batches.epoch(0))
    for batch in batches[:2]:
        made.step(batch)
    again = training_of(data, precision="fp16")
    again.restore(made.state())
    assert again.scaler.state_dict() == made.scaler.state_dict()
    assert again.scaler.get_scale() < 1e38

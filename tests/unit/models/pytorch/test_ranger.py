"""Ranger against RAdam and the two equations of the Lookahead paper, done by hand."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from utils.models.pytorch.ranger import Ranger  # noqa: E402

RADAM = {"betas": (0.95, 0.999), "eps": 1e-5, "decoupled_weight_decay": True}


def weights() -> list[Any]:
    generator = torch.Generator().manual_seed(3)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (5,))]


def gradients(step: int) -> list[Any]:
    generator = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=generator) for shape in ((4, 3), (5,))]


def stepped(optimizer: Any, parameters: list[Any], step: int) -> None:
    for value, gradient in zip(parameters, gradients(step), strict=True):
        value.grad = gradient.clone()
    optimizer.step()


@pytest.mark.parametrize(("k", "alpha"), [(6, 0.5), (1, 0.3), (3, 1.0)])
def test_the_slow_weights_follow_every_k_steps(k: int, alpha: float) -> None:
    mine, fast = weights(), weights()
    ranger = Ranger(mine, lr=0.1, k=k, alpha=alpha, weight_decay=0.01)
    radam = torch.optim.RAdam(fast, lr=0.1, weight_decay=0.01, **RADAM)
    slow = [value.detach().clone() for value in fast]
    for step in range(1, 20):
        stepped(ranger, mine, step)
        stepped(radam, fast, step)
        if step % k == 0:
            with torch.no_grad():
                for phi, theta in zip(slow, fast, strict=True):
                    phi += alpha * (theta - phi)
                    theta.copy_(phi)
        for own, other in zip(mine, fast, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)


def test_between_two_looks_it_is_radam() -> None:
    mine, other = weights(), weights()
    ranger, radam = Ranger(mine, lr=0.1, k=100), torch.optim.RAdam(other, lr=0.1, **RADAM)
    for step in range(10):
        stepped(ranger, mine, step)
        stepped(radam, other, step)
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_saved_in_the_middle_it_goes_on_the_same() -> None:
    whole = weights()
    optimizer = Ranger(whole, lr=0.1, k=4)
    for step in range(11):
        stepped(optimizer, whole, step)
    first = weights()
    before = Ranger(first, lr=0.1, k=4)
    for step in range(6):
        stepped(before, first, step)
    second = [torch.nn.Parameter(value.detach().clone()) for value in first]
    after = Ranger(second, lr=0.1, k=4)
    after.load_state_dict(before.state_dict())
    for step in range(6, 11):
        stepped(after, second, step)
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


def test_a_weight_may_have_its_first_gradient_later() -> None:
    early, late = weights()
    ranger = Ranger([early, late], lr=0.1, k=2)
    for step in range(6):
        early.grad = gradients(step)[0]
        late.grad = gradients(step)[1] if step >= 3 else None
        ranger.step()
    assert not torch.equal(late, weights()[1])


@pytest.mark.parametrize("options", [{"k": 0}, {"alpha": 0.0}, {"alpha": 1.5}])
def test_numbers_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="alpha"):
        Ranger(weights(), **options)

"""Ranger: RAdam whose weights look ahead.

Every k steps the slow weights φ move a fraction α towards the fast ones θ, which go on from there, while RAdam keeps
its moments: φ ← φ + α (θ − φ), θ ← φ (Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", NeurIPS 2019;
with k = 6, α = 0.5 and the moments that Weaver's users know).
"""

from typing import Any

import torch


class Ranger(torch.optim.RAdam):
    """RAdam with Lookahead.

    Parameters
    ----------
    params : as for any optimizer of torch.
    lr : learning rate.
    k : steps between two looks ahead.
    alpha : fraction that the slow weights move.
    options : RAdam's.
    """

    def __init__(self, params: Any, lr: float = 1e-3, k: int = 6, alpha: float = 0.5, **options: Any) -> None:
        if k < 1 or not 0 < alpha <= 1:
            raise ValueError(f"k is {k} and alpha {alpha}; k is 1 or more, alpha in (0, 1]")
        options = {"betas": (0.95, 0.999), "eps": 1e-5, "decoupled_weight_decay": True, **options}
        super().__init__(params, lr=lr, **options)
        self.k = k
        self.alpha = alpha

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of RAdam; every k-th of a weight, its slow one follows and takes over."""
        everything = [w for group in self.param_groups for w in group["params"] if w.grad is not None]
        # Put into the state only after the step: RAdam makes its own only where there is none yet.
        start = {w: w.detach().clone() for w in everything if "slow" not in self.state.get(w, {})}
        loss = super().step(closure)
        fast, slow = [], []
        for weights in everything:
            state = self.state[weights]
            state.setdefault("slow", start.get(weights))
            state["n_steps"] = state.get("n_steps", 0) + 1
            if state["n_steps"] % self.k == 0:
                fast.append(weights)
                slow.append(state["slow"])
        if fast:
            torch._foreach_lerp_(slow, fast, self.alpha)
            torch._foreach_copy_(fast, slow)
        return loss

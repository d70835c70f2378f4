"""Ranger: RAdam whose weights look ahead.

Every k steps the slow weights move a fraction α towards the fast ones, which go on from there (Zhang et al.,
"Lookahead Optimizer: k steps forward, 1 step back", NeurIPS 2019; with RAdam as Weaver's users know it, k = 6, α = 0.5).
"""

from typing import Any

import torch


class Ranger(torch.optim.RAdam):
    """RAdam with Lookahead.

    Parameters
    ----------
    params : as for any optimizer of torch.
    k : steps between two looks ahead.
    alpha : fraction that the slow weights move.
    options : RAdam's.
    """

    def __init__(self, params: Any, lr: float = 1e-3, k: int = 6, alpha: float = 0.5, **options: Any) -> None:
        options = {"betas": (0.95, 0.999), "eps": 1e-5, "decoupled_weight_decay": True, **options}
        super().__init__(params, lr=lr, **options)
        self.k = k
        self.alpha = alpha

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of RAdam; every k-th, the slow weights follow and take over."""
        everything = [weights for group in self.param_groups for weights in group["params"]]
        # Not put into the state before the first step: RAdam makes its own only where there is none.
        start = {w: w.detach().clone() for w in everything if "slow" not in self.state.get(w, {})}
        loss = super().step(closure)
        for group in self.param_groups:
            group["n_steps"] = group.get("n_steps", 0) + 1
            for weights in group["params"]:
                slow = self.state[weights].setdefault("slow", start.get(weights))
                if group["n_steps"] % self.k == 0:
                    slow.lerp_(weights, self.alpha)
                    weights.copy_(slow)
        return loss

"""What a network is: its layers, how many numbers it has, and what an event costs."""

import inspect
import math

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from utils.models.pytorch.beginning import takes_mask


def numbers_of(network: nn.Module, n_features: int) -> dict[str, float]:
    """Parameters, those that are trained, and floating-point operations of one event's forward pass (a · b + c: two).

    Only matrix products, convolutions and attention are counted; all else is small beside them.
    """
    features_BF = torch.zeros(2, n_features)
    options = {"mask": torch.zeros(2, n_features, dtype=torch.bool)} if takes_mask(network) else {}
    counter = FlopCounterMode(display=False)
    network.eval()
    with torch.no_grad(), counter:
        network(features_BF, **options)
    return {
        "parameters": float(sum(value.numel() for value in network.parameters())),
        "trained_parameters": float(sum(value.numel() for value in network.parameters() if value.requires_grad)),
        "flops_per_event": counter.get_total_flops() / 2,
    }


def layers_of(network: nn.Module) -> str:
    """The layers as torch prints them, then every weight with its shape."""
    rows = [(name, tuple(value.shape), value.numel()) for name, value in network.named_parameters()]
    width = max((len(name) for name, _, _ in rows), default=0)
    lines = [f"{name.ljust(width)}  {'×'.join(str(n) for n in shape) or '1'}  {n:,}" for name, shape, n in rows]
    total = math.fsum(n for _, _, n in rows)
    return "\n".join([str(network), "", *lines, f"{total:,.0f} parameters"]) + "\n"


def source_of(network: nn.Module) -> str | None:
    """The code of the network's class, where it can be had."""
    try:
        return inspect.getsource(type(network))
    except (OSError, TypeError):
        return None

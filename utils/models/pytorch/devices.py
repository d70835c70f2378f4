"""Where a network computes, what it is compiled with, and what to do when memory is not enough."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from utils.errors import ConfigError
from utils.loading import Batch
from utils.models.neural.memory import out_of_memory
from utils.models.neural.plan import NeuralPlan


def device_of(gpus: tuple[int, ...], rank: int = 0) -> torch.device:
    """The GPU of a process, or the processor where none are asked for; ConfigError where one of them is not there."""
    if not gpus:
        return torch.device("cpu")
    n_there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for gpu in gpus:
        if not 0 <= gpu < n_there:
            there = "torch sees none here" if n_there == 0 else f"torch sees {n_there}, numbered from 0"
            raise ConfigError(
                f"GPU {gpu} is asked for, and {there}",
                where="gpus",
                remedy="Set gpus=[] for the processor, or check nvidia-smi, CUDA_VISIBLE_DEVICES and torch's build.",
            )
    return torch.device("cuda", gpus[rank])


def compiled(network: nn.Module, device: torch.device) -> nn.Module:
    """The network through `torch.compile`, for batches of any size; ConfigError where there is no compiler for it."""
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "c++"]
    if device.type == "cpu" and not any(shutil.which(name) for name in names):
        raise ConfigError(
            f"torch.compile needs a C++ compiler, and there is no {', '.join(names)}",
            where="model_param.compile",
            remedy="Install one (g++), name it in CXX, or set compile=false.",
        )
    made: nn.Module = torch.compile(network, dynamic=True)
    return made


@contextlib.contextmanager
def explained(plan: NeuralPlan, doing: str) -> Iterator[None]:
    """Say which setting to lower where memory runs out, and that compiling can be left out where it fails."""
    try:
        yield
    except MemoryError as error:
        raise out_of_memory(plan, doing, error, str(error)) from error
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise out_of_memory(plan, doing, error, str(error)) from error
        if "finished reduction in the prior iteration" in str(error):
            raise ConfigError(
                "the network has parameters that its loss does not depend on, for which several processes wait in vain",
                where="model_param.network",
                remedy="Leave them out, exclude them from the training (freeze=…), or train in one process.",
            ) from error
        if plan.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise ConfigError(
                f"torch.compile failed ({str(error).splitlines()[0]})",
                where="model_param.compile",
                remedy="Set compile=false.",
            ) from error
        raise


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Let torch compute with so many threads; None: as it is."""
    before = torch.get_num_threads()
    if number is not None:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def to_device(values: Any, device: torch.device) -> Any:
    """An array as a tensor on the device, copied without waiting; None stays None."""
    if values is None:
        return None
    tensor = torch.from_numpy(values)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def batch_to_device(batch: Batch, device: torch.device) -> tuple[Any, Any, Any, Any]:
    """Features, target, weights and mask of a batch; None where there is no such thing."""
    parts = (batch.features_NF, batch.target_N, batch.weight_N, batch.mask_NF)
    features, target, weight, mask = (to_device(part, device) for part in parts)
    return features, target, weight, mask

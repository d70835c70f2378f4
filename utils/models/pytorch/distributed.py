"""One network, trained by several processes: on a GPU each, or on the processor.

Every process takes its share of each batch, and the gradients are averaged, so that a step is the step of one process
with the whole batch. The job that was started stays apart from them: it is told of every epoch and keeps the
checkpoints, wherever these go.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from utils.executors.spec import n_cores
from utils.executors.together import Line, together
from utils.loading import EventSource
from utils.models.estimator import FitContext, Monitor
from utils.models.neural.world import World
from utils.models.pytorch.devices import device_of

FITTED = "fitted"


class Processes(World):
    """This process among those that `joined` has brought together."""

    def gathered(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks, for each of them."""
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def in_step(network: nn.Module, world: World, device: torch.device) -> nn.Module:
    """The network, with gradients that are the mean over all processes, and the first one's weights in each."""
    if world.size == 1:
        return network
    return nn.parallel.DistributedDataParallel(
        network, device_ids=[device] if device.type == "cuda" else None, gradient_as_bucket_view=True
    )


def common_statistics(network: nn.Module, world: World, device: torch.device) -> nn.Module:
    """The network, whose norms take mean and variance over the batches of all GPUs."""
    if world.size == 1 or device.type == "cpu":
        return network
    made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return made


def aligned(network: nn.Module, world: World) -> None:
    """Give running statistics, which each process has of its own events, to all as the first one has them."""
    if world.size > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


@dataclass(frozen=True)
class Share:
    """What one of the processes is told.

    Parameters
    ----------
    estimator : not fitted; the same for all, as is all but the rank.
    train, valid : all events.
    context : without checkpoints, which are the job's.
    rank : number of the process.
    keeps : whether checkpoints are written.
    latest : the checkpoint to go on from.
    folder : shared by the processes; what they leave there the job takes.
    """

    estimator: Any
    train: EventSource
    valid: EventSource
    context: FitContext
    rank: int
    keeps: bool
    latest: Path | None
    folder: Path


def fit_together(
    estimator: Any, train: EventSource, valid: EventSource, monitor: Monitor, context: FitContext, folder: Path
) -> Any:
    """Fit in fresh processes; the saved estimator is then in `FITTED` of the folder. Gives the curve of its finder.

    Parameters
    ----------
    estimator : not fitted, and not changed.
    folder : empty.
    """
    checkpoints = context.checkpoints
    device_of(context.gpus)  # what is not there is said before anything is started
    latest = None if checkpoints is None else checkpoints.latest()
    apart, keeps = replace(context, checkpoints=None), checkpoints is not None
    shares = [Share(estimator, train, valid, apart, rank, keeps, latest, folder) for rank in range(context.size)]
    curves: list[Any] = []

    def receive(_: int, message: tuple[Any, ...]) -> None:
        kind, *content = message
        if kind == "epoch":
            monitor(*content)
        elif kind == "checkpoint" and checkpoints is not None:
            epoch, written = content
            checkpoints.save(epoch, lambda into: _move(written, into))
        elif kind == FITTED:
            curves.extend(content)

    together(fit_share, shares, receive, "training process")
    return curves[0]


def fit_share(share: Share, line: Line) -> None:
    """What one of the processes does."""
    device = device_of(share.context.gpus, share.rank)
    checkpoints = _Handed(line, share.latest, share.folder / "checkpoint") if share.keeps else None
    with joined(share.rank, share.context.size, device, share.folder / "meeting") as world:
        share.estimator.fit_in(
            world,
            share.train,
            share.valid,
            lambda epoch, values: line.ask(("epoch", epoch, dict(values))),
            replace(share.context, checkpoints=checkpoints),
        )
        if world.speaks:
            (share.folder / FITTED).mkdir()
            share.estimator.save(share.folder / FITTED)
            line.ask((FITTED, share.estimator.learning_rates))


@contextlib.contextmanager
def joined(rank: int, size: int, device: torch.device, meeting: Path) -> Iterator[World]:
    """Bring the processes together, through a file that all of them see.

    One that fails stays where it is: were it to leave, the others would complain of that.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a name of this machine's may lead nowhere
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    # What is gathered lies in the host's memory: that is what gloo is for, beside NCCL, too.
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        init_method=f"file://{meeting.resolve()}",
        rank=rank,
        world_size=size,
    )
    yield Processes(rank, size)
    dist.destroy_process_group()


def threads_of(asked: int | None, world: World) -> int | None:
    """Threads of one process: as many as are asked for, else an equal part of the cores."""
    return asked if asked is not None or world.size == 1 else max(1, n_cores() // world.size)


class _Handed:
    """Checkpoints that the job keeps. See :class:`~utils.models.estimator.Checkpoints`."""

    def __init__(self, line: Line, latest: Path | None, folder: Path) -> None:
        self._line, self._latest, self._folder = line, latest, folder

    def latest(self) -> Path | None:
        """The one to go on from."""
        return self._latest

    def save(self, epoch: int, write: Callable[[Path], None]) -> None:
        """Write it, and wait until the job has it."""
        self._folder.mkdir()
        write(self._folder)
        self._line.ask(("checkpoint", epoch, self._folder))
        shutil.rmtree(self._folder)


def _move(written: Path, into: Path) -> None:
    for path in written.iterdir():
        shutil.move(path, into / path.name)

"""What any stage that divides its work lets its config say about who does it: one set of keys, the same everywhere."""

import os
from dataclasses import dataclass
from typing import Literal, get_args

from utils.errors import ConfigError, nearest_name
from utils.factory import Factory
from utils.keys import key

Executor = Literal["serial", "processes", "dask"]


@dataclass(frozen=True)
class ExecutorSpec:
    """Who does the work.

    Parameters
    ----------
    kind : `serial`, `processes` or `dask`.
    workers : processes, or jobs of a batch system, at work at a time.
    cluster : of Dask: a scheduler's address, what makes a cluster, or None for one on this machine.
    """

    kind: Executor = "serial"
    workers: int = 1
    cluster: str | Factory | None = None


@dataclass(frozen=True, kw_only=True)
class ExecutorKeys:
    """The keys of every stage that divides its work into tasks."""

    executor: Executor = key(
        "serial | processes | dask, or a file of configs/executors such as htcondor_cern",
        default="serial",
        templates="executors",
    )
    workers: int | None = key("processes or batch jobs at work at a time; null: one per core", default=None)
    cluster: str | Factory | None = key(
        "of dask: a scheduler's address or {_target_: …} of a cluster; null: on this machine", default=None
    )

    def check_executor(self) -> None:
        """ConfigError for values that make no sense; for the `__post_init__` of the spec."""
        if self.executor not in get_args(Executor):
            raise ConfigError(
                f"'{self.executor}' is no executor",
                where="executor",
                nearest=nearest_name(self.executor, get_args(Executor)),
                remedy=f"Use {', '.join(get_args(Executor))}.",
            )
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers is {self.workers}", where="workers", remedy="Use 1 or more.")
        if self.cluster is not None and self.executor != "dask":
            raise ConfigError(
                f"executor={self.executor} has no cluster",
                where="cluster",
                remedy="Set executor=dask, or cluster=null.",
            )

    @property
    def executor_spec(self) -> ExecutorSpec:
        """The keys with nothing left open."""
        return ExecutorSpec(self.executor, self.workers or n_cores(), self.cluster)


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

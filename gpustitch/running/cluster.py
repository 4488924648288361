"""Jobs on a cluster of dask workers: one that runs, one that Slurm starts, or processes of this machine."""

from __future__ import annotations

import contextlib
import importlib
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gpustitch.errors import GpustitchError, MissingExtraError, ParameterError, ResourceError
from gpustitch.running.memory import keep_freed
from gpustitch.running.processes import Job
from gpustitch.version import VERSION

T = TypeVar("T")

# How often a job is given to another worker when one is lost.
_RETRIES = 3
_HELP = "local:N, slurm:N, the address of a scheduler (tcp://HOST:PORT), or its file (scheduler.json)"
_WAIT_S = 60.0  # for the first worker of an address


@dataclass(frozen=True)
class Cluster:
    """A cluster that takes jobs; ``n_workers`` of them at a time."""

    client: Any
    n_workers: int

    def run_jobs(self, jobs: Sequence[Job[T]], advance: Callable[[int], None]) -> Iterator[tuple[int, T]]:
        """Do all jobs; the number of each and what came of it, as they end. The first error is raised.

        A job whose worker is lost is done again by another one, at most three times. ``advance`` is not told of single
        steps: jobs on other machines say nothing before they end.

        Raises
        ------
        ResourceError
            If too many workers are lost, or one has another version of gpustitch.
        """
        distributed = importlib.import_module("distributed")
        futures = [self.client.submit(_Checked(job), pure=False, retries=_RETRIES) for job in jobs]
        numbers = {future.key: number for number, future in enumerate(futures)}
        try:
            for future in distributed.as_completed(futures):
                try:
                    steps, content = future.result()
                except GpustitchError:
                    raise
                except distributed.scheduler.KilledWorker as error:
                    raise ResourceError(f"workers of the cluster were lost again and again: {error}") from error
                advance(steps)
                yield numbers[future.key], content
        finally:
            self.client.cancel(futures, force=True)


@contextlib.contextmanager
def joined(spec: str) -> Iterator[Cluster]:
    """The cluster that ``spec`` names; what was started for it ends with the ``with`` block.

    Raises
    ------
    ParameterError
        If ``spec`` is no such name.
    MissingExtraError
        If dask.distributed, or for Slurm dask-jobqueue, is not installed.
    ResourceError
        If the cluster cannot be reached, or has no workers.
    """
    kind, n = _kind_of(spec)
    distributed = _needed("distributed")
    with contextlib.ExitStack() as stack:
        if kind == "local":
            options = {"n_workers": n, "threads_per_worker": 1, "dashboard_address": None}
            started = stack.enter_context(distributed.LocalCluster(**options, processes=True))
            client = stack.enter_context(distributed.Client(started))
        elif kind == "slurm":
            client = stack.enter_context(distributed.Client(stack.enter_context(_of_slurm(n))))
        else:
            client = stack.enter_context(_running(spec))
        yield Cluster(client, _n_workers(client, n or 1, spec))


def _running(spec: str) -> Any:
    """A client of a scheduler that somebody has started: its address, or its file (``*.json``)."""
    is_file = spec.endswith(".json")
    if is_file and not Path(spec).is_file():
        raise ResourceError(f"`cluster` {spec} cannot be reached: there is no such file of a scheduler")
    named = {"scheduler_file": spec} if is_file else {"address": spec}
    try:
        return _needed("distributed").Client(**named, timeout=_WAIT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ResourceError(f"`cluster` {spec} cannot be reached: {error}") from error


def _of_slurm(n: int) -> Any:
    """A cluster whose ``n`` workers are jobs of Slurm."""
    jobqueue = _needed("dask_jobqueue")
    if shutil.which("sbatch") is None:
        raise ResourceError("`cluster` slurm cannot be: there is no `sbatch` on this machine")
    try:
        cluster = jobqueue.SLURMCluster()
    except ValueError as error:  # jobs are not described
        why = " ".join(str(error).split(".")[0].split())
        raise ResourceError(f"`cluster` slurm: jobs are not described in dask's jobqueue.yaml: {why}") from error
    cluster.scale(n)
    return cluster


def check_cluster(spec: str) -> None:
    """Raise ParameterError if ``spec`` names no cluster, MissingExtraError if what it needs is not installed."""
    kind, _ = _kind_of(spec)
    _needed("dask_jobqueue" if kind == "slurm" else "distributed")


def _kind_of(spec: str) -> tuple[str, int]:
    """``local``, ``slurm`` or ``address``, as ``spec`` says, and how many workers to start; ParameterError if none."""
    match = re.fullmatch(r"(local|slurm):([1-9]\d*)", spec)
    if match is not None:
        return match[1], int(match[2])
    if re.match(r"\w+://.", spec) or spec.endswith(".json"):
        return "address", 0
    raise ParameterError(f"`cluster` is {_HELP}, not {spec!r}")


def _n_workers(client: Any, expected: int, spec: str) -> int:
    """How many workers there are, or will be; waits for the first."""
    try:
        client.wait_for_workers(1, timeout=None if spec.startswith("slurm") else _WAIT_S)
    except TimeoutError as error:
        raise ResourceError(f"`cluster` {spec} has no workers") from error
    return max(expected, len(client.scheduler_info(n_workers=-1)["workers"]))


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"a cluster needs `{module}`: pip install 'gpustitch[cluster]'") from error


@dataclass(frozen=True)
class _Checked:
    """A job that another machine does only with the same version of gpustitch; counts its steps."""

    job: Job[Any]
    version: str = VERSION

    def __call__(self) -> tuple[int, Any]:
        if self.version != VERSION:
            raise ResourceError(
                f"a worker on {socket.gethostname()} has gpustitch {VERSION}, not {self.version} as this machine"
            )
        keep_freed()
        steps = [0]

        def advance(count: int) -> None:
            steps[0] += count

        content = self.job(advance)
        return steps[0], content

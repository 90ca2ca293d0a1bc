"""Measure on a Ray cluster: the same rows as in one process, in the same order, bit for bit.

Every noise belongs to (seed, point, repeat, sample), so it makes no difference where a
transmission is simulated, as long as a worker has the same packages, weights and number of threads;
a worker that hasn't is refused. Pictures travel from here; weights and vqlink must be there.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch

from vqlink.errors import one_line
from vqlink.evaluation.rows import VERSIONS, Row
from vqlink.evaluation.run import Task, run_task
from vqlink.evaluation.systems import System, open_channel, open_systems
from vqlink.protocols import VqlinkError

RETRIES = 5
"""How often a task is tried again whose worker or machine died."""
_AHEAD = 3  # tasks in flight for each worker, so that none waits for the driver


@dataclass(frozen=True)
class Job:
    """What a worker needs to open the systems, and to know that they are the driver's.

    Attributes:
        systems: names as the user wrote them.
        channel: its canonical name.
        rho: for digital links alone.
        weights: sha256 of each system's weights, None for digital links.
        threads: of torch.
        versions: of the packages that decide a figure.
    """

    systems: tuple[str, ...]
    channel: str
    rho: Fraction | None
    weights: tuple[str | None, ...]
    threads: int
    versions: tuple[tuple[str, str], ...] = tuple(sorted(VERSIONS.items()))


class RayEngine:
    """An :data:`vqlink.evaluation.run.Engine` on a Ray cluster.

    A task is one picture by one system at one point. Tasks whose worker dies are tried again
    elsewhere, up to :data:`RETRIES` times.

    Args:
        systems: as :func:`open_systems` opened them from these ``rho`` and ``channel``.
        address: of a running cluster, such as ``auto`` or ``HOST:6379``; None starts one on this
            machine, which ends with the evaluation.
        workers: processes of a cluster that is started here; None for one a core.

    Raises:
        VqlinkError: without ray, or where nothing listens at ``address``.
    """

    def __init__(
        self,
        systems: Sequence[System],
        channel: str,
        rho: Fraction | None,
        *,
        address: str | None = None,
        workers: int | None = None,
    ) -> None:
        self.job = Job(
            systems=tuple(system.name for system in systems),
            channel=channel,
            rho=rho,
            weights=tuple(system.weights for system in systems),
            threads=torch.get_num_threads(),
        )
        self.address, self.workers = address, workers
        _import_ray()
        if address is not None:
            _knock(address)

    def __call__(self, tasks: Iterator[Task]) -> Iterator[tuple[Row, ...]]:
        """Results in the order of the tasks; reads a few tasks a worker ahead.

        Raises:
            VqlinkError: without a cluster, for workers that differ from this machine, or
                for tasks whose workers died again and again.
        """
        ray = _import_ray()
        _connect(ray, self.address, self.workers, self.job.threads)
        try:
            yield from self._run(ray, tasks)
        finally:
            ray.shutdown()

    def _run(self, ray: Any, tasks: Iterator[Task]) -> Iterator[tuple[Row, ...]]:
        remote = ray.remote(num_cpus=self.job.threads, max_retries=RETRIES)(measure_on_worker)
        job = ray.put(self.job)
        cores = ray.cluster_resources().get("CPU", 1.0)
        window = max(2, int(_AHEAD * cores / self.job.threads))
        flying: deque[Any] = deque()
        sample, image = "", None
        for task in tasks:
            if image is None or task.sample != sample:
                sample, image = task.sample, ray.put(task.image.contiguous().numpy())
            flying.append(remote.remote(job, replace(task, image=torch.empty(0)), image))
            if len(flying) >= window:
                yield from _result(ray, flying.popleft())
        while flying:
            yield from _result(ray, flying.popleft())


def measure_on_worker(job: Job, task: Task, image: Any) -> list[tuple[Row, ...]]:
    """One task in a worker's process; ``image`` is the task's, (3, H, W), from the object store.

    Raises:
        VqlinkError: where this worker would not give the driver's rows.
    """
    torch.set_num_threads(job.threads)
    # The store's memory is read-only.
    whole = replace(task, image=torch.from_numpy(image.copy()))
    return list(run_task(whole, _open(job)))


@lru_cache(maxsize=1)
def _open(job: Job) -> tuple[System, ...]:
    here = tuple(sorted(VERSIONS.items()))
    if here != job.versions:
        raise VqlinkError(
            f"the Ray worker on {socket.gethostname()} has {_said(here)}, this machine has "
            f"{_said(job.versions)}: install the same"
        )
    systems = open_systems(job.systems, open_channel(job.channel)[0], job.rho)
    for system, weights in zip(systems, job.weights, strict=True):
        if system.weights != weights:
            raise VqlinkError(
                f"the Ray worker on {socket.gethostname()} has other weights of {system.name}"
            )
    return systems


def _said(versions: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions)


def _result(ray: Any, reference: Any) -> list[tuple[Row, ...]]:
    try:
        rows: list[tuple[Row, ...]] = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, VqlinkError):
            raise VqlinkError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        reason = one_line(error)
        raise VqlinkError(
            f"Ray lost a task {RETRIES + 1} times ({reason}); the rows so far are kept, the same "
            "command goes on"
        ) from None
    return rows


def _import_ray() -> Any:
    # Ray reports its use to its makers unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise VqlinkError("--engine ray needs Ray: pip install 'vqlink[ray]'") from None
    return ray


def _connect(ray: Any, address: str | None, workers: int | None, threads: int) -> None:
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
        else:
            cores = workers * threads if workers else max(threads, os.cpu_count() or 1)
            ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise _no_cluster(address, error) from None


def _knock(address: str) -> None:
    """Try ``HOST:PORT`` where it is one: Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:
            socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: Exception) -> VqlinkError:
    reason = one_line(error)
    return VqlinkError(f"no Ray cluster at {address or 'this machine'}: {reason}")

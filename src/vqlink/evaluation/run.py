"""Measure systems over messages and points, one simulated transmission at a time."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vqlink.evaluation.rows import (
    Case,
    Figure,
    Row,
    append_rows,
    axis_of,
    digest,
    mend_rows,
    rows_of,
)
from vqlink.evaluation.systems import System
from vqlink.metrics.table import IMAGE_METRICS, Metric, metrics_for
from vqlink.protocols import Point, VqlinkError
from vqlink.sources.datasets import ImageCollection
from vqlink.sources.images import to_bytes8


@dataclass(frozen=True)
class Measured:
    """One transmission.

    Attributes:
        received: the picture (3, H, W).
        rows: one for each metric.
        seconds: wall time of transmission, without the metrics'.
    """

    received: Tensor
    rows: tuple[Row, ...]
    seconds: float


@torch.no_grad()
def measure(
    system: System,
    image: Tensor,
    sample: str,
    *,
    channel: str,
    point: Point,
    repeat: int,
    seed: int,
    metrics: Sequence[Metric] | None = None,
) -> Measured:
    """Transmit one picture (3, H, W) and measure what arrived, by all metrics if none are named.

    The noise belongs to (seed, point, repeat, sample) alone, so that every system meets the same.
    """
    case = Case(channel, *axis_of(point), sample, repeat, seed, digest(to_bytes8(image)))
    batch = image[None].to(torch.float32).contiguous()
    start = time.perf_counter()
    sent = system.transceiver.transmit(batch, point, generator=case.noise())
    seconds = time.perf_counter() - start
    figures = [
        Figure(metric.name, metric.unit, float(metric.function(sent.received, batch)[0]))
        for metric in (metrics_for(*image.shape[1:]) if metrics is None else metrics)
    ]
    rows = rows_of(system, sent, 0, case, figures, values=image.numel())
    return Measured(sent.received[0], rows, seconds)


@dataclass(frozen=True)
class Task:
    """What is still to be measured of one picture by one system at one point.

    Attributes:
        system: its place among the systems.
        image: (3, H, W).
        repeats: numbers of the draws.
        metrics: names of those to measure.
    """

    system: int
    sample: str
    image: Tensor
    channel: str
    snr_db: float
    repeats: tuple[int, ...]
    seed: int
    metrics: tuple[str, ...]


Engine = Callable[[Iterator[Task]], Iterator[tuple[Row, ...]]]
"""Tasks -> the rows of each of their repeats, in the tasks' order, wherever they are measured."""


def run_task(task: Task, systems: Sequence[System]) -> Iterator[tuple[Row, ...]]:
    """The rows of each repeat of one task."""
    chosen = _choose(task.metrics, task.sample, *task.image.shape[1:])
    for repeat in task.repeats:
        yield measure(
            systems[task.system],
            task.image,
            task.sample,
            channel=task.channel,
            point=Point(snr_db=task.snr_db),
            repeat=repeat,
            seed=task.seed,
            metrics=chosen,
        ).rows


def evaluate(
    systems: Sequence[System],
    images: ImageCollection,
    *,
    channel: str,
    snr_db: Sequence[float],
    samples: int | None = None,
    repeats: int = 1,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    engine: Engine | None = None,
) -> list[Row]:
    """Measure every system on every picture at every point.

    Args:
        samples: the first so many pictures; None for all.
        repeats: independent draws of the channel for each picture and point.
        metrics: names of those to measure; None for all that the picture's size allows.
        out: JSONL file; rows that it already holds are not measured again, new ones are appended
            as they come, so that an interrupted call goes on where it stopped.
        progress: called with (done, total) transmissions, first with none done.
        engine: where to measure; None for this process.

    Raises:
        VqlinkError: for a picture that is too small for every metric that is named, and for a file
            that holds something else.
    """
    held: dict[tuple[object, ...], list[Row]] = {}
    if out is not None and out.exists():
        for row in mend_rows(out):
            held.setdefault(_transmission(row), []).append(row)

    def is_held(row: Row) -> bool:
        return any(
            other.metric == row.metric and _same(other, row.message, row)
            for other in held.get(_transmission(row), [])
        )

    count = len(images) if samples is None else min(samples, len(images))
    total = count * len(systems) * len(snr_db) * repeats
    # Engines may read tasks ahead of their results: what was held before waits here in order.
    waiting: deque[list[Row] | None] = deque()

    def tasks() -> Iterator[Task]:
        for index in range(count):
            # Systems fit their source codes to a picture once: it stays the outermost loop.
            sample, image = images[index]
            message = digest(to_bytes8(image))
            names = tuple(metric.name for metric in _choose(metrics, sample, *image.shape[1:]))
            for number, system in enumerate(systems):
                uses = system.transceiver.uses(*image.shape[1:])
                for point in map(float, snr_db):
                    missing = []
                    for repeat in range(repeats):
                        key = (
                            system.name,
                            channel,
                            ("snr_db", point),
                            repeat,
                            sample,
                            seed,
                            uses,
                        )
                        found = {
                            row.metric: row
                            for row in held.get(key, [])
                            if row.metric in names and _same(row, message, system)
                        }
                        known = len(found) == len(names)
                        waiting.append([found[name] for name in names] if known else None)
                        if not known:
                            missing.append(repeat)
                    if missing:
                        yield Task(
                            number, sample, image, channel, point, tuple(missing), seed, names
                        )

    rows: list[Row] = []
    done = 0
    if progress is not None:
        progress(done, total)

    def finish(found: Sequence[Row]) -> None:
        nonlocal done
        rows.extend(found)
        done += 1
        if progress is not None:
            progress(done, total)

    run = engine or (lambda some: (found for task in some for found in run_task(task, systems)))
    for measured in run(tasks()):
        if out is not None:
            append_rows(out, [row for row in measured if not is_held(row)])
        while (known_before := waiting.popleft()) is not None:
            finish(known_before)
        finish(measured)
    for known_before in waiting:
        assert known_before is not None, "the engine returned fewer results than there were tasks"
        finish(known_before)
    return rows


def check_metrics(names: Sequence[str]) -> None:
    """Raise VqlinkError for a name that no image metric has."""
    known = {metric.name for metric in IMAGE_METRICS}
    for name in names:
        if name not in known:
            raise VqlinkError(f"unknown metric {name!r} (known: {', '.join(sorted(known))})")


def _choose(
    names: Sequence[str] | None, sample: str, height: int, width: int
) -> tuple[Metric, ...]:
    supported = metrics_for(height, width)
    chosen = tuple(metric for metric in supported if names is None or metric.name in names)
    if not chosen:
        wanted = ", ".join(names or ())
        raise VqlinkError(f"{sample}: {width}x{height} is too small for {wanted}")
    return chosen


def _transmission(row: Row) -> tuple[object, ...]:
    return (row.system, row.channel, *row.point.items(), row.repeat, row.sample, row.seed, row.uses)


def _same(held: Row, message: str | None, system: System | Row) -> bool:
    """Whether a row that is held is of this message, by this version of its system.

    Versions of a learned code differ in their weights, those of a digital link in their recipe.
    What an older row doesn't tell, its message or a link's recipe, may be any.
    """
    digital = system.weights is None
    return (
        held.weights == system.weights
        and held.message in (message, None)
        and (not digital or held.recipe in (system.recipe, None))
    )


@dataclass(frozen=True)
class Summary:
    """The mean of one metric at one point, over messages and repeats, outages included.

    Attributes:
        ci95: half the width of the 95 % confidence interval, 1.96 standard errors of the mean over
            the pictures' own means; None for a single picture.
        n, outages: transmissions, and those of them that were lost.
        flags: of any of the rows.
    """

    system: str
    channel: str
    point: Mapping[str, float]
    metric: str
    unit: str
    mean: float
    ci95: float | None
    n: int
    outages: int
    rho: float
    uses: float
    tx_power: float
    flags: tuple[str, ...]


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Group rows by system, channel, point and metric, in the order of their first row."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        point = tuple(sorted(row.point.items()))
        groups.setdefault((row.system, row.channel, point, row.metric), []).append(row)
    return [_summary(group) for group in groups.values()]


def _summary(rows: Sequence[Row]) -> Summary:
    first = rows[0]
    values = torch.tensor([row.value for row in rows], dtype=torch.float64)
    by_sample: dict[str, list[float]] = {}
    for row in rows:
        by_sample.setdefault(row.sample, []).append(row.value)
    means = torch.tensor([sum(v) / len(v) for v in by_sample.values()], dtype=torch.float64)
    ci95 = 1.96 * float(means.std()) / math.sqrt(len(means)) if len(means) > 1 else None
    return Summary(
        system=first.system,
        channel=first.channel,
        point=first.point,
        metric=first.metric,
        unit=first.unit,
        mean=float(values.mean()),
        ci95=ci95,
        n=len(rows),
        outages=sum(row.status == "outage" for row in rows),
        rho=sum(row.rho for row in rows) / len(rows),
        uses=sum(row.uses for row in rows) / len(rows),
        tx_power=sum(row.tx_power for row in rows) / len(rows),
        flags=tuple(sorted({flag for row in rows for flag in row.flags})),
    )

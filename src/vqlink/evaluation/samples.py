"""Pictures that a prior makes up, and their distance from real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vqlink.metrics.frechet import FrechetMeter
from vqlink.protocols import VqlinkError
from vqlink.rng import stream
from vqlink.sources.datasets import ImageCollection
from vqlink.systems.image_prior import ImagePrior

_PIXELS = 256 * 32 * 32  # in a batch: what CIFAR-10's size takes at once, and larger ones alike

Report = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and how much there is."""


def draw(
    prior: ImagePrior,
    count: int,
    size: tuple[int, int],
    *,
    seed: int,
    labels: Tensor | None = None,
    temperature: float = 1.0,
    report: Report | None = None,
) -> Iterator[Tensor]:
    """``count`` pictures (B, 3, *size) in [0, 1], some at a time: 256 of CIFAR-10's size.

    Args:
        labels: (count,) int64 where the prior has classes.
    """
    batch = _batch(size)
    for start in range(0, count, batch):
        some = min(batch, count - start)

        def progress(done: int, total: int, start: int = start, some: int = some) -> None:
            if report is not None:
                report("sampling", start * total + some * done, count * total)

        yield prior.sample(
            some,
            size,
            generator=stream(seed, "samples", start),
            label=None if labels is None else labels[start : start + some],
            temperature=temperature,
            progress=progress,
        )


def add_real(
    meter: FrechetMeter,
    pictures: ImageCollection,
    size: tuple[int, int],
    *,
    report: Report | None = None,
) -> None:
    """Give a meter the real pictures; those that are larger are cut to their middle.

    Raises:
        VqlinkError: for a picture that is smaller.
    """
    batch = _batch(size)
    for start in range(0, len(pictures), batch):
        stop = min(len(pictures), start + batch)
        meter.add(torch.stack([_middle(*pictures[i], size) for i in range(start, stop)]), real=True)
        if report is not None:
            report("comparing", stop, len(pictures))


def _batch(size: tuple[int, int]) -> int:
    return max(1, _PIXELS // (size[0] * size[1]))


def _middle(name: str, picture: Tensor, size: tuple[int, int]) -> Tensor:
    spare = [have - want for have, want in zip(picture.shape[1:], size, strict=True)]
    if min(spare) < 0:
        raise VqlinkError(f"{name} is smaller than the samples, {size[0]} x {size[1]}")
    top, left = (s // 2 for s in spare)
    return picture[:, top : top + size[0], left : left + size[1]]

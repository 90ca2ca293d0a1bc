"""One cell of 002's third scenario: two-dimensional toy data, one codebook, no encoder.

The paper names scikit-learn's generators, not their parameters. From the mean errors in its
Table 2 one can read them off: at high rates the error of an optimal codebook is
0.0802 (integral of sqrt(p))^2 / K for a density p (Gersho, 1979), at low rates that of points along
a curve. These fit: blobs as the generator's defaults have them (3 centres, deviation 1), circles
(factor 0.5) and moons at noise 0.01, both times 10, the swiss roll at noise 0.1, columns 0 and 2.
Errors are means over points and both dimensions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.datasets import make_blobs, make_circles, make_moons, make_swiss_roll
from torch import Tensor

from vqlink.quantizers.gradients import GradientPath, Learning
from vqlink.quantizers.replacement import Replacement, reset_moments
from vqlink.quantizers.search import nearest
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream

Shape = Literal["blobs", "circles", "moons", "swiss-roll"]
Method = Literal["minibatch-kmeans", "ste", "ste-replaced", "ema", "nsvq"]

POINTS = 1_000_000
_BATCH = 10_000
_DATA_SEED = 42
_PATHS: dict[str, tuple[GradientPath, Learning, bool]] = {
    "ste": ("straight_through", "loss", False),
    "ste-replaced": ("straight_through", "loss", True),
    "ema": ("straight_through", "ema", False),
    "nsvq": ("noise", "gradient", True),
}


@dataclass(frozen=True)
class ToyRun:
    """One codebook: its size is 2^bits; ``epochs`` over the ``points``."""

    shape: Shape
    bits: int
    method: Method
    seed: int
    epochs: int = 10
    points: int = POINTS


def draw(shape: Shape, points: int = POINTS) -> Tensor:
    """(points, 2) float32, shuffled by the generator."""
    match shape:
        case "blobs":
            values = make_blobs(points, random_state=_DATA_SEED)[0]
        case "circles":
            values = 10 * make_circles(points, factor=0.5, noise=0.01, random_state=_DATA_SEED)[0]
        case "moons":
            values = 10 * make_moons(points, noise=0.01, random_state=_DATA_SEED)[0]
        case "swiss-roll":
            values = make_swiss_roll(points, noise=0.1, random_state=_DATA_SEED)[0][:, [0, 2]]
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def fit(run: ToyRun, data: Tensor) -> tuple[Tensor, float]:
    """The codebook (K, 2) that the method finds, and the seconds that it took."""
    started = time.perf_counter()
    if run.method == "minibatch-kmeans":
        codebook = _fit_kmeans(run, data)
    else:
        codebook = _fit_quantizer(run, data)
    return codebook, time.perf_counter() - started


def error(data: Tensor, codebook: Tensor) -> tuple[float, int]:
    """Mean squared error over points and dimensions, and how many codewords no point takes."""
    index = nearest(data, codebook)
    used = torch.bincount(index, minlength=codebook.shape[0]) > 0
    mean = (data - codebook[index]).double().square().mean().item()
    return mean, int((~used).sum())


def _fit_kmeans(run: ToyRun, data: Tensor) -> Tensor:
    model = MiniBatchKMeans(
        2**run.bits,
        batch_size=_BATCH,
        max_iter=run.epochs,
        n_init=1,
        max_no_improvement=None,
        random_state=run.seed,
    )
    return torch.from_numpy(model.fit(data.numpy()).cluster_centers_).float()


def _fit_quantizer(run: ToyRun, data: Tensor) -> Tensor:
    """The codebook starts as N(0, 1), mostly outside the data, as the paper's does.

    Adam's rate is set by the size of a cell, and lower where a codeword sees few points of a
    batch; it falls to zero over the run (cosine). Over the first 85 % of the run, codewords with
    less than 0.2 of their fair share of the squared error move beside those with most of it.
    """
    gradient, learning, replaced = _PATHS[run.method]
    batches = max(1, data.shape[0] // _BATCH)
    steps = run.epochs * batches
    policy = Replacement(
        every=10,
        growth=1.1,
        until=int(0.85 * steps),
        threshold=0.2,
        count="distortion",
        sources="share",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        quantizer = VectorQuantizer(
            2**run.bits,
            2,
            gradient=gradient,
            learning=learning,
            replacement=policy if replaced else None,
            init="normal",
        )
    size = 2**run.bits
    peak = 0.6 * size**-0.5 * min(1.0, (_BATCH / size / 40) ** 0.5) * float(data[:_BATCH].std())
    optimizer = (
        torch.optim.Adam([quantizer.codebook], lr=peak, fused=True) if learning != "ema" else None
    )
    for step in range(steps):
        if step % batches == 0:
            order = torch.randperm(data.shape[0], generator=stream(run.seed, "order", step))
        start = step % batches * _BATCH
        points = data[order[start : start + _BATCH]]
        out = quantizer(points, generator=stream(run.seed, "noise", step))
        if optimizer is not None:
            loss = out.losses.get("codebook")
            if loss is None:
                loss = (out.values - points).square().mean()
            optimizer.param_groups[0]["lr"] = peak * 0.5 * (1 + np.cos(np.pi * step / steps))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        upkeep = quantizer.after_step(generator=stream(run.seed, "upkeep", step))
        if optimizer is not None:
            reset_moments(optimizer, quantizer.codebook, upkeep.replaced)
    return quantizer.codebook.detach()

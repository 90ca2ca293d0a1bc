"""One training run of 002's second scenario: a VQ-VAE on CIFAR-10, and what its hard codes give.

The net and the settings are van den Oord's as 002 takes them over: D = 64, Adam at 1e-3, batches
of 32, commitment 0.25. 002 trains 5, 10 and 15 thousand updates apart; here one run gives all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vqlink.decoders.image.vqvae import VQVAEDecoder
from vqlink.encoders.image.vqvae import VQVAEEncoder
from vqlink.metrics.image import psnr, ssim
from vqlink.quantizers.gradients import GradientPath, Learning
from vqlink.quantizers.replacement import Replacement, reset_moments
from vqlink.quantizers.statistics import perplexity
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream
from vqlink.sources.datasets import open_images
from vqlink.sources.images import to_bytes8
from vqlink.systems.autoencoder import VQAutoencoder

Method = Literal["ste", "ema", "nsvq", "rotation", "diveq"]

_PATHS: dict[Method, tuple[GradientPath, Learning]] = {
    "ste": ("straight_through", "loss"),
    "ema": ("straight_through", "ema"),
    "nsvq": ("noise", "gradient"),
    "rotation": ("rotation", "ema"),
    "diveq": ("directional", "gradient"),
}
_BATCH = 32
_RATE = 1e-3
_COMMITMENT = 0.25


@dataclass(frozen=True)
class ImageRun:
    """Settings of one run.

    Attributes:
        bits: log2 of the codebook's size.
        method: gradient path and codebook learning.
        replacement: codebook replacement over the run; without, NSVQ replaces once after the first
            update, as 002's footnote 4 has it.
        seed: of weights, batches, noise and replacement.
        updates: where the run is measured, rising; the last one ends it.
        finetune: updates of the decoder alone on hard codes, after the last measurement.
    """

    bits: int
    method: Method
    replacement: bool
    seed: int
    updates: tuple[int, ...] = (5000, 10_000, 15_000)
    finetune: int = 0

    def policy(self) -> Replacement | None:
        if self.replacement:
            # Often at first, rarely later, never in the last tenth.
            return Replacement(every=50, growth=1.1, until=int(0.9 * self.updates[-1]))
        return Replacement(every=1, until=1) if self.method == "nsvq" else None


def build(run: ImageRun) -> VQAutoencoder:
    """The untrained net of a run."""
    gradient, learning = _PATHS[run.method]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        system = VQAutoencoder(
            VQVAEEncoder(),
            VectorQuantizer(
                2**run.bits, 64, gradient=gradient, learning=learning, replacement=run.policy()
            ),
            VQVAEDecoder(),
        )
    return system.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def train(
    run: ImageRun, images: Tensor, test: Tensor, *, log_every: int = 100
) -> Iterator[dict[str, float | int | str]]:
    """Train and measure; yields rows.

    ``kind`` is ``log`` (training loss and perplexity of a batch, every ``log_every`` updates) or
    ``result`` (hard codes on the test images, after ``updates``); ``finetuned`` is the number of
    the decoder's further updates.

    Args:
        images: (N, 3, 32, 32) uint8 to train on.
        test: (M, 3, 32, 32) uint8 to measure on.
    """
    system = build(run)
    quantizer = system.quantizer
    assert isinstance(quantizer, VectorQuantizer)
    optimizer = torch.optim.Adam(system.parameters(), lr=_RATE, fused=True)
    variance = images[:10_000].float().div(255).var().item()
    started = time.monotonic()
    for step in range(1, run.updates[-1] + 1):
        batch = batch_of(images, run.seed, step)
        noise = stream(run.seed, "train", step)
        with torch.autocast("cpu", torch.bfloat16):
            received, quantized = system(batch, generator=noise)
        error = functional.mse_loss(received, batch)
        loss = error / variance
        loss = loss + quantized.losses.get("codebook", 0.0)
        loss = loss + _COMMITMENT * quantized.losses.get("commitment", 0.0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        upkeep = quantizer.after_step(generator=stream(run.seed, "upkeep", step))
        reset_moments(optimizer, quantizer.codebook, upkeep.replaced)
        if step % log_every == 0:
            yield {
                "kind": "log",
                "updates": step,
                "mse": error.item(),
                "perplexity": quantized.stats["perplexity"].item(),
            }
        if step in run.updates:
            seconds = time.monotonic() - started
            yield {"updates": step, "seconds": round(seconds, 1), **measure(system, test)}
    if run.finetune:
        finetune_decoder(system, images, run)
        yield {"updates": run.updates[-1], "finetuned": run.finetune, **measure(system, test)}


def finetune_decoder(system: VQAutoencoder, images: Tensor, run: ImageRun) -> None:
    """Further updates of the decoder alone, on hard codes, with the rate falling to zero."""
    system.quantizer.eval()
    optimizer = torch.optim.Adam(system.decoder.parameters(), lr=_RATE, fused=True)
    for step in range(run.finetune):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / run.finetune)
        batch = batch_of(images, run.seed, run.updates[-1] + 1 + step)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                codes = system.quantizer.hard(system.encoder(batch))
            received = system.decoder(codes)
        loss = functional.mse_loss(received.float(), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def measure(system: VQAutoencoder, test: Tensor) -> dict[str, float | int | str]:
    """PSNR, SSIM, perplexity and unused codewords over the test images, from hard codes."""
    system.eval()
    quality: dict[str, list[Tensor]] = {"psnr": [], "ssim": []}
    counts = torch.zeros(round(2**system.quantizer.bits_per_vector))
    for part in torch.split(test, 250):
        sent = part.float() / 255
        indices = system.quantizer.encode(system.encoder(sent))
        received = system.decoder(system.quantizer.decode(indices)).float().clamp(0, 1)
        quality["psnr"].append(psnr(received, sent))
        quality["ssim"].append(ssim(received, sent))
        counts += torch.bincount(indices.flatten(), minlength=counts.numel())
    system.train()
    return {
        "kind": "result",
        **{name: torch.cat(values).double().mean().item() for name, values in quality.items()},
        "perplexity": perplexity(counts / counts.sum()).item(),
        "unused": int((counts == 0).sum()),
    }


@lru_cache(maxsize=1)
def cifar10() -> tuple[Tensor, Tensor]:
    """CIFAR-10 to train on (stored as JPEG) and the lossless images to measure on, uint8."""
    cache = Path("runs/cifar10")
    return (
        load_pixels("data/cifar10/train.parquet", cache / "train.npy"),
        load_pixels("data/cifar10/validation_exact.parquet", cache / "validation_exact.npy"),
    )


def load_pixels(location: str, cache: Path) -> Tensor:
    """Images of one size as uint8 (N, 3, H, W), decoded once and kept in ``cache``.

    Raises:
        VqlinkError: if the location can't be read.
    """
    if cache.exists():
        return torch.from_numpy(np.load(cache, allow_pickle=False))
    pixels = torch.stack([to_bytes8(x) for _, x in open_images(location)])
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_suffix(f".{os.getpid()}.partial")  # several processes may be at it
    with partial.open("wb") as file:
        np.save(file, pixels.numpy(), allow_pickle=False)
    partial.replace(cache)
    return pixels


def batch_of(images: Tensor, seed: int, step: int) -> Tensor:
    """The step's 32 images, drawn with replacement, (32, 3, H, W) float32 in [0, 1]."""
    rows = torch.randint(images.shape[0], (_BATCH,), generator=stream(seed, "batch", step))
    batch = images[rows].float() / 255
    return batch.contiguous(memory_format=torch.channels_last)

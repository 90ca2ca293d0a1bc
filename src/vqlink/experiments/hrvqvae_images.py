"""One training run of paper 003's comparison: a codebook, or three, in one net on CIFAR-10."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqlink.decoders.image.vqvae import VQVAEDecoder
from vqlink.encoders.image.vqvae import VQVAEEncoder
from vqlink.experiments.nsvq_images import batch_of
from vqlink.metrics.image import psnr, ssim
from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.replacement import Replacement
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.statistics import perplexity
from vqlink.quantizers.upkeep import keep_up
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream
from vqlink.systems.autoencoder import VQAutoencoder
from vqlink.systems.vqvae2 import VQVAE2

Model = Literal["vqvae", "vqvae2", "rvq", "hr"]

DIM = 64
_RATE = 1e-3
_COMMITMENT = 0.25


@dataclass(frozen=True)
class HierarchyRun:
    """Settings of one run.

    Attributes:
        model: ``vqvae`` (one flat codebook), ``vqvae2`` (three maps, a codebook each, learned by
            running means as its paper does), ``rvq`` (plain residual layers) or ``hr`` (a tree).
        branches: codewords of each layer, as ``"8x8x8"``; of a flat codebook, and of each of the
            three, the one number.
        healthy: k-means at the start and replacement; without, as the papers have it.
        seed: of weights, batches and upkeep.
        updates: of the run.
    """

    model: Model
    branches: str
    healthy: bool
    seed: int
    updates: int = 10_000

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(int(size) for size in self.branches.split("x"))

    @property
    def bits_per_image(self) -> float:
        """Of a 32x32 image: 256 vectors, and 64 and 16 more of VQ-VAE-2."""
        bits = sum(math.log2(size) for size in self.sizes)
        return bits * (256 + 64 + 16 if self.model == "vqvae2" else 256)


def build(run: HierarchyRun) -> nn.Module:
    """The untrained net of a run."""
    policy = None
    if run.healthy:
        # The coarse maps of VQ-VAE-2 have fewer vectors in a batch than there may be codewords, so
        # that many a codeword in good use would be missing from most batches.
        count: Literal["vectors", "batches"] = "vectors" if run.model == "vqvae2" else "batches"
        policy = Replacement(every=50, growth=1.1, until=int(0.9 * run.updates), count=count)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        system: nn.Module
        if run.model == "vqvae2":
            # Running means that start within +-1/K never spread: without k-means they start wide,
            # as in the authors' own library.
            system = VQVAE2(
                [
                    VectorQuantizer(
                        run.sizes[0],
                        DIM,
                        learning="ema",
                        init="uniform" if run.healthy else "normal",
                        replacement=policy,
                    )
                    for _ in range(3)
                ]
            )
        else:
            quantizer: VectorQuantizer | ResidualQuantizer
            if run.model == "vqvae":
                quantizer = VectorQuantizer(run.sizes[0], DIM, replacement=policy)
            else:
                tree = run.model == "hr"
                quantizer = ResidualQuantizer(run.sizes, DIM, tree=tree, replacement=policy)
            system = VQAutoencoder(VQVAEEncoder(halvings=1), quantizer, VQVAEDecoder(halvings=1))
    return system.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def train(run: HierarchyRun, images: Tensor, test: Tensor) -> Iterator[dict[str, Any]]:
    """Train and measure; yields the row of hard codes on the test images.

    Args:
        images: (N, 3, 32, 32) uint8 to train on.
        test: (M, 3, 32, 32) uint8 to measure on.
    """
    started = time.monotonic()
    system = fit(run, images)
    seconds = round(time.monotonic() - started, 1)
    yield {"bits_per_image": run.bits_per_image, "train_seconds": seconds, **measure(system, test)}


def fit(run: HierarchyRun, images: Tensor) -> nn.Module:
    """The trained net of a run, on images (N, 3, 32, 32) uint8."""
    system = build(run)
    if run.healthy:
        _start(system, images, run.seed)
    optimizer = torch.optim.Adam(system.parameters(), lr=_RATE, fused=True)
    variance = images[:10_000].float().div(255).var().item()
    for step in range(1, run.updates + 1):
        # Constant, then linear to zero over the last fifth.
        decay = min(1.0, 5 * (1 - (step - 1) / run.updates))
        optimizer.param_groups[0]["lr"] = _RATE * decay
        batch = batch_of(images, run.seed, step)
        with torch.autocast("cpu", torch.bfloat16):
            received, outputs = _forward(system, batch)
        loss = functional.mse_loss(received, batch) / variance
        for out in outputs:
            loss = loss + _COMMITMENT * out.losses["commitment"]
            if "codebook" in out.losses:  # running means have none
                loss = loss + out.losses["codebook"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _keep_up(system, optimizer, run.seed, step)
    return system


@torch.no_grad()
def measure(system: nn.Module, test: Tensor) -> dict[str, Any]:
    """Error over the test images from hard codes, and how the codewords are used.

    ``mse`` is that of values in [0, 1], as in the paper; PSNR and SSIM are on 8-bit pixels.
    """
    system.eval()
    totals = dict.fromkeys(("mse", "psnr", "ssim"), 0.0)
    counts = [torch.zeros(size) for size in _sizes(system)]
    by_layer: list[float] = []
    for part in torch.split(test, 250):
        sent = part.float() / 255
        received, outputs = _forward(system, sent)
        received = received.clamp(0, 1)
        totals["mse"] += float((received - sent).square().mean()) * sent.shape[0] / test.shape[0]
        for name, metric in (("psnr", psnr), ("ssim", ssim)):
            totals[name] += float(metric(received, sent).double().sum()) / test.shape[0]
        for place, out in enumerate(outputs):
            assert out.indices is not None
            counts[place] += torch.bincount(out.indices.flatten(), minlength=counts[place].numel())
        if isinstance(system, VQAutoencoder) and isinstance(system.quantizer, ResidualQuantizer):
            errors = _layer_errors(system, system.quantizer, sent, outputs[0])
            share = sent.shape[0] / test.shape[0]
            by_layer = [a + share * e for a, e in zip(by_layer or [0.0] * len(errors), errors,
                                                      strict=True)]  # fmt: skip
    system.train()
    return {
        **totals,
        "perplexity": [float(perplexity(c / c.sum())) for c in counts],
        "unused": [int((c == 0).sum()) for c in counts],
        "mse_by_layers": by_layer,
    }


def _layer_errors(
    system: VQAutoencoder, quantizer: ResidualQuantizer, sent: Tensor, out: QuantizerOutput
) -> list[float]:
    """The error of what the first 0, 1, ... layers give."""
    assert out.indices is not None
    found = []
    for layers in range(quantizer.layers + 1):
        codes = quantizer.decode(out.indices, layers=layers)
        image = system.decoder(codes).float().clamp(0, 1)
        found.append(float((image - sent).square().mean()))
    return found


def _forward(system: nn.Module, batch: Tensor) -> tuple[Tensor, tuple[QuantizerOutput, ...]]:
    received, outputs = system(batch)
    return received, outputs if isinstance(outputs, tuple) else (outputs,)


def _quantizers(system: nn.Module) -> list[VectorQuantizer | ResidualQuantizer]:
    if isinstance(system, VQVAE2):
        return list(system.codebooks)
    assert isinstance(system, VQAutoencoder)
    return [system.quantizer]


def _sizes(system: nn.Module) -> list[int]:
    return [
        quantizer.leaves if isinstance(quantizer, ResidualQuantizer) else quantizer.size
        for quantizer in _quantizers(system)
    ]


@torch.no_grad()
def _start(system: nn.Module, images: Tensor, seed: int) -> None:
    """k-means on the latents of some batches, map after map: each depends on those before."""
    batch = torch.cat([batch_of(images, seed, -step) for step in range(1, 9)])
    for place, quantizer in enumerate(_quantizers(system)):
        seen: list[Tensor] = []
        hook = quantizer.register_forward_pre_hook(lambda _, args, s=seen: s.append(args[0]))
        system.eval()(batch)
        hook.remove()
        quantizer.initialise(seen[0], generator=stream(seed, "kmeans", place))
    system.train()


def _keep_up(system: nn.Module, optimizer: torch.optim.Optimizer, seed: int, step: int) -> None:
    for place, quantizer in enumerate(_quantizers(system)):
        keep_up(quantizer, optimizer, generator=stream(seed, "upkeep", step, place))

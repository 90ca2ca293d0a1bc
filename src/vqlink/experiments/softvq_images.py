"""One training run of paper 000's image half, and what arrives at each noise level."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from vqlink.channels.awgn import AWGN
from vqlink.decoders.image.pooled import PooledDecoder
from vqlink.encoders.image.pooled import PooledEncoder
from vqlink.experiments.softvq_data import Source
from vqlink.links.values import ValuesLink
from vqlink.protocols import Point
from vqlink.quantizers.identity import Identity
from vqlink.quantizers.soft import Scale, SoftQuantizer
from vqlink.rng import stream
from vqlink.systems.soft_vqvae import Sent, SoftVQVAE
from vqlink.units import to_db

Regime = Literal["clean", "fixed", "integers", "range"]

FIXED = 0.05
RANGE = (0.001, 1.0)
SIZE, DIM, BETA = 512, 64, 1e-3
_BATCH = 16
_RATE = 1e-3


@dataclass(frozen=True)
class SoftRun:
    """Settings of one run.

    Attributes:
        source: the pictures; see :func:`vqlink.experiments.softvq_data.load_source`.
        assignment: ``distance`` (the paper's soft one), ``attention``, or ``identity`` for a net
            without a codebook.
        sent: what crosses the channel; see :class:`vqlink.systems.soft_vqvae.SoftVQVAE`.
        heads, sign, scale: of eq. 4; see :class:`vqlink.quantizers.soft.SoftQuantizer`.
        regime: the noise in training: none, sigma 0.05, sigma a whole number from 1 to 5 for each
            image (the paper's Fig. 5), or sigma log-uniform in 0.001 to 1.
        power: ``none`` as in the paper, or ``message``: each message at P = 1 a channel use.
        seed: of weights, batches and noise.
        updates: of the run.
    """

    source: Source
    assignment: Literal["distance", "attention", "identity"]
    sent: Sent
    heads: int
    sign: Literal[-1, 1]
    scale: Scale
    regime: Regime
    power: Literal["none", "message"]
    seed: int
    updates: int = 2000


def build(run: SoftRun) -> SoftVQVAE:
    """The untrained system of a run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        quantizer: SoftQuantizer | Identity = Identity()
        if run.assignment != "identity":
            quantizer = SoftQuantizer(
                SIZE,
                DIM,
                assignment=run.assignment,
                heads=run.heads,
                sign=run.sign,
                scale=run.scale,
            )
        link = ValuesLink(AWGN(), power=run.power, equalizer="none")
        system = SoftVQVAE(PooledEncoder(), quantizer, link, PooledDecoder(), sent=run.sent)
    return system.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def noise_point(sigma: float | Tensor) -> Point | None:
    """The point whose noise has the deviation ``sigma`` in each real dimension; None for 0.

    N0 = 2 sigma^2, so its ``snr_db`` is what a signal of P = 1 has. Of unnormalised latents the
    SNR has to be measured.
    """
    if isinstance(sigma, Tensor):
        return Point(snr_db=-to_db(2 * sigma**2))
    return Point(snr_db=-to_db(2 * sigma**2)) if sigma else None


def training_noise(run: SoftRun, count: int, step: int) -> Point | None:
    """The noise of a batch under the run's regime."""
    generator = stream(run.seed, "sigma", step)
    match run.regime:
        case "clean":
            return None
        case "fixed":
            return noise_point(FIXED)
        case "integers":
            return noise_point(torch.randint(1, 6, (count,), generator=generator).float())
        case "range":
            low, high = (math.log(value) for value in RANGE)
            draws = torch.rand(count, generator=generator)
            return noise_point(torch.exp(low + (high - low) * draws))


def train(run: SoftRun, images: Tensor) -> tuple[SoftVQVAE, dict[str, Any]]:
    """Train with eq. 3 as MSE + beta |z_e - z_q|^2, both means.

    Args:
        images: (N, 3, H, W) uint8, sides multiples of 16.

    Returns:
        The system in evaluation mode, and the last batch's figures.
    """
    system = build(run)
    optimizer = torch.optim.Adam(system.parameters(), lr=_RATE, fused=True)
    started = time.process_time()
    for step in range(1, run.updates + 1):
        # Constant, then linear to zero over the last fifth.
        decay = min(1.0, 5 * (1 - (step - 1) / run.updates))
        optimizer.param_groups[0]["lr"] = _RATE * decay
        batch = _batch(images, run.seed, step)
        point = training_noise(run, batch.shape[0], step)
        with torch.autocast("cpu", torch.bfloat16):
            out = system(batch, point, generator=stream(run.seed, "train", step))
        error = functional.mse_loss(out.received, batch)
        loss = error + BETA * out.quantized.losses.get("latent", torch.zeros(()))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    log: dict[str, Any] = {name: float(value) for name, value in out.quantized.stats.items()}
    log["train_mse"] = error.item()
    log["cpu_seconds"] = round(time.process_time() - started, 1)
    return system.eval(), log


def save(system: SoftVQVAE, path: Path) -> None:
    """Write the weights, for the pictures of a figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: t.contiguous() for name, t in system.state_dict().items()}, partial)
    partial.replace(path)


def load(run: SoftRun, path: Path) -> SoftVQVAE:
    """A run's trained system in evaluation mode."""
    system = build(run)
    system.load_state_dict(load_file(path))
    return system.eval()


def _batch(images: Tensor, seed: int, step: int) -> Tensor:
    rows = torch.randint(images.shape[0], (_BATCH,), generator=stream(seed, "batch", step))
    batch = images[rows].float() / 255
    return batch.contiguous(memory_format=torch.channels_last)

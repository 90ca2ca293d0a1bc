"""One training run of paper 000's image half, and what arrives at each noise level."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from vqlink.channels.awgn import AWGN
from vqlink.decoders.image.pooled import PooledDecoder
from vqlink.encoders.image.pooled import PooledEncoder
from vqlink.links.values import ValuesLink
from vqlink.metrics.image import psnr, ssim
from vqlink.protocols import Point
from vqlink.quantizers.identity import Identity
from vqlink.quantizers.search import nearest
from vqlink.quantizers.soft import Scale, SoftQuantizer
from vqlink.rng import stream
from vqlink.sources.datasets import open_images
from vqlink.systems.soft_vqvae import Sent, SoftVQVAE
from vqlink.units import to_db

Source = Literal["cifar10", "imagenet", "celeba"]
Regime = Literal["clean", "fixed", "integers", "range"]

SIGMAS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
HARD_SIGMAS = (0.0, 0.05, 0.5)
FIXED = 0.05
RANGE = (0.001, 1.0)
SIZE, DIM, BETA = 512, 64, 1e-3
_BATCH = 16
_RATE = 1e-3


@dataclass(frozen=True)
class SoftRun:
    """Settings of one run.

    Attributes:
        source: the pictures; see :func:`load_source`.
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


@torch.no_grad()
def measure(
    system: SoftVQVAE, test: Tensor, sigmas: tuple[float, ...] = SIGMAS
) -> list[dict[str, Any]]:
    """Rows of what arrives at each noise level.

    A system that was trained to send mixtures is measured with its codewords too, at a few levels:
    with those of the largest weights (``codeword``) and those nearest to the mixtures
    (``nearest``).

    Args:
        test: (M, 3, H, W) uint8.
    """
    images = test.float() / 255
    rows = _rows(system, system.sent, values_of(system, system.sent, images), images, sigmas)
    if system.sent == "mixture" and isinstance(system.quantizer, SoftQuantizer):
        few = tuple(sigma for sigma in sigmas if sigma in HARD_SIGMAS)
        for kind in ("codeword", "nearest")[: 2 if system.quantizer.heads == 1 else 1]:
            rows += _rows(system, kind, values_of(system, kind, images), images, few)
    return rows


def values_of(system: SoftVQVAE, kind: str, images: Tensor) -> Tensor:
    """What is sent, before the power constraint, for a kind that :func:`measure` names."""
    trained = system.sent
    system.sent = "codeword" if kind == "codeword" else trained
    parts = [system.values(part) for part in torch.split(images, 250)]
    system.sent = trained
    values = torch.cat(parts)
    if kind == "nearest":
        assert isinstance(system.quantizer, SoftQuantizer)
        codebook = system.quantizer.codebook[0]
        values = codebook[nearest(values.reshape(-1, system.dim), codebook)].reshape(values.shape)
    return values


def _rows(
    system: SoftVQVAE, kind: str, values: Tensor, images: Tensor, sigmas: tuple[float, ...]
) -> list[dict[str, Any]]:
    pairs = system.link.amplify(values.reshape(values.shape[0], -1, 2))
    # What differs from message to message; the rest is an offset that says nothing.
    varying = 2 * pairs.flatten(1).var(dim=0, correction=0).mean().item()
    rows = []
    for sigma in sigmas:
        received, power = receive(system, values, sigma, images.shape[-2:])
        errors = (received - images).square().flatten(1).mean(dim=1).double()
        quality = [torch.cat([metric(a, b) for a, b in _parts(received, images)]).double().mean()
                   for metric in (psnr, ssim)]  # fmt: skip
        noise = 2 * sigma**2
        rows.append(
            {
                "arrived_from": kind,
                "sigma": sigma,
                "tx_power": power,
                "snr_db": to_db(power / noise) if sigma and power else None,
                "varying_power": varying,
                "varying_snr_db": to_db(varying / noise) if sigma and varying else None,
                "mse": errors.mean().item(),
                "mse_ci95": 1.96 * errors.std().item() / math.sqrt(errors.numel()),
                "psnr": quality[0].item(),
                "ssim": quality[1].item(),
                "images": errors.numel(),
            }
        )
    return rows


@torch.no_grad()
def receive(
    system: SoftVQVAE, values: Tensor, sigma: float, size: tuple[int, ...]
) -> tuple[Tensor, float]:
    """(M, 3, *size) as received at ``sigma``, and the mean measured power of a channel use.

    The noise belongs to (sigma, number of the image): every system sees the same.
    """
    received, powers = [], []
    for start, part in zip(range(0, len(values), 250), torch.split(values, 250), strict=True):
        noise = [stream(0, "noise", sigma, start + row) for row in range(len(part))]
        sent = system.transmit_values(part, noise_point(sigma), size, generator=noise)
        received.append(sent.received)
        powers.append(sent.tx_power)
    return torch.cat(received), torch.cat(powers).double().mean().item()


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


def load_source(source: Source, cache: Path) -> tuple[Tensor, Tensor]:
    """Training and test pictures as uint8 (N, 3, side, side), decoded once and kept in ``cache``.

    ``cifar10``: 32x32, the test pictures lossless. ``imagenet``: 64x64, eight crops of each
    training picture and the middle of each validation picture. ``celeba``: the paper's faces from
    the Hugging Face hub, the middle square at 64x64 (the paper doesn't give its size); the first
    40,000 of its training split and 1,000 of its test split.
    """
    places: dict[Source, tuple[tuple[str, int, int, int], ...]] = {
        "cifar10": (
            ("data/cifar10/train.parquet", 32, 1, 100_000),
            ("data/cifar10/validation_exact.parquet", 32, 1, 500),
        ),
        "imagenet": (
            ("data/imagenet_sample/train.parquet", 64, 8, 100_000),
            ("data/imagenet_sample/validation.parquet", 64, 1, 100),
        ),
        "celeba": (
            ("hf:flwrlabs/celeba:train", 64, 1, 40_000),
            ("hf:flwrlabs/celeba:test", 64, 1, 1000),
        ),
    }
    train_set, test_set = (
        _load_squares(*place, whole=source == "celeba", cache=cache / f"{source}-{part}.npy")
        for part, place in zip(("train", "test"), places[source], strict=True)
    )
    return train_set, test_set


def _load_squares(
    location: str, side: int, crops: int, most: int, *, whole: bool, cache: Path
) -> Tensor:
    """``crops`` windows of each picture (one: its middle), or its middle square made smaller."""
    if cache.exists():
        return torch.from_numpy(np.load(cache, allow_pickle=False))
    squares = []
    for name, picture in open_images(location)[:most]:
        height, width = picture.shape[-2:]
        if whole:
            square = min(height, width)
            top, left = (height - square) // 2, (width - square) // 2
            middle = picture[None, :, top : top + square, left : left + square]
            squares.append(functional.interpolate(middle, (side, side), mode="area")[0])
            continue
        draws = torch.rand(crops, 2, generator=stream(0, "windows", name)).tolist()
        for down, across in draws if crops > 1 else ((0.5, 0.5),):
            top, left = int(down * (height - side + 1)), int(across * (width - side + 1))
            squares.append(picture[:, top : top + side, left : left + side])
    pixels = torch.stack([(square * 255).round().to(torch.uint8) for square in squares])
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, pixels.numpy(), allow_pickle=False)
    partial.replace(cache)
    return pixels


def _parts(received: Tensor, images: Tensor) -> zip[tuple[Tensor, Tensor]]:
    return zip(torch.split(received, 250), torch.split(images, 250), strict=True)


def _batch(images: Tensor, seed: int, step: int) -> Tensor:
    rows = torch.randint(images.shape[0], (_BATCH,), generator=stream(seed, "batch", step))
    batch = images[rows].float() / 255
    return batch.contiguous(memory_format=torch.channels_last)

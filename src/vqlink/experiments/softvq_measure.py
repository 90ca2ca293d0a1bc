"""What arrives from a run of paper 000 at each noise level."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vqlink.experiments.softvq_images import noise_point
from vqlink.metrics.image import psnr, ssim
from vqlink.quantizers.search import nearest
from vqlink.quantizers.soft import SoftQuantizer
from vqlink.rng import stream
from vqlink.systems.soft_vqvae import SoftVQVAE
from vqlink.units import to_db

SIGMAS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
HARD_SIGMAS = (0.0, 0.05, 0.5)


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


def _parts(received: Tensor, images: Tensor) -> zip[tuple[Tensor, Tensor]]:
    return zip(torch.split(received, 250), torch.split(images, 250), strict=True)

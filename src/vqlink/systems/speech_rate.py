"""What a speech frame costs and how wrong it is, differentiable, at a given number of bits.

The integers of :mod:`vqlink.digital.laplace` have no gradient. In training, uniform noise of one
step stands for the rounding: the bits are those of a unit interval about the noisy value under the
Laplace model, the decoder's value is the mean of the model over that interval.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqlink.digital.laplace import FIRST_OCTAVE, LAST_OCTAVE, PER_OCTAVE, ROWS, tables

_STEP = 0.5  # between the two step sizes that tell what a bit is worth
ROUNDING = 320 / 12  # error that rounding to 16 bits makes in a frame anyway
_EVERY = 4  # bins of the smooth envelopes that decide the step


def rate_distortion(
    spectrum: Tensor,
    weights: Tensor,
    log2_scale: Tensor,
    log2_step: Tensor,
    bits: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """The perceptual error of N frames at so many bits each, as a loss.

    The step of each frame is about that at which the frame takes ``bits``. Moved from there, it
    would take dR more bits for dlog D less error; so log2 D + (R - bits) |dlog D / dR| is, to first
    order, the error at exactly ``bits``, and its gradient says so of the envelope.

    Args:
        spectrum, weights: (N, HOP) coefficients and the ear's weights of them.
        log2_scale, log2_step: (N, HOP), the latter but for a number a frame.
        bits: (N,) for the coefficients.
        noise: (N, HOP) uniform in [0, 1).

    Returns:
        (N,) loss in bits, log2 of the error against the signal, and (N,) bits spent, detached.
    """
    # Only the shape counts: a common shift would be made up for by the step, and drift for ever.
    log2_step = log2_step - log2_step.mean(dim=1, keepdim=True)
    start = step_for(log2_scale.detach() - log2_step.detach(), bits)
    signal = (weights * spectrum).square().sum(dim=1) + ROUNDING

    def measure(shift: Tensor) -> tuple[Tensor, Tensor]:
        log2 = log2_step + shift[:, None]
        step = torch.exp2(log2)
        scale = torch.exp2((log2_scale - log2).clamp(FIRST_OCTAVE, LAST_OCTAVE))
        noisy = spectrum / step + noise - 0.5
        spent = interval_bits(noisy, scale).sum(dim=1)
        error = weights * (spectrum - step * interval_mean(noisy, scale))
        return spent, torch.log2((error.square().sum(dim=1) + ROUNDING) / signal)

    with torch.no_grad():
        spent, distortion = measure(start)
        other_spent, other = measure(start + _STEP)
        slope = (spent - other_spent).clamp_min(1.0)
        worth = ((other - distortion) / slope).clamp(1e-3, 0.2)
        start = start + ((spent - bits) / slope * _STEP).clamp(-2, 4)
    spent, distortion = measure(start)
    return distortion + worth * (spent - bits), spent.detach()


def interval_bits(values: Tensor, scale: Tensor) -> Tensor:
    """-log2 of the Laplace probability of [v - 1/2, v + 1/2], at most 24 bits."""
    size = values.abs()
    inverse = 1 / scale
    beyond = -size * inverse + 0.5 * inverse + torch.log(-torch.expm1(-inverse)) - math.log(2)
    inside = 1 - torch.exp(-0.5 * inverse) * torch.cosh(size.clamp_max(0.5) * inverse)
    nats = torch.where(size >= 0.5, beyond, torch.log(inside.clamp_min(1e-7)))
    return (-nats / math.log(2)).clamp_max(24.0)


def interval_mean(values: Tensor, scale: Tensor) -> Tensor:
    """The Laplace model's mean over [v - 1/2, v + 1/2]."""
    size = values.abs()
    centroid = scale - 1 / torch.expm1(1 / scale)
    beyond = size - 0.5 + centroid
    low, high = size.clamp_max(0.5) - 0.5, size.clamp_max(0.5) + 0.5  # low <= 0 <= high
    at_low, at_high = torch.exp(low / scale), torch.exp(-high / scale)
    moment = scale * ((-low + scale) * at_low - (high + scale) * at_high)
    mass = scale * (2 - at_low - at_high)
    inside = moment / mass.clamp_min(1e-7)
    return torch.sign(values) * torch.where(size >= 0.5, beyond, inside)


def step_for(log2_ratio: Tensor, bits: Tensor) -> Tensor:
    """(N,) log2 of a step, at which values of log2 scale (N, HOP) take ``bits`` on average."""
    entropy = torch.from_numpy(tables().entropy).float() * (_EVERY / 256)
    octaves = log2_ratio[:, ::_EVERY] - FIRST_OCTAVE
    low = torch.full_like(bits, -8.0)
    high = torch.full_like(bits, 24.0)
    for _ in range(9):
        middle = (low + high) / 2
        rows = ((octaves - middle[:, None]) * PER_OCTAVE).round().clamp(0, ROWS - 1).long()
        dear = entropy[rows].sum(dim=1) > bits
        low, high = torch.where(dear, middle, low), torch.where(dear, high, middle)
    return (low + high) / 2

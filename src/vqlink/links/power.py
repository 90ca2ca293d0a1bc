"""Power constraints: how a message comes to meet its budget of P = 1 per channel use.

``message``: every message's transmitted power is 1 (DeepJSCC-Q, eq. 23). With a finite alphabet
the points are fixed hardware, so instead of scaling them the transmitter sets the drive level, the
gain in front of the quantizer, such that the points it picks have mean power 1.
``constellation``: the alphabet as a whole has mean power 1 (eq. 17-19); a single message may have
more or less. ``none``: as the paper 000 does; the row then carries the measured SNR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

PowerConstraint = Literal["message", "constellation", "none"]

_BISECTIONS = 16  # the gain to 0.0001 of itself: less than 0.001 dB of power
_GAIN_RANGE = (0.125, 64.0)


def message_power(values: Tensor) -> Tensor:
    """Mean |x|^2 over the complex symbols of each message: (B, ..., 2) -> (B,)."""
    return values.flatten(1).square().mean(dim=1) * 2


def normalise_message(values: Tensor) -> Tensor:
    """Eq. 23: each message (B, ..., 2) scaled to unit power; an all-zero message stays zero."""
    power = message_power(values).clamp_min(1e-12)
    return values * power.rsqrt().view(-1, *[1] * (values.ndim - 1))


def drive_gain(values: Tensor, hard: Callable[[Tensor], Tensor]) -> Tensor:
    """Gain (B,) at which the hard points of each message have mean power 1, found by bisection.

    The power of the nearest points rises with the gain. A message whose points can't reach 1
    within the range (a constellation of constant modulus, an all-zero message) gets the range's
    nearest end, or 1 where the gain makes no difference.

    Args:
        values: (B, ..., 2) of unit power.
        hard: latents -> the points that go on the air.
    """
    shape = (-1, *[1] * (values.ndim - 1))

    def power(gain: Tensor) -> Tensor:
        return message_power(hard(values * gain.view(shape)))

    with torch.no_grad():
        low = values.new_full((values.shape[0],), math.log(_GAIN_RANGE[0]))
        high = values.new_full((values.shape[0],), math.log(_GAIN_RANGE[1]))
        fixed = (power(low.exp()) - power(high.exp())).abs() < 1e-6
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            above = power(middle.exp()) > 1
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return torch.where(fixed, torch.ones_like(low), ((low + high) / 2).exp())


def drive(
    values: Tensor, constraint: PowerConstraint, hard: Callable[[Tensor], Tensor], *, finite: bool
) -> Tensor:
    """Bring latents to the level at which what the quantizer puts out meets ``constraint``.

    Args:
        values: (B, ..., 2) latents in (I, Q) pairs.
        constraint: see the module.
        hard: the quantizer's hard decision.
        finite: whether the alphabet is finite.
    """
    if constraint != "message":
        return values
    values = normalise_message(values)
    if not finite:
        return values
    gain = drive_gain(values.detach(), hard)
    return values * gain.view(-1, *[1] * (values.ndim - 1))

"""Power constraints: how a message comes to meet its budget of P = 1 per channel use.

``message``: every message's transmitted power is 1 (DeepJSCC-Q, eq. 23). Points of an alphabet keep
their shape: the whole message is sent at one transmit gain, as a power amplifier does it, so inner
points that are picked more often than outer ones leave room for a larger gain.
``constellation``: the alphabet as a whole has mean power 1 (eq. 17-19) and is sent as it stands; a
single message may have more or less. ``none``: as the paper 000 does; the row then carries the
measured SNR.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

PowerConstraint = Literal["message", "constellation", "none"]


def message_power(values: Tensor) -> Tensor:
    """Mean |x|^2 over the complex symbols of each message: (B, ..., 2) -> (B,)."""
    return values.flatten(1).square().mean(dim=1) * 2


def normalise_message(values: Tensor) -> Tensor:
    """Eq. 23: each message (B, ..., 2) scaled to unit power; an all-zero message stays zero."""
    power = message_power(values).clamp_min(1e-12)
    return values * power.rsqrt().view(-1, *[1] * (values.ndim - 1))

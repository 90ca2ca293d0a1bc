"""Channels that carry bits: the binary erasure and the binary symmetric channel.

Bits are 0 and 1 in any real dtype; a float tensor's gradient passes through. The receiver is
taken to know the erasure or flip probability: it is the point's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vqlink.channels.symbol import PointKind, check_messages
from vqlink.protocols import ChannelOutput, Point
from vqlink.rng import Generators, uniform


def _check_bits(bits: Tensor) -> None:
    check_messages(bits)
    if bits.is_complex() or bits.dtype == torch.bool:
        raise TypeError(f"bits are 0 and 1 in an integer or float dtype, not {bits.dtype}")
    if not bool(((bits == 0) | (bits == 1)).all()):
        raise ValueError("bits must be 0 or 1")


def _events(bits: Tensor, point: Point, generator: Generators) -> Tensor:
    """Bool (B, n), each True with the point's probability, independently."""
    rate = point.rate(bits.shape[0], bits.device)[:, None]
    return uniform(bits.shape, generator=generator, like=bits) < rate


def _neutral(bits: Tensor) -> tuple[Tensor, Tensor]:
    """The gain and noise_var of a channel that has neither: float32 ones, zeros, (B, 1)."""
    ones = torch.ones((bits.shape[0], 1), device=bits.device)
    return ones, torch.zeros_like(ones)


@dataclass(frozen=True)
class BEC:
    """Binary erasure channel: y = m x, P(m = 0) = p, independently for each bit.

    An erased bit reads 0 in ``y``; only ``mask`` tells it from a 0 that arrived. Capacity 1 - p.
    """

    @property
    def point_kind(self) -> PointKind:
        return "probability"

    def __call__(self, x: Tensor, point: Point, *, generator: Generators) -> ChannelOutput:
        """Bits (B, n) -> y of the same dtype, noise_var 0 and ``mask`` (B, n), True: arrived.

        Raises:
            ValueError: for values other than 0 and 1, or a point without ``probability``.
            TypeError: for complex or bool tensors.
        """
        _check_bits(x)
        mask = ~_events(x, point, generator)
        gain, noise_var = _neutral(x)
        return ChannelOutput(x * mask, gain, noise_var, mask)


@dataclass(frozen=True)
class BSC:
    """Binary symmetric channel: y = x xor e, P(e = 1) = p, independently for each bit.

    Nothing is lost, so there is no mask. Capacity 1 - H2(p). The bits' log-likelihood ratio,
    for decoders, is ln((1 - p) / p) in size.
    """

    @property
    def point_kind(self) -> PointKind:
        return "probability"

    def __call__(self, x: Tensor, point: Point, *, generator: Generators) -> ChannelOutput:
        """Bits (B, n) -> y of the same dtype, noise_var 0, no mask.

        Raises:
            ValueError: for values other than 0 and 1, or a point without ``probability``.
            TypeError: for complex or bool tensors.
        """
        _check_bits(x)
        gain, noise_var = _neutral(x)
        y = torch.where(_events(x, point, generator), 1 - x, x)
        return ChannelOutput(y, gain, noise_var)

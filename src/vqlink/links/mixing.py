"""An orthonormal mix of the latents in front of a bounded alphabet.

A code for any complex value sends what matters most at many times the mean amplitude. A QAM cuts
that off, and behind the cut no gradient is left to learn from. Here every channel of the latents is
first shifted along the message by its own distance, then a Hadamard transform mixes the channels of
each position. So every value becomes a sum over far places and all channels: none stands out, the
quantization error becomes a little more noise, and a code that was trained without an alphabet
starts near where it was.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


def mix(latents: Tensor) -> Tensor:
    """(B, ..., D), D a power of two -> the mixed values in the same shape; energy is kept.

    Raises:
        ValueError: when D is no power of two.
    """
    size = latents.shape[-1]
    if size & (size - 1):
        raise ValueError(f"mixing takes a power of two of channels, not {size}")
    shifted = _shift(latents.reshape(latents.shape[0], -1, size), 1)
    return (shifted @ _hadamard(size).to(latents)).reshape(latents.shape)


def unmix(mixed: Tensor) -> Tensor:
    """The inverse of :func:`mix`: (B, ..., D) -> the same shape."""
    size = mixed.shape[-1]
    spread = mixed.reshape(mixed.shape[0], -1, size) @ _hadamard(size).to(mixed)
    return _shift(spread, -1).reshape(mixed.shape)


def _shift(values: Tensor, sign: int) -> Tensor:
    """(B, N, D): channel j moved cyclically by j N / D places."""
    count, size = values.shape[1:]
    index = torch.arange(count, device=values.device)[:, None]
    distance = torch.arange(size, device=values.device) * count // size
    place = index + (distance if sign > 0 else count - distance)
    # In place of a remainder, which ONNX's exporter lacks for a size known only at run time.
    place = torch.where(place < count, place, place - count)
    moved: Tensor = torch.gather(values, 1, place.expand(values.shape[0], count, size))
    return moved


@lru_cache(maxsize=16)
def _hadamard(size: int) -> Tensor:
    """Sylvester's matrix, scaled to be orthonormal; (size, size) float32, symmetric."""
    matrix = torch.ones(1, 1)
    while matrix.shape[0] < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)

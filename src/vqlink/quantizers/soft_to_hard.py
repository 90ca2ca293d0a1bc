"""Soft-to-hard assignment (DeepJSCC-Q, eq. 12-13) as plain functions.

The forward pass sends the nearest point, the backward pass takes the gradient of the softmax
weighted sum. For points on a product grid, such as a square QAM, the softmax factorises over the
axes, and on one axis the derivative has a closed form:

    d soft / dz = 2 sigma_q Var_w(level),   w = softmax(-sigma_q (z - level)^2)

so that M-QAM costs 2 sqrt(M) weights a symbol instead of M.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from vqlink.quantizers.search import check_finite

_CHUNK = 1 << 15  # weights of this many values at a time stay in the cache


def check_pairs(z: Tensor) -> None:
    """Raise ValueError unless latents are finite (I, Q) pairs (..., 2)."""
    if z.ndim == 0 or z.shape[-1] != 2:
        raise ValueError(f"a constellation takes (I, Q) pairs (..., 2), not {tuple(z.shape)}")
    if not torch.compiler.is_compiling():  # a graph can't depend on its values
        check_finite(z.float())


def nearest_level(z: Tensor, step: float, count: int) -> Tensor:
    """Index (int64) of the level nearest to each value of ``z``.

    The ``count`` levels are ``step * (i - (count - 1) / 2)``. Values on a boundary go to the upper
    level; NaN is the caller's to exclude.
    """
    index = torch.floor(z.float() / step + count / 2)
    return index.clamp_(0, count - 1).long()


def soft_level(z: Tensor, levels: Tensor, hardness: float | Tensor) -> Tensor:
    """Softmax weighted sum of ``levels`` (L,) for each value of ``z``: eq. 12 on one axis."""
    weights = torch.softmax(-hardness * (z[..., None] - levels) ** 2, dim=-1)
    return weights @ levels


def soft_level_slope(z: Tensor, levels: Tensor, hardness: float) -> Tensor:
    """d soft_level / dz = 2 sigma_q Var_w(level), without building a graph; shape of ``z``."""
    flat = z.reshape(-1)
    slope = torch.empty_like(flat)
    centred = levels - levels.mean()
    # A softmax is unchanged by what all its logits share, so (z - l)^2 loses its z^2 term.
    linear, constant = 2 * hardness * centred, -hardness * centred**2
    table = torch.stack([centred, centred**2], dim=1)
    rows = max(1, _CHUNK // max(1, levels.numel()))
    for part, out in zip(torch.split(flat, rows), torch.split(slope, rows), strict=True):
        logits = torch.addcmul(constant, (part - levels.mean())[:, None], linear)
        mean, square = (torch.softmax(logits, dim=1) @ table).unbind(1)
        torch.mul(square - mean**2, 2 * hardness, out=out)
    return slope.reshape(z.shape)


class _HardWithSoftGradient(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, hard: Tensor, levels: Tensor, hardness: float) -> Tensor:
        ctx.save_for_backward(z, levels)
        ctx.hardness = hardness
        return hard.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        z, levels = ctx.saved_tensors
        return grad * soft_level_slope(z, levels, ctx.hardness), None, None, None


def hard_with_soft_gradient(z: Tensor, hard: Tensor, levels: Tensor, hardness: float) -> Tensor:
    """``hard``, bit for bit, with the gradient of ``soft_level(z, levels, hardness)``: eq. 13."""
    result: Tensor = _HardWithSoftGradient.apply(z, hard, levels, hardness)  # type: ignore[no-untyped-call]
    return result

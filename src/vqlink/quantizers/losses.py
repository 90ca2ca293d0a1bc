"""The losses of codebooks: |z - sg[e]|^2 for latents, |sg[z] - e|^2 for codewords.

Both have one value and one error, so a single pass over the vectors serves both, and their two
gradients are the error's, with a sign each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_ROWS = 8192  # a piece of so many vectors stays in the cache


def codebook_losses(
    flat: Tensor, parts: Sequence[Tensor], *, combined: bool = False
) -> tuple[Tensor, Tensor]:
    """Commitment and codebook loss of VQ-VAE (eq. 3) and of layers (003, eq. 5-6).

    Means over vectors and dimensions.
    Of layers, the sum of each layer's: layer i codes xi_i = xi_(i-1) - sg[e_i], what the layers
    before it left over. Without vectors both are 0.

    Args:
        flat: (N, D) latents.
        parts: (N, D) codewords of each layer; of a single codebook, one.
        combined: add the terms of the sum of all layers' codewords, |z - sg[sum e_i]|^2 and its
            like, which move every layer.
    """
    tensors = (flat, *parts)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        losses: tuple[Tensor, Tensor] = _Losses.apply(flat, combined, *parts)  # type: ignore[no-untyped-call]
        return losses
    total = flat.new_zeros(())
    for left, *codewords in zip(*(torch.split(part, _ROWS) for part in tensors), strict=True):
        for place, codeword in enumerate(codewords, start=1):
            left = left - codeword
            line = left.flatten()
            times = 2 if combined and place == len(codewords) else 1
            total = total + times * torch.dot(line, line)
    mean = total / max(1, flat.numel())
    return mean, mean


class _Losses(Function):
    """Keeps each layer's error; that of the sum of all layers is the last one's."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, combined: bool, *parts: Tensor) -> tuple[Tensor, Tensor]:
        left, errors, total = flat, [], flat.new_zeros(())
        for part in parts:
            left = left - part
            errors.append(left)
            line = left.flatten()
            last = torch.dot(line, line)
            total = total + last
        ctx.combined = combined
        ctx.save_for_backward(*errors)
        ctx.set_materialize_grads(False)  # a loss that nobody weighs costs no pass
        mean = (total + last if combined else total) / max(1, flat.numel())
        return mean, mean.clone()

    @staticmethod
    def backward(
        ctx: Any, commitment: Tensor | None, codebook: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        *before, last = ctx.saved_tensors
        scale, often = 2 / max(1, last.numel()), 2 if ctx.combined else 1
        to_flat: Tensor | None = None
        to_parts: list[Tensor | None] = [None] * (len(before) + 1)
        if commitment is not None:
            error = last * often
            for earlier in before:
                error += earlier
            to_flat = error.mul_(commitment * scale)
        if codebook is not None:
            slope = codebook * -scale
            to_parts = [(e + last if ctx.combined else e) * slope for e in before]
            to_parts.append(last * (often * slope))
        return to_flat, None, *to_parts

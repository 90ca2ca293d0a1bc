"""One bit a dimension: tanh, then the sign (paper 000, section 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqlink.protocols import QuantizerOutput
from vqlink.rng import Generators

_MOST_BITS = 62  # an int64 holds the index


class BinaryQuantizer(nn.Module):
    """Latents (..., Q) -> sign(tanh z) in {-1, 1}^Q, with the gradient of tanh: 2^Q codewords.

    The index has the first dimension as its highest bit, 1 for +1. A latent of exactly 0 is +1.

    Args:
        bits: Q, 1 to 62.

    Raises:
        ValueError: for another number of bits.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        if not 1 <= bits <= _MOST_BITS:
            raise ValueError(f"a binary quantizer has 1 to {_MOST_BITS} bits, not {bits}")
        self.bits = bits

    @property
    def bits_per_vector(self) -> float:
        return float(self.bits)

    def forward(self, z: Tensor, *, generator: Generators | None = None) -> QuantizerOutput:
        """Hard codewords; in the backward pass the sign is left out."""
        z = self._checked(z)
        hard, soft = self.hard(z), torch.tanh(z)
        # Hard values bit for bit: hard + (soft - soft.detach()) may be rounded.
        values = _HardForward.apply(soft, hard) if z.requires_grad else hard  # type: ignore[no-untyped-call]
        return QuantizerOutput(
            values=values,
            indices=self._number(hard),
            stats={"saturation": soft.detach().abs().mean()} if z.numel() else {},
        )

    def hard(self, z: Tensor) -> Tensor:
        """(..., Q) latents -> (..., Q) float32 of -1 and 1."""
        return torch.where(self._checked(z) >= 0, 1.0, -1.0).detach()

    def encode(self, z: Tensor) -> Tensor:
        """(..., Q) latents -> (...) int64."""
        return self._number(self.hard(z))

    def decode(self, indices: Tensor) -> Tensor:
        """(...) int64 -> (..., Q) float32 of -1 and 1."""
        shifts = torch.arange(self.bits - 1, -1, -1, device=indices.device)
        return (indices[..., None] >> shifts & 1).float() * 2 - 1

    def _number(self, values: Tensor) -> Tensor:
        weights = 1 << torch.arange(self.bits - 1, -1, -1, device=values.device)
        return ((values > 0) * weights).sum(dim=-1)

    def _checked(self, z: Tensor) -> Tensor:
        if z.ndim == 0 or z.shape[-1] != self.bits:
            raise ValueError(f"latents are (..., {self.bits}), not {tuple(z.shape)}")
        z = z.float()
        if not bool(torch.isfinite(z).all()):
            raise ValueError("latents hold NaN or infinite values")
        return z


class _HardForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, soft: Tensor, hard: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None

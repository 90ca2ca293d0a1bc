"""Soft-to-hard quantization onto a fixed square QAM (DeepJSCC-Q, eq. 12-13)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.soft_to_hard import check_pairs, hard_with_soft_gradient, nearest_level
from vqlink.rng import Generators


def qam_levels(order: int, power: float = 1.0) -> Tensor:
    """Levels of one axis of a square ``order``-QAM whose mean power is ``power``.

    The spacing is sqrt(6 P / (M - 1)). DeepJSCC-Q prints sqrt(12 P / (M^2 - 1)) in eq. 15, which is
    that of an M-level PAM.

    Returns:
        (sqrt(order),) float32, ascending.

    Raises:
        ValueError: if ``order`` is not an even power of two from 4 on.
    """
    size = math.isqrt(max(order, 0))
    if order < 4 or size * size != order or size & (size - 1):
        raise ValueError(f"a square QAM has 4, 16, 64, ... points, not {order}")
    spacing = math.sqrt(6.0 * power / (order - 1))
    return (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).mul(spacing).float()


class QAMQuantizer(nn.Module):
    """Latent pairs (I, Q) -> the nearest point of a square QAM with unit mean power.

    A point's index is ``i * sqrt(M) + q``, levels counted from the most negative.

    Args:
        order: M, an even power of two from 4 to 4096 and beyond.
        hardness: sigma_q of eq. 12 at the start; training anneals it by :meth:`set_hardness`.
        regularise: whether to return the loss ``kl`` of eq. 20-21, which costs the M-wide estimate
            of the points' probabilities (eq. 18).
    """

    levels: Tensor
    hardness: Tensor

    def __init__(self, order: int, *, hardness: float = 5.0, regularise: bool = False) -> None:
        super().__init__()
        if not hardness > 0:
            raise ValueError(f"hardness must be positive, not {hardness}")
        self.order = order
        self.regularise = regularise
        self.register_buffer("levels", qam_levels(order), persistent=False)
        self.register_buffer("hardness", torch.tensor(float(hardness)))
        self.size = self.levels.numel()
        self.spacing = float(self.levels[1] - self.levels[0])

    @property
    def bits_per_vector(self) -> float:
        return math.log2(self.order)

    def set_hardness(self, hardness: float) -> None:
        """Anneal sigma_q; the schedule belongs to the training recipe."""
        self.hardness.fill_(hardness)

    def forward(self, z: Tensor, *, generator: Generators | None = None) -> QuantizerOutput:
        """(..., 2) -> hard points with the soft gradient, and the indices.

        Training and evaluation send the same points: :meth:`decode` of the indices, bit for bit.

        Raises:
            ValueError: if the last dimension is not 2, or values aren't finite.
        """
        check_pairs(z)
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            index = nearest_level(z.detach(), self.spacing, self.size)
            hardness = float(self.hardness)
            values = hard_with_soft_gradient(z, self.levels[index], self.levels, hardness)
            indices = index[..., 0] * self.size + index[..., 1]
            if self.regularise:
                usage = self._soft_usage(z)
                losses = {"kl": (usage * (usage.clamp_min(1e-12) * self.order).log()).sum()}
            else:
                counts = torch.bincount(indices.flatten(), minlength=self.order)
                usage, losses = counts / max(1, indices.numel()), {}
        return QuantizerOutput(values=values, indices=indices, losses=losses, usage=usage)

    def hard(self, z: Tensor) -> Tensor:
        """What goes on the air for latents ``z`` (..., 2): ``decode(encode(z))`` in one step."""
        check_pairs(z)
        return self.levels[nearest_level(z, self.spacing, self.size)]

    def encode(self, z: Tensor) -> Tensor:
        """(..., 2) -> (...) int64 indices of the nearest points."""
        check_pairs(z)
        index = nearest_level(z, self.spacing, self.size)
        return index[..., 0] * self.size + index[..., 1]

    def decode(self, indices: Tensor) -> Tensor:
        """(...) int64 -> (..., 2) points."""
        i = torch.div(indices, self.size, rounding_mode="floor")
        return self.levels[torch.stack([i, indices % self.size], dim=-1)]

    def _soft_usage(self, z: Tensor) -> Tensor:
        """P-hat of eq. 18, (M,): the joint weight of a point is the product of its axes'."""
        pairs = z.reshape(-1, 2, 1)
        weights = torch.softmax(-self.hardness * (pairs - self.levels) ** 2, dim=-1)
        return (weights[:, 0].T @ weights[:, 1]).flatten() / max(1, pairs.shape[0])


def plain_soft_points(z: Tensor, points: Tensor, hardness: float) -> Tensor:
    """Eq. 12 as printed: the M-wide softmax over ``points`` (M, 2). The tests' reference.

    Args:
        z: (..., 2).

    Returns:
        (..., 2) soft values.
    """
    distance = ((z[..., None, :] - points) ** 2).sum(dim=-1)
    return torch.softmax(-hardness * distance, dim=-1) @ points

"""Soft-to-hard quantization onto any constellation, fixed or learned (DeepJSCC-Q, eq. 12-21)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.qam import qam_levels
from vqlink.quantizers.search import nearest
from vqlink.quantizers.soft_to_hard import check_pairs
from vqlink.rng import Generators

_CHUNK = 1 << 20  # soft weights in memory at a time: 4 MiB


def qam_points(order: int) -> Tensor:
    """Square QAM of unit mean power, (M, 2) float32, in the order of :class:`QAMQuantizer`."""
    levels = qam_levels(order)
    return torch.cartesian_prod(levels, levels)


def psk_points(order: int) -> Tensor:
    """M-PSK of unit power, (M, 2) float32, the first point on the positive I axis.

    M = 4 is turned by an eighth of a circle, as QPSK is sent (TS 38.211, 5.1.3).

    Raises:
        ValueError: for fewer than 2 points.
    """
    if order < 2:
        raise ValueError(f"a PSK has at least 2 points, not {order}")
    turn = math.pi / 4 if order == 4 else 0.0
    angle = 2 * math.pi * torch.arange(order, dtype=torch.float64) / order + turn
    return torch.stack([angle.cos(), angle.sin()], dim=1).float()


class ConstellationQuantizer(nn.Module):
    """Latent pairs (I, Q) -> the nearest of M points, which may be learned.

    In training the gradient is that of the softmax weighted sum over all points (eq. 12-13), to
    the latents and, with ``learned``, to the points (eq. 16); the forward pass sends hard points.
    The backward pass works in chunks: memory doesn't grow with M times the number of symbols.

    :meth:`after_step` restores the mean power of the points under their estimated probabilities
    to 1 (eq. 18-19). For fixed points it does nothing.

    Args:
        points: (M, 2), where they are or where they start.
        learned: whether the points are parameters.
        hardness: sigma_q of eq. 12 at the start; training anneals it by :meth:`set_hardness`.
        regularise: whether to return the loss ``kl`` of eq. 20-21, with its gradient through the
            estimated probabilities.

    Example:
        >>> quantizer = ConstellationQuantizer(psk_points(8))
        >>> quantizer(torch.tensor([[2.0, 0.1]])).indices
        tensor([0])
    """

    points: Tensor
    hardness: Tensor

    def __init__(
        self,
        points: Tensor,
        *,
        learned: bool = False,
        hardness: float = 5.0,
        regularise: bool = False,
    ) -> None:
        super().__init__()
        if points.ndim != 2 or points.shape[1] != 2 or points.shape[0] < 2:
            raise ValueError(f"points are (M, 2) with M at least 2, not {tuple(points.shape)}")
        if not hardness > 0:
            raise ValueError(f"hardness must be positive, not {hardness}")
        self.order, self.learned, self.regularise = points.shape[0], learned, regularise
        if learned:
            self.points = nn.Parameter(points.float().clone())
        else:
            self.register_buffer("points", points.float().clone(), persistent=False)
        self.register_buffer("hardness", torch.tensor(float(hardness)))
        self._usage: Tensor | None = None

    @property
    def bits_per_vector(self) -> float:
        return math.log2(self.order)

    def set_hardness(self, hardness: float) -> None:
        """Anneal sigma_q; the schedule belongs to the training recipe."""
        self.hardness.fill_(hardness)

    def forward(self, z: Tensor, *, generator: Generators | None = None) -> QuantizerOutput:
        """(..., 2) -> hard points with the soft gradient, and the indices.

        Raises:
            ValueError: if the last dimension is not 2, or values aren't finite.
        """
        check_pairs(z)
        with torch.autocast(z.device.type, enabled=False):
            flat = z.float().reshape(-1, 2)
            index = nearest(flat.detach(), self.points.detach())
            hardness = float(self.hardness)
            soft_usage = self.training and (self.regularise or self.learned)
            if self.training:
                values, usage = _SoftToHard.apply(flat, self.points, index, hardness, soft_usage)  # type: ignore[no-untyped-call]
            else:
                values = self.points.detach()[index]
            if not soft_usage:
                usage = torch.bincount(index, minlength=self.order) / max(1, index.numel())
            losses = {}
            if self.regularise:
                losses["kl"] = (usage * (usage.clamp_min(1e-12) * self.order).log()).sum()
            if self.learned and self.training:
                self._usage = usage.detach()
        return QuantizerOutput(
            values=values.reshape(z.shape),
            indices=index.reshape(z.shape[:-1]),
            losses=losses,
            usage=usage,
        )

    def hard(self, z: Tensor) -> Tensor:
        """(..., 2) -> (..., 2): ``decode(encode(z))``."""
        return self.decode(self.encode(z))

    def encode(self, z: Tensor) -> Tensor:
        """(..., 2) -> (...) int64 indices of the nearest points."""
        check_pairs(z)
        return nearest(z.reshape(-1, 2), self.points.detach()).reshape(z.shape[:-1])

    def decode(self, indices: Tensor) -> Tensor:
        """(...) int64 -> (..., 2) float32 points."""
        return self.points.detach()[indices]

    @torch.no_grad()
    def after_step(self) -> None:
        """Eq. 19: mean power 1 under the probabilities that the last batch gave (eq. 18).

        Under DDP they are averaged over the ranks first.
        """
        if not self.learned or self._usage is None:
            return
        usage = self._usage
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(usage)
            usage = usage / torch.distributed.get_world_size()
        power = (usage * self.points.square().sum(dim=1)).sum()
        self.points.data *= power.clamp_min(1e-12).rsqrt()
        self._usage = None


class _SoftToHard(Function):
    """Hard points forward; backward the gradients of the soft sum and of the soft usage.

    With w = softmax(-s |z - c|^2), soft = sum_j w_j c_j and usage_j = mean w_j, a gradient g of
    the values and u of the usage give, per symbol, b_j = w_j (q_j - sum w q) with
    q_j = g.c_j + u_j / N, and

        to z:  2 s sum_j b_j c_j          to c_j:  w_j g + 2 s b_j (z - c_j)
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, points: Tensor, index: Tensor, hardness: float, with_usage: bool
    ) -> tuple[Tensor, Tensor]:
        usage = points.new_zeros(points.shape[0])
        if with_usage:
            for part in torch.split(z, _rows(points)):
                usage += _weights(part, points, hardness).sum(dim=0)
            usage /= max(1, z.shape[0])
        ctx.save_for_backward(z, points)
        ctx.hardness, ctx.with_usage = hardness, with_usage
        ctx.set_materialize_grads(False)
        return points.detach()[index], usage

    @staticmethod
    def backward(
        ctx: Any, to_values: Tensor | None, to_usage: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        z, points = ctx.saved_tensors
        hardness, learn = ctx.hardness, ctx.needs_input_grad[1]
        if to_values is None:
            to_values = torch.zeros_like(z)
        share = None if to_usage is None or not ctx.with_usage else to_usage / max(1, z.shape[0])
        grad_z = torch.empty_like(z)
        grad_points = torch.zeros_like(points) if learn else None
        for start in range(0, z.shape[0], _rows(points)):
            rows = slice(start, start + _rows(points))
            part, g = z[rows], to_values[rows]
            w = _weights(part, points, hardness)
            q = g @ points.T
            if share is not None:
                q += share
            b = w * (q - torch.linalg.vecdot(w, q)[:, None])
            grad_z[rows] = 2 * hardness * (b @ points)
            if grad_points is not None:
                moved = b.T @ part - b.sum(dim=0)[:, None] * points
                grad_points += w.T @ g + 2 * hardness * moved
        return grad_z, grad_points, None, None, None


def _rows(points: Tensor) -> int:
    return max(1, _CHUNK // points.shape[0])


def _weights(z: Tensor, points: Tensor, hardness: float) -> Tensor:
    """(n, M) softmax weights of eq. 12; what all logits of a row share is left out."""
    logits = torch.addmm(-hardness * points.square().sum(dim=1), z, 2 * hardness * points.T)
    return torch.softmax(logits, dim=1)

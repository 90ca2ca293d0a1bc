"""Soft and attentive assignment to a codebook (000, eq. 1-4).

Each vector z becomes z_q = w C, a mixture of all codewords C (K, D). The weights w are the softmax
of a score of every codeword:

| ``assignment`` | score | equation |
|---|---|---|
| ``distance`` | -d, d the distance of z and c | 1-2 |
| ``attention`` | sign z c' / scale | 4 |

A mixture is not a code: it takes a continuum of values. The code is the codeword of the largest
weight, and indices, :meth:`SoftQuantizer.hard` and evaluation mode are about that one.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.search import nearest
from vqlink.quantizers.statistics import perplexity
from vqlink.rng import Generators

Assignment = Literal["distance", "attention"]
Scale = Literal["size", "dim", "none"]

_TINY = 1e-12
_CHUNK = 1 << 22  # scores in memory at a time, where no gradient is wanted


def distance_scores(z: Tensor, codebook: Tensor) -> Tensor:
    """-|z - c|, eq. 1: (..., N, D) and (..., K, D) -> (..., N, K).

    Computed about the codebook's mean, which a distance does not depend on and float32 does. The
    gradient of a distance of 0 is 0.
    """
    centre = codebook.detach().mean(dim=-2, keepdim=True)
    z, codebook = z - centre, codebook - centre
    squares = z.square().sum(dim=-1, keepdim=True) + codebook.square().sum(dim=-1).unsqueeze(-2)
    return -(squares - 2 * z @ codebook.mT).clamp_min(_TINY).sqrt()


def attention_scores(z: Tensor, codebook: Tensor, *, sign: int, scale: float) -> Tensor:
    """sign z c' / scale, eq. 4: (..., N, D) and (..., K, D) -> (..., N, K)."""
    return z @ codebook.mT * (sign / scale)


class SoftQuantizer(nn.Module):
    """Latents (..., D) -> mixtures of K codewords in training, one of them in evaluation.

    The gradient reaches latents and codebook through the mixture, with nothing skipped. The loss
    ``latent`` is |z_e - z_q|^2 of eq. 3, a mean over vectors and dimensions, unweighted; it pulls
    at both.

    Under ``attention`` a codeword need not be its own best match, since a dot product is no
    distance: ``encode(decode(i))`` may differ from ``i``.

    Args:
        size: K, at least 2.
        dim: D.
        assignment: the score.
        heads: parts that D is cut into, each with codewords and weights of its own (multi-head
            attention without projections); the index counts them in mixed radix.
        sign: of eq. 4; the paper's is -1, attention's usual one +1.
        scale: of eq. 4: sqrt(K) as the paper has it, the usual sqrt(D / heads), or 1.

    Raises:
        ValueError: for sizes that make no codebook, or heads that don't divide D.

    Example:
        >>> vq = SoftQuantizer(512, 64, assignment="attention")
        >>> out = vq(torch.randn(2, 8, 8, 64))
        >>> out.values.shape, out.indices.shape, vq.bits_per_vector
        (torch.Size([2, 8, 8, 64]), torch.Size([2, 8, 8]), 9.0)
    """

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        assignment: Assignment = "distance",
        heads: int = 1,
        sign: Literal[-1, 1] = -1,
        scale: Scale = "size",
    ) -> None:
        super().__init__()
        if size < 2 or dim < 1:
            raise ValueError(f"a codebook has at least 2 codewords of 1 value, not {size} x {dim}")
        if heads < 1 or dim % heads or heads * math.log2(size) > 62:
            raise ValueError(f"{heads} heads don't cut {dim} values, or make more than 2^62 codes")
        self.size, self.dim, self.heads = size, dim, heads
        self.assignment, self.sign, self.scale = assignment, sign, scale
        self.codebook = nn.Parameter(torch.randn(heads, size, dim // heads))

    @property
    def bits_per_vector(self) -> float:
        return self.heads * math.log2(self.size)

    def extra_repr(self) -> str:
        text = f"{self.size}, {self.dim}, assignment={self.assignment}, heads={self.heads}"
        if self.assignment == "attention":
            text += f", sign={self.sign}, scale={self.scale}"
        return text

    def forward(self, z: Tensor, *, generator: Generators | None = None) -> QuantizerOutput:
        """Mixtures in training mode; in evaluation mode codewords, ``decode(encode(z))``.

        Computed in float32 (float64 where latents and codebook are), also under autocast.

        Args:
            z: (..., D) finite.
            generator: not drawn from.

        Returns:
            ``values`` (..., D), ``indices`` (...) of the largest weights, the loss ``latent``;
            stats ``mixed``, how many codewords a mixture is made of (the exponential of the mean
            entropy of its weights), and ``perplexity`` of the mean weights, means over the heads.

        Raises:
            ValueError: for another D, or values that aren't finite.
        """
        with torch.autocast(z.device.type, enabled=False):
            flat = self._flatten(z)
            scores = self._scores(flat)
            weights = torch.softmax(scores, dim=-1)
            mixtures = _joined(weights @ self._codebook(flat))
            if self.training:
                values, indices = mixtures, self._join(scores.argmax(dim=-1))
            else:
                indices = self.encode(z).reshape(-1)
                values = self.decode(indices)
            error = _joined(flat) - mixtures
            usage = weights.mean(dim=1) if z.numel() else weights.new_zeros(self.heads, self.size)
            entropy = torch.special.entr(weights.detach()).sum(dim=-1)
            return QuantizerOutput(
                values=values.reshape(z.shape),
                indices=indices.reshape(z.shape[:-1]),
                losses={"latent": error.square().sum() / max(1, error.numel())},
                usage=usage[0] if self.heads == 1 else None,
                stats={
                    "mixed": entropy.sum().div(max(1, entropy.numel())).exp(),
                    "perplexity": torch.stack([perplexity(u.detach()) for u in usage]).mean(),
                },
            )

    def mixture(self, z: Tensor) -> Tensor:
        """z_q of eq. 2 or 4 in either mode: (..., D) -> (..., D)."""
        with torch.autocast(z.device.type, enabled=False):
            flat = self._flatten(z)
            weights = torch.softmax(self._scores(flat), dim=-1)
            return _joined(weights @ self._codebook(flat)).reshape(z.shape)

    def hard(self, z: Tensor) -> Tensor:
        """(..., D) -> (..., D): ``decode(encode(z))``."""
        return self.decode(self.encode(z))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """(..., D) -> (...) int64 indices of the codewords of the largest weights."""
        with torch.autocast(z.device.type, enabled=False):
            flat = self._flatten(z)
            if self.assignment == "distance":
                pairs = zip(flat, self._codebook(flat), strict=True)
                best = torch.stack([nearest(part, codewords) for part, codewords in pairs])
            else:
                rows = max(1, _CHUNK // (self.heads * self.size))
                parts = torch.split(flat, rows, dim=1)
                best = torch.cat([self._scores(part).argmax(dim=-1) for part in parts], dim=1)
            return self._join(best).reshape(z.shape[:-1])

    def decode(self, indices: Tensor) -> Tensor:
        """(...) int64 -> (..., D) codewords."""
        rest, values = indices.reshape(-1), []
        for codewords in reversed(self.codebook.detach().unbind(0)):
            values.append(codewords.index_select(0, rest % self.size))
            rest = torch.div(rest, self.size, rounding_mode="floor")
        return torch.cat(values[::-1], dim=-1).reshape(*indices.shape, self.dim)

    def _flatten(self, z: Tensor) -> Tensor:
        """(..., D) -> (heads, N, D / heads)."""
        if z.ndim == 0 or z.shape[-1] != self.dim:
            raise ValueError(f"this codebook takes latents (..., {self.dim}), not {tuple(z.shape)}")
        if not bool(torch.isfinite(z.detach()).all()):
            raise ValueError("latents hold NaN or infinite values")
        flat = z if z.dtype == torch.float64 else z.float()
        return flat.reshape(-1, self.heads, self.dim // self.heads).transpose(0, 1)

    def _codebook(self, flat: Tensor) -> Tensor:
        return self.codebook.to(flat.dtype)

    def _scores(self, flat: Tensor) -> Tensor:
        if self.assignment == "distance":
            return distance_scores(flat, self._codebook(flat))
        root = {"size": self.size, "dim": self.dim // self.heads, "none": 1}[self.scale]
        scale = math.sqrt(root)
        return attention_scores(flat, self._codebook(flat), sign=self.sign, scale=scale)

    def _join(self, best: Tensor) -> Tensor:
        """(heads, N) -> (N,): the first head most significant."""
        index = torch.zeros_like(best[0])
        for part in best:
            index = index * self.size + part
        return index


def _joined(parts: Tensor) -> Tensor:
    """(heads, N, D / heads) -> (N, D)."""
    return parts.transpose(0, 1).flatten(1)

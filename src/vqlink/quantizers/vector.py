"""Vector quantization on a learned codebook: one search, four gradient paths, three ways to learn.

Which to take and why, with figures: docs/quantizers.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.gradients import (
    GradientPath,
    Learning,
    check_learning,
    straight_through,
    substitute,
)
from vqlink.quantizers.kmeans import kmeans
from vqlink.quantizers.losses import codebook_losses
from vqlink.quantizers.replacement import Replacement, spread_of
from vqlink.quantizers.search import as_vectors, nearest
from vqlink.quantizers.statistics import LAPLACE, all_reduce, gather_vectors, perplexity
from vqlink.rng import Generators

_SOFT_CHUNK = 1 << 23  # soft assignments in memory at a time


@dataclass(frozen=True)
class Upkeep:
    """What :meth:`VectorQuantizer.after_step` did.

    Attributes:
        replaced: (U,) int64 codewords that moved; see
            :func:`vqlink.quantizers.replacement.reset_moments`.
    """

    replaced: Tensor


class VectorQuantizer(nn.Module):
    """Latents (..., D) -> the nearest of K codewords.

    | ``gradient`` | what it pretends in training (:mod:`vqlink.quantizers.gradients`) |
    |---|---|
    | ``straight_through`` | identity (VQ-VAE) |
    | ``rotation`` | rotation and scaling from latent to codeword |
    | ``noise`` | NSVQ (002, eq. 9); forward too, so ``values`` are not codewords then |
    | ``directional`` | DiVeQ; forward too, but for ``spread`` the codewords |
    | ``soft`` | softmax of -hardness times the squared distance (001, eq. 12-13) |

    ``learning``: ``loss`` adds the loss ``codebook`` = |sg[z] - c|^2; ``ema`` moves codewords to
    the running mean of their latents (VQ-VAE, appendix A.1); ``gradient`` lets the task's loss
    reach them through the path. ``commitment`` = |z - sg[c]|^2 comes with every path that sends
    codewords. Both are means over vectors and dimensions, unweighted.

    In evaluation mode the output is ``decode(encode(z))``, bit for bit, for every choice.

    Upkeep is explicit: after each optimiser step, call :meth:`after_step` on every rank with a
    generator in the same state. Statistics are summed over ranks there, and nowhere else.

    Args:
        size: K, at least 2.
        dim: D.
        gradient, learning: as above; ``loss`` for the paths that don't reach the codebook,
            ``gradient`` for those that do, ``ema`` for either.
        replacement: policy for codewords that are hardly used; None for none.
        decay: of the running means, under ``ema``.
        init: ``uniform`` in +-1/K (VQ-VAE) or ``normal``; :meth:`initialise` takes k-means.
        hardness: sigma_q of ``soft``.
        spread: deviation of the noise of ``directional``.

    Raises:
        ValueError: for a size below 2 or a combination that cannot learn.

    Example:
        >>> vq = VectorQuantizer(512, 64, gradient="noise", learning="gradient")
        >>> out = vq(torch.randn(2, 8, 8, 64), generator=torch.Generator())
        >>> out.values.shape, out.indices.shape, vq.bits_per_vector
        (torch.Size([2, 8, 8, 64]), torch.Size([2, 8, 8]), 9.0)
    """

    codebook: Tensor
    hits: Tensor
    batches: Tensor
    distortion: Tensor
    seen: Tensor
    steps: Tensor
    ema_count: Tensor
    ema_sum: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        gradient: GradientPath = "straight_through",
        learning: Learning = "loss",
        replacement: Replacement | None = None,
        decay: float = 0.99,
        init: Literal["uniform", "normal"] = "uniform",
        hardness: float = 5.0,
        spread: float = 1e-3,
    ) -> None:
        super().__init__()
        if size < 2 or dim < 1:
            raise ValueError(f"a codebook has at least 2 codewords of 1 value, not {size} x {dim}")
        check_learning(gradient, learning)
        self.size, self.dim = size, dim
        self.gradient, self.learning, self.replacement = gradient, learning, replacement
        self.decay, self.hardness, self.spread = decay, hardness, spread
        start = torch.empty(size, dim)
        if init == "uniform":
            start.uniform_(-1 / size, 1 / size)
        else:
            start.normal_()
        if learning == "ema":
            self.register_buffer("codebook", start)
            self.register_buffer("ema_count", torch.ones(size))
            self.register_buffer("ema_sum", start.clone())
        else:
            self.codebook = nn.Parameter(start)
        self.register_buffer("hits", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("batches", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("distortion", torch.zeros(size))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        # What this rank has seen since the last after_step: of no use to a checkpoint, and not a
        # buffer, which DDP would overwrite by rank 0's.
        self._counts: Tensor | None = None
        self._sums: Tensor | None = None
        self._errors: Tensor | None = None

    @property
    def bits_per_vector(self) -> float:
        return math.log2(self.size)

    def extra_repr(self) -> str:
        return f"{self.size}, {self.dim}, gradient={self.gradient}, learning={self.learning}"

    def forward(
        self,
        z: Tensor,
        *,
        generator: Generators | None = None,
        mask: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> QuantizerOutput:
        """Quantise; in training mode with the gradient path, and count.

        Computed in float32 under autocast and for half-precision input; the values are float32.

        Args:
            z: (..., D) finite.
            generator: for the paths that draw noise, in training mode.
            mask: (...) bool; vectors where it is False are quantised, but neither counted nor in
                the losses.
            weights: w > 0 of eq. 7-9, (D,) or (..., D).

        Raises:
            ValueError: for shapes that don't fit, values that aren't finite, weights that aren't
                positive, or a missing generator.
        """
        with torch.autocast(z.device.type, enabled=False):
            flat, flat_weights = self._flatten(z, weights)
            valid = None if mask is None else mask.reshape(-1)
            index = nearest(flat.detach(), self.codebook.detach(), flat_weights)
            chosen = index if valid is None else index[valid]
            counts = torch.bincount(chosen, minlength=self.size)
            codewords = self.codebook.index_select(0, index)
            losses = {}
            if not self.training:
                values = codewords.detach()
            else:
                values = self._through(flat, codewords, generator, flat_weights)
                self._remember(flat.detach(), codewords.detach(), index, counts, valid)
            if self.gradient in ("straight_through", "rotation"):
                real = (flat, codewords) if valid is None else (flat[valid], codewords[valid])
                losses["commitment"], codebook = codebook_losses(real[0], real[1:])
                if self.learning == "loss":
                    losses["codebook"] = codebook
            usage = counts / counts.sum().clamp_min(1)
            return QuantizerOutput(
                values=values.reshape(z.shape),
                indices=index.reshape(z.shape[:-1]),
                losses=losses,
                usage=usage,
                stats={"perplexity": perplexity(usage), "used": (counts > 0).float().mean()},
            )

    def hard(self, z: Tensor) -> Tensor:
        """(..., D) -> (..., D) float32: ``decode(encode(z))``."""
        return self.decode(self.encode(z))

    @torch.no_grad()
    def encode(self, z: Tensor, *, weights: Tensor | None = None) -> Tensor:
        """(..., D) -> (...) int64 indices of the nearest codewords."""
        flat, flat_weights = self._flatten(z, weights)
        return nearest(flat, self.codebook, flat_weights).reshape(z.shape[:-1])

    def decode(self, indices: Tensor) -> Tensor:
        """(...) int64 -> (..., D) float32 codewords."""
        values = self.codebook.detach().index_select(0, indices.reshape(-1))
        return values.reshape(*indices.shape, self.dim)

    @torch.no_grad()
    def initialise(self, z: Tensor, *, generator: torch.Generator, iterations: int = 10) -> None:
        """Start the codebook by k-means on latents (..., D), those of all ranks together.

        Args:
            generator: in the same state on every rank.
        """
        flat, _ = self._flatten(z, None)
        self._move(
            torch.arange(self.size, device=flat.device),
            kmeans(gather_vectors(flat), self.size, generator=generator, iterations=iterations),
        )
        if self.learning == "ema":
            self.ema_count.fill_(1.0)
            self.ema_sum.copy_(self.codebook)

    @torch.no_grad()
    def after_step(self, *, generator: torch.Generator) -> Upkeep:
        """Sum the statistics over ranks, move running means, replace what is hardly used.

        Args:
            generator: for the replacement; in the same state on every rank.
        """
        counts, errors, sums = self._take()
        self.steps += 1
        self.seen += 1
        self.hits += counts
        self.batches += counts > 0
        self.distortion += errors
        if self.learning == "ema":
            self.ema_count.lerp_(counts.float(), 1 - self.decay)
            self.ema_sum.lerp_(sums, 1 - self.decay)
            total = self.ema_count.sum()
            smoothed = (self.ema_count + LAPLACE) / (total + self.size * LAPLACE) * total
            self.codebook.copy_(self.ema_sum / smoothed[:, None])
        replaced = torch.empty(0, dtype=torch.int64, device=counts.device)
        if self.replacement is not None and int(self.steps) in self.replacement.steps:
            replaced = self._replace(self.replacement, generator)
        return Upkeep(replaced)

    def restart(self) -> None:
        """Begin the replacement's schedule anew, for codewords that go into another training."""
        for counter in (self.steps, self.seen, self.hits, self.batches, self.distortion):
            counter.zero_()

    def dead(self) -> int:
        """Codewords that no vector chose since the last replacement (or the start)."""
        return int((self.hits == 0).sum())

    def _flatten(self, z: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor | None]:
        flat = as_vectors(z, self.dim)
        if weights is None:
            return flat, None
        weights = weights.detach().float()
        if weights.shape != z.shape and weights.shape != (self.dim,):
            raise ValueError(f"weights are ({self.dim},) or as the latents, not {weights.shape}")
        if not bool(((weights > 0) & torch.isfinite(weights)).all()):
            raise ValueError("weights must be positive and finite")
        return flat, weights if weights.ndim == 1 else weights.reshape(-1, self.dim)

    def _through(
        self,
        flat: Tensor,
        codewords: Tensor,
        generator: Generators | None,
        weights: Tensor | None,
    ) -> Tensor:
        if self.gradient == "soft":
            return straight_through(self._soft(flat), codewords)
        return substitute(
            self.gradient, flat, codewords, generator, weights=weights, spread=self.spread
        )

    def _soft(self, flat: Tensor) -> Tensor:
        """Eq. 12: the softmax weighted sum of all codewords, rows in chunks."""

        def part(rows: Tensor, codebook: Tensor) -> Tensor:
            # Differences of large numbers: what all have in common is taken off first.
            centre = codebook.detach().mean(dim=0)
            distance = torch.cdist(rows - centre, codebook - centre)
            return torch.softmax(-self.hardness * distance**2, dim=1) @ codebook

        count = max(1, _SOFT_CHUNK // self.size)
        if flat.shape[0] <= count:
            return part(flat, self.codebook)
        chunks = [
            checkpoint(part, rows, self.codebook, use_reentrant=False)
            for rows in torch.split(flat, count)
        ]
        return torch.cat(chunks)

    def _remember(
        self, flat: Tensor, codewords: Tensor, index: Tensor, counts: Tensor, valid: Tensor | None
    ) -> None:
        self._counts = counts if self._counts is None else self._counts + counts
        if valid is not None:
            flat, codewords, index = flat[valid], codewords[valid], index[valid]
        if self.learning == "ema":
            if self._sums is None:
                self._sums = torch.zeros_like(self.codebook)
            self._sums.index_add_(0, index, flat)
        if self.replacement is not None and self.replacement.count == "distortion":
            if self._errors is None:
                self._errors = torch.zeros_like(self.distortion)
            self._errors.index_add_(0, index, (flat - codewords).square().sum(dim=1))

    def _take(self) -> tuple[Tensor, Tensor, Tensor]:
        """What all ranks have seen since the last time: counts, squared errors, sums."""
        counts = torch.zeros_like(self.hits) if self._counts is None else self._counts
        errors = torch.zeros_like(self.distortion) if self._errors is None else self._errors
        sums = self.codebook.detach()[:0]
        if self.learning == "ema":
            sums = torch.zeros_like(self.codebook) if self._sums is None else self._sums
        self._counts = self._sums = self._errors = None
        for values in (counts, errors, sums):
            all_reduce(values)
        return counts, errors, sums

    def _replace(self, policy: Replacement, generator: torch.Generator) -> Tensor:
        counted = {
            "batches": self.batches,
            "vectors": self.hits,
            "distortion": self.distortion,
        }[policy.count]
        unused = policy.unused(counted, self.hits, int(self.seen))
        rows = torch.nonzero(unused).flatten()
        if 0 < rows.numel() < self.size:
            sources = policy.choose(unused, counted, generator=generator)
            deviation = spread_of(self.codebook[~unused])
            noise = torch.randn(rows.numel(), self.dim, generator=generator).to(deviation.device)
            self._move(rows, self.codebook[sources] + policy.noise * deviation * noise)
            if self.learning == "ema":
                # Each copy takes half of its source's latents with it.
                self.ema_count[rows] = self.ema_count[sources] / 2
                self.ema_sum[rows] = self.codebook[rows] * self.ema_count[rows, None]
        else:
            rows = rows[:0]  # all in use, or nothing seen: no one to copy, or no need to
        for counter in (self.hits, self.batches, self.distortion, self.seen):
            counter.zero_()
        return rows

    def _move(self, rows: Tensor, values: Tensor) -> None:
        self.codebook.data[rows] = values.to(self.codebook)

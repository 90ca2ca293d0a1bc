"""Product quantization: a latent in groups, each with a codebook of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.labels import MOST_CODES
from vqlink.quantizers.vector import Upkeep, VectorQuantizer
from vqlink.rng import Generators


class ProductQuantizer(nn.Module):
    """D values in G groups, each with a codebook of its own.

    The index of a vector is that of its groups in mixed radix, the first group most significant,
    so ``bits_per_vector`` is the sum of theirs.

    Args:
        quantizers: one for each group, in order.

    Raises:
        ValueError: for no groups, or more than 2^62 combinations.
    """

    def __init__(self, quantizers: Sequence[VectorQuantizer]) -> None:
        super().__init__()
        self.groups = nn.ModuleList(quantizers)
        self._sizes = [quantizer.size for quantizer in quantizers]
        self._dims = [quantizer.dim for quantizer in quantizers]
        if not quantizers or math.prod(self._sizes) > MOST_CODES:
            raise ValueError("a product quantizer has 1 or more groups and at most 2^62 codewords")

    @property
    def bits_per_vector(self) -> float:
        return sum(math.log2(size) for size in self._sizes)

    def forward(
        self, z: Tensor, *, generator: Generators | None = None, mask: Tensor | None = None
    ) -> QuantizerOutput:
        """(..., D) -> all groups' codewords; losses and statistics are means over the groups."""
        parts = [
            group(part, generator=generator, mask=mask)
            for group, part in zip(self.groups, self._split(z), strict=True)
        ]
        return QuantizerOutput(
            values=torch.cat([part.values for part in parts], dim=-1),
            indices=self._join([part.indices for part in parts]),
            losses=_mean_of([part.losses for part in parts]),
            stats=_mean_of([part.stats for part in parts]),
        )

    def hard(self, z: Tensor) -> Tensor:
        """(..., D) -> (..., D) float32: ``decode(encode(z))``."""
        return self.decode(self.encode(z))

    def encode(self, z: Tensor) -> Tensor:
        """(..., D) -> (...) int64."""
        pairs = zip(self.groups, self._split(z), strict=True)
        return self._join([group.encode(part) for group, part in pairs])  # type: ignore[operator]

    def decode(self, indices: Tensor) -> Tensor:
        """(...) int64 -> (..., D) float32."""
        values = []
        for group, size in zip(reversed(self.groups), reversed(self._sizes), strict=True):
            values.append(group.decode(indices % size))  # type: ignore[operator]
            indices = torch.div(indices, size, rounding_mode="floor")
        return torch.cat(values[::-1], dim=-1)

    def initialise(self, z: Tensor, *, generator: torch.Generator) -> None:
        """Start every group's codebook by k-means on latents (..., D)."""
        for group, part in zip(self.groups, self._split(z), strict=True):
            group.initialise(part, generator=generator)  # type: ignore[operator]

    def after_step(self, *, generator: torch.Generator) -> list[Upkeep]:
        """Every group's :meth:`VectorQuantizer.after_step`, in order."""
        return [group.after_step(generator=generator) for group in self.groups]  # type: ignore[operator]

    def _split(self, z: Tensor) -> tuple[Tensor, ...]:
        if z.ndim == 0 or z.shape[-1] != sum(self._dims):
            raise ValueError(f"latents are (..., {sum(self._dims)}), not {tuple(z.shape)}")
        return torch.split(z, self._dims, dim=-1)

    def _join(self, parts: list[Tensor]) -> Tensor:
        index = torch.zeros_like(parts[0])
        for part, size in zip(parts, self._sizes, strict=True):
            index = index * size + part
        return index


def _mean_of(parts: Sequence[object]) -> dict[str, Tensor]:
    mappings = [dict(part) for part in parts]  # type: ignore[call-overload]
    return {name: torch.stack([m[name] for m in mappings]).mean() for name in mappings[0]}

"""What an image becomes, map after map, coarse to fine: the view that a prior has of a codec.

A layer of a residual quantizer is a map, and so is each of VQ-VAE-2's three. A map holds choices
among few codewords; which codewords these are can depend on the maps before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from vqlink.layers.blocks import to_channels_first, to_channels_last
from vqlink.quantizers.paths import join_path
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.systems.autoencoder import VQAutoencoder
from vqlink.systems.vqvae2 import VQVAE2


class LayeredCodes(Protocol):
    """A codec with its maps apart. A map is (B, h, w) int64, each value in [0, choices)."""

    choices: tuple[int, ...]
    dim: int

    def shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """(h, w) of each map of an image."""
        ...

    def context_dim(self, layer: int) -> int:
        """Values a cell of :meth:`context`; 0 for the first map."""
        ...

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) in [0, 1] -> maps."""
        ...

    def values(self, layer: int, maps: Sequence[Tensor]) -> Tensor:
        """Codewords (..., D) that the choices ``maps[layer]`` (...) stand for.

        Args:
            maps: those before and this one, all of one shape where the codec is a tree.
        """
        ...

    def context(self, layer: int, maps: Sequence[Tensor]) -> Tensor | None:
        """(B, h, w, C) of what the maps before say at each cell of this one; None for the first."""
        ...

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """All maps -> images (B, 3, H, W) in [0, 1]."""
        ...


class ResidualCodes:
    """Of an autoencoder with a tree, plain residual layers, or one flat codebook."""

    def __init__(self, codec: VQAutoencoder, *, stride: int) -> None:
        self.codec, self._stride = codec, stride
        quantizer = codec.quantizer
        self.choices = (
            quantizer.branches if isinstance(quantizer, ResidualQuantizer) else (quantizer.size,)
        )
        self.dim = quantizer.dim

    def shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        return ((height // self._stride, width // self._stride),) * len(self.choices)

    def context_dim(self, layer: int) -> int:
        return self.dim if layer else 0

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        indices = self.codec.encode(x)
        quantizer = self.codec.quantizer
        if isinstance(quantizer, ResidualQuantizer):
            return tuple(quantizer.digits(indices))
        return (indices,)

    def values(self, layer: int, maps: Sequence[Tensor]) -> Tensor:
        quantizer = self.codec.quantizer
        if not isinstance(quantizer, ResidualQuantizer):
            return quantizer.decode(maps[layer])
        size = quantizer.branches[layer]
        node = join_path(maps[:layer], self.choices) if quantizer.tree and layer else 0
        return quantizer.codebook(layer).detach()[node * size + maps[layer]]

    def context(self, layer: int, maps: Sequence[Tensor]) -> Tensor | None:
        if layer == 0:
            return None
        quantizer = self.codec.quantizer
        assert isinstance(quantizer, ResidualQuantizer)
        blank = torch.zeros_like(maps[0])
        whole = [*maps[:layer], *(blank for _ in self.choices[layer:])]
        return quantizer.decode(join_path(whole, self.choices), layers=layer)

    @torch.no_grad()
    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        return self.codec.decode(join_path(maps, self.choices))


class VQVAE2Codes:
    """The top, the middle and the bottom map; sides are multiples of 8."""

    def __init__(self, codec: VQVAE2) -> None:
        self.codec = codec
        self.choices: tuple[int, ...] = tuple(q.size for q in codec.codebooks)
        self.dim = codec.codebooks[0].dim

    def shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        return tuple((height // stride, width // stride) for stride in (8, 4, 2))

    def context_dim(self, layer: int) -> int:
        return self.dim * layer

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.codec.encode(x)

    def values(self, layer: int, maps: Sequence[Tensor]) -> Tensor:
        return self.codec.codebooks[layer].decode(maps[layer])

    def context(self, layer: int, maps: Sequence[Tensor]) -> Tensor | None:
        """The codewords of the maps above, each enlarged to this map's size."""
        if layer == 0:
            return None
        above = [
            functional.interpolate(
                to_channels_first(self.values(place, maps)), scale_factor=2 ** (layer - place)
            )
            for place in range(layer)
        ]
        return to_channels_last(torch.cat(above, dim=1))

    @torch.no_grad()
    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        return self.codec.decode(maps)

"""An autoencoder with a vector-quantised middle: what a link will carry, without the link."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import Generators


class VQAutoencoder(nn.Module):
    """image -> encoder -> quantizer -> decoder -> image.

    Args:
        encoder: (B, 3, H, W) -> (B, h, w, D).
        quantizer: of D values.
        decoder: (B, h, w, D) -> (B, 3, H, W).
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: VectorQuantizer | ResidualQuantizer,
        decoder: nn.Module,
    ) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.decoder = encoder, quantizer, decoder

    def forward(
        self, x: Tensor, *, generator: Generators | None = None
    ) -> tuple[Tensor, QuantizerOutput]:
        """(B, 3, H, W) in [0, 1] -> the reconstruction, not clamped, and the quantizer's output."""
        quantized = self.quantizer(self.encoder(x), generator=generator)
        return self.decoder(quantized.values).float(), quantized

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The image that the decoder makes of the hard codes, (B, 3, H, W) float32 in [0, 1]."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> (B, h, w) int64."""
        return self.quantizer.encode(self.encoder(x).float())

    @torch.no_grad()
    def decode(self, indices: Tensor) -> Tensor:
        """(B, h, w) int64 -> images (B, 3, H, W) float32 in [0, 1]."""
        image: Tensor = self.decoder(self.quantizer.decode(indices)).float()
        return image.clamp(0, 1)

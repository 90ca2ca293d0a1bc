"""VQ-VAE-2 with three latent maps (Razavi et al., 2019), the rival of paper 003."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqlink.encoders.image.vqvae import VQVAEEncoder
from vqlink.layers.blocks import to_channels_first, to_channels_last
from vqlink.layers.residual import PlainResidualStack
from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import Generators


class VQVAE2(nn.Module):
    """Three codebooks, each for a map half as large as the one before.

        x -- encoder -- b -- down -- m -- down -- t
        t -> top codes;  m and the top's decoding -> middle codes;  b and theirs -> bottom codes
        all codes, brought to the bottom's size -> decoder -> x

    The encoder's and the decoder's last stage are those of the VQ-VAE with latents at half the
    image's size. With the stages between the maps it has six times as many weights, and it sends
    a third more vectors.

    Args:
        quantizers: of the top, the middle and the bottom map, each of D values.
        hidden, residual_hidden, depth: as of the encoder.
    """

    def __init__(
        self,
        quantizers: Sequence[VectorQuantizer],
        *,
        hidden: int = 128,
        residual_hidden: int = 32,
        depth: int = 2,
    ) -> None:
        super().__init__()
        if len(quantizers) != 3:
            raise ValueError(f"VQ-VAE-2 has three codebooks here, not {len(quantizers)}")
        dim = quantizers[0].dim

        def stack() -> PlainResidualStack:
            return PlainResidualStack(hidden, residual_hidden, depth)

        def up() -> nn.Sequential:
            """A map's codes to twice the size, in D channels."""
            return nn.Sequential(
                nn.Conv2d(dim, hidden, 3, padding=1),
                stack(),
                nn.ConvTranspose2d(hidden, dim, 4, stride=2, padding=1),
            )

        self.quantizers = nn.ModuleList(quantizers)
        self.bottom = VQVAEEncoder(
            hidden, hidden=hidden, residual_hidden=residual_hidden, depth=depth, halvings=1
        )
        self.downs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(hidden, hidden, 4, stride=2, padding=1), nn.ReLU(), stack())
            for _ in range(2)
        )
        # To D values: of the top map alone, of the others beside the decoding of the map above.
        self.heads = nn.ModuleList(
            nn.Conv2d(inputs, dim, 1) for inputs in (hidden, hidden + dim, hidden + dim)
        )
        self.ups = nn.ModuleList(up() for _ in range(2))
        # The top's codes twice over, the middle's once.
        self.enlarge = nn.ModuleList(
            nn.Sequential(
                *(nn.ConvTranspose2d(dim, dim, 4, stride=2, padding=1) for _ in range(times))
            )
            for times in (2, 1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(3 * dim, hidden, 3, padding=1),
            stack(),
            nn.ConvTranspose2d(hidden, 3, 4, stride=2, padding=1),
        )

    @property
    def codebooks(self) -> list[VectorQuantizer]:
        """Of the top, the middle and the bottom map."""
        return [q for q in self.quantizers if isinstance(q, VectorQuantizer)]

    def forward(
        self, x: Tensor, *, generator: Generators | None = None
    ) -> tuple[Tensor, tuple[QuantizerOutput, ...]]:
        """(B, 3, H, W) in [0, 1], sides multiples of 8 -> not clamped, and each map's output."""
        features = self._features(x)
        outputs: list[QuantizerOutput] = []
        codes: list[Tensor] = []
        for place, quantizer in enumerate(self.quantizers):
            out = quantizer(self._latents(place, features, codes), generator=generator)
            outputs.append(out)
            codes.append(to_channels_first(out.values))
        return self._image(codes), tuple(outputs)

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) -> (B, h, w) int64 of the top, the middle and the bottom map."""
        features = self._features(x)
        indices: list[Tensor] = []
        codes: list[Tensor] = []
        for place, quantizer in enumerate(self.codebooks):
            indices.append(quantizer.encode(self._latents(place, features, codes).float()))
            codes.append(to_channels_first(quantizer.decode(indices[-1])))
        return tuple(indices)

    @torch.no_grad()
    def decode(self, indices: Sequence[Tensor]) -> Tensor:
        """Indices of the three maps -> images (B, 3, H, W) in [0, 1]."""
        codes = [q.decode(found) for q, found in zip(self.codebooks, indices, strict=True)]
        return self._image([to_channels_first(code) for code in codes]).clamp(0, 1)

    def _features(self, x: Tensor) -> tuple[Tensor, ...]:
        """Of the top, the middle and the bottom map."""
        bottom = to_channels_first(self.bottom(x))
        middle = self.downs[0](bottom)
        return self.downs[1](middle), middle, bottom

    def _latents(self, place: int, features: Sequence[Tensor], codes: Sequence[Tensor]) -> Tensor:
        """(B, h, w, D) of a map, given the codes (B, D, h, w) of the maps above."""
        here = features[place]
        if place:
            here = torch.cat([here, self.ups[place - 1](codes[-1])], dim=1)
        return to_channels_last(self.heads[place](here))

    def _image(self, codes: Sequence[Tensor]) -> Tensor:
        wide = [self.enlarge[0](codes[0]), self.enlarge[1](codes[1]), codes[2]]
        image: Tensor = self.decoder(torch.cat(wide, dim=1)).float() + 0.5
        return image

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The image that the decoder makes of hard codes, (B, 3, H, W) float32 in [0, 1].

        In evaluation mode, where codes are hard.

        Raises:
            RuntimeError: in training mode.
        """
        if self.training:
            raise RuntimeError("reconstruct takes evaluation mode: call eval() first")
        return self(x)[0].clamp(0, 1)  # type: ignore[no-any-return]

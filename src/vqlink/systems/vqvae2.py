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
    image's size, so that the rivals differ in their codebooks alone.

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
        bottom = to_channels_first(self.bottom(x))
        middle = self.downs[0](bottom)
        features = [self.downs[1](middle), middle, bottom]
        outputs: list[QuantizerOutput] = []
        codes: list[Tensor] = []
        for place, (quantizer, head, here) in enumerate(
            zip(self.quantizers, self.heads, features, strict=True)
        ):
            if place:
                here = torch.cat([here, self.ups[place - 1](codes[-1])], dim=1)
            out = quantizer(to_channels_last(head(here)), generator=generator)
            outputs.append(out)
            codes.append(to_channels_first(out.values))
        wide = [self.enlarge[0](codes[0]), self.enlarge[1](codes[1]), codes[2]]
        image: Tensor = self.decoder(torch.cat(wide, dim=1)).float() + 0.5
        return image, tuple(outputs)

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

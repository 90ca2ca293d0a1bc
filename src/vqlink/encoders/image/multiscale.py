"""The multi-scale encoder of VQ-DeepSC (004, Fig. 2 and eq. 5)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vqlink.layers.blocks import to_channels_last
from vqlink.layers.prelu_blocks import Norm, conv3x3, down_block, start_without_norm


class MultiscaleEncoder(nn.Module):
    """Images -> features at 1/2, 1/4, ... of their size, one a scale.

        x -- conv, PReLU -- down -- F1 -- down -- F2 -- ...

    Args:
        width: channels of each scale, the largest scale first.
        stem: channels of the first convolution.
        first: number of the first scale that is sent, from 1; the paper's "three larger scales"
            are 2, 3 and 4.
        norm: batch normalisation as in the paper, or none.

    Attributes:
        widths: channels of the scales that are sent.
        strides: their sizes, as fractions of the image's.
    """

    def __init__(
        self, width: Sequence[int], *, stem: int = 64, first: int = 1, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        if not 1 <= first <= len(width):
            raise ValueError(f"the first scale is one of 1 to {len(width)}, not {first}")
        self.first = first
        self.widths = tuple(width[first - 1 :])
        self.strides = tuple(2**scale for scale in range(first, len(width) + 1))
        self.stride = self.strides[-1]
        # Each block sees 3 positions at its input's size and 3 at its output's.
        self.reach = 1 + sum(3 * 2**scale + 3 * 2 ** (scale + 1) for scale in range(len(width)))
        self.stem = nn.Sequential(conv3x3(3, stem), nn.PReLU())
        self.blocks = nn.ModuleList(
            down_block(inputs, outputs, norm)
            for inputs, outputs in zip([stem, *width[:-1]], width, strict=True)
        )
        if norm == "none":
            start_without_norm(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) in [0, 1] -> (B, H / stride, W / stride, width), one for each scale sent."""
        features = self.stem(x - 0.5)
        scales = []
        for block in self.blocks:
            features = block(features)
            scales.append(to_channels_last(features))
        return tuple(scales[self.first - 1 :])

"""The PatchGAN discriminator (Isola et al., 2017) with the sizes of 004, section IV."""

from __future__ import annotations

from torch import Tensor, nn


class PatchGAN(nn.Module):
    """Judges overlapping patches of 70x70 pixels: a logit each, high for real ones.

    Three 4x4 convolutions of stride 2 and two of stride 1; batch normalisation in the inner ones.

    Args:
        width: channels of the first convolution; they double up to eight times.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for step, stride in enumerate((2, 2, 1)):
            inputs, outputs = width << step, width << step + 1
            layers += [
                nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2),
            ]
        self.net = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> logits (B, 1, H / 8 - 2, W / 8 - 2)."""
        logits: Tensor = self.net(2 * x - 1)
        return logits

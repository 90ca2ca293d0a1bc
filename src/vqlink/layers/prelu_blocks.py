"""Blocks of VQ-DeepSC (004, Fig. 2): batch normalisation and PReLU round 3x3 convolutions."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Norm = Literal["batch", "none"]


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, or divides it by ``stride``."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def norm(channels: int, kind: Norm) -> list[nn.Module]:
    """Batch normalisation, or nothing."""
    return [nn.BatchNorm2d(channels)] if kind == "batch" else []


class PReLUResidual(nn.Module):
    """conv, BN, PReLU, conv, added to the input. Shape: (B, C, h, w) -> the same; reach 2."""

    def __init__(self, channels: int, kind: Norm = "batch") -> None:
        super().__init__()
        self.net = nn.Sequential(
            conv3x3(channels, channels),
            *norm(channels, kind),
            nn.PReLU(),
            conv3x3(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.net(x)
        return out


def down_block(inputs: int, outputs: int, kind: Norm = "batch") -> nn.Sequential:
    """Residual, strided convolution, residual, BN, PReLU, convolution: half the size.

    Reach: 3 positions at the input's size and 3 at the output's.
    """
    return nn.Sequential(
        PReLUResidual(inputs, kind),
        conv3x3(inputs, outputs, stride=2),
        PReLUResidual(outputs, kind),
        *norm(outputs, kind),
        nn.PReLU(),
        conv3x3(outputs, outputs),
    )


def up_block(inputs: int, outputs: int, kind: Norm = "batch") -> nn.Sequential:
    """Residual, transposed convolution, convolution, BN, PReLU: twice the size.

    Reach: 3 positions at the input's size and 1 at the output's.
    """
    return nn.Sequential(
        PReLUResidual(inputs, kind),
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1),
        conv3x3(outputs, outputs),
        *norm(outputs, kind),
        nn.PReLU(),
    )

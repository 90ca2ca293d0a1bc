"""Blocks of VQ-DeepSC (004, Fig. 2): batch normalisation and PReLU round 3x3 convolutions."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

Norm = Literal["batch", "none"]


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, or divides it by ``stride``."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def norm(channels: int, kind: Norm) -> list[nn.Module]:
    """Batch normalisation, or nothing."""
    return [nn.BatchNorm2d(channels)] if kind == "batch" else []


def start_without_norm(net: nn.Module) -> None:
    """Weights that keep a signal's size through blocks that nothing normalises, in place.

    He's for PReLU's first slope of 1/4, and residual branches that start at zero. From torch's own
    start a gradient loses a factor of 5 to 10 with each halving of the size, and the commitment
    then flattens the coarsest scales before anything has been learned there.
    """
    gain = math.sqrt(2 / (1 + 0.25**2))
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # Of a transposed convolution one tap in stride**2 meets a value.
            taps = module.weight[0, 0].numel() / math.prod(
                module.stride if isinstance(module, nn.ConvTranspose2d) else (1,)
            )
            nn.init.normal_(module.weight, std=gain / math.sqrt(module.in_channels * taps))
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    for module in net.modules():
        if isinstance(module, PReLUResidual):
            nn.init.zeros_(module.last.weight)


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

    @property
    def last(self) -> nn.Conv2d:
        """The convolution whose output is added to the input."""
        assert isinstance(self.net[-1], nn.Conv2d)
        return self.net[-1]

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

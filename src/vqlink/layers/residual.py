"""The plain residual stack of the VQ-VAE family (van den Oord et al., 2017, section 4.1)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class PlainResidualStack(nn.Module):
    """``depth`` blocks of ReLU, 3x3 conv, ReLU, 1x1 conv, each added to its input; a last ReLU.

    Args:
        channels: of input and output.
        hidden: channels between the two convolutions.
    """

    def __init__(self, channels: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.wide = nn.ModuleList(
            nn.Conv2d(channels, hidden, 3, padding=1, bias=False) for _ in range(depth)
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(hidden, channels, 1, bias=False) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> the same shape."""
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            x = x + narrow(functional.relu(wide(functional.relu(x))))
        return functional.relu(x)

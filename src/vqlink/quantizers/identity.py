"""The null quantizer: the unquantised bound runs through the same code."""

from __future__ import annotations

import math

from torch import Tensor, nn

from vqlink.protocols import QuantizerOutput
from vqlink.rng import Generators


class Identity(nn.Module):
    """Latents leave as they came; there are no indices and no alphabet."""

    @property
    def bits_per_vector(self) -> float:
        return math.inf

    def forward(self, z: Tensor, *, generator: Generators | None = None) -> QuantizerOutput:
        """(..., D) -> the same values, no indices."""
        return QuantizerOutput(values=z)

    def hard(self, z: Tensor) -> Tensor:
        """What goes on the air for latents ``z``: themselves."""
        return z

    def encode(self, z: Tensor) -> Tensor:
        """Raises TypeError: an infinite alphabet has no indices."""
        raise TypeError("the identity quantizer has no indices; use forward")

    def decode(self, indices: Tensor) -> Tensor:
        """Raises TypeError: an infinite alphabet has no indices."""
        raise TypeError("the identity quantizer has no indices; use forward")

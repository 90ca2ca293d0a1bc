"""The nets of image codes, as parts of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vqlink.config.parts import Depth, Part, Width


class CompactNet(Part):
    """The compact residual net; ``depth`` and ``width`` at 1/4 and at 1/8 of the image's size."""

    kind: Literal["compact"] = "compact"
    width: tuple[Width, Width] = (96, 128)
    depth: tuple[Depth, Depth] = (2, 3)
    features: Width = 64


class CompactEncoderConfig(CompactNet):
    """``channels`` real values for each 8x8 block: rho = channels / 384."""

    channels: int = Field(ge=2, le=1024, multiple_of=2)

    @property
    def stride(self) -> int:
        return 8


class DeepJSCCNet(Part):
    """The net of 001, Fig. 3; ``width`` is its C."""

    kind: Literal["deepjscc"] = "deepjscc"
    width: int = Field(256, ge=2, le=1024, multiple_of=2)


class DeepJSCCEncoderConfig(DeepJSCCNet):
    """``channels`` real values for each 4x4 block: rho = channels / 96."""

    channels: int = Field(ge=2, le=1024, multiple_of=2)

    @property
    def stride(self) -> int:
        return 4


class MultiscaleNet(Part):
    """The net of 004, Fig. 2: ``width`` of each scale, the largest scale first.

    ``norm: none`` leaves the batch normalisation out. Its noise, in batches of few pictures, hides
    the brightness of a picture from the net, which then stalls (docs/decisions.md).
    """

    kind: Literal["multiscale"] = "multiscale"
    width: tuple[Width, ...] = Field((128, 256, 512, 1024), min_length=1, max_length=6)
    stem: Width = 64
    norm: Literal["batch", "none"] = "batch"


class MultiscaleEncoderConfig(MultiscaleNet):
    """``first`` is the number of the first scale that is sent, from 1."""

    first: int = Field(1, ge=1)

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the scales that are sent."""
        return tuple(2**scale for scale in range(self.first, len(self.width) + 1))

    @property
    def vectors(self) -> tuple[int, ...]:
        """Vectors of each scale in one cell of the coarsest."""
        return tuple((self.strides[-1] // stride) ** 2 for stride in self.strides)


class VQVAENet(Part):
    """The net of the VQ-VAE, as 003 takes it over; ``halvings`` 1 is 003's, 2 the original's."""

    kind: Literal["vqvae"] = "vqvae"
    hidden: Width = 128
    residual_hidden: Width = 32
    depth: Depth = 2
    halvings: Literal[1, 2] = 1


class VQVAEEncoderConfig(VQVAENet):
    """``dim`` values a latent vector, one for each 2x2 or 4x4 block."""

    dim: Width = 64

    @property
    def stride(self) -> int:
        return 2**self.halvings

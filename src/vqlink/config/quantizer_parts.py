"""The quantizers of codes, as parts of a recipe."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vqlink.config.parts import Part
from vqlink.quantizers.gradients import HardPath, Learning, check_learning
from vqlink.quantizers.labels import MOST_CODES

_MOST_CODEWORDS = 2**20

Hardness = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class IdentityConfig(Part):
    """No quantization: any complex value may be sent."""

    kind: Literal["identity"] = "identity"


class QAMConfig(Part):
    """Soft-to-hard onto a square QAM (001, eq. 12-13).

    Attributes:
        order: number of points.
        hardness: sigma_q at the first and at the last training step; it rises linearly.
    """

    kind: Literal["qam"] = "qam"
    order: Literal[4, 16, 64, 256, 1024, 4096]
    hardness: tuple[Hardness, Hardness] = (5.0, 100.0)


class PSKConfig(Part):
    """Soft-to-hard onto a PSK, as modulators of constant envelope send it.

    Attributes:
        order: number of points.
        hardness: as for QAM.
    """

    kind: Literal["psk"] = "psk"
    order: Literal[2, 4, 8, 16]
    hardness: tuple[Hardness, Hardness] = (5.0, 100.0)


class LearnedConstellationConfig(Part):
    """Soft-to-hard onto points that are learned, from square QAM on (001, eq. 16-19).

    Attributes:
        order: number of points.
        hardness: as for QAM.
    """

    kind: Literal["learned"] = "learned"
    order: Literal[4, 16, 64, 256, 1024, 4096]
    hardness: tuple[Hardness, Hardness] = (5.0, 100.0)


class ReplacementConfig(Part):
    """Codebook replacement; see :class:`vqlink.quantizers.replacement.Replacement`."""

    every: int = Field(50, ge=1)
    growth: float = Field(1.1, ge=1, allow_inf_nan=False)
    until: int = Field(10_000, ge=1)
    threshold: float = Field(0.1, ge=0, le=1)


class CodebooksConfig(Part):
    """A codebook for each scale; see :class:`vqlink.quantizers.vector.VectorQuantizer`.

    Attributes:
        sizes: codewords of each scale that is sent, the largest scale first; powers of two.
        gradient, learning: how latents and codewords are trained.
        kmeans: start from k-means on the first batch.
    """

    kind: Literal["codebooks"] = "codebooks"
    sizes: tuple[Literal[2, 4, 8, 16, 32, 64, 128, 256, 512, 1024], ...] = Field(min_length=1)
    gradient: HardPath = "straight_through"
    learning: Learning = "loss"
    replacement: ReplacementConfig | None = None
    kmeans: bool = True

    @model_validator(mode="after")
    def _can_learn(self) -> CodebooksConfig:
        check_learning(self.gradient, self.learning)
        return self


class ResidualConfig(Part):
    """Codewords in layers; see :class:`vqlink.quantizers.residual.ResidualQuantizer`.

    Attributes:
        branches: choices of each layer, the first layer first; powers of two.
        tree: a layer's codewords belong to the one chosen before (003); else plain layers.
        gradient, learning, replacement, kmeans: as of a codebook for each scale.
    """

    kind: Literal["residual"] = "residual"
    branches: tuple[Literal[2, 4, 8, 16, 32, 64, 128, 256, 512, 1024], ...] = Field(
        min_length=1, max_length=16
    )
    tree: bool = True
    gradient: HardPath = "straight_through"
    learning: Learning = "loss"
    replacement: ReplacementConfig | None = None
    kmeans: bool = True

    @model_validator(mode="after")
    def _can_be_built(self) -> ResidualConfig:
        check_learning(self.gradient, self.learning)
        if self.tree and math.prod(self.branches) > _MOST_CODEWORDS:
            raise ValueError(f"a tree of more than {_MOST_CODEWORDS:,} codewords")
        if math.prod(self.branches) > MOST_CODES:
            raise ValueError("at most 2^62 codes have indices: take fewer or smaller layers")
        return self


SoftToHardConfig = QAMConfig | PSKConfig | LearnedConstellationConfig

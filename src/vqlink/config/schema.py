"""The recipe: an experiment as data.

Every part is a tagged union on ``kind``; :mod:`vqlink.config.build` turns it into objects with one
``match`` for each stage. Together they are the table of contents of what vqlink can build.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from vqlink.config.channels import AWGNConfig, ChannelConfig

_MS_SSIM_CROP = 176  # five scales of an 11x11 window


class Part(BaseModel):
    """Frozen, and a key that it does not know is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageSource(Part):
    """Random crops of pictures.

    Attributes:
        train, validation: a folder of pictures, a parquet file, or ``hf:NAME:SPLIT``.
        crop: side of the square windows in pixels.
        scales: range of the random downscaling that comes before a crop.
    """

    kind: Literal["images"] = "images"
    train: str
    validation: str | None = None
    crop: int = Field(64, ge=16, multiple_of=8)
    scales: tuple[float, float] = (1.0, 1.0)


class CompactNet(Part):
    """The compact residual net; ``depth`` and ``width`` at 1/4 and at 1/8 of the image's size."""

    kind: Literal["compact"] = "compact"
    width: tuple[int, int] = (96, 128)
    depth: tuple[int, int] = (2, 3)
    features: int = Field(64, ge=1)


class CompactEncoderConfig(CompactNet):
    """``channels`` real values for each 8x8 block: rho = channels / 384."""

    channels: int = Field(ge=2, multiple_of=2)

    @property
    def stride(self) -> int:
        return 8


class DeepJSCCNet(Part):
    """The net of 001, Fig. 3; ``width`` is its C."""

    kind: Literal["deepjscc"] = "deepjscc"
    width: int = Field(256, ge=2, multiple_of=2)


class DeepJSCCEncoderConfig(DeepJSCCNet):
    """``channels`` real values for each 4x4 block: rho = channels / 96."""

    channels: int = Field(ge=2, multiple_of=2)

    @property
    def stride(self) -> int:
        return 4


EncoderConfig = Annotated[CompactEncoderConfig | DeepJSCCEncoderConfig, Field(discriminator="kind")]
DecoderConfig = Annotated[CompactNet | DeepJSCCNet, Field(discriminator="kind")]


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
    hardness: tuple[float, float] = (5.0, 100.0)


class PSKConfig(Part):
    """Soft-to-hard onto a PSK, as modulators of constant envelope send it.

    Attributes:
        order: number of points.
        hardness: as for QAM.
    """

    kind: Literal["psk"] = "psk"
    order: Literal[2, 4, 8, 16]
    hardness: tuple[float, float] = (5.0, 100.0)


class LearnedConstellationConfig(Part):
    """Soft-to-hard onto points that are learned, from square QAM on (001, eq. 16-19).

    Attributes:
        order: number of points.
        hardness: as for QAM.
    """

    kind: Literal["learned"] = "learned"
    order: Literal[4, 16, 64, 256, 1024, 4096]
    hardness: tuple[float, float] = (5.0, 100.0)


SoftToHardConfig = QAMConfig | PSKConfig | LearnedConstellationConfig
QuantizerConfig = Annotated[IdentityConfig | SoftToHardConfig, Field(discriminator="kind")]


class ValuesLinkConfig(Part):
    """Latents as channel symbols; see :class:`vqlink.links.values.ValuesLink`."""

    kind: Literal["values"] = "values"
    channel: ChannelConfig = AWGNConfig()
    power: Literal["message", "constellation", "none"] = "message"
    equalizer: Literal["none", "zero_forcing", "mmse"] = "zero_forcing"
    precode: bool = False
    mixing: bool = False
    drive_level: float = Field(1.0, gt=0, allow_inf_nan=False)


class TrainingConfig(Part):
    """The plain loop's settings.

    Attributes:
        steps: optimiser steps of the whole run; schedules stretch over it.
        messages, windows: a batch is this many messages of this many crops each.
        learning_rate: peak of a linear warm-up and a cosine to zero (AdamW).
        snr_db: range that each message's SNR is drawn from, uniformly.
        snr_slope: a message at s dB weighs 10^(slope * s / 10) in the loss, since the error falls
            about so much with the SNR; 0 leaves the noisiest messages to decide.
        ema: decay of the averaged weights, which are the ones that ship.
        init_from: a zoo name or weights folder to start from; tensors of another shape give their
            leading part.
    """

    steps: int = Field(ge=1)
    messages: int = Field(4, ge=1)
    windows: int = Field(4, ge=1)
    learning_rate: float = Field(1e-3, gt=0, allow_inf_nan=False)
    warmup: int = Field(200, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    snr_db: tuple[FiniteFloat, FiniteFloat] = (0.0, 20.0)
    snr_slope: float = Field(0.4, allow_inf_nan=False)
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    init_from: str | None = None
    seed: int = 0
    log_every: int = Field(50, ge=1)
    checkpoint_seconds: float = Field(60.0, gt=0)
    validate_every: int = Field(2000, ge=1)


class EvaluationConfig(Part):
    """Points that a run is judged at while it trains, and how many pictures."""

    snr_db: tuple[float, ...] = (0.0, 10.0, 20.0)
    samples: int = Field(default=16, ge=1)


class Recipe(Part):
    """One experiment. ``deviations`` says where it departs from its paper, and why."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    paper: str
    figure: str
    source: ImageSource
    encoder: EncoderConfig
    quantizer: QuantizerConfig
    link: ValuesLinkConfig
    decoder: DecoderConfig
    losses: dict[Literal["mse", "ms_ssim", "kl"], float] = Field(min_length=1)
    training: TrainingConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    deviations: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        if "kl" in self.losses and not isinstance(self.quantizer, SoftToHardConfig):
            raise ValueError("losses.kl needs a quantizer with a constellation")
        if "ms_ssim" in self.losses and self.source.crop < _MS_SSIM_CROP:
            raise ValueError(f"losses.ms_ssim needs source.crop of {_MS_SSIM_CROP} or more")
        if self.training.snr_db[0] > self.training.snr_db[1]:
            raise ValueError("training.snr_db goes from the lowest SNR to the highest")
        if self.encoder.kind != self.decoder.kind:
            raise ValueError("encoder and decoder are of different kinds")
        return self

    @property
    def rho(self) -> Fraction:
        """Complex channel uses per source value, on images of whole blocks."""
        return Fraction(self.encoder.channels, 2 * self.encoder.stride**2 * 3)

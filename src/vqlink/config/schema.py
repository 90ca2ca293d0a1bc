"""The recipe: an experiment as data.

Every part is a tagged union on ``kind``; :mod:`vqlink.config.build` turns it into objects with one
``match`` for each stage. Together they are the table of contents of what vqlink can build.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, field_validator, model_validator

from vqlink.config.image_nets import (
    CompactEncoderConfig,
    CompactNet,
    DeepJSCCEncoderConfig,
    DeepJSCCNet,
    MultiscaleEncoderConfig,
    MultiscaleNet,
    VQVAEEncoderConfig,
    VQVAENet,
)
from vqlink.config.link_parts import MODEMS, IndexLinkConfig, LayersLinkConfig, ValuesLinkConfig
from vqlink.config.parts import Beta, Part, Probability, Seed, Width
from vqlink.config.quantizer_parts import (
    CodebooksConfig,
    IdentityConfig,
    ResidualConfig,
    SoftToHardConfig,
)
from vqlink.config.text_parts import (
    BinaryConfig,
    BitsLinkConfig,
    TextSource,
    TransformerTextNet,
    check_text_code,
)

_MS_SSIM_CROP = 176  # five scales of an 11x11 window


Scale = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


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
    scales: tuple[Scale, Scale] = (1.0, 1.0)

    @field_validator("scales")
    @classmethod
    def _in_order(cls, scales: tuple[float, float]) -> tuple[float, float]:
        if scales[0] > scales[1]:
            raise ValueError("the smaller scale comes first")
        return scales


def _pictures_unless_said(source: object) -> object:
    """Recipes that name no kind of source are of pictures."""
    return {"kind": "images", **source} if isinstance(source, dict) else source


SourceConfig = Annotated[
    ImageSource | TextSource,
    Field(discriminator="kind"),
    BeforeValidator(_pictures_unless_said),
]


EncoderConfig = Annotated[
    CompactEncoderConfig
    | DeepJSCCEncoderConfig
    | MultiscaleEncoderConfig
    | VQVAEEncoderConfig
    | TransformerTextNet,
    Field(discriminator="kind"),
]
DecoderConfig = Annotated[
    CompactNet | DeepJSCCNet | MultiscaleNet | VQVAENet | TransformerTextNet,
    Field(discriminator="kind"),
]


QuantizerConfig = Annotated[
    IdentityConfig | SoftToHardConfig | CodebooksConfig | ResidualConfig | BinaryConfig,
    Field(discriminator="kind"),
]


LinkConfig = Annotated[
    ValuesLinkConfig | IndexLinkConfig | LayersLinkConfig | BitsLinkConfig,
    Field(discriminator="kind"),
]


class AdversaryConfig(Part):
    """A PatchGAN discriminator with Adam of its own (004, eq. 7 and section IV)."""

    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    learning_rate: float = Field(1e-5, gt=0, allow_inf_nan=False)
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    width: Width = 64


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
        betas: of the optimiser.
        flip: probability of a wrong bit in the labels of an index code, to train with errors.
        adversary: a discriminator to train against; None for none.
        probability: of a text code: range that each message's erasure or flip probability is drawn
            from, uniformly.
        token_dropout: of a text code: part of the tokens before, which the decoder is given in
            training, that are replaced by others, so that it trusts what it received.
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
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    flip: float = Field(0.0, ge=0, le=0.5)
    adversary: AdversaryConfig | None = None
    probability: tuple[Probability, Probability] | None = None
    token_dropout: float = Field(0.0, ge=0, le=1)
    init_from: str | None = None
    seed: Seed = 0
    log_every: int = Field(50, ge=1)
    checkpoint_seconds: float = Field(60.0, gt=0)
    validate_every: int = Field(2000, ge=1)

    @property
    def for_indices(self) -> tuple[str, ...]:
        """Names of the settings in use that only codes of indices at several scales have."""
        return tuple(name for name in ("adversary", "flip") if getattr(self, name))


class EvaluationConfig(Part):
    """Points that a run is judged at while it trains, and how many pictures or sentences."""

    snr_db: tuple[FiniteFloat, ...] = (0.0, 10.0, 20.0)
    probability: tuple[Probability, ...] = ()
    samples: int = Field(default=16, ge=1)


Loss = Literal["mse", "log_mse", "mae", "ms_ssim", "kl", "codebook", "commitment", "cross_entropy"]


class Recipe(Part):
    """One experiment. ``deviations`` says where it departs from its paper, and why."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    paper: str
    figure: str
    source: SourceConfig
    encoder: EncoderConfig
    quantizer: QuantizerConfig
    link: LinkConfig
    decoder: DecoderConfig
    losses: dict[Loss, float] = Field(min_length=1)
    training: TrainingConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    deviations: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        if isinstance(self.source, TextSource):
            check_text_code(self)
            return self
        if "cross_entropy" in self.losses or self.training.probability is not None:
            raise ValueError("losses.cross_entropy and training.probability are for text codes")
        if "kl" in self.losses and not isinstance(self.quantizer, SoftToHardConfig):
            raise ValueError("losses.kl needs a quantizer with a constellation")
        if "ms_ssim" in self.losses and self.source.crop < _MS_SSIM_CROP:
            raise ValueError(f"losses.ms_ssim needs source.crop of {_MS_SSIM_CROP} or more")
        if self.training.snr_db[0] > self.training.snr_db[1]:
            raise ValueError("training.snr_db goes from the lowest SNR to the highest")
        if self.encoder.kind != self.decoder.kind:
            raise ValueError("encoder and decoder are of different kinds")
        if isinstance(self.encoder, MultiscaleEncoderConfig):
            self._index_code_fits(self.encoder)
        elif isinstance(self.encoder, VQVAEEncoderConfig):
            self._layered_code_fits(self.encoder)
        elif isinstance(self.quantizer, ResidualConfig):
            raise ValueError("quantizer.kind residual needs encoder.kind vqvae, link.kind layers")
        elif not isinstance(self.link, ValuesLinkConfig):
            raise ValueError("an index link needs the multiscale encoder and codebooks")
        elif isinstance(self.quantizer, CodebooksConfig):
            raise ValueError("codebooks need the multiscale encoder and an index link")
        elif self.training.for_indices:
            raise ValueError(f"training.{self.training.for_indices[0]} is for index codes")
        elif {"mae", "codebook", "commitment"} & set(self.losses):
            raise ValueError("losses.mae, codebook and commitment are for index codes")
        elif (
            self.link.mixing
            and isinstance(self.encoder, CompactEncoderConfig | DeepJSCCEncoderConfig)
            and self.encoder.channels.bit_count() != 1
        ):
            raise ValueError("link.mixing takes a power of two of encoder.channels")
        return self

    def _index_code_fits(self, encoder: MultiscaleEncoderConfig) -> None:
        if not isinstance(self.link, IndexLinkConfig):
            raise ValueError("the multiscale encoder needs link.kind indices")
        if not isinstance(self.quantizer, CodebooksConfig | IdentityConfig):
            raise ValueError("the multiscale encoder needs quantizer.kind codebooks or identity")
        if not 1 <= encoder.first <= len(encoder.width):
            raise ValueError("encoder.first is the number of a scale")
        nets = MultiscaleNet(width=encoder.width, stem=encoder.stem, norm=encoder.norm)
        if self.decoder != nets:
            raise ValueError("decoder.width, stem and norm are those of the encoder")
        if isinstance(self.quantizer, CodebooksConfig):
            if len(self.quantizer.sizes) != len(encoder.strides):
                raise ValueError("quantizer.sizes needs one codebook a scale")
            if self.losses.get("codebook") and self.quantizer.learning != "loss":
                raise ValueError("losses.codebook needs quantizer.learning loss")
            sends_codewords = self.quantizer.gradient in ("straight_through", "rotation")
            if self.losses.get("commitment") and not sends_codewords:
                raise ValueError(f"{self.quantizer.gradient} has no commitment: give it the loss 0")
        elif self.losses.get("codebook") or self.losses.get("commitment"):
            raise ValueError("losses.codebook and commitment need codebooks")
        elif self.training.flip:
            raise ValueError("training.flip needs codebooks")
        assert isinstance(self.source, ImageSource)
        if self.source.crop % encoder.strides[-1]:
            raise ValueError(f"source.crop is a multiple of {encoder.strides[-1]}")
        if {"log_mse", "ms_ssim", "kl"} & set(self.losses):
            raise ValueError("losses of index codes are mse, mae, codebook and commitment")

    def _layered_code_fits(self, encoder: VQVAEEncoderConfig) -> None:
        quantizer, link = self.quantizer, self.link
        if not isinstance(quantizer, ResidualConfig) or not isinstance(link, LayersLinkConfig):
            raise ValueError("encoder.kind vqvae needs quantizer.kind residual, link.kind layers")
        if len(link.rates) != len(quantizer.branches):
            raise ValueError("link.rates needs one rate a layer of quantizer.branches")
        nets = VQVAENet(**encoder.model_dump(exclude={"dim"}))
        if self.decoder != nets:
            raise ValueError("decoder.hidden, depth and halvings are those of the encoder")
        if not {"mse", "mae", "codebook", "commitment"} >= set(self.losses):
            raise ValueError("losses of layered codes are mse, mae, codebook and commitment")
        if self.losses.get("codebook") and quantizer.learning != "loss":
            raise ValueError("losses.codebook needs quantizer.learning loss")
        if self.training.for_indices:
            raise ValueError(f"training.{self.training.for_indices[0]} is for codebooks at scales")
        assert isinstance(self.source, ImageSource)
        if self.source.crop % encoder.stride:
            raise ValueError(f"source.crop is a multiple of {encoder.stride}")

    @property
    def rho(self) -> Fraction:
        """Complex channel uses per source value, on images of whole blocks.

        Of an index code without CRC and filling, which depend on the image's size; of its upper
        bound, which nothing sends, at two real values a use. Of a text code: uses a token, without
        the header.
        """
        if isinstance(self.encoder, TransformerTextNet):
            assert isinstance(self.quantizer, BinaryConfig)
            assert isinstance(self.link, BitsLinkConfig)
            binary = self.link.channel.kind in ("bec", "bsc")
            return Fraction(self.quantizer.bits, 1 if binary else MODEMS[self.link.modem])
        if isinstance(self.encoder, VQVAEEncoderConfig):
            assert isinstance(self.quantizer, ResidualConfig)
            assert isinstance(self.link, LayersLinkConfig)
            layers = zip(self.quantizer.branches, self.link.rates, strict=True)
            coded = sum((size.bit_length() - 1) / Fraction(rate) for size, rate in layers)
            return Fraction(coded) / MODEMS[self.link.modem] / (3 * self.encoder.stride**2)
        if not isinstance(self.encoder, MultiscaleEncoderConfig):
            return Fraction(self.encoder.channels, 2 * self.encoder.stride**2 * 3)
        assert isinstance(self.link, IndexLinkConfig)
        pixels = self.encoder.strides[-1] ** 2
        if isinstance(self.quantizer, CodebooksConfig):
            bits = [size.bit_length() - 1 for size in self.quantizer.sizes]
            rate = Fraction(self.link.rate) if self.link.code != "none" else Fraction(1)
            per_use = MODEMS[self.link.modem] * rate
        else:
            bits, per_use = list(self.encoder.width[self.encoder.first - 1 :]), Fraction(2)
        total = sum(n * b for n, b in zip(self.encoder.vectors, bits, strict=True))
        return total / per_use / (3 * pixels)

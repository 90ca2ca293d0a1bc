"""The recipe: an experiment as data.

Every part is a tagged union on ``kind``; :mod:`vqlink.config.build` turns it into objects with one
``match`` for each stage. Together they are the table of contents of what vqlink can build.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from vqlink.config.channels import AWGNConfig, ChannelConfig
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
from vqlink.config.parts import Part, Width
from vqlink.config.text_parts import (
    BinaryConfig,
    BitsLinkConfig,
    TextSource,
    TransformerTextNet,
    check_text_code,
)

_MOST_CODEWORDS = 2**20
_MS_SSIM_CROP = 176  # five scales of an 11x11 window


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
    gradient: Literal["straight_through", "rotation", "noise", "directional"] = "straight_through"
    learning: Literal["loss", "ema", "gradient"] = "loss"
    replacement: ReplacementConfig | None = None
    kmeans: bool = True

    @model_validator(mode="after")
    def _can_learn(self) -> CodebooksConfig:
        other = "loss" if self.gradient in ("straight_through", "rotation") else "gradient"
        if self.learning not in (other, "ema"):
            raise ValueError(f"gradient {self.gradient} learns by {other} or ema")
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
    gradient: Literal["straight_through", "rotation", "noise", "directional"] = "straight_through"
    learning: Literal["loss", "ema", "gradient"] = "loss"
    replacement: ReplacementConfig | None = None
    kmeans: bool = True

    @model_validator(mode="after")
    def _can_be_built(self) -> ResidualConfig:
        other = "loss" if self.gradient in ("straight_through", "rotation") else "gradient"
        if self.learning not in (other, "ema"):
            raise ValueError(f"gradient {self.gradient} learns by {other} or ema")
        if self.tree and math.prod(self.branches) > _MOST_CODEWORDS:
            raise ValueError(f"a tree of more than {_MOST_CODEWORDS:,} codewords")
        return self


SoftToHardConfig = QAMConfig | PSKConfig | LearnedConstellationConfig
QuantizerConfig = Annotated[
    IdentityConfig | SoftToHardConfig | CodebooksConfig | ResidualConfig | BinaryConfig,
    Field(discriminator="kind"),
]


class ValuesLinkConfig(Part):
    """Latents as channel symbols; see :class:`vqlink.links.values.ValuesLink`."""

    kind: Literal["values"] = "values"
    channel: ChannelConfig = AWGNConfig()
    power: Literal["message", "constellation", "none"] = "message"
    equalizer: Literal["none", "zero_forcing", "mmse"] = "zero_forcing"
    precode: bool = False
    mixing: bool = False
    drive_level: float = Field(1.0, gt=0, allow_inf_nan=False)


MODEMS = {"bpsk": 1, "qpsk": 2, "16qam": 4, "64qam": 6, "256qam": 8}
"""Bits a symbol."""


class IndexLinkConfig(Part):
    """Codeword numbers over a digital link; see :class:`vqlink.links.indices.IndexLink`."""

    kind: Literal["indices"] = "indices"
    channel: ChannelConfig = AWGNConfig()
    code: Literal["ldpc5g", "ldpc80211ad", "none"] = "ldpc5g"
    rate: str = Field("1/3", pattern=r"^[1-9][0-9]*/[1-9][0-9]*$")
    modem: Literal["bpsk", "qpsk", "16qam", "64qam", "256qam"] = "16qam"
    interleave: bool = True
    lost: Literal["hard", "conceal", "soft"] = "hard"

    @model_validator(mode="after")
    def _rate_exists(self) -> IndexLinkConfig:
        if self.code == "ldpc80211ad" and self.rate not in ("1/2", "5/8", "3/4", "13/16"):
            raise ValueError("802.11ad's codes have rates 1/2, 5/8, 3/4 and 13/16")
        if self.code == "ldpc5g" and not Fraction(1, 5) <= Fraction(self.rate) <= Fraction(11, 12):
            raise ValueError("5G LDPC codes have rates from 1/5 to 11/12")
        return self


class LayersLinkConfig(Part):
    """A coded stream for each layer; see :class:`vqlink.systems.layered_code.LayeredCode`.

    Attributes:
        rates: of 5G LDPC, a layer each; low ones protect more.
    """

    kind: Literal["layers"] = "layers"
    channel: ChannelConfig = AWGNConfig()
    rates: tuple[Annotated[str, Field(pattern=r"^[1-9][0-9]*/[1-9][0-9]*$")], ...]
    modem: Literal["bpsk", "qpsk", "16qam", "64qam", "256qam"] = "qpsk"
    interleave: bool = True

    @model_validator(mode="after")
    def _rates_exist(self) -> LayersLinkConfig:
        if not all(Fraction(1, 5) <= Fraction(rate) <= Fraction(11, 12) for rate in self.rates):
            raise ValueError("5G LDPC codes have rates from 1/5 to 11/12")
        return self


LinkConfig = Annotated[
    ValuesLinkConfig | IndexLinkConfig | LayersLinkConfig | BitsLinkConfig,
    Field(discriminator="kind"),
]


class AdversaryConfig(Part):
    """A PatchGAN discriminator with Adam of its own (004, eq. 7 and section IV)."""

    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    learning_rate: float = Field(1e-5, gt=0, allow_inf_nan=False)
    betas: tuple[float, float] = (0.5, 0.999)
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
    betas: tuple[float, float] = (0.9, 0.999)
    flip: float = Field(0.0, ge=0, le=0.5)
    adversary: AdversaryConfig | None = None
    probability: tuple[float, float] | None = None
    token_dropout: float = Field(0.0, ge=0, le=1)
    init_from: str | None = None
    seed: int = 0
    log_every: int = Field(50, ge=1)
    checkpoint_seconds: float = Field(60.0, gt=0)
    validate_every: int = Field(2000, ge=1)


class EvaluationConfig(Part):
    """Points that a run is judged at while it trains, and how many pictures or sentences."""

    snr_db: tuple[float, ...] = (0.0, 10.0, 20.0)
    probability: tuple[float, ...] = ()
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
        elif self.training.adversary is not None or self.training.flip:
            raise ValueError("training.adversary and training.flip are for index codes")
        elif {"mae", "codebook", "commitment"} & set(self.losses):
            raise ValueError("losses.mae, codebook and commitment are for index codes")
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
        if self.training.flip or self.training.adversary is not None:
            raise ValueError("training.adversary and training.flip are for codebooks at scales")
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

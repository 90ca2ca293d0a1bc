"""Recipe -> objects: one ``match`` for each stage."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import assert_never

import torch
from torch import nn

from vqlink.channels.symbol import SymbolChannel
from vqlink.config.channels import build_channel
from vqlink.config.image_nets import (
    CompactEncoderConfig,
    CompactNet,
    DeepJSCCEncoderConfig,
    DeepJSCCNet,
    MultiscaleEncoderConfig,
    VQVAEEncoderConfig,
)
from vqlink.config.link_parts import MODEMS, IndexLinkConfig, LayersLinkConfig, ValuesLinkConfig
from vqlink.config.quantizer_parts import (
    CodebooksConfig,
    IdentityConfig,
    LearnedConstellationConfig,
    PSKConfig,
    QAMConfig,
    ReplacementConfig,
    ResidualConfig,
)
from vqlink.config.schema import QuantizerConfig, Recipe
from vqlink.config.text_parts import BinaryConfig
from vqlink.decoders.image.compact import CompactDecoder
from vqlink.decoders.image.deepjscc import DeepJSCCDecoder
from vqlink.decoders.image.multiscale import MultiscaleDecoder
from vqlink.decoders.image.vqvae import VQVAEDecoder
from vqlink.encoders.image.compact import CompactEncoder
from vqlink.encoders.image.deepjscc import DeepJSCCEncoder
from vqlink.encoders.image.multiscale import MultiscaleEncoder
from vqlink.encoders.image.vqvae import VQVAEEncoder
from vqlink.links.indices import IndexLink
from vqlink.links.values import ValuesLink
from vqlink.protocols import VqlinkError
from vqlink.quantizers.binary import BinaryQuantizer
from vqlink.quantizers.constellation import ConstellationQuantizer, psk_points, qam_points
from vqlink.quantizers.identity import Identity
from vqlink.quantizers.qam import QAMQuantizer
from vqlink.quantizers.replacement import Replacement
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.systems.index_code import IndexCode
from vqlink.systems.jscc import JSCC
from vqlink.systems.layered_code import LayeredCode

LearnedSystem = JSCC | IndexCode | LayeredCode


def build_system(recipe: Recipe) -> LearnedSystem:
    """The recipe's transceiver, initialised from its seed; global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        if isinstance(recipe.encoder, MultiscaleEncoderConfig):
            return _build_index_code(recipe, recipe.encoder)
        if isinstance(recipe.encoder, VQVAEEncoderConfig):
            return _build_layered_code(recipe, recipe.encoder)
        assert isinstance(recipe.link, ValuesLinkConfig)
        assert isinstance(recipe.encoder, CompactEncoderConfig | DeepJSCCEncoderConfig)
        assert isinstance(recipe.decoder, CompactNet | DeepJSCCNet)
        return JSCC(
            build_encoder(recipe.encoder),
            build_quantizer(recipe.quantizer, regularise="kl" in recipe.losses),
            build_link(recipe.link),
            build_decoder(recipe.decoder, recipe.encoder.channels),
            name=recipe.name,
        )


def _build_index_code(recipe: Recipe, encoder: MultiscaleEncoderConfig) -> IndexCode:
    assert isinstance(recipe.link, IndexLinkConfig)
    widths = encoder.width[encoder.first - 1 :]
    if isinstance(recipe.quantizer, CodebooksConfig):
        quantizers = build_codebooks(recipe.quantizer, widths)
        bits = [size.bit_length() - 1 for size in recipe.quantizer.sizes]
    else:
        quantizers, bits = [Identity() for _ in widths], []
    return IndexCode(
        MultiscaleEncoder(encoder.width, stem=encoder.stem, first=encoder.first, norm=encoder.norm),
        quantizers,
        build_index_link(recipe.link, bits),
        MultiscaleDecoder(encoder.width, stem=encoder.stem, first=encoder.first, norm=encoder.norm),
        name=recipe.name,
    )


def _build_layered_code(recipe: Recipe, encoder: VQVAEEncoderConfig) -> LayeredCode:
    config, link = recipe.quantizer, recipe.link
    assert isinstance(config, ResidualConfig)
    assert isinstance(link, LayersLinkConfig)
    channel = _symbol_channel(link)
    nets = encoder.model_dump(exclude={"kind", "dim"})
    quantizer = ResidualQuantizer(
        config.branches,
        encoder.dim,
        tree=config.tree,
        gradient=config.gradient,
        learning=config.learning,
        replacement=_replacement(config.replacement),
    )
    links = [
        IndexLink(
            channel,
            [size.bit_length() - 1],
            rate=float(Fraction(rate)),
            bits_per_symbol=MODEMS[link.modem],
            interleave=link.interleave,
            lost="conceal",
        )
        for size, rate in zip(config.branches, link.rates, strict=True)
    ]
    return LayeredCode(
        VQVAEEncoder(encoder.dim, **nets),
        quantizer,
        links,
        VQVAEDecoder(encoder.dim, **nets),
        name=recipe.name,
    )


def _replacement(config: ReplacementConfig | None) -> Replacement | None:
    return None if config is None else Replacement(**config.model_dump())


def build_codebooks(config: CodebooksConfig, widths: Sequence[int]) -> list[nn.Module]:
    policy = _replacement(config.replacement)
    return [
        VectorQuantizer(
            size, width, gradient=config.gradient, learning=config.learning, replacement=policy
        )
        for size, width in zip(config.sizes, widths, strict=True)
    ]


def build_encoder(config: CompactEncoderConfig | DeepJSCCEncoderConfig) -> nn.Module:
    match config:
        case CompactEncoderConfig():
            return CompactEncoder(
                config.channels, width=config.width, depth=config.depth, features=config.features
            )
        case DeepJSCCEncoderConfig():
            return DeepJSCCEncoder(config.channels, width=config.width)
        case _:
            assert_never(config)


def build_decoder(config: CompactNet | DeepJSCCNet, channels: int) -> nn.Module:
    match config:
        case CompactNet():
            return CompactDecoder(
                channels, width=config.width, depth=config.depth, features=config.features
            )
        case DeepJSCCNet():
            return DeepJSCCDecoder(channels, width=config.width)
        case _:
            assert_never(config)


def build_quantizer(config: QuantizerConfig, *, regularise: bool = False) -> nn.Module:
    match config:
        case IdentityConfig():
            return Identity()
        case QAMConfig():
            return QAMQuantizer(config.order, hardness=config.hardness[0], regularise=regularise)
        case PSKConfig():
            return ConstellationQuantizer(
                psk_points(config.order), hardness=config.hardness[0], regularise=regularise
            )
        case LearnedConstellationConfig():
            return ConstellationQuantizer(
                qam_points(config.order),
                learned=True,
                hardness=config.hardness[0],
                regularise=regularise,
            )
        case CodebooksConfig() | ResidualConfig():
            raise VqlinkError("codebooks come with the multiscale or the vqvae encoder")
        case BinaryConfig():
            return BinaryQuantizer(config.bits)
        case _:
            assert_never(config)


def build_link(config: ValuesLinkConfig) -> ValuesLink:
    return ValuesLink(
        _symbol_channel(config),
        power=config.power,
        equalizer=config.equalizer,
        precode=config.precode,
        mixing=config.mixing,
        drive_level=config.drive_level,
    )


def build_index_link(config: IndexLinkConfig, bits: Sequence[int]) -> IndexLink:
    return IndexLink(
        _symbol_channel(config),
        bits,
        code=config.code,
        rate=float(Fraction(config.rate)),
        bits_per_symbol=MODEMS[config.modem],
        interleave=config.interleave,
        lost=config.lost,
    )


def _symbol_channel(config: ValuesLinkConfig | IndexLinkConfig | LayersLinkConfig) -> SymbolChannel:
    channel = build_channel(config.channel)
    if not isinstance(channel, SymbolChannel):
        raise VqlinkError(f"this link sends complex symbols: {config.channel.kind} carries bits")
    return channel

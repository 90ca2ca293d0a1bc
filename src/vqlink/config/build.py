"""Recipe -> objects: one ``match`` for each stage."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from vqlink.channels.symbol import SymbolChannel
from vqlink.config.channels import build_channel
from vqlink.config.schema import (
    CompactEncoderConfig,
    CompactNet,
    DeepJSCCEncoderConfig,
    DeepJSCCNet,
    IdentityConfig,
    LearnedConstellationConfig,
    PSKConfig,
    QAMConfig,
    QuantizerConfig,
    Recipe,
    ValuesLinkConfig,
)
from vqlink.decoders.image.compact import CompactDecoder
from vqlink.decoders.image.deepjscc import DeepJSCCDecoder
from vqlink.encoders.image.compact import CompactEncoder
from vqlink.encoders.image.deepjscc import DeepJSCCEncoder
from vqlink.links.values import ValuesLink
from vqlink.protocols import VqlinkError
from vqlink.quantizers.constellation import ConstellationQuantizer, psk_points, qam_points
from vqlink.quantizers.identity import Identity
from vqlink.quantizers.qam import QAMQuantizer
from vqlink.systems.jscc import JSCC


def build_system(recipe: Recipe) -> JSCC:
    """The recipe's transceiver, initialised from its seed; global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        return JSCC(
            build_encoder(recipe.encoder),
            build_quantizer(recipe.quantizer, regularise="kl" in recipe.losses),
            build_link(recipe.link),
            build_decoder(recipe.decoder, recipe.encoder.channels),
            name=recipe.name,
        )


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
        case _:
            assert_never(config)


def build_link(config: ValuesLinkConfig) -> ValuesLink:
    channel = build_channel(config.channel)
    if not isinstance(channel, SymbolChannel):
        raise VqlinkError(f"a value link sends complex symbols: {config.channel.kind} carries bits")
    return ValuesLink(
        channel,
        power=config.power,
        equalizer=config.equalizer,
        precode=config.precode,
        mixing=config.mixing,
        drive_level=config.drive_level,
    )

"""Systems that stay open between jobs. They are used by the engine's one thread alone."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from torch import Tensor

from vqlink.evaluation.send_speech import (
    CODEC_LINK,
    SpeechSystem,
    default_speech_systems,
    open_speech_systems,
)
from vqlink.evaluation.systems import System, default_systems, open_channel, open_systems
from vqlink.evaluation.text import DEFAULT_CODE, TextSystem, open_text_systems
from vqlink.systems.separation import Separation
from vqlink.systems.speech_link import SpeechLink

PICTURE_LINK = "hevc+ldpc5g"
TEXT_RIVALS = ("huffman+ldpc5g", "huffman+turbo")


@lru_cache(maxsize=12)
def picture_systems(channel: str, rho: Fraction) -> tuple[tuple[System, ...], System]:
    """The featured codes of the zoo, and HEVC with 5G LDPC and QAM at the same channel uses."""
    config, _ = open_channel(channel)
    *codes, link = open_systems((*default_systems(rho, config), PICTURE_LINK), config, rho)
    return tuple(codes), link


def designed_for(link: System, snr_db: float, image: Tensor) -> System:
    """A link whose MCS is the best for a picture (3, H, W) at that SNR, and stays so."""
    assert isinstance(link.transceiver, Separation)
    fixed = link.transceiver.at(snr_db, image)
    return replace(link, name=fixed.name, transceiver=fixed)


@lru_cache(maxsize=8)
def speech_systems(channel: str) -> tuple[tuple[SpeechSystem, ...], SpeechSystem]:
    """The speech codes of the zoo, and the codec with 5G LDPC and QAM."""
    config, _ = open_channel(channel)
    names = (*(name for name in default_speech_systems() if name != CODEC_LINK), CODEC_LINK)
    *codes, link = open_speech_systems(names, config)
    return tuple(codes), link


def speech_designed_for(link: SpeechSystem, snr_db: float) -> SpeechSystem:
    """A speech link whose MCS is the best at that SNR, and stays so."""
    digital = link.transceiver
    assert isinstance(digital, SpeechLink)
    fixed = SpeechLink(digital.codec, digital.channel, digital.plan(snr_db).mcs)
    return replace(link, name=fixed.name, transceiver=fixed)


@lru_cache(maxsize=4)
def text_systems(channel: str) -> tuple[TextSystem, ...]:
    """The text code of the zoo and its digital rivals at the same channel uses."""
    config, _ = open_channel(channel)
    return open_text_systems((DEFAULT_CODE, *TEXT_RIVALS), config)

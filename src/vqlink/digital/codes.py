"""The channel codes of a digital link, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vqlink.digital import fec, ldpc80211ad
from vqlink.digital.fec import Frame


@dataclass(frozen=True)
class ChannelCode:
    """How a message of bytes becomes coded bits, and back.

    Attributes:
        name: as in ``hevc+ldpc5g``.
        plan: (uses, bits a symbol, rate) -> the frame, or None where nothing fits.
        capacity: frame -> payload bytes.
        encode: (payload, frame) -> (frame.bits,) float32 bits.
        decode: (ratios log P(1) / P(0), frame) -> the payload with its filling; None if lost.
    """

    name: str
    plan: Callable[[int, int, float], Frame | None]
    capacity: Callable[[Frame], int]
    encode: Callable[[bytes, Frame], Tensor]
    decode: Callable[[Tensor, Frame], bytes | None]


LDPC5G = ChannelCode(
    "ldpc5g",
    lambda uses, bits, rate: fec.plan_frame(uses, bits, rate),
    lambda frame: frame.capacity,
    lambda payload, frame: fec.encode_message(payload, frame),
    lambda llr, frame: fec.decode_message(llr, frame),
)
"""TS 38.212: any rate, blocks of up to 8,448 bits with a CRC each."""

LDPC80211AD = ChannelCode(
    "ldpc80211ad",
    ldpc80211ad.plan_frame,
    ldpc80211ad.capacity,
    ldpc80211ad.encode_message,
    ldpc80211ad.decode_message,
)
"""IEEE 802.11ad: codewords of 672 bits, rates 1/2, 5/8, 3/4 and 13/16, one CRC a message."""

CODES: dict[str, ChannelCode] = {code.name: code for code in (LDPC5G, LDPC80211AD)}

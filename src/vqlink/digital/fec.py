"""5G LDPC (3GPP TS 38.212, 5.3.2) through Sionna, round a message of bytes.

    bytes -> code blocks, each with a CRC-24 -> LDPC, rate matched -> padding -> scrambling

Every code block of a message has the same size, so that they are coded as one batch. The message
is decoded only if all of its CRCs hold. Scrambling by a fixed sequence (as TS 38.211, 7.3.1.1, has
it) keeps the filling of a frame, all zeros, from becoming the same symbol over and over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlink.rng import stream, uniform

CRC_BITS = 24
# TS 38.212, 5.2.2 and 6.2.2: base graph 1 has up to 8448 bits from rate 1/3 on, graph 2 up to 3840.
_MAX_INFORMATION_BG1, _MAX_INFORMATION_BG2, _MIN_RATE_BG1 = 8448, 3824, 0.35
LOWEST_RATE = 1 / 5  # of base graph 2
_FAST_ITERATIONS, _FULL_ITERATIONS = 8, 30
_CHUNK, _PROBE = 48, 2  # blocks at a time: bounded memory, and lost messages end early


@dataclass(frozen=True)
class Frame:
    """How the coded bits of one message are divided.

    Attributes:
        blocks: number of code blocks.
        information: bits a block brings to the encoder: its bytes and their CRC.
        coded: coded bits of a block, a whole number of symbols.
        padding: coded bits that no block fills, sent as zeros; they count.
        bits_per_symbol: of the modem.
    """

    blocks: int
    information: int
    coded: int
    padding: int
    bits_per_symbol: int

    @property
    def capacity(self) -> int:
        """Payload bytes of a message."""
        return self.blocks * (self.information - CRC_BITS) // 8

    @property
    def bits(self) -> int:
        """Coded bits of a message, padding included."""
        return self.blocks * self.coded + self.padding


def plan_frame(uses: int, bits_per_symbol: int, rate: float) -> Frame | None:
    """Divide ``uses`` symbols into code blocks of the given rate, as few as there can be.

    Returns:
        None when the symbols cannot hold one block with one byte.
    """
    bits = uses * bits_per_symbol
    blocks = max(1, math.ceil(bits * rate / _largest(rate)))
    coded = uses // blocks * bits_per_symbol
    information = CRC_BITS + 8 * ((int(coded * rate) - CRC_BITS) // 8)
    if information < CRC_BITS + 8:
        return None
    # Whole bytes may take it below the lowest rate: the bits beyond are padding then.
    coded = min(coded, _longest(information, bits_per_symbol))
    return Frame(blocks, information, coded, bits - blocks * coded, bits_per_symbol)


def plan_payload(payload: int, bits_per_symbol: int, rate: float) -> Frame:
    """The shortest frame of the given rate for ``payload`` bits, in as few blocks as there can be.

    Every block has whole bytes, as in :func:`plan_frame`; the last one is filled up.
    """
    blocks = math.ceil(payload / (_largest(rate) - CRC_BITS))
    information = CRC_BITS + 8 * math.ceil(payload / blocks / 8)
    coded = math.ceil(information / rate / bits_per_symbol) * bits_per_symbol
    # Whole symbols may take it below the lowest rate.
    coded = min(coded, _longest(information, bits_per_symbol))
    return Frame(blocks, information, coded, 0, bits_per_symbol)


def _largest(rate: float) -> int:
    """Bits of the largest block, CRC included: base graph 2 serves the low rates."""
    return _MAX_INFORMATION_BG2 if rate < _MIN_RATE_BG1 else _MAX_INFORMATION_BG1


def _longest(information: int, bits_per_symbol: int) -> int:
    """Coded bits of a block at the lowest rate that there is, in whole symbols."""
    return round(information / LOWEST_RATE) // bits_per_symbol * bits_per_symbol


def encode_message(payload: bytes, frame: Frame) -> Tensor:
    """Bytes, filled up with zeros -> (frame.bits,) float32 bits.

    Raises:
        ValueError: when the payload is larger than the frame's capacity.
    """
    if len(payload) > frame.capacity:
        raise ValueError(f"{len(payload)} bytes do not fit into {frame.capacity}")
    data = np.frombuffer(payload.ljust(frame.capacity, b"\x00"), dtype=np.uint8)
    return encode_bits(torch.from_numpy(np.unpackbits(data)).float()[None], frame)[0]


def encode_bits(bits: Tensor, frame: Frame) -> Tensor:
    """(B, blocks * (information - 24)) float32 bits -> (B, frame.bits), message by message."""
    code = _code(frame.information, frame.coded, frame.bits_per_symbol)
    blocks = bits.reshape(-1, frame.information - CRC_BITS)
    coded = code.encoder(code.crc_encoder(blocks)).reshape(bits.shape[0], -1)
    coded = torch.cat([coded, coded.new_zeros(bits.shape[0], frame.padding)], dim=1)
    return (coded + scrambler(frame.bits)) % 2


def decode_message(llr: Tensor, frame: Frame) -> bytes | None:
    """(frame.bits,) log-likelihood ratios -> the payload with its filling; None at a CRC error.

    The first block that is left in error decides: the rest of a lost message is not decoded.
    """
    decoded = []
    for blocks in torch.split(_blocks(llr, frame), _CHUNK):
        decided, good = _decode(blocks, frame, give_up=True)
        if not bool(good.all()):
            return None
        decoded.append(decided > 0)
    bits = torch.cat(decoded).reshape(-1).to(torch.uint8)
    return np.packbits(bits.cpu().numpy()).tobytes()


def decode_blocks(llr: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """Decode and check every code block of one message or of several.

    Args:
        llr: (frame.bits,) or (B, frame.bits) log P(1) / P(0) of the coded bits as sent.

    Returns:
        (B * blocks, information - 24) float32 ratios after decoding, whose signs are the bits, and
        (B * blocks,) bool: whether the CRC holds.
    """
    parts = [
        _decode(blocks, frame, give_up=False) for blocks in torch.split(_blocks(llr, frame), _CHUNK)
    ]
    return torch.cat([llr for llr, _ in parts]), torch.cat([good for _, good in parts])


def _blocks(llr: Tensor, frame: Frame) -> Tensor:
    """Descrambled ratios (B * blocks, coded), without the padding."""
    llr = llr * (1 - 2 * scrambler(frame.bits))
    return llr[..., : frame.blocks * frame.coded].reshape(-1, frame.coded)


def _decode(blocks: Tensor, frame: Frame, *, give_up: bool) -> tuple[Tensor, Tensor]:
    """Ratios of the payload's bits after decoding, and CRC results, of some blocks.

    Those that a few iterations of belief propagation don't satisfy get the full number, two of
    them first; with ``give_up``, the others only if those arrive.
    """
    code = _code(frame.information, frame.coded, frame.bits_per_symbol)
    decided: Tensor = code.fast_decoder(blocks)
    good = code.holds(decided)
    left = torch.nonzero(~good)[:, 0]
    for some in (left[:_PROBE], left[_PROBE:]):
        if not some.numel():
            break
        decided[some] = code.full_decoder(blocks[some])
        good[some] = code.holds(decided[some])
        if give_up and not bool(good[some].all()):
            break
    return decided[:, :-CRC_BITS], good


@lru_cache(maxsize=32)
def scrambler(length: int) -> Tensor:
    """(length,) float32 bits, the same at both ends."""
    return (uniform((length,), generator=stream(0, "scrambler")) < 0.5).float()


@dataclass(frozen=True)
class _Code:
    encoder: Any
    fast_decoder: Any
    full_decoder: Any
    crc_encoder: Any
    crc_decoder: Any

    def holds(self, decided: Tensor) -> Tensor:
        """(B, information) ratios -> (B,) bool: whether the CRC of their signs holds."""
        good: Tensor = self.crc_decoder((decided > 0).float())[1]
        return good.reshape(-1)


@lru_cache(maxsize=32)
def _code(information: int, coded: int, bits_per_symbol: int) -> _Code:
    """Sionna's blocks for one code; building them takes longer than using them."""
    from sionna.phy.fec.crc import CRCDecoder, CRCEncoder
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

    encoder = LDPC5GEncoder(
        information, coded, num_bits_per_symbol=bits_per_symbol, device="cpu", check_input=False
    )
    crc = CRCEncoder("CRC24A", device="cpu")
    return _Code(
        encoder,
        LDPC5GDecoder(encoder, num_iter=_FAST_ITERATIONS, hard_out=False, device="cpu"),
        LDPC5GDecoder(encoder, num_iter=_FULL_ITERATIONS, hard_out=False, device="cpu"),
        crc,
        CRCDecoder(crc, device="cpu"),
    )

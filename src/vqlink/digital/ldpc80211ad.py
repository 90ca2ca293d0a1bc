"""LDPC codes of IEEE 802.11ad (Std 802.11ad-2012, 21.3.8, tables 21-6 to 21-9) round a message.

    bytes -> CRC-32 (the standard's FCS) -> codewords of 672 bits -> padding -> scrambling

Four rates, one length: n = 672, Z = 42. Each code is systematic, and its parity part is lower
triangular in blocks, so encoding is back substitution. Decoding is Sionna's belief propagation on
the parity-check matrix. No rate matching: what the codewords leave of the symbols is padding.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vqlink.digital.fec import Frame, scrambler

LENGTH, LIFT = 672, 42
_CRC_BYTES = 4
_FAST_ITERATIONS, _FULL_ITERATIONS = 8, 40
_CHUNK = 512  # codewords at a time: bounded memory, and lost messages end early

# Shift of each Z x Z block of the parity-check matrix; -1 is the zero block.
_BASE: dict[str, str] = {
    "1/2": """
        40 -1 38 -1 13 -1  5 -1 18 -1 -1 -1 -1 -1 -1 -1
        34 -1 35 -1 27 -1 -1 30  2  1 -1 -1 -1 -1 -1 -1
        -1 36 -1 31 -1  7 -1 34 -1 10 41 -1 -1 -1 -1 -1
        -1 27 -1 18 -1 12 20 -1 -1 -1 15  6 -1 -1 -1 -1
        35 -1 41 -1 40 -1 39 -1 28 -1 -1  3 28 -1 -1 -1
        29 -1  0 -1 -1 22 -1  4 -1 28 -1 27 -1 23 -1 -1
        -1 31 -1 23 -1 21 -1 20 -1 -1 12 -1 -1  0 13 -1
        -1 22 -1 34 31 -1 14 -1  4 -1 -1 -1 13 -1 22 24
    """,
    "5/8": """
        20 36 34 31 20  7 41 34 -1 10 41 -1 -1 -1 -1 -1
        30 27 -1 18 -1 12 20 14  2 25 15  6 -1 -1 -1 -1
        35 -1 41 -1 40 -1 39 -1 28 -1 -1  3 28 -1 -1 -1
        29 -1  0 -1 -1 22 -1  4 -1 28 -1 27 24 23 -1 -1
        -1 31 -1 23 -1 21 -1 20 -1  9 12 -1 -1  0 13 -1
        -1 22 -1 34 31 -1 14 -1  4 -1 -1 -1 -1 -1 22 24
    """,
    "3/4": """
        35 19 41 22 40 41 39  6 28 18 17  3 28 -1 -1 -1
        29 30  0  8 33 22 17  4 27 28 20 27 24 23 -1 -1
        37 31 18 23 11 21  6 20 32  9 12 29 -1  0 13 -1
        25 22  4 34 31  3 14 15  4 -1 14 18 13 13 22 24
    """,
    "13/16": """
        29 30  0  8 33 22 17  4 27 28 20 27 24 23 -1 -1
        37 31 18 23 11 21  6 20 32  9 12 29 10  0 13 -1
        25 22  4 34 31  3 14 15  4  2 14 18 13 13 22 24
    """,
}
RATES = tuple(_BASE)

Bits = npt.NDArray[np.uint8]


def base_matrix(rate: str) -> npt.NDArray[np.int64]:
    """Shifts of a rate's blocks, (rows, 16) int64; -1 is the zero block."""
    rows = [line.split() for line in _BASE[rate].strip().splitlines()]
    return np.array(rows, dtype=np.int64)


@lru_cache(maxsize=4)
def parity_check(rate: str) -> Bits:
    """The parity-check matrix, (n - k, 672) of 0 and 1.

    Block P_i is the identity with its columns cyclically shifted to the right by i.
    """
    blocks = [
        [_shifted(int(shift)) if shift >= 0 else np.zeros((LIFT, LIFT), np.uint8) for shift in row]
        for row in base_matrix(rate)
    ]
    return np.block(blocks).astype(np.uint8)


def encode(information: Bits, rate: str) -> Bits:
    """Information bits (B, k) -> codewords (B, 672) of 0 and 1; the information comes first."""
    base = base_matrix(rate)
    first = base.shape[1] - base.shape[0]
    word = np.zeros((information.shape[0], base.shape[1], LIFT), np.uint8)
    word[:, :first] = information.reshape(information.shape[0], first, LIFT)
    for row, shifts in enumerate(base):
        # P_i x is x read from i on; this row's own parity block is the last that it touches.
        total = np.zeros((information.shape[0], LIFT), np.uint8)
        for column in range(first + row):
            if shifts[column] >= 0:
                total ^= np.roll(word[:, column], -int(shifts[column]), axis=1)
        word[:, first + row] = np.roll(total, int(shifts[first + row]), axis=1)
    return word.reshape(information.shape[0], LENGTH)


def plan_frame(uses: int, bits_per_symbol: int, rate: float) -> Frame | None:
    """As many whole codewords as ``uses`` symbols hold; the rest is padding.

    Returns:
        None when the symbols hold no codeword.
    """
    bits = uses * bits_per_symbol
    blocks = bits // LENGTH
    if not blocks:
        return None
    return Frame(blocks, round(LENGTH * rate), LENGTH, bits - blocks * LENGTH, bits_per_symbol)


def capacity(frame: Frame) -> int:
    """Payload bytes of a message; one CRC-32 covers all of it."""
    return frame.blocks * frame.information // 8 - _CRC_BYTES


def encode_message(payload: bytes, frame: Frame) -> Tensor:
    """Bytes, filled up with zeros -> (frame.bits,) float32 bits.

    Raises:
        ValueError: when the payload is larger than the frame's capacity.
    """
    room = capacity(frame)
    if len(payload) > room:
        raise ValueError(f"{len(payload)} bytes do not fit into {room}")
    body = payload.ljust(room, b"\x00")
    data = np.frombuffer(body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big"), dtype=np.uint8)
    bits = np.zeros(frame.blocks * frame.information, np.uint8)
    bits[: 8 * data.size] = np.unpackbits(data)
    words = encode(bits.reshape(frame.blocks, -1), _rate(frame))
    coded = np.concatenate([words.reshape(-1), np.zeros(frame.padding, np.uint8)])
    return (torch.from_numpy(coded).float() + scrambler(frame.bits)) % 2


def decode_message(llr: Tensor, frame: Frame) -> bytes | None:
    """(frame.bits,) ratios log P(1) / P(0) -> the payload with its filling; None if it is lost."""
    llr = llr * (1 - 2 * scrambler(frame.bits))
    words = llr[: frame.blocks * LENGTH].reshape(frame.blocks, LENGTH)
    decoded = []
    for part in torch.split(words, _CHUNK):
        decided, valid = decode_words(part, _rate(frame))
        if not bool(valid.all()):
            return None
        decoded.append(decided[:, : frame.information] > 0)
    data = torch.cat(decoded).reshape(-1).to(torch.uint8).numpy()
    octets = np.packbits(data[: 8 * (capacity(frame) + _CRC_BYTES)]).tobytes()
    body, check = octets[:-_CRC_BYTES], octets[-_CRC_BYTES:]
    return body if zlib.crc32(body).to_bytes(_CRC_BYTES, "big") == check else None


def decode_words(llr: Tensor, rate: str) -> tuple[Tensor, Tensor]:
    """Belief propagation, with more iterations for the words that a few don't satisfy.

    Args:
        llr: (B, 672) float32, log P(1) / P(0).

    Returns:
        (B, 672) float32 ratios, whose signs are the bits, and (B,) bool: whether these satisfy all
        parity checks.
    """
    checks = torch.from_numpy(parity_check(rate)).float()

    def satisfied(decided: Tensor) -> Tensor:
        return ~(((decided > 0).float() @ checks.T) % 2).any(dim=1)

    decided: Tensor = _decoder(rate, _FAST_ITERATIONS)(llr)
    valid = satisfied(decided)
    left = torch.nonzero(~valid)[:, 0]
    if left.numel():
        decided[left] = _decoder(rate, _FULL_ITERATIONS)(llr[left])
        valid[left] = satisfied(decided[left])
    return decided, valid


def _shifted(shift: int) -> Bits:
    return np.roll(np.eye(LIFT, dtype=np.uint8), shift, axis=1)


def _rate(frame: Frame) -> str:
    return next(rate for rate in RATES if information(rate) == frame.information)


def information(rate: str) -> int:
    """Information bits of a codeword: 336, 420, 504 or 546."""
    rows, columns = base_matrix(rate).shape
    return int((columns - rows) * LIFT)


@lru_cache(maxsize=8)
def _decoder(rate: str, iterations: int) -> Any:
    from sionna.phy.fec.ldpc import LDPCBPDecoder

    return LDPCBPDecoder(parity_check(rate), num_iter=iterations, hard_out=False, device="cpu")

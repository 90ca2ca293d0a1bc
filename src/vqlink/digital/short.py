"""Channel codes for short messages: one block of bits with a CRC-16, as long as asked for.

5G LDPC (TS 38.212, 5.3.2, base graph 2) and the LTE turbo code (TS 36.212, 5.1.3.2), both through
Sionna, with rate matching from a circular buffer: fewer bits puncture the mother code, more repeat
it. So one code serves all lengths, and the messages of one size are decoded as one batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

CRC_BITS = 16
ShortCodeName = Literal["ldpc5g", "turbo"]
_HIGHEST_RATE = 0.95  # TS 38.214, 5.1.3
_LDPC_LARGEST = 3840
_LDPC_ITERATIONS, _TURBO_ITERATIONS = 30, 6
# TS 36.212, table 5.1.3-3: block sizes by steps, and table 5.1.4-1: order of the columns.
_TURBO_SIZES = (
    *range(40, 512, 8), *range(512, 1024, 16), *range(1024, 2048, 32), *range(2048, 6145, 64),
)  # fmt: skip
_COLUMNS = (
    0, 16, 8, 24, 4, 20, 12, 28, 2, 18, 10, 26, 6, 22, 14, 30,
    1, 17, 9, 25, 5, 21, 13, 29, 3, 19, 11, 27, 7, 23, 15, 31,
)  # fmt: skip


def block_size(code: ShortCodeName, payload: int, coded: int) -> int | None:
    """The smallest block, CRC included, that holds ``payload`` bits.

    Returns:
        None where the payload doesn't fit: above the largest block, or above rate 0.95.
    """
    need = payload + CRC_BITS
    if code == "ldpc5g":
        size = max(24, 8 * math.ceil(need / 8))
        found = size if size <= _LDPC_LARGEST else None
    else:
        found = next((size for size in _TURBO_SIZES if size >= need), None)
    return found if found is not None and found <= _HIGHEST_RATE * coded else None


def encode_block(code: ShortCodeName, payload: Tensor, coded: int) -> Tensor:
    """(B, block size - 16) float32 bits -> (B, coded) float32 bits."""
    mother = _mother(code, payload.shape[1] + CRC_BITS)
    words = mother.encoder(mother.crc_encoder(payload))
    taken: Tensor = words[:, _cyclic(mother.order, coded)]
    return taken


def decode_blocks(code: ShortCodeName, ratios: list[Tensor], size: int) -> tuple[Tensor, Tensor]:
    """Decode blocks of one size that may have been sent with different numbers of bits.

    Args:
        ratios: log P(1) / P(0) of each block's coded bits; 0 says nothing.
        size: the block size, CRC included.

    Returns:
        (B, size - 16) float32 bits and (B,) bool: whether the CRC holds.
    """
    mother = _mother(code, size)
    llr = torch.zeros(len(ratios), mother.length)
    for row, block in zip(llr, ratios, strict=True):
        row.index_add_(0, _cyclic(mother.order, block.numel()), block)
    bits, good = mother.crc_decoder(mother.decoder(llr))
    return bits, good.reshape(-1)


@dataclass(frozen=True)
class _Mother:
    """A mother code of one block size; ``order`` is the circular buffer's."""

    encoder: Any
    decoder: Any
    crc_encoder: Any
    crc_decoder: Any
    length: int
    order: Tensor


@lru_cache(maxsize=256)
def _mother(code: ShortCodeName, size: int) -> _Mother:
    from sionna.phy.fec.crc import CRCDecoder, CRCEncoder

    crc = CRCEncoder("CRC16", device="cpu")
    check = CRCDecoder(crc, device="cpu")
    if code == "ldpc5g":
        from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

        encoder = LDPC5GEncoder(size, 5 * size, device="cpu", check_input=False)
        decoder = LDPC5GDecoder(encoder, num_iter=_LDPC_ITERATIONS, device="cpu")
        return _Mother(encoder, decoder, crc, check, 5 * size, torch.arange(5 * size))
    from sionna.phy.fec.turbo import TurboDecoder, TurboEncoder

    turbo = TurboEncoder(constraint_length=4, rate=1 / 3, terminate=True, device="cpu")
    decoder = TurboDecoder(turbo, num_iter=_TURBO_ITERATIONS, algorithm="maxlog", device="cpu")
    return _Mother(turbo, decoder, crc, check, 3 * (size + 4), circular_buffer(size + 4))


def circular_buffer(length: int) -> Tensor:
    """Order in which LTE sends the 3 * length bits of its turbo code, redundancy version 0.

    TS 36.212, 5.1.4.1: each of the three streams, interleaved by columns, then the systematic bits
    and the parities in turn, from the third column on. Sionna's code word has the streams' bits of
    a step together, so bit t of stream s is number 3 t + s.
    """
    rows = math.ceil(length / 32)
    filling = 32 * rows - length
    table = torch.arange(-filling, length).reshape(rows, 32)  # below 0: filling, not sent
    first = table[:, list(_COLUMNS)].T.flatten()
    place = torch.arange(32 * rows)
    column = torch.tensor(_COLUMNS)[torch.div(place, rows, rounding_mode="floor")]
    moved = (column + 32 * (place % rows) + 1) % (32 * rows) - filling  # the third stream's
    parities = torch.stack([_numbers(first, 1), _numbers(moved, 2)], dim=1).flatten()
    order = torch.cat([_numbers(first, 0), parities]).roll(-2 * rows)
    return order[order >= 0]


def _numbers(steps: Tensor, stream: int) -> Tensor:
    return torch.where(steps >= 0, 3 * steps + stream, -1)


def _cyclic(order: Tensor, count: int) -> Tensor:
    return order[torch.arange(count) % order.numel()]

"""Bits of a batch of messages -> coded bits, and back with what is known of their errors.

The classical links of :mod:`vqlink.digital.codes` carry bytes and lose a message as a whole. An
index link goes on with a message whose blocks are partly lost, so it needs all bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from vqlink.digital import fec, ldpc80211ad

CodeName = Literal["ldpc5g", "ldpc80211ad", "none"]


SURE = 50.0
"""The log-likelihood ratio of a bit that a check has confirmed."""


class BlockCode(Protocol):
    """A channel code planned for messages of one length.

    Attributes:
        payload: bits of a message.
        coded: bits on the air, a whole number of symbols.
    """

    @property
    def payload(self) -> int: ...

    @property
    def coded(self) -> int: ...

    def encode(self, bits: Tensor) -> Tensor:
        """(B, payload) -> (B, coded) float32 bits."""
        ...

    def decode(self, llr: Tensor) -> tuple[Tensor, Tensor]:
        """(B, coded) log P(1) / P(0) -> (B, payload) those of the message, and whether they hold.

        The second is bool, one for each bit: its block is good. The ratios of such a block are
        +-:data:`SURE`, and no ratio is larger.
        """
        ...


@lru_cache(maxsize=64)
def plan_code(name: CodeName, payload: int, rate: float, bits_per_symbol: int) -> BlockCode:
    """The code for messages of ``payload`` bits.

    Args:
        rate: information (CRC included) to coded bits; one of the standard's for 802.11ad, and at
            most 11/12 for 5G, whose words are sent again in part or as a whole below 1/5.

    Raises:
        ValueError: for a rate that the code doesn't have.
    """
    if payload < 1:
        raise ValueError("a message has at least one bit")
    match name:
        case "ldpc5g":
            frame = fec.plan_payload(payload, bits_per_symbol, max(rate, fec.LOWEST_RATE))
            symbols = math.ceil(frame.information / rate / bits_per_symbol)
            return _LDPC5G(payload, frame, max(frame.coded, symbols * bits_per_symbol))
        case "ldpc80211ad":
            known = {round(ldpc80211ad.information(r) / ldpc80211ad.LENGTH, 6): r
                     for r in ldpc80211ad.RATES}  # fmt: skip
            if round(rate, 6) not in known:
                raise ValueError(f"802.11ad has the rates {', '.join(ldpc80211ad.RATES)}")
            return _LDPC80211AD(payload, known[round(rate, 6)], bits_per_symbol)
        case "none":
            return _Uncoded(payload, payload + -payload % bits_per_symbol)


@dataclass(frozen=True)
class _LDPC5G:
    """Blocks of one size, each with a CRC-24 (TS 38.212).

    Attributes:
        sent: bits of a block on the air; those beyond its word are the word's first ones again, as
            from the circular buffer of TS 38.212, 5.4.2.1, but behind the interleaver of 5.4.2.2.
    """

    payload: int
    frame: fec.Frame
    sent: int

    @property
    def coded(self) -> int:
        return self.frame.blocks * self.sent

    @property
    def _room(self) -> int:
        return self.frame.information - fec.CRC_BITS

    @property
    def _buffer(self) -> Tensor:
        return torch.arange(self.sent) % self.frame.coded

    def encode(self, bits: Tensor) -> Tensor:
        filling = self.frame.blocks * self._room - self.payload
        words = fec.encode_bits(functional.pad(bits, (0, filling)), self.frame)
        words = words.view(-1, self.frame.blocks, self.frame.coded)
        return words[..., self._buffer].flatten(1)

    def decode(self, llr: Tensor) -> tuple[Tensor, Tensor]:
        heard = llr.reshape(-1, self.frame.blocks, self.sent)
        llr = heard.new_zeros(*heard.shape[:2], self.frame.coded)
        llr = llr.index_add_(2, self._buffer.to(llr.device), heard).flatten(1)
        return _in_messages(*fec.decode_blocks(llr, self.frame), llr.shape[0], self.payload)


@dataclass(frozen=True)
class _LDPC80211AD:
    """Words of 672 bits; a word whose parity checks hold is good."""

    payload: int
    rate: str
    bits_per_symbol: int

    @property
    def words(self) -> int:
        return -(-self.payload // ldpc80211ad.information(self.rate))

    @property
    def coded(self) -> int:
        bits = self.words * ldpc80211ad.LENGTH
        return bits + -bits % self.bits_per_symbol

    def encode(self, bits: Tensor) -> Tensor:
        count, room = bits.shape[0], ldpc80211ad.information(self.rate)
        filled = functional.pad(bits, (0, self.words * room - self.payload))
        words = ldpc80211ad.encode(
            filled.reshape(-1, room).to(torch.uint8).cpu().numpy(), self.rate
        )
        coded = torch.from_numpy(words).float().reshape(count, -1)
        coded = functional.pad(coded, (0, self.coded - coded.shape[1]))
        return (coded + fec.scrambler(self.coded)) % 2

    def decode(self, llr: Tensor) -> tuple[Tensor, Tensor]:
        count, room = llr.shape[0], ldpc80211ad.information(self.rate)
        llr = llr * (1 - 2 * fec.scrambler(self.coded))
        words = llr[:, : self.words * ldpc80211ad.LENGTH].reshape(-1, ldpc80211ad.LENGTH)
        decided, good = ldpc80211ad.decode_words(words, self.rate)
        return _in_messages(decided[:, :room], good, count, self.payload)


@dataclass(frozen=True)
class _Uncoded:
    """No code; without a check, every bit counts as good, though its ratio is the demapper's."""

    payload: int
    coded: int

    def encode(self, bits: Tensor) -> Tensor:
        filled = functional.pad(bits, (0, self.coded - self.payload))
        return (filled + fec.scrambler(self.coded)) % 2

    def decode(self, llr: Tensor) -> tuple[Tensor, Tensor]:
        llr = llr * (1 - 2 * fec.scrambler(self.coded))
        llr = _bounded(llr[:, : self.payload])
        return llr, torch.ones_like(llr, dtype=torch.bool)


def _bounded(llr: Tensor) -> Tensor:
    """Ratios of at most :data:`SURE`; one that is no number says nothing."""
    return torch.nan_to_num(llr, nan=0.0).clamp(-SURE, SURE)


def _in_messages(llr: Tensor, good: Tensor, count: int, payload: int) -> tuple[Tensor, Tensor]:
    """Blocks (N, bits) and their verdicts (N,) -> both as (count, payload)."""
    certain = torch.where(llr > 0, SURE, -SURE)
    llr = torch.where(good[:, None], certain, _bounded(llr))
    held = good[:, None].expand(llr.shape)
    return llr.reshape(count, -1)[:, :payload], held.reshape(count, -1)[:, :payload]

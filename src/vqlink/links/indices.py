"""The index link: codeword numbers become bits, and cross the channel as a digital link does.

    labels -> bits -> CRC + channel code -> interleaver -> modem -> channel
           -> zero forcing -> soft demapper -> deinterleaver -> decoder -> bits -> labels

All scales of a message are one frame with one code stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from vqlink.channels.symbol import SymbolChannel
from vqlink.digital.blocks import BlockCode, CodeName, plan_code
from vqlink.digital.modem import demap_symbols, map_bits
from vqlink.links.equalize import equalize
from vqlink.protocols import LinkOutput, Point
from vqlink.rng import Generators, stream, uniform

Lost = Literal["hard", "conceal", "soft"]
"""What becomes of a block that fails its check: hard decisions, nothing (label -1), its ratios."""


@dataclass(frozen=True)
class DemodulatedLabels:
    """Labels as they came out of the decoder.

    Attributes:
        labels: (B, count) int64 of each scale; -1 where they are lost and concealed.
        llr: log P(1) / P(0) of their bits, (B, count, bits) of each scale.
        lost: (B,) the part of the bits whose block is not good.
    """

    labels: tuple[Tensor, ...]
    llr: tuple[Tensor, ...]
    lost: Tensor


class IndexLink(nn.Module):
    """Labels of all scales of one message as one coded frame across ``channel``.

    The receiver knows h and N0 for every symbol: it divides by h (004, eq. 4), and the demapper
    weighs each symbol's bits by N0 / |h|^2, so faded ones count for little.

    Args:
        channel: physics.
        bits: of a label, for each scale.
        code: ``ldpc5g`` at any rate (CRC-24 in each block), ``ldpc80211ad`` (parity checks), or
            ``none``.
        rate: information to coded bits.
        bits_per_symbol: 1 (BPSK) to 8 (256-QAM).
        interleave: a fixed permutation of the coded bits of a frame.
        lost: what becomes of labels in a block that could not be decoded; with ``soft`` they are
            hard decisions here too, and the receiver goes by ``llr``.
    """

    def __init__(
        self,
        channel: SymbolChannel,
        bits: Sequence[int],
        *,
        code: CodeName = "ldpc5g",
        rate: float = 1 / 3,
        bits_per_symbol: int = 4,
        interleave: bool = True,
        lost: Lost = "hard",
    ) -> None:
        super().__init__()
        self.channel = channel
        self.bits = tuple(bits)
        self.code: CodeName = code
        self.rate, self.bits_per_symbol = rate, bits_per_symbol
        self.interleave = interleave
        self.lost: Lost = lost

    def payload(self, counts: Sequence[int]) -> int:
        """Bits of a message with ``counts`` labels a scale, before coding."""
        return sum(n * bits for n, bits in zip(counts, self.bits, strict=True))

    def uses(self, counts: Sequence[int]) -> int:
        """Complex channel uses of a message: CRC, parity and padding included."""
        return self._plan(counts).coded // self.bits_per_symbol

    def _plan(self, counts: Sequence[int]) -> BlockCode:
        return plan_code(self.code, self.payload(counts), self.rate, self.bits_per_symbol)

    @torch.no_grad()
    def forward(
        self, labels: tuple[Tensor, ...], point: Point, *, generator: Generators
    ) -> LinkOutput:
        """Send the labels of B messages.

        Args:
            labels: (B, ...) int64 in [0, 2^bits), one tensor a scale.

        Returns:
            ``received``: labels in the same shapes; -1 where they are lost and concealed.
            ``stats``: ``lost`` (part of the bits whose block is not good), ``bit_error_rate``
            (after decoding) and ``gain_power``.
        """
        sent = self._bits(labels)
        symbols = self.modulate(labels)
        arrived = self.channel(symbols, point, generator=generator)
        out = self.demodulate(*equalize(arrived), [scale[0].numel() for scale in labels])
        decided = torch.cat([scale.flatten(1) for scale in out.llr], dim=1) > 0
        return LinkOutput(
            received=tuple(
                part.reshape(scale.shape).to(scale.device)
                for part, scale in zip(out.labels, labels, strict=True)
            ),
            uses=symbols.shape[1],
            tx_power=symbols.abs().square().mean(dim=1),
            stats={
                "lost": out.lost,
                "bit_error_rate": (decided != (sent > 0.5)).float().mean(dim=1),
                "gain_power": arrived.gain.abs().square().mean(dim=1),
            },
            llr=tuple(
                part.reshape(*scale.shape, -1).to(scale.device)
                for part, scale in zip(out.llr, labels, strict=True)
            ),
        )

    @torch.no_grad()
    def modulate(self, labels: tuple[Tensor, ...]) -> Tensor:
        """Labels (B, ...) of each scale -> the symbols on the air (B, uses) complex64."""
        code = self._plan([scale[0].numel() for scale in labels])
        coded = code.encode(self._bits(labels))
        return map_bits(coded[:, self._order(code)], self.bits_per_symbol)

    @torch.no_grad()
    def demodulate(
        self, symbols: Tensor, noise_var: Tensor, counts: Sequence[int]
    ) -> DemodulatedLabels:
        """Equalised symbols and their noise (B, uses) -> ``counts`` labels of each scale."""
        code = self._plan(counts)
        demapped = demap_symbols(symbols, noise_var.contiguous(), self.bits_per_symbol)
        in_order = torch.empty_like(demapped)
        in_order[:, self._order(code)] = demapped
        decided, good = code.decode(in_order)
        llr, held = self._scales(decided, counts), self._scales(good, counts)
        labels = [bits_to_labels((scale > 0).float().flatten(1), scale.shape[2]) for scale in llr]
        if self.lost == "conceal":
            labels = [
                torch.where(whole.all(dim=-1), label, -1)
                for label, whole in zip(labels, held, strict=True)
            ]
        return DemodulatedLabels(tuple(labels), llr, 1 - good.float().mean(dim=1))

    def _order(self, code: BlockCode) -> Tensor:
        return _interleaver(code.coded) if self.interleave else torch.arange(code.coded)

    def _bits(self, labels: tuple[Tensor, ...]) -> Tensor:
        """(B, payload) float32 bits of all scales."""
        parts = [
            labels_to_bits(scale.flatten(1), bits)
            for scale, bits in zip(labels, self.bits, strict=True)
        ]
        return torch.cat(parts, dim=1).cpu()

    def _scales(self, values: Tensor, counts: Sequence[int]) -> tuple[Tensor, ...]:
        """(B, payload) values of bits -> those of each scale's labels, (B, count, bits)."""
        sizes = [count * bits for count, bits in zip(counts, self.bits, strict=True)]
        parts = torch.split(values, sizes, dim=1)
        return tuple(
            part.reshape(len(part), -1, bits) for part, bits in zip(parts, self.bits, strict=True)
        )


def labels_to_bits(labels: Tensor, bits: int) -> Tensor:
    """(B, n) int64 -> (B, n * bits) float32, the highest bit first."""
    shifts = torch.arange(bits - 1, -1, -1, device=labels.device)
    return (labels[..., None] >> shifts & 1).flatten(-2).float()


def bits_to_labels(values: Tensor, bits: int) -> Tensor:
    """The inverse of :func:`labels_to_bits`; anything above 1/2 is a one."""
    weights = 1 << torch.arange(bits - 1, -1, -1, device=values.device)
    ones: Tensor = values.reshape(*values.shape[:-1], -1, bits) > 0.5
    return (ones * weights).sum(dim=-1)


@lru_cache(maxsize=16)
def _interleaver(length: int) -> Tensor:
    """(length,) int64, a permutation, the same at both ends."""
    return torch.argsort(uniform((length,), generator=stream(0, "interleaver")), stable=True)

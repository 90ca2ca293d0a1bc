"""The bits link: hard bits of a message as one frame over a channel of bits or of symbols.

    length header | payload bits -> channel -> what is known of each bit, E[b | y] in [-1, 1]

An erased bit is known as 0, a bit of a symmetric channel as +-(1 - 2p), and one in noise as
tanh(LLR / 2): so one decoder serves all channels. There is no channel code but the header's; the
payload's redundancy is the learned code's own.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from vqlink.channels.bits import BEC, BSC
from vqlink.channels.symbol import SymbolChannel
from vqlink.protocols import Point
from vqlink.rng import Generators

LONGEST = 64
"""Most tokens of a frame: the header has six bits."""
HEADER_BITS = 32
"""Of the biorthogonal (32, 6, 16) code, the first-order Reed-Muller code."""
_SURE = 20.0
"""The largest log-likelihood ratio of a header bit."""

BitChannel = BEC | BSC


class BitsLink(nn.Module):
    """Frames of a length header and as many blocks of payload bits.

    Over ``bec`` and ``bsc`` a bit is a channel use; over symbol channels BPSK sends one a use and
    QPSK two, at power 1. The receiver knows the erasure or flip probability, or h and N0.

    Args:
        channel: physics.
        bits_per_symbol: 1 (BPSK) or 2 (QPSK); of no account to channels of bits.
        header_repeats: how often the 32 bits of the header are sent.

    Raises:
        ValueError: for other modems, or no header.
    """

    def __init__(
        self,
        channel: BitChannel | SymbolChannel,
        *,
        bits_per_symbol: int = 1,
        header_repeats: int = 1,
    ) -> None:
        super().__init__()
        if bits_per_symbol not in (1, 2) or header_repeats < 1:
            raise ValueError("the bits link has BPSK or QPSK, and its header at least once")
        self.channel = channel
        self.bits_per_symbol, self.header_repeats = bits_per_symbol, header_repeats
        self.register_buffer("length_prior", torch.zeros(LONGEST))

    @property
    def header_bits(self) -> int:
        return HEADER_BITS * self.header_repeats

    @property
    def bits_per_use(self) -> int:
        return 1 if isinstance(self.channel, BitChannel) else self.bits_per_symbol

    def uses(self, payload: int) -> int:
        """Channel uses of a frame with ``payload`` bits, header and filling included."""
        bits = self.header_bits + payload
        return -(-bits // self.bits_per_use)

    def forward(self, values: Tensor, point: Point, *, generator: Generators) -> Tensor:
        """What the receiver knows of payload bits, without a header: for training.

        Args:
            values: (B, n) of -1 and 1; their gradient passes through.

        Returns:
            (B, n) float32 in [-1, 1], the mean of each bit given what arrived.
        """
        if isinstance(self.channel, BitChannel):
            arrived = self.channel((values + 1) / 2, point, generator=generator)
            signs = 2 * arrived.y - 1
            if arrived.mask is not None:
                return signs * arrived.mask
            return signs * (1 - 2 * point.rate(values.shape[0], values.device))[:, None]
        return self._modulated(values, point, generator)

    @torch.no_grad()
    def send(
        self, values: Tensor, point: Point, *, generator: torch.Generator
    ) -> tuple[Tensor, int]:
        """One frame: payload (L, Q) of -1 and 1 -> what is known of it, and the length received.

        Frames are short and drawn one by one: they are on the CPU, wherever the payload was.

        Returns:
            ((L', Q) float32 in [-1, 1], L'): L' is decoded from the header. Where it is wrong, the
            payload is cut off, or filled up with zeros, which say nothing.

        Raises:
            ValueError: when L is not in 1 ... 64.
        """
        length, bits = values.shape
        if not 1 <= length <= LONGEST:
            raise ValueError(f"a frame has 1 to {LONGEST} tokens, not {length}")
        header = header_words()[length - 1].repeat(self.header_repeats)
        frame = torch.cat([header, values.flatten().cpu().float()])[None]
        known = self(frame, point, generator=generator)[0]
        heard = self._length(known[: self.header_bits])
        payload = known.new_zeros(heard * bits)
        arrived = known[self.header_bits :][: heard * bits]
        payload[: arrived.numel()] = arrived
        return payload.reshape(heard, bits), heard

    def learn_lengths(self, lengths: Tensor) -> None:
        """How probable each length is, from those of training sentences: helps the header."""
        counts = torch.bincount(lengths.clamp(1, LONGEST) - 1, minlength=LONGEST) + 1.0
        self.get_buffer("length_prior").copy_((counts / counts.sum()).log())

    def _length(self, known: Tensor) -> int:
        """The most probable length, given the header's bits and the prior."""
        ratios = (2 * torch.atanh(known.double().clamp(-1, 1))).clamp(-_SURE, _SURE)
        total = ratios.reshape(self.header_repeats, HEADER_BITS).sum(dim=0)
        prior = self.get_buffer("length_prior").cpu().double()
        score = header_words().double() @ total / 2 + prior
        return int(score.argmax()) + 1

    def _modulated(self, values: Tensor, point: Point, generator: Generators) -> Tensor:
        assert isinstance(self.channel, SymbolChannel)
        count = values.shape[1]
        if self.bits_per_symbol == 1:
            symbols = torch.complex(values, torch.zeros_like(values))
        else:
            even = nn.functional.pad(values, (0, count % 2), value=1.0)
            symbols = torch.view_as_complex(even.reshape(len(even), -1, 2)) * math.sqrt(0.5)
        arrived = self.channel(symbols, point, generator=generator)
        matched = (arrived.gain.conj() * arrived.y) / arrived.noise_var
        if self.bits_per_symbol == 1:
            return torch.tanh(2 * matched.real)
        # Each bit has the amplitude 1 / sqrt(2) on its own axis, and half of N0.
        pairs = torch.view_as_real(matched.contiguous()).flatten(1)[:, :count]
        return torch.tanh(math.sqrt(2) * pairs)


@lru_cache(maxsize=1)
def header_words() -> Tensor:
    """(64, 32) float32 of -1 and 1: the words of the (32, 6, 16) biorthogonal code, by length."""
    rows = torch.ones(1, 1)
    for _ in range(5):
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    return torch.cat([rows, -rows])

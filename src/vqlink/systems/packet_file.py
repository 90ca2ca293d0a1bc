"""A source codec's file over the same datagrams as an index code, bare or under RaptorQ.

Bare, the receiver decodes what stands before the first lost packet. RaptorQ (RFC 6330) makes
repair packets: nearly any so many of all bring the whole file back, fewer bring nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from typing import Any

import torch
from scipy.stats import binom
from torch import Tensor

from vqlink.digital.codecs import CodecError, SourceCodec
from vqlink.digital.fit import Fit, fit_quality
from vqlink.digital.hevc import HEVCCodec
from vqlink.errors import VqlinkError, did_you_mean
from vqlink.packets.header import HEADER_BYTES
from vqlink.protocols import MID_GREY, Point, Transmission
from vqlink.rng import Generators, check_generators, of_sample
from vqlink.sources.images import to_bytes8
from vqlink.systems.packet_code import arrivals
from vqlink.systems.separation import CODECS, build_codec
from vqlink.units import parse_ratio

Budget = Callable[[int, int], tuple[int, int]]
"""(height, width) -> packets of a picture, and the bytes of each, headers included."""

PROTECTIONS = ("packets", "raptorq")
_RAPTORQ_HEAD = 4  # bytes of RFC 6330's payload id
_ALIGN = 8
_FAILURES = 0.01  # of pictures, that a sender who knows the loss rate accepts
_SPARE = 1  # symbols beyond k, with which decoding fails once in ten thousand times
_UNDECODED = (0, 135, 0)  # what libde265 leaves, YCbCr of zeros, in RGB
_END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True)
class _Arrived:
    image: Tensor
    outage: bool
    payload_bytes: int
    packets_lost: int
    source: int


class PacketFile:
    """``CODEC+packets``, ``CODEC+raptorq`` or ``CODEC+raptorq@RATE``.

    Args:
        codec: fitted to the room that the packets leave.
        budget: packets of a picture and their size.
        protected: under RaptorQ.
        rate: source packets of all; None: the most at which, at the point's loss rate, no more
            than one picture of a hundred fails, or, where nothing fits into these, the fewest into
            which something fits. Its sender is told the loss rate, as no other is.
    """

    def __init__(
        self,
        codec: SourceCodec,
        budget: Budget,
        *,
        protected: bool = False,
        rate: Fraction | None = None,
    ) -> None:
        self.codec, self.budget, self.protected, self.rate = codec, budget, protected, rate
        self._fits: dict[int, Fit | None] = {}
        self._fitted: Tensor | None = None

    @property
    def name(self) -> str:
        suffix = f"@{self.rate}" if self.rate else ""
        return f"{self.codec.name}+{'raptorq' if self.protected else 'packets'}{suffix}"

    def uses(self, height: int, width: int) -> int:
        """Bytes of all datagrams, headers included."""
        packets, size = self.budget(height, width)
        return packets * size

    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Images (B, 3, H, W) as packets of which each is lost with ``point.probability``.

        ``stats``: ``payload_bytes``, ``packets``, ``packets_lost`` and ``source_packets``. An
        outage is a file that does not decode, or does not fit: mid-grey.
        """
        check_generators(generator, len(x))
        packets, _ = self.budget(x.shape[2], x.shape[3])
        results = [
            self._one(image, point.of(place, len(x)), of_sample(generator, place))
            for place, image in enumerate(x)
        ]

        def of(name: str) -> Tensor:
            return torch.tensor([float(getattr(result, name)) for result in results])

        return Transmission(
            received=torch.stack([result.image for result in results]),
            uses=torch.full((len(x),), self.uses(x.shape[2], x.shape[3]), dtype=torch.int64),
            tx_power=torch.ones(len(x)),
            outage=torch.tensor([result.outage for result in results]),
            stats={
                "payload_bytes": of("payload_bytes"),
                "packets": torch.full((len(x),), float(packets)),
                "packets_lost": of("packets_lost"),
                "source_packets": of("source"),
            },
        )

    def _one(self, image: Tensor, point: Point, generator: torch.Generator) -> _Arrived:
        height, width = image.shape[1:]
        packets, size = self.budget(height, width)
        probability = float(point.rate(1)[0])
        source = self._source(packets, probability)
        room = size - HEADER_BYTES
        if self.protected:
            room = (room - _RAPTORQ_HEAD) // _ALIGN * _ALIGN
        mask = arrivals(packets, point, generator)
        lost = packets - sum(mask)
        fit = self._fit(image, source * room)
        while fit is None and source < packets and self.rate is None:
            source += 1
            fit = self._fit(image, source * room)
        payload = fit.payload if fit else b""
        decoded = None
        if fit is not None:
            read = _through_raptorq if self.protected else _before_first_loss
            decoded = self._decoded(read(payload, room, source, mask), height, width)
        return _Arrived(
            image=torch.full_like(image, MID_GREY) if decoded is None else decoded,
            outage=decoded is None,
            payload_bytes=len(payload),
            packets_lost=lost,
            source=source,
        )

    def _source(self, packets: int, probability: float) -> int:
        if not self.protected:
            return packets
        if self.rate is not None:
            return max(1, math.floor(packets * self.rate))
        return source_packets(packets, probability)

    def _fit(self, image: Tensor, capacity: int) -> Fit | None:
        """Fits of the last picture are kept: a sweep over loss rates asks for the same again."""
        pixels = to_bytes8(image)
        if self._fitted is None or not torch.equal(self._fitted, pixels):
            self._fits, self._fitted = {}, pixels
        if capacity not in self._fits:
            self._fits[capacity] = fit_quality(self.codec, pixels, capacity)
        return self._fits[capacity]

    def _decoded(self, payload: bytes | None, height: int, width: int) -> Tensor | None:
        if not payload:
            return None
        if self.codec.name == "jpeg":  # libjpeg fills up what a marker of the end cuts off
            payload += _END_OF_IMAGE
        try:
            pixels = self.codec.decode(payload, height, width)
        except CodecError:
            return None
        if isinstance(self.codec, HEVCCodec):  # grey is a better guess
            missing = (pixels == torch.tensor(_UNDECODED)[:, None, None]).all(dim=0)
            pixels[:, missing] = round(255 * MID_GREY)
        return pixels.float() / 255


def source_packets(packets: int, probability: float) -> int:
    """Most source packets of which, with one to spare, no more than 1 % of the pictures fail.

    Each of ``packets`` is lost with ``probability``; 1 where nothing helps.
    """
    lost = int(binom.isf(_FAILURES, packets, probability))  # more are lost in 1 % at most
    return max(1, packets - lost - (_SPARE if lost else 0))


def _before_first_loss(payload: bytes, room: int, source: int, mask: list[bool]) -> bytes | None:
    first = next((place for place, here in enumerate(mask) if not here), len(mask))
    return payload[: first * room] or None


def _through_raptorq(payload: bytes, room: int, source: int, mask: list[bool]) -> bytes | None:
    """All of the payload, zeros appended, or None."""
    raptorq = _raptorq()
    whole = payload.ljust(source * room, b"\0")
    encoder = raptorq.Encoder.with_defaults(whole, room)
    blocks = len(encoder.get_encoded_packets(1)) - len(encoder.get_encoded_packets(0))
    symbols = encoder.get_encoded_packets((len(mask) - source) // blocks)[: len(mask)]
    assert all(len(symbol) == room + _RAPTORQ_HEAD for symbol in symbols)
    decoder = raptorq.Decoder.with_defaults(len(whole), room)
    for symbol, here in zip(symbols, mask, strict=False):
        if here and (found := decoder.decode(symbol)) is not None:
            return bytes(found)
    return None


def _raptorq() -> Any:
    try:
        return import_module("raptorq")
    except ImportError:
        raise VqlinkError("the systems +raptorq need: pip install 'vqlink[packets]'") from None


def parse_packet_file(text: str, budget: Budget) -> PacketFile:
    """``jpeg+packets``, ``hevc+raptorq`` or ``hevc+raptorq@4/5``.

    Raises:
        VqlinkError: for an unknown codec, protection or rate, or where raptorq isn't installed.
    """
    chain, at, scheme = text.partition("@")
    codec, _, protection = chain.partition("+")
    if protection not in PROTECTIONS or codec not in CODECS:
        known = [f"{codec}+{kind}" for codec in CODECS for kind in PROTECTIONS]
        raise VqlinkError(
            f"unknown system {text!r} over packets{did_you_mean(text, known)} (known: an index "
            "code such as vqdeepsc-4, hevc+packets, hevc+raptorq, hevc+raptorq@4/5, and jpeg)"
        )
    rate = None
    if at:
        try:
            rate = parse_ratio(scheme)
        except ValueError:
            rate = Fraction(0)
        if not 0 < rate < 1 or protection != "raptorq":
            raise VqlinkError(f"{text!r}: a rate between 0 and 1 stands behind raptorq, as in @4/5")
    if protection == "raptorq":
        _raptorq()
    return PacketFile(build_codec(codec), budget, protected=protection == "raptorq", rate=rate)

"""An index code over datagrams: each packet stands by itself, and what is lost is concealed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqlink.air.header import name_id
from vqlink.channels.packet import PacketErasure
from vqlink.errors import VqlinkError
from vqlink.packets.assembly import Assembly
from vqlink.packets.header import (
    HEADER_BYTES,
    MAX_DATAGRAM,
    Packet,
    PictureHeader,
    build_packet,
)
from vqlink.packets.layout import Layout, plan_layout
from vqlink.protocols import MID_GREY, Point, Transmission
from vqlink.quantizers.labels import label_bits
from vqlink.rng import Generators, check_generators, of_sample
from vqlink.sources.images import MAX_PIXELS, MIN_SIDE
from vqlink.systems.concealment import Concealment, conceal
from vqlink.systems.index_code import IndexCode

DEFAULT_DATAGRAM = 1200
"""Bytes of UDP payload that every path carries unfragmented (as QUIC's, RFC 9000, 14)."""
LEAST_DATAGRAM = 64


class PacketCode:
    """An image transceiver whose channel uses are bytes of datagrams.

    Args:
        code: the nets and codebooks; its own link is not used.
        weights: first 32 bits of its weights' sha256, for the packets' header.
        datagram: most bytes of a packet, its header of 30 bytes included.
        interleaved: neighbours go into different packets; else each packet is a band.
        concealment: what stands in for a lost codeword.

    Raises:
        VqlinkError: for another size of datagrams than 64 to 65,507 bytes.
    """

    def __init__(
        self,
        code: IndexCode,
        weights: int,
        *,
        datagram: int = DEFAULT_DATAGRAM,
        interleaved: bool = True,
        concealment: Concealment = "blend",
    ) -> None:
        check_datagram(datagram)
        self.code, self.weights, self.datagram = code, weights, datagram
        self.interleaved = interleaved
        self.concealment: Concealment = concealment
        self._sent: tuple[Tensor, list[bytes]] | None = None

    @property
    def name(self) -> str:
        return self.code.name

    def plan(self, height: int, width: int) -> tuple[int, int]:
        """How many packets a picture takes, and the bytes of the largest."""
        layout = self._layout(height, width)
        sizes = [layout.payload_bytes(sequence) for sequence in range(layout.total)]
        return layout.total, HEADER_BYTES + max(sizes)

    def uses(self, height: int, width: int) -> int:
        """Bytes of all datagrams of a picture, headers included."""
        layout = self._layout(height, width)
        return sum(
            HEADER_BYTES + layout.payload_bytes(sequence) for sequence in range(layout.total)
        )

    @torch.no_grad()
    def to_datagrams(self, image: Tensor) -> list[bytes]:
        """A picture (3, H, W) float32 in [0, 1] -> its packets in order.

        Those of the last picture are kept: a sweep over loss rates asks for the same again.
        """
        if self._sent is None or not torch.equal(self._sent[0], image):
            self._sent = image.clone(), self._encoded(image)
        return list(self._sent[1])

    def _encoded(self, image: Tensor) -> list[bytes]:
        height, width = image.shape[1:]
        layout = self._layout(height, width)
        maps = [found[0].cpu().numpy().astype(np.int16) for found in self.code.encode(image[None])]
        picture = 0
        for part in maps:
            picture = zlib.crc32(part.tobytes(), picture)
        header = PictureHeader(
            name_id(self.code.name), self.weights, picture, height, width, layout.total,
            layout.interleaved,
        )  # fmt: skip
        return [
            build_packet(Packet(header, sequence, layout.write(maps, sequence)))
            for sequence in range(layout.total)
        ]

    def assembly(self) -> Assembly:
        """What collects the packets of one picture of this very code."""
        return Assembly(self.layout_of)

    def layout_of(self, header: PictureHeader) -> Layout:
        """The layout of a picture that arrives.

        Raises:
            VqlinkError: when it is not one of this code, or the header contradicts itself.
        """
        if (header.system, header.weights) != (name_id(self.code.name), self.weights):
            raise VqlinkError(f"it is no picture by {self.code.name} with these weights")
        height, width = header.height, header.width
        if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
            raise VqlinkError(f"a picture of {width}x{height} is out of bounds")
        try:
            return Layout(
                self._shapes(height, width), self._bits(), header.total, header.interleaved
            )
        except ValueError as error:
            raise VqlinkError(str(error)) from None

    @torch.no_grad()
    def from_maps(self, maps: Sequence[NDArray[np.int16]], size: tuple[int, int]) -> Tensor:
        """Index maps with gaps (-1) -> the picture (3, *size) in [0, 1]."""
        indices = [torch.from_numpy(part.astype(np.int64))[None] for part in maps]
        whole = conceal(indices, self.code.codebooks, self.concealment)
        return self.code.decode(whole.indices, size, stand_ins=whole.stand_ins)[0]

    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Images (B, 3, H, W) as packets of which each is lost with ``point.probability``.

        ``stats``: ``lost``, part of the bits in lost packets, ``packets`` and ``packets_lost``. An
        outage is a picture of which nothing arrives: mid-grey.
        """
        check_generators(generator, len(x))
        received, lost, counts, gone = [], [], [], []
        for place, image in enumerate(x):
            datagrams = self.to_datagrams(image)
            source = of_sample(generator, place)
            mask = arrivals(len(datagrams), point.of(place, len(x)), source)
            assembly = self.assembly()
            for datagram, here in zip(datagrams, mask, strict=True):
                if here:
                    assembly.add(datagram)
            size = (image.shape[1], image.shape[2])
            received.append(
                self.from_maps(assembly.maps, size)
                if assembly.header
                else torch.full_like(image, MID_GREY)
            )
            lost.append(assembly.lost)
            counts.append(float(len(mask)))
            gone.append(float(len(mask) - sum(mask)))
        uses = self.uses(x.shape[2], x.shape[3])
        return Transmission(
            received=torch.stack(received),
            uses=torch.full((len(x),), uses, dtype=torch.int64),
            tx_power=torch.ones(len(x)),
            outage=torch.tensor(counts) == torch.tensor(gone),
            stats={
                "lost": torch.tensor(lost),
                "packets": torch.tensor(counts),
                "packets_lost": torch.tensor(gone),
            },
        )

    def _shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        return tuple(self.code.map_sizes(height, width))

    def _bits(self) -> tuple[int, ...]:
        return tuple(label_bits(quantizer.size) for quantizer in self.code.codebooks)

    def _layout(self, height: int, width: int) -> Layout:
        room = self.datagram - HEADER_BYTES
        try:
            return plan_layout(
                self._shapes(height, width), self._bits(), room, interleaved=self.interleaved
            )
        except ValueError as error:
            raise VqlinkError(f"{width}x{height} pixels: {error}; take larger ones") from None


def check_datagram(size: int) -> None:
    """Raise VqlinkError unless datagrams may have that many bytes."""
    if not LEAST_DATAGRAM <= size <= MAX_DATAGRAM:
        raise VqlinkError(
            f"a datagram has {LEAST_DATAGRAM} to {MAX_DATAGRAM} bytes (1200 pass everywhere), "
            f"not {size}"
        )


def arrivals(packets: int, point: Point, generator: torch.Generator) -> list[bool]:
    """Which packets of a picture arrive, each lost by itself with ``point.probability``."""
    one_each = torch.ones(1, packets)
    mask = PacketErasure(1)(one_each, point, generator=generator).mask
    assert mask is not None
    return [bool(here) for here in mask[0]]

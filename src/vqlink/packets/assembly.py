"""The receiver's side: packets in any order, with duplicates, damage and strangers among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vqlink.errors import VqlinkError
from vqlink.packets.header import PacketError, PictureHeader, parse_packet
from vqlink.packets.layout import Layout

Verdict = Literal["new", "duplicate", "corrupt", "foreign"]
Resolve = Callable[[PictureHeader], Layout]
"""A header -> its picture's layout; VqlinkError where this receiver can't or won't take it."""


class Assembly:
    """Collects one picture: the first that ``resolve`` takes. All others are foreign.

    Memory is that picture's index maps, two bytes a cell, whatever arrives: ``resolve`` bounds the
    picture's size, and a packet must have the length that its layout says.

    Attributes:
        header: of the picture; None before its first packet.
        maps: of each scale, (h, w) int16 codeword numbers; -1 where they have not arrived.
        counts: packets by verdict.
        refusal: why the last foreign packet was refused by ``resolve``; empty if none was.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._layout: Layout | None = None
        self._arrived: NDArray[np.bool_] = np.zeros(0, bool)
        self.header: PictureHeader | None = None
        self.maps: tuple[NDArray[np.int16], ...] = ()
        self.counts: dict[Verdict, int] = dict.fromkeys(
            ("new", "duplicate", "corrupt", "foreign"), 0
        )
        self.refusal = ""

    def add(self, datagram: bytes) -> Verdict:
        """Take one datagram, whatever it holds."""
        verdict = self._add(datagram)
        self.counts[verdict] += 1
        return verdict

    @property
    def complete(self) -> bool:
        return self.header is not None and bool(self._arrived.all())

    @property
    def lost(self) -> float:
        """Part of the picture's bits that have not arrived; 1 before the first packet."""
        if self._layout is None:
            return 1.0
        missing = [int((part < 0).sum()) for part in self.maps]
        bits = self._layout.bits
        whole = sum(part.size * b for part, b in zip(self.maps, bits, strict=True))
        return sum(n * b for n, b in zip(missing, bits, strict=True)) / whole

    def _add(self, datagram: bytes) -> Verdict:
        try:
            packet = parse_packet(datagram)
        except PacketError:
            return "corrupt"
        if self._layout is None:
            try:
                layout = self._resolve(packet.header)
            except VqlinkError as error:
                self.refusal = str(error)
                return "foreign"
            maps = tuple(np.full(shape, -1, np.int16) for shape in layout.shapes)
            if not layout.read(packet.payload, maps, packet.sequence):
                return "corrupt"
            self.header, self._layout, self.maps = packet.header, layout, maps
            self._arrived = np.zeros(layout.total, bool)
        elif packet.header != self.header:
            return "foreign"
        elif self._arrived[packet.sequence]:
            return "duplicate"
        elif not self._layout.read(packet.payload, self.maps, packet.sequence):
            return "corrupt"
        self._arrived[packet.sequence] = True
        return "new"

"""One datagram: a header of 30 bytes, big-endian, then the payload; a CRC-32 holds for both.

| bytes | field |
|---|---|
| 4 | ``VQLP`` |
| 1 | version, 1 |
| 1 | 1 for an interleaved picture, 0 for one in bands |
| 4, 4 | first 32 bits of the sha256 of the system's name, and of its weights |
| 4 | picture: the same in all packets of one |
| 2, 2 | height and width in pixels |
| 2, 2 | sequence number, from 0, and the number of packets |
| 4 | CRC-32 (IEEE 802.3) of header and payload, this field taken as 0 |
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAGIC, VERSION = b"VQLP", 1
MAX_PACKETS = 0xFFFF
MAX_DATAGRAM = 65_507
"""Bytes that UDP over IPv4 carries at most."""

_FORMAT = struct.Struct(">4sBBIIIHHHHI")
HEADER_BYTES = _FORMAT.size


class PacketError(Exception):
    """Bytes that are no packet of this version, or a damaged one."""


@dataclass(frozen=True)
class PictureHeader:
    """What all packets of a picture share.

    Attributes:
        system, weights: first 32 bits of the name's and the weights' sha256.
        picture: tells pictures of one system apart.
        height, width: in pixels.
        total: packets, 1 to 65,535.
        interleaved: see :class:`vqlink.packets.layout.Layout`.
    """

    system: int
    weights: int
    picture: int
    height: int
    width: int
    total: int
    interleaved: bool


@dataclass(frozen=True)
class Packet:
    """A datagram that passed its CRC.

    Attributes:
        sequence: 0 to ``header.total`` - 1.
    """

    header: PictureHeader
    sequence: int
    payload: bytes


def build_packet(packet: Packet) -> bytes:
    """A packet -> its datagram.

    Raises:
        ValueError: for a value that its field cannot hold.
    """
    head = packet.header
    if not 0 <= packet.sequence < head.total:
        raise ValueError(f"packet {packet.sequence} of {head.total}")

    def fields(crc: int) -> bytes:
        try:
            return _FORMAT.pack(
                MAGIC, VERSION, int(head.interleaved), head.system, head.weights, head.picture,
                head.height, head.width, packet.sequence, head.total, crc,
            )  # fmt: skip
        except struct.error as error:
            raise ValueError(f"a header field is out of range: {error}") from None

    return fields(zlib.crc32(packet.payload, zlib.crc32(fields(0)))) + packet.payload


def parse_packet(datagram: bytes) -> Packet:
    """A datagram -> the packet in it.

    Raises:
        PacketError: for anything that :func:`build_packet` did not make.
    """
    if len(datagram) < HEADER_BYTES or not datagram.startswith(MAGIC):
        raise PacketError("not a packet of vqlink")
    _, version, flags, system, weights, picture, height, width, sequence, total, crc = (
        _FORMAT.unpack_from(datagram)
    )
    if version != VERSION:
        raise PacketError(f"a packet of version {version}, not {VERSION}")
    payload = bytes(datagram[HEADER_BYTES:])
    blank = datagram[: HEADER_BYTES - 4] + bytes(4)
    if zlib.crc32(payload, zlib.crc32(blank)) != crc:
        raise PacketError("a damaged packet (CRC-32)")
    if flags > 1 or sequence >= total or not height or not width:
        raise PacketError("a packet whose header contradicts itself")
    header = PictureHeader(system, weights, picture, height, width, total, bool(flags))
    return Packet(header, sequence, payload)

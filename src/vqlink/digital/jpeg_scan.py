"""JPEG without its tables: one byte of quality and the entropy-coded scan, as RTP carries it.

A JPEG file repeats quantisation and Huffman tables that both ends may know (RFC 2435, section 3.1
and 4.1); of a thumbnail they are half the file. Here the Huffman tables are those of ITU-T T.81,
annex K.3, and the quantisation tables follow from the quality, so the receiver builds the header.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image
from torch import Tensor

from vqlink.digital.codecs import CodecError, decode_pillow, room_for, to_pillow

_SOS, _EOI = 0xDA, b"\xff\xd9"
_SETTINGS = {"subsampling": "4:2:0"}


@dataclass(frozen=True)
class JPEGScanCodec:
    """Baseline JPEG, 4:2:0, without a header; see :class:`vqlink.digital.codecs.SourceCodec`."""

    name: str = "jpeg-scan"

    @property
    def qualities(self) -> range:
        return range(1, 96)

    @property
    def settings(self) -> Mapping[str, Any]:
        return _SETTINGS

    def encode(self, image: Tensor, quality: int) -> bytes:
        """(3, H, W) uint8 -> the quality and the scan.

        Raises:
            VqlinkError: where JPEG has no room for so large a picture.
        """
        with room_for(image, self.name):
            file = _save(to_pillow(image), quality)
        return bytes([quality]) + file[_scan_at(file) : -len(_EOI)]

    def decode(self, payload: bytes, height: int, width: int) -> Tensor:
        """Raises CodecError for a quality that there is not, or a scan that does not decode."""
        if not payload or payload[0] not in self.qualities:
            raise CodecError("no such quality")
        file = _header(payload[0], height, width) + payload[1:] + _EOI
        return decode_pillow(file, height, width)


def _save(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, **_SETTINGS)
    return buffer.getvalue()


@lru_cache(maxsize=128)
def _header(quality: int, height: int, width: int) -> bytes:
    """All that stands before the scan of any picture of this quality and size."""
    file = _save(Image.new("RGB", (width, height)), quality)
    return file[: _scan_at(file)]


def _scan_at(file: bytes) -> int:
    """Where the entropy-coded data of a baseline file begins: behind its one SOS segment."""
    at = 2  # behind SOI
    while True:
        marker, size = file[at + 1], int.from_bytes(file[at + 2 : at + 4], "big")
        at += 2 + size
        if marker == _SOS:
            return at

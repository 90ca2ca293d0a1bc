"""HEVC intra (ITU-T H.265) through x265 and libde265, which pillow-heif carries.

The payload is the elementary stream of Annex B: parameter sets and slices behind start codes. The
HEIF container (ISO/IEC 23008-12) holds only constants and sizes beside it, so it is taken off
before the channel and built again by the receiver.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pillow_heif
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from vqlink.digital.codecs import CodecError, decode_pillow, to_pillow

_START_CODE = b"\x00\x00\x01"
_PARAMETER_SETS = (32, 33, 34)  # VPS, SPS, PPS: nal_unit_type, H.265 table 7-1
_FULL_CHROMA = {"psnr": 35, "ssim": 40}  # quality, about 0.45 and 0.5 bit per pixel
_NCLX = bytes.fromhex("0001000d000680")  # BT.709 primaries, sRGB, BT.601 matrix, full range


@dataclass(frozen=True)
class HEVCCodec:
    """Intra-coded HEVC.

    Args:
        chroma: 444 or 420, or None for what is better in PSNR over RGB: 4:2:0 at the coarser
            qualities and 4:4:4 at the finer (docs/digital-links.md).
        tune: of x265; libheif by itself takes ``ssim``, which costs 0.15 to 0.54 dB of PSNR.
    """

    chroma: int | None = None
    tune: Literal["psnr", "ssim"] = "psnr"

    @property
    def name(self) -> str:
        return "hevc" if self.tune == "psnr" else f"hevc-{self.tune}"

    @property
    def qualities(self) -> range:
        return range(0, 101)

    @property
    def settings(self) -> Mapping[str, Any]:
        chroma = self.chroma or {"444 from quality": _FULL_CHROMA[self.tune]}
        return {"tune": self.tune, "chroma": chroma}

    def encode(self, image: Tensor, quality: int) -> bytes:
        """(3, H, W) uint8 -> the elementary stream."""
        height, width = image.shape[1:]
        rows, columns = _coded_size(height, width)
        below, right = rows - height, columns - width
        if below or right:
            padded = functional.pad(image[None].float(), (0, right, 0, below), mode="replicate")
            image = padded[0].to(torch.uint8)
        buffer = io.BytesIO()
        heif = pillow_heif.from_pillow(to_pillow(image))
        chroma = self.chroma or (420 if quality < _FULL_CHROMA[self.tune] else 444)
        heif.save(buffer, quality=quality, chroma=chroma, enc_params={"tune": self.tune})
        return _to_stream(buffer.getvalue())

    def decode(self, payload: bytes, height: int, width: int) -> Tensor:
        """The elementary stream, perhaps with zeros appended -> (3, H, W) uint8.

        Raises:
            CodecError: when it does not decode to that size.
        """
        try:
            rows, columns = _coded_size(height, width)
            file = _to_container(payload, rows, columns)
            picture: Image.Image = pillow_heif.read_heif(file).to_pillow()
        except CodecError:
            raise
        except Exception as error:  # libheif reports damage in many ways
            raise CodecError(str(error)) from error
        plain = io.BytesIO()
        picture.convert("RGB").save(plain, "BMP")
        return decode_pillow(plain.getvalue(), rows, columns)[:, :height, :width].contiguous()


def _coded_size(height: int, width: int) -> tuple[int, int]:
    """x265 codes even sides of 64 and more; both ends know the picture's size."""
    return max(64, height + height % 2), max(64, width + width % 2)


def _to_stream(file: bytes) -> bytes:
    """HEIF file -> Annex B stream of its one picture."""
    boxes = dict(_boxes(file, 0, len(file)))
    units = list(_parameter_sets(boxes[b"hvcC"]))
    data, at = boxes[b"mdat"], 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        units.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return b"".join(_START_CODE + unit for unit in units if unit[0] >> 1 not in (39, 40))


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Leaf boxes of an ISO base media file, by type, containers opened."""
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if kind in (b"meta", b"iprp", b"ipco"):
            yield from _boxes(data, start + (12 if kind == b"meta" else 8), start + size)
        else:
            yield kind, data[start + 8 : start + size]
        start += size


def _parameter_sets(record: bytes) -> Iterator[bytes]:
    """NAL units of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1)."""
    at = 23
    for _ in range(record[22]):
        (count,) = struct.unpack_from(">H", record, at + 1)
        at += 3
        for _ in range(count):
            (size,) = struct.unpack_from(">H", record, at)
            yield record[at + 2 : at + 2 + size]
            at += 2 + size


def _to_container(stream: bytes, height: int, width: int) -> bytes:
    """Annex B stream -> HEIF file.

    Raises:
        CodecError: when a parameter set or the slice is missing.
    """
    # Emulation prevention keeps start codes out of units; trailing zeros are no part of one.
    units = [unit.rstrip(b"\x00") for unit in stream.split(_START_CODE) if unit.strip(b"\x00")]
    sets = [unit for unit in units if unit[0] >> 1 in _PARAMETER_SETS]
    slices = [unit for unit in units if unit[0] >> 1 not in _PARAMETER_SETS]
    if len(sets) < len(_PARAMETER_SETS) or not slices:
        raise CodecError("the stream lacks a parameter set or a slice")
    data = b"".join(struct.pack(">I", len(unit)) + unit for unit in slices)
    head = _box(b"ftyp", b"heix\x00\x00\x00\x00mif1heix")
    meta = _meta(sets, height, width, data_at=0, data_size=len(data))
    meta = _meta(sets, height, width, data_at=len(head) + len(meta) + 8, data_size=len(data))
    return head + meta + _box(b"mdat", data)


def _meta(sets: list[bytes], height: int, width: int, *, data_at: int, data_size: int) -> bytes:
    """The meta box: one hvc1 item with its properties (ISO/IEC 23008-12, 6)."""
    properties = [
        _box(b"hvcC", _record(sets)),
        _box(b"ispe", struct.pack(">III", 0, width, height)),
        _box(b"colr", b"nclx" + _NCLX),
        _box(b"pixi", bytes([0, 0, 0, 0, 3, 8, 8, 8])),
    ]
    uses = bytes([len(properties)]) + bytes([0x81, 0x02, 0x03, 0x04])  # hvcC is essential
    return _box(
        b"meta",
        bytes(4)
        + _box(b"hdlr", bytes(8) + b"pict" + bytes(13))
        + _box(b"pitm", struct.pack(">IH", 0, 1))
        + _box(
            b"iloc",
            struct.pack(">IBBHHHHII", 0, 0x44, 0, 1, 1, 0, 1, data_at, data_size),
        )
        + _box(
            b"iinf",
            struct.pack(">IH", 0, 1)
            + _box(b"infe", struct.pack(">IHH", 2 << 24, 1, 0) + b"hvc1\0"),
        )
        + _box(
            b"iprp",
            _box(b"ipco", b"".join(properties))
            + _box(b"ipma", struct.pack(">IIH", 0, 1, 1) + uses),
        ),
    )


def _record(sets: list[bytes]) -> bytes:
    """HEVCDecoderConfigurationRecord around the parameter sets; decoders read those alone."""
    sps = next(unit for unit in sets if unit[0] >> 1 == 33)
    profile = sps[3:15].ljust(12, b"\x00")
    general = b"\x01" + profile + bytes.fromhex("f000fcfff8f800000f")
    arrays = b"".join(
        bytes([0x80 | unit[0] >> 1]) + struct.pack(">HH", 1, len(unit)) + unit for unit in sets
    )
    return general + bytes([len(sets)]) + arrays


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content

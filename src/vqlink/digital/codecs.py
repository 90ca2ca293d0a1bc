"""Real source codecs: an 8-bit picture to bytes and back.

What :meth:`SourceCodec.encode` returns is what crosses the channel, and all of it counts. JPEG,
JPEG 2000, WebP and AVIF files carry their own headers; HEVC is the elementary stream without the
HEIF container (:mod:`vqlink.digital.hevc`), and ``jpeg-scan`` is JPEG without its tables
(:mod:`vqlink.digital.jpeg_scan`).
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqlink.errors import VqlinkError, one_line


class CodecError(Exception):
    """A payload that does not decode: at the receiver, an outage."""


class SourceCodec(Protocol):
    """A still-image codec.

    ``encode`` takes (3, H, W) uint8 and a quality, and returns bytes; ``decode`` takes the bytes,
    perhaps with zeros appended, and the size, and returns (3, H, W) uint8 or raises
    :class:`CodecError`. ``qualities`` run from the coarsest to the finest. ``settings`` are what an
    encoder is told beside the quality, as plain data: result rows tell versions of a link by them.
    """

    @property
    def name(self) -> str: ...

    @property
    def qualities(self) -> range: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def encode(self, image: Tensor, quality: int) -> bytes: ...

    def decode(self, payload: bytes, height: int, width: int) -> Tensor: ...


_PILLOW: dict[str, dict[str, Any]] = {
    "jpeg": {"optimize": True, "progressive": True},
    "jpeg2000": {"quality_mode": "dB", "irreversible": True, "mct": 1, "no_jp2": True},
    "webp": {"method": 4},
    "avif": {"speed": 6, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}},
}


@dataclass(frozen=True)
class PillowCodec:
    """A codec that Pillow brings, by the name of its file format."""

    name: Literal["jpeg", "jpeg2000", "webp", "avif"]

    @property
    def qualities(self) -> range:
        match self.name:
            case "jpeg":
                return range(1, 96)
            case "jpeg2000":
                return range(1, 241)
            case "webp" | "avif":
                return range(0, 101)

    @property
    def settings(self) -> Mapping[str, Any]:
        return _PILLOW[self.name]

    def encode(self, image: Tensor, quality: int) -> bytes:
        """Raises VqlinkError where the format has no room for so large a picture."""
        with room_for(image, self.name):
            return self._encode(to_pillow(image), quality)

    def _encode(self, picture: Image.Image, quality: int) -> bytes:
        buffer = io.BytesIO()
        match self.name:
            case "jpeg":
                try:
                    picture.save(buffer, "JPEG", quality=quality, **self.settings)
                except OSError:  # noise overruns Pillow's buffer, which only plain JPEG may empty
                    buffer = io.BytesIO()
                    picture.save(buffer, "JPEG", quality=quality)
            case "jpeg2000":
                # The quality counts quarters of a dB of PSNR, from 10 dB up.
                layers = [10 + quality / 4]
                picture.save(buffer, "JPEG2000", quality_layers=layers, **self.settings)
            case "webp" | "avif":
                picture.save(buffer, self.name.upper(), quality=quality, **self.settings)
        return buffer.getvalue()

    def decode(self, payload: bytes, height: int, width: int) -> Tensor:
        return decode_pillow(payload, height, width)


@dataclass(frozen=True)
class BPGCodec:
    """Fabrice Bellard's ``bpgenc`` and ``bpgdec``, where they are on the PATH; 4:4:4.

    Its files have a header of about 10 bytes, which counts.
    """

    name: str = "bpg"

    @property
    def qualities(self) -> range:
        """51 - QP: bpgenc's own scale runs the other way."""
        return range(0, 52)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"chroma": 444}

    @staticmethod
    def available() -> bool:
        return bool(shutil.which("bpgenc") and shutil.which("bpgdec"))

    def encode(self, image: Tensor, quality: int) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.png"), Path(folder, "out.bpg")
            to_pillow(image).save(source)
            command = [
                "bpgenc",
                "-q",
                str(51 - quality),
                "-f",
                "444",
                "-o",
                str(target),
                str(source),
            ]
            subprocess.run(command, check=True, capture_output=True)
            return target.read_bytes()

    def decode(self, payload: bytes, height: int, width: int) -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.bpg"), Path(folder, "out.png")
            source.write_bytes(payload)
            done = subprocess.run(["bpgdec", "-o", target, source], capture_output=True)
            if done.returncode or not target.exists():
                raise CodecError("bpgdec refused the payload")
            return decode_pillow(target.read_bytes(), height, width)


@contextmanager
def room_for(image: Tensor, codec: str) -> Iterator[None]:
    """Pillow's errors for a picture (3, H, W) that a format has no room for, as one VqlinkError."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        height, width = image.shape[1:]
        raise VqlinkError(
            f"{codec} can't code {width}x{height} pixels ({one_line(error)})"
        ) from None


def to_pillow(image: Tensor) -> Image.Image:
    """(3, H, W) uint8 -> an RGB picture."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy(), "RGB")


def decode_pillow(payload: bytes, height: int, width: int) -> Tensor:
    """Any file that Pillow reads -> (3, H, W) uint8.

    Raises:
        CodecError: when it does not decode, or not to this size.
    """
    try:
        with Image.open(io.BytesIO(payload)) as picture:
            if picture.size != (width, height):
                raise CodecError(f"decoded to {picture.size}, not {(width, height)}")
            pixels = np.array(picture.convert("RGB"))
    except CodecError:
        raise
    except Exception as error:  # a damaged payload may raise almost anything in a decoder
        raise CodecError(str(error)) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

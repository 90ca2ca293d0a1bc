"""A visitor's file -> a message of a size that answers while one watches."""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torch.nn import functional

from vqlink.demo.jobs import to_png
from vqlink.demo.uploads import Upload
from vqlink.sources.audio import RATE, decode_audio, encode_wav
from vqlink.sources.images import decode_image, sample_image
from vqlink.sources.voice import synthetic_voice

MAX_SIDE = 512
MAX_SECONDS = 10
VOICE = "voice"


def picture_upload(data: bytes, name: str) -> Upload:
    """A picture, at most 512 pixels on its longer side.

    Raises:
        VqlinkError: as :func:`vqlink.sources.images.read_image`.
    """
    return _picture(decode_image(data, name), name)


def recording_upload(data: bytes, name: str) -> Upload:
    """A recording, at most its first 10 s.

    Raises:
        VqlinkError: as :func:`vqlink.sources.audio.read_audio`.
    """
    recording = decode_audio(data, name)
    return _recording(recording.samples, name, recording.notes)


def sample_upload(name: str) -> Upload:
    """A bundled photograph by its name, or ``voice``.

    Raises:
        VqlinkError: for another name.
    """
    if name == VOICE:
        note = "a synthetic voice, not a person's"
        return _recording(synthetic_voice(), "synthetic voice", (note,))
    return _picture(sample_image(name), name)


def _picture(image: Tensor, name: str) -> Upload:
    height, width = image.shape[1:]
    notes: tuple[str, ...] = ()
    scale = MAX_SIDE / max(height, width)
    if scale < 1:
        size = [max(16, round(side * scale)) for side in (height, width)]
        image = functional.interpolate(
            image[None], size, mode="bicubic", antialias=True, align_corners=False
        )[0]
        image = torch.round(image.clamp(0, 1) * 255) / 255
        notes = (f"{width} x {height} scaled to {size[1]} x {size[0]}",)
    return Upload("picture", name, image, notes, ("image/png", to_png(image)), time.monotonic())


def _recording(samples: Tensor, name: str, notes: tuple[str, ...]) -> Upload:
    most = MAX_SECONDS * RATE
    if samples.shape[0] > most:
        notes = (*notes, f"the first {MAX_SECONDS} s of {samples.shape[0] / RATE:.1f} s")
        samples = samples[:most].clone()
    media = ("audio/wav", encode_wav(samples))
    return Upload("recording", name, samples, notes, media, time.monotonic())

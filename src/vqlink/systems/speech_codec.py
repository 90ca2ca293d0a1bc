"""The speech codec: 16 kHz samples <-> bytes, at one of six rates (002, first scenario).

    samples -> MDCT -> envelope (learned codebook) -> step and probabilities -> integers
            -> range coder -> frames of a fixed size -> groups of frames, each with a CRC

A stream begins with 15 bytes: ``VQS1``, the rate's number, 4 bytes that name the weights, the
number of samples, a CRC-16 of these. Groups of 25 frames (0.5 s) follow, with a CRC-16 each.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqlink.errors import VqlinkError
from vqlink.layers.mdct import frame_count, imdct, mdct
from vqlink.systems.speech_envelope import EnvelopeModel
from vqlink.systems.speech_frames import FRAME_BYTES, decode_frames, encode_frames, frame_bytes

RATE = 16_000
_MAGIC = b"VQS1"
_HEADER = struct.Struct(">4sB4sI")
_GROUP = 25
_FULL_SCALE = 32768.0
_LONGEST = 600 * RATE


@dataclass(frozen=True)
class Decoded:
    """A decoded recording.

    Attributes:
        samples: (n,) float32 in [-1, 1].
        lost: share of its frames that were concealed.
    """

    samples: Tensor
    lost: float


class SpeechCodec:
    """A trained envelope at work.

    Args:
        envelope: in evaluation mode, tables frozen.
        stages: codebooks in use; None for all.
        filling: loudness of the noise that the decoder puts in place of zeros.

    Example:
        >>> codec = load_speech_codec("speech-codec")                       # doctest: +SKIP
        >>> data = codec.encode(read_audio("hello.wav").samples, 13.2)      # doctest: +SKIP
        >>> codec.decode(data).samples                                      # doctest: +SKIP
    """

    def __init__(
        self, envelope: EnvelopeModel, *, stages: int | None = None, filling: float = 0.0
    ) -> None:
        if not bool(envelope.tables.any()):
            raise ValueError("the envelope has no tables yet: call freeze() after training")
        self.envelope = envelope
        self.stages = len(envelope.sizes) if stages is None else stages
        self.filling = filling
        digest = hashlib.sha256(envelope.tables.numpy().tobytes() + bytes([self.stages]))
        self._weights = digest.digest()[:4]

    def frames(self, samples: Tensor, kbps: float) -> list[bytes]:
        """(n,) samples in [-1, 1] -> :func:`frame_count` (n) frames of the rate's size.

        Raises:
            VqlinkError: for a rate that there isn't.
            ValueError: for another shape, none or too many samples, or values that aren't finite.
        """
        size = frame_bytes(kbps)
        if samples.ndim != 1 or not 1 <= samples.shape[0] <= _LONGEST:
            raise ValueError(f"a recording is (n,) with n up to {_LONGEST}, not {samples.shape}")
        if not bool(torch.isfinite(samples).all()):
            raise ValueError("the recording holds NaN or infinite samples")
        spectra = mdct(samples.clamp(-1, 1) * _FULL_SCALE)
        return encode_frames(spectra, self.envelope, size, stages=self.stages)

    def sound(self, frames: Sequence[bytes | None], samples: int) -> Decoded:
        """Frames, None where lost -> ``samples`` samples; lost frames are concealed."""
        spectra, good = decode_frames(
            frames, self.envelope, stages=self.stages, filling=self.filling
        )
        signal = imdct(torch.from_numpy(spectra), samples) / _FULL_SCALE
        return Decoded(signal.clamp(-1, 1), 1 - sum(good) / len(good))

    def encode(self, samples: Tensor, kbps: float) -> bytes:
        """(n,) samples in [-1, 1] -> a stream; raises as :meth:`frames`."""
        frames = self.frames(samples, kbps)
        mode = list(FRAME_BYTES).index(kbps)
        parts = [_with_crc(_HEADER.pack(_MAGIC, mode, self._weights, samples.shape[0]))]
        for first in range(0, len(frames), _GROUP):
            parts.append(_with_crc(b"".join(frames[first : first + _GROUP])))
        return b"".join(parts)

    def decode(self, data: bytes) -> Decoded:
        """A stream -> samples. Groups that are damaged or missing are concealed.

        Raises:
            VqlinkError: where the header is damaged, or names other weights.
        """
        head = data[: _HEADER.size + 2]
        if len(head) < _HEADER.size + 2 or not head.startswith(_MAGIC):
            raise VqlinkError("not a vqlink speech stream")
        if not _holds(head):
            raise VqlinkError("the speech stream's header is damaged")
        _, mode, weights, samples = _HEADER.unpack(head[:-2])
        if mode >= len(FRAME_BYTES) or not 1 <= samples <= _LONGEST:
            raise VqlinkError("the speech stream's header makes no sense")
        if weights != self._weights:
            raise VqlinkError("the speech stream was encoded with other weights")
        size = list(FRAME_BYTES.values())[mode]
        frames: list[bytes | None] = []
        at, left = len(head), frame_count(samples)
        while left:
            count = min(_GROUP, left)
            group = data[at : at + count * size + 2]
            whole = len(group) == count * size + 2 and _holds(group)
            frames += [group[i * size : (i + 1) * size] if whole else None for i in range(count)]
            at, left = at + count * size + 2, left - count
        return self.sound(frames, samples)


def stream_kbps(data: bytes, samples: int) -> float:
    """The rate that a stream really has: all of its bytes over the recording's length."""
    return 8 * len(data) / samples * RATE / 1000


def _with_crc(data: bytes) -> bytes:
    return data + struct.pack(">H", binascii.crc_hqx(data, 0xFFFF))


def _holds(data: bytes) -> bool:
    return data[-2:] == struct.pack(">H", binascii.crc_hqx(data[:-2], 0xFFFF))

"""Reading and writing recordings: files <-> mono 16 kHz samples.

A recording is a float32 tensor (n,) in [-1, 1] at :data:`RATE`. Channels are averaged and other
sampling rates converted by a polyphase filter; ``notes`` say so.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from vqlink.errors import VqlinkError, one_line

RATE = 16_000
"""Samples a second of every recording."""
MIN_SECONDS, MAX_SECONDS = 1.0, 600.0
SUFFIXES = (".wav", ".flac", ".ogg", ".opus")
"""File name endings that count as recordings."""

_BLOCK = 1 << 18  # frames that are read at once
_RATES = (4_000, 192_000)
_CHANNELS = 32
_SILENCE = 1e-4  # RMS: -80 dB below full scale
_CLIPPED = 0.001  # share of samples at full scale


@dataclass(frozen=True)
class Recording:
    """Sound at 16 kHz.

    Attributes:
        samples: (n,) float32 in [-1, 1], mono.
        notes: what was converted or looks odd, a phrase each.
    """

    samples: Tensor
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.samples.shape[0] / RATE


def read_audio(path: str | Path) -> Recording:
    """Read WAV (8, 16, 24, 32 bits or float), FLAC, or OGG (Vorbis, Opus) of 1 s to 10 min.

    Raises:
        VqlinkError: the file is missing, no recording, damaged, too short or too long, holds NaN,
            or soundfile is not installed.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise VqlinkError(f"{path}: is a folder, not a recording")
        with path.open("rb") as file:
            return _read(file, str(path))
    except FileNotFoundError:
        raise VqlinkError(f"{path}: no such file") from None
    except PermissionError:
        raise VqlinkError(f"{path}: no permission to read it") from None
    except (OSError, ValueError) as error:
        raise VqlinkError(f"{path}: cannot be read ({one_line(error)})") from None


def write_audio(samples: Tensor, path: str | Path) -> None:
    """Write (n,) samples at 16 kHz as a 16-bit WAV; what is beyond full scale is clipped.

    Raises:
        VqlinkError: the path doesn't end in ``.wav`` or can't be written.
        ValueError: ``samples`` has another shape or holds NaN.
    """
    path = Path(path)
    if path.suffix.lower() != ".wav":
        raise VqlinkError(f"{path}: recordings are written as WAV; let the name end in .wav")
    data = encode_wav(samples)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise VqlinkError(f"{path}: cannot be written ({error.strerror})") from None


def encode_wav(samples: Tensor) -> bytes:
    """A 16-bit WAV file's bytes from (n,) samples at 16 kHz; as :func:`write_audio`.

    Raises:
        ValueError: ``samples`` has another shape or holds NaN.
    """
    if samples.ndim != 1:
        raise ValueError(f"a recording is (n,), not {tuple(samples.shape)}")
    if bool(torch.isnan(samples).any()):
        raise ValueError("the recording holds NaN")
    buffer = io.BytesIO()
    _soundfile().write(
        buffer, to_pcm16(samples).cpu().numpy(), RATE, format="WAV", subtype="PCM_16"
    )
    return buffer.getvalue()


def decode_audio(data: bytes, name: str) -> Recording:
    """As :func:`read_audio`, from a file's bytes; ``name`` is used in error messages."""
    return _read(io.BytesIO(data), name)


def to_pcm16(samples: Tensor) -> Tensor:
    """16-bit values of samples in [-1, 1], any shape: ``round(32768 x)``, clamped, int16."""
    return (samples.detach().float() * 32768).round().clamp(-32768, 32767).to(torch.int16)


def find_recordings(folder: str | Path) -> tuple[Path, ...]:
    """The recordings below a folder, sorted by path; hidden files are passed over.

    Raises:
        VqlinkError: the folder is missing or has none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VqlinkError(f"{folder}: no such folder of recordings")
    found = tuple(
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise VqlinkError(f"{folder}: no recordings ({', '.join(SUFFIXES)}) in this folder")
    return found


def _read(file: BinaryIO, name: str) -> Recording:
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(file) as sound:
            rate, channels, frames = sound.samplerate, sound.channels, sound.frames
            _check(rate, channels, frames, name)
            mono, power, clipped = _average(sound, name)
    except soundfile.LibsndfileError as error:
        reason = one_line(error.error_string)
        raise VqlinkError(f"{name}: not a recording that can be read ({reason})") from None
    except RuntimeError as error:
        raise VqlinkError(f"{name}: damaged ({one_line(error)})") from None
    if len(mono) < MIN_SECONDS * rate:
        raise VqlinkError(f"{name}: cut short after {len(mono) / rate:.2f} s; 1 s is least")
    notes = list(_oddities(power, clipped))
    if channels > 1:
        notes.append(f"{channels} channels averaged to mono")
    if rate != RATE:
        mono = _resample(mono, rate)
        notes.append(f"converted from {rate} Hz to {RATE} Hz")
    samples = torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32)).clamp(-1, 1)
    return Recording(samples, tuple(notes))


def _check(rate: int, channels: int, frames: int, name: str) -> None:
    if not _RATES[0] <= rate <= _RATES[1]:
        raise VqlinkError(f"{name}: {rate} Hz; rates from {_RATES[0]} to {_RATES[1]} Hz are read")
    if channels > _CHANNELS:
        raise VqlinkError(f"{name}: {channels} channels; at most {_CHANNELS} are read")
    seconds = frames / rate
    if seconds < MIN_SECONDS:
        raise VqlinkError(f"{name}: {seconds:.2f} s is too short; 1 s is least")
    if seconds > MAX_SECONDS:
        raise VqlinkError(f"{name}: {seconds / 60:.1f} min is too long; 10 min is most: cut it")


def _average(sound: Any, name: str) -> tuple[np.ndarray[Any, Any], float, float]:
    """The channels' mean, the mean power, and the share of values at full scale.

    In blocks, since a small file may hold gigabytes of silence on many channels.
    """
    parts, energy, clipped, count = [np.zeros(0, dtype=np.float32)], 0.0, 0, 0
    for values in sound.blocks(blocksize=_BLOCK, dtype="float32", always_2d=True):
        if not np.isfinite(values).all():
            raise VqlinkError(f"{name}: holds NaN or infinite samples")
        parts.append(values.mean(axis=1))
        energy += float(np.square(values, dtype=np.float64).sum())
        clipped += int((np.abs(values) >= 32766 / 32768).sum())
        count += values.size
    return np.concatenate(parts), energy / max(1, count), clipped / max(1, count)


def _oddities(power: float, clipped: float) -> Iterator[str]:
    if math.sqrt(power) < _SILENCE:
        yield "silent, or nearly so"
    if clipped > _CLIPPED:
        yield f"{clipped:.1%} of the samples are clipped"


def _resample(values: np.ndarray[Any, Any], rate: int) -> np.ndarray[Any, Any]:
    from scipy.signal import resample_poly

    common = math.gcd(rate, RATE)
    return np.asarray(resample_poly(values, RATE // common, rate // common), dtype=np.float32)


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):
        raise VqlinkError("recordings need soundfile: pip install 'vqlink[speech]'") from None
    return soundfile

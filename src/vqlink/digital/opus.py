"""Opus through libsndfile, to compare with: real packets, counted without Ogg's pages."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqlink.protocols import VqlinkError

RATE = 16_000
_LOWEST_KBPS, _HIGHEST_KBPS = 6.0, 256.0  # libsndfile's scale of quality
_STEPS = 8


def available() -> bool:
    """Whether this machine's libsndfile writes Opus."""
    try:
        import soundfile
    except (ImportError, OSError):
        return False
    return "OPUS" in soundfile.available_subtypes("OGG")


def opus_round_trip(samples: NDArray[np.float32], kbps: float) -> tuple[NDArray[Any], float]:
    """(n,) at 16 kHz through Opus at about ``kbps`` on average, not above where Opus goes that low.

    The encoder's own target is bisected until the packets fit.

    Returns:
        What arrived, (n,) float32, and the rate of the packets in kbit/s.

    Raises:
        VqlinkError: without an Opus encoder here.
    """
    if not available():
        raise VqlinkError("no Opus encoder here: libsndfile 1.1 or later brings one")
    low, high = _LOWEST_KBPS, min(_HIGHEST_KBPS, 3 * kbps)
    best = None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        data = _encode(samples, middle)
        rate = 8 * packet_bytes(data) / len(samples) * RATE / 1000
        if rate <= kbps:
            low, best = middle, (data, rate)
        else:
            high = middle
    data, rate = best or (_encode(samples, _LOWEST_KBPS), float("nan"))
    if best is None:
        rate = 8 * packet_bytes(data) / len(samples) * RATE / 1000
    return _decode(data, len(samples)), rate


def packet_bytes(data: bytes) -> int:
    """Bytes of the audio packets of an Ogg stream (RFC 3533), its two header pages left out."""
    at, page, total = 0, 0, 0
    while at + 27 <= len(data) and data[at : at + 4] == b"OggS":
        lacing = data[at + 27 : at + 27 + data[at + 26]]
        size = sum(lacing)
        total += size if page >= 2 else 0
        at, page = at + 27 + len(lacing) + size, page + 1
    return total


def _encode(samples: NDArray[np.float32], kbps: float) -> bytes:
    import soundfile

    level = 1 - (kbps - _LOWEST_KBPS) / (_HIGHEST_KBPS - _LOWEST_KBPS)
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, RATE, format="OGG", subtype="OPUS", compression_level=min(1.0, level)
    )
    return buffer.getvalue()


def _decode(data: bytes, samples: int) -> NDArray[np.float32]:
    import soundfile

    values, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    if rate != RATE:
        from scipy.signal import resample_poly

        values = resample_poly(values, 1, rate // RATE).astype(np.float32)
    result: NDArray[np.float32] = np.zeros(samples, dtype=np.float32)
    count = min(samples, len(values))
    result[:count] = values[:count]
    return result

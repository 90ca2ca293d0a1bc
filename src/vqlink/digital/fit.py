"""The finest quality whose payload still fits."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vqlink.digital.codecs import SourceCodec


@dataclass(frozen=True)
class Fit:
    """A payload of at most the bytes that were asked for, and its quality."""

    payload: bytes
    quality: int


def fit_quality(codec: SourceCodec, image: Tensor, max_bytes: int) -> Fit | None:
    """Bisect the codec's quality.

    Sizes grow with the quality but for rare small steps back, which may cost one step of quality
    and never the limit.

    Args:
        image: (3, H, W) uint8.

    Returns:
        None when even the coarsest payload is larger than ``max_bytes``.
    """
    qualities = codec.qualities
    low, high = 0, len(qualities) - 1
    best: Fit | None = None
    while low <= high:
        middle = (low + high) // 2
        payload = codec.encode(image, qualities[middle])
        if len(payload) <= max_bytes:
            best = Fit(payload, qualities[middle])
            low = middle + 1
        else:
            high = middle - 1
    return best

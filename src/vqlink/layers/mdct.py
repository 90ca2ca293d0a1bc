"""The modified discrete cosine transform: lapped frames with perfect reconstruction.

N = :data:`HOP` new samples a frame, a sine window over 2N, and

    X[k] = sqrt(2 / N) sum_n w[n] x[n] cos(pi / N (n + 1/2 + N/2) (k + 1/2)),   k = 0 .. N - 1

(Princen and Bradley, 1986). The transform of a whole recording is orthonormal, so energies of
coefficients are those of samples.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

HOP = 320
"""Samples from frame to frame: 20 ms at 16 kHz."""


def frame_count(samples: int) -> int:
    """Frames of a recording: each sample lies in two, so there is one more than its length."""
    return -(-samples // HOP) + 1


def mdct(signal: Tensor) -> Tensor:
    """(..., n) float -> (..., frame_count(n), HOP), zeros taken before and after the signal."""
    samples = signal.shape[-1]
    filling = frame_count(samples) * HOP - samples
    padded = functional.pad(signal.float(), (HOP, filling))
    return padded.unfold(-1, 2 * HOP, HOP) @ _basis().to(padded.device)


def imdct(coefficients: Tensor, samples: int) -> Tensor:
    """(..., frame_count(samples), HOP) -> (..., samples): the inverse of :func:`mdct`.

    Raises:
        ValueError: if the number of frames is not that of ``samples``.
    """
    if coefficients.shape[-2] != frame_count(samples):
        raise ValueError(
            f"{samples} samples take {frame_count(samples)} frames, not {coefficients.shape[-2]}"
        )
    frames = coefficients.float() @ _basis().to(coefficients.device).T
    overlapped: Tensor = frames[..., :-1, HOP:] + frames[..., 1:, :HOP]
    return overlapped.flatten(-2)[..., :samples]


@lru_cache(maxsize=1)
def _basis() -> Tensor:
    """(2 HOP, HOP) float32: windowed cosines, columns orthonormal across frames."""
    n = torch.arange(2 * HOP, dtype=torch.float64)[:, None] + 0.5
    k = torch.arange(HOP, dtype=torch.float64)[None] + 0.5
    window = torch.sin(math.pi / (2 * HOP) * n)
    basis = math.sqrt(2 / HOP) * window * torch.cos(math.pi / HOP * (n + HOP / 2) * k)
    return basis.float()

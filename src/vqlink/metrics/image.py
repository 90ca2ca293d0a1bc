"""Quality of received images: pure functions (received, sent) -> one value for each image.

Both arguments are (B, C, H, W) in [0, 1]; both are rounded to 8 bits first, because 8-bit pixels
are what a receiver shows. Values are float32 (B,), always finite, never averaged over the batch:
the mean PSNR of a test set is the mean of its images' PSNRs, not the PSNR of their mean error.

SSIM and MS-SSIM follow torchmetrics (Gaussian 11x11, sigma 1.5, data range 255, K1 = 0.01,
K2 = 0.03, each colour alone, then the mean) to 2e-5. They are computed here, in horizontal strips
and with a separable filter: several times as fast, and two 20-megapixel photographs (0.5 GB) need
under 1 GB of working memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

PSNR_CAP_DB = 100.0
"""PSNR of identical images, and the most that is reported, so that means and JSON stay finite."""
SSIM_MIN_SIDE = 11
"""The side of SSIM's window."""
MS_SSIM_MIN_SIDE = 176
"""At five scales, the coarsest must still be as large as the window: 11 * 2**4 pixels."""

_RADIUS = 5
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
_BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik (2003)
_STRIP_VALUES = 2**17  # values in a strip: what is worked on at a time then stays in the cache


def mse(received: Tensor, sent: Tensor) -> Tensor:
    """Mean squared error in squared 8-bit levels, float32 (B,); 0 for identical images.

    Raises:
        ValueError: the shapes differ or are not (B, C, H, W), or a value is NaN.
    """
    return _mse(received, sent).float()


def mae(received: Tensor, sent: Tensor) -> Tensor:
    """Mean absolute error in 8-bit levels, float32 (B,). Raises as :func:`mse`."""
    a, b = _levels(received, sent)
    return a.sub_(b).abs_().mean((1, 2, 3), dtype=torch.float64).float()


def psnr(received: Tensor, sent: Tensor) -> Tensor:
    """10 log10(255^2 / MSE) in dB, float32 (B,), at most :data:`PSNR_CAP_DB`.

    Raises as :func:`mse`.

    >>> sent = torch.zeros(2, 3, 16, 16)
    >>> received = torch.stack([sent[0], sent[1] + 1.0])
    >>> psnr(received, sent)
    tensor([100.,   0.])
    """
    decibels = 10.0 * torch.log10(255.0**2 / _mse(received, sent))
    return decibels.clamp(max=PSNR_CAP_DB).float()


def ssim(received: Tensor, sent: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004), float32 (B,) in [-1, 1]; 1 is identical.

    The mean is over all pixels; at the borders the image is reflected.

    Raises:
        ValueError: as :func:`mse`, or a side is below :data:`SSIM_MIN_SIDE`.
    """
    a, b = _levels(received, sent)
    _check_side(a, SSIM_MIN_SIDE)
    return _similarity(a, b)[0].float()


def ms_ssim(received: Tensor, sent: Tensor) -> Tensor:
    """Multi-scale structural similarity over five scales, float32 (B,) in [0, 1].

    The product of the contrast terms of scales 1 to 4 and the SSIM of scale 5, each to the power
    of its weight (Wang, Simoncelli and Bovik, 2003). Negative terms count as 0.

    Raises:
        ValueError: as :func:`mse`, or a side is below :data:`MS_SSIM_MIN_SIDE`.
    """
    a, b = _levels(received, sent)
    _check_side(a, MS_SSIM_MIN_SIDE)
    product = torch.ones(len(a), dtype=torch.float64, device=a.device)
    for beta in _BETAS[:-1]:
        product *= _similarity(a, b)[1].clamp(min=0.0) ** beta
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    product *= _similarity(a, b)[0].clamp(min=0.0) ** _BETAS[-1]
    return product.float()


def _levels(received: Tensor, sent: Tensor) -> tuple[Tensor, Tensor]:
    """Both images as whole float32 levels 0 to 255, checked."""
    if received.shape != sent.shape or received.ndim != 4:
        raise ValueError(
            f"need two (B, C, H, W), not {tuple(received.shape)} and {tuple(sent.shape)}"
        )
    if bool(torch.isnan(received).any()) or bool(torch.isnan(sent).any()):
        raise ValueError("an image holds NaN")
    # clamp copies, so that the steps after it may work in place
    a, b = (x.detach().float().clamp(0.0, 1.0).mul_(255.0).round_() for x in (received, sent))
    return a, b


def _mse(received: Tensor, sent: Tensor) -> Tensor:
    a, b = _levels(received, sent)
    return a.sub_(b).square_().mean((1, 2, 3), dtype=torch.float64)


def _check_side(image: Tensor, least: int) -> None:
    height, width = image.shape[-2:]
    if min(height, width) < least:
        raise ValueError(f"{width}x{height} is too small for this metric: {least}x{least} is least")


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM over all pixels, and mean contrast term over those with a full window: (B,) each.

    With local means m, variances v and covariance v_ab under the window,
    contrast = (2 v_ab + C2) / (v_a + v_b + C2) and
    SSIM = contrast * (2 m_a m_b + C1) / (m_a^2 + m_b^2 + C1).
    """
    batch, colours, height, width = a.shape
    similarity = torch.zeros(batch, dtype=torch.float64, device=a.device)
    contrast = torch.zeros_like(similarity)
    for top, bottom in _strips(height, batch * colours * width):
        rows = _reflected(torch.arange(top - _RADIUS, bottom + _RADIUS, device=a.device), height)
        x, y = (F.pad(v[:, :, rows], (_RADIUS, _RADIUS, 0, 0), mode="reflect") for v in (a, b))
        mean_x, mean_y, xx, yy, xy = _blur(torch.stack([x, y, x * x, y * y, x * y]))
        variances = (xx - mean_x**2).clamp_(min=0.0) + (yy - mean_y**2).clamp_(min=0.0)
        term = (2.0 * (xy - mean_x * mean_y) + _C2) / (variances + _C2)
        luminance = (2.0 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
        similarity += (luminance * term).sum((1, 2, 3), dtype=torch.float64)
        inside = slice(max(_RADIUS - top, 0), max(height - _RADIUS - top, 0))
        inner = term[:, :, inside, _RADIUS : width - _RADIUS]
        contrast += inner.sum((1, 2, 3), dtype=torch.float64)
    whole = colours * height * width
    full = colours * (height - 2 * _RADIUS) * (width - 2 * _RADIUS)
    return similarity / whole, contrast / full


def _strips(height: int, row: int) -> Iterator[tuple[int, int]]:
    """(top, bottom) of horizontal strips that together cover ``height``."""
    step = max(6 * _RADIUS, _STRIP_VALUES // row)
    for top in range(0, height, step):
        yield top, min(top + step, height)


def _reflected(rows: Tensor, height: int) -> Tensor:
    """Row numbers outside 0 ... height - 1 mirrored at the border rows, which aren't repeated."""
    rows = rows.abs()
    return torch.where(rows < height, rows, 2 * (height - 1) - rows)


def _blur(maps: Tensor) -> Tensor:
    """Gaussian window over (..., H, W), valid part only: (..., H - 10, W - 10)."""
    weights = [math.exp(-(k**2) / (2.0 * _SIGMA**2)) for k in range(-_RADIUS, _RADIUS + 1)]
    total = sum(weights)
    for dim in (-2, -1):
        length = maps.shape[dim] - 2 * _RADIUS
        blurred = maps.narrow(dim, _RADIUS, length) * (weights[_RADIUS] / total)
        for k in range(_RADIUS):  # the window is symmetric
            pair = maps.narrow(dim, k, length) + maps.narrow(dim, 2 * _RADIUS - k, length)
            blurred.add_(pair, alpha=weights[k] / total)
        maps = blurred
    return maps

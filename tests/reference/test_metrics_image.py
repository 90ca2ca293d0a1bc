"""The image metrics against scikit-image and torchmetrics, on photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.image import (
    MultiScaleStructuralSimilarityIndexMeasure,
    PeakSignalNoiseRatio,
    StructuralSimilarityIndexMeasure,
)

from vqlink.metrics import image as metrics
from vqlink.sources.images import sample_image

SIZES = [(256, 256), (181, 300), (299, 177)]
"""A multiple of 2^4, and odd sizes, of which the pyramid drops a row or column here and there."""


def photographs(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Three photographs with a little noise, much noise and a blur, at whole 8-bit levels."""
    names = ("astronaut", "coffee", "cat")
    sent = torch.stack([sample_image(name)[:, -height:, :width] for name in names])
    noise = torch.randn(sent.shape, generator=torch.Generator().manual_seed(0))
    received = sent + noise * torch.tensor([0.02, 0.2, 0.0]).view(3, 1, 1, 1)
    received[2] = torch.nn.functional.avg_pool2d(received[2], 5, stride=1, padding=2)
    return ((x.clamp(0, 1) * 255).round() / 255 for x in (received, sent))


def as_bytes(image: Tensor) -> np.ndarray:
    return (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", SIZES)
def test_psnr_of_scikit_image(size: tuple[int, int]) -> None:
    received, sent = photographs(*size)
    wanted = [
        peak_signal_noise_ratio(as_bytes(b), as_bytes(a), data_range=255)
        for a, b in zip(received, sent, strict=True)
    ]
    np.testing.assert_allclose(metrics.psnr(received, sent), wanted, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_errors_of_numpy(size: tuple[int, int]) -> None:
    received, sent = photographs(*size)
    errors = [as_bytes(a).astype(float) - as_bytes(b) for a, b in zip(received, sent, strict=True)]
    np.testing.assert_allclose(metrics.mse(received, sent), [(e**2).mean() for e in errors], 1e-6)
    np.testing.assert_allclose(metrics.mae(received, sent), [abs(e).mean() for e in errors], 1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_ssim_of_scikit_image(size: tuple[int, int]) -> None:
    """scikit-image leaves a border of 5 out of its mean: reflect it, and the means are the same."""
    received, sent = photographs(*size)

    def wanted(a: Tensor, b: Tensor) -> float:
        x, y = (
            np.pad(as_bytes(v).astype(np.float64), ((5, 5), (5, 5), (0, 0)), mode="reflect")
            for v in (a, b)
        )
        return structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=2,
        )

    values = [wanted(a, b) for a, b in zip(received, sent, strict=True)]
    np.testing.assert_allclose(metrics.ssim(received, sent), values, atol=2e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("ssim", StructuralSimilarityIndexMeasure),
        ("ms_ssim", MultiScaleStructuralSimilarityIndexMeasure),
    ],
)
def test_similarity_of_torchmetrics(
    size: tuple[int, int], name: str, reference: type[StructuralSimilarityIndexMeasure]
) -> None:
    received, sent = photographs(*size)
    wanted = reference(data_range=255.0, reduction="none")(received * 255.0, sent * 255.0)
    values = getattr(metrics, name)(received, sent)
    torch.testing.assert_close(values, wanted, rtol=0, atol=2e-5)
    assert float(wanted.max() - wanted.min()) > 0.1  # the three cases are far apart


def test_psnr_of_torchmetrics_is_per_image() -> None:
    received, sent = photographs(181, 300)
    per_image = PeakSignalNoiseRatio(data_range=255.0, reduction="none", dim=(1, 2, 3))
    wanted = per_image(received * 255.0, sent * 255.0)
    torch.testing.assert_close(metrics.psnr(received, sent), wanted, rtol=0, atol=1e-4)


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """One strip or many, the last one of a single row: the same value."""
    received, sent = photographs(181, 177)
    whole = metrics.ssim(received, sent), metrics.ms_ssim(received, sent)
    monkeypatch.setattr(metrics, "_STRIP_VALUES", 1)  # 30 rows a strip; 181 = 6 * 30 + 1
    torch.testing.assert_close(metrics.ssim(received, sent), whole[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(metrics.ms_ssim(received, sent), whole[1], rtol=0, atol=1e-6)


def test_negative_contrast_counts_as_zero() -> None:
    """The finest detail turned negative, all else kept: zero, as torchmetrics' default has it."""
    _, sent = photographs(256, 256)
    coarse = torch.nn.functional.avg_pool2d(sent, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    rows, columns = torch.arange(256).view(-1, 1), torch.arange(256)
    detail = 0.15 * (((rows + columns) % 2) * 2.0 - 1.0)
    received, sent = 0.2 + 0.6 * coarse + detail, 0.2 + 0.6 * coarse - detail
    assert bool((metrics.ssim(received, sent) < 0).all())
    assert torch.equal(metrics.ms_ssim(received, sent), torch.zeros(3))
    wanted = MultiScaleStructuralSimilarityIndexMeasure(data_range=255.0, reduction="none")(
        received * 255.0, sent * 255.0
    )
    assert torch.equal(wanted, torch.zeros(3))

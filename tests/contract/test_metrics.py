"""What every image metric promises, held for all of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqlink.metrics.image import psnr
from vqlink.metrics.table import IMAGE_METRICS, Metric, metrics_for
from vqlink.sources.images import to_bytes8

every_metric = pytest.mark.parametrize("metric", IMAGE_METRICS, ids=lambda m: m.name)


def pair(batch: int = 3, height: int = 181, width: int = 177) -> tuple[Tensor, Tensor]:
    """Smooth pictures, and the same with noise that grows along the batch."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 9, height), torch.linspace(0, 7, width), indexing="ij")
    sent = 0.5 + 0.4 * torch.stack([torch.sin(x), torch.cos(y), torch.sin(x * y / 4)])
    sent = sent.expand(batch, 3, height, width).contiguous()
    strength = torch.linspace(0.02, 0.2, batch).view(-1, 1, 1, 1)
    noise = torch.randn(sent.shape, generator=generator)
    return (sent + strength * noise).clamp(0, 1), sent


@every_metric
def test_one_finite_float32_value_per_image(metric: Metric) -> None:
    values = metric.function(*pair())
    assert values.shape == (3,)
    assert values.dtype == torch.float32
    assert bool(values.isfinite().all())
    assert not values.requires_grad


@every_metric
def test_direction(metric: Metric) -> None:
    values = metric.function(*pair())
    better = values[:-1] > values[1:] if metric.higher_is_better else values[:-1] < values[1:]
    assert bool(better.all())


@every_metric
def test_each_image_is_judged_alone(metric: Metric) -> None:
    received, sent = pair()
    alone = torch.cat([metric.function(received[i : i + 1], sent[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(metric.function(received, sent), alone, rtol=1e-5, atol=1e-6)


@every_metric
def test_identical_images_give_the_best_finite_value(metric: Metric) -> None:
    _, sent = pair()
    best = {"psnr": 100.0, "ssim": 1.0, "ms_ssim": 1.0, "mse": 0.0, "mae": 0.0}[metric.name]
    torch.testing.assert_close(metric.function(sent, sent), torch.full((3,), best))


@every_metric
def test_pixels_are_rounded_to_8_bits_first(metric: Metric) -> None:
    """The same rounding as for written files, so a figure is that of the picture one can see."""
    received, sent = pair()
    received = received * 1.2 - 0.1  # beyond [0, 1] in places
    rounded = to_bytes8(received) / 255.0
    assert torch.equal(
        metric.function(received, sent), metric.function(rounded, to_bytes8(sent) / 255.0)
    )
    quarter_level = 0.25 / 255.0
    level = to_bytes8(sent) / 255.0
    assert torch.equal(metric.function(level + quarter_level, level), metric.function(level, level))


@every_metric
def test_arguments_are_left_alone(metric: Metric) -> None:
    received, sent = pair()
    before = received.clone(), sent.clone()
    metric.function(received, sent)
    assert torch.equal(received, before[0])
    assert torch.equal(sent, before[1])


@every_metric
def test_smallest_side(metric: Metric) -> None:
    side = metric.min_side
    values = metric.function(*pair(1, side, side + 9))
    assert bool(values.isfinite().all())
    assert metric.supports(side, side)
    if side > 1:
        assert not metric.supports(side + 50, side - 1)
        with pytest.raises(ValueError, match="too small"):
            metric.function(*pair(1, side + 9, side - 1))


@every_metric
def test_misuse(metric: Metric) -> None:
    received, sent = pair()
    with pytest.raises(ValueError, match="need two"):
        metric.function(received[:2], sent)
    with pytest.raises(ValueError, match="need two"):
        metric.function(received[0], sent[0])
    received[1, 0, 3, 3] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        metric.function(received, sent)


def test_psnr_of_a_batch_is_not_that_of_its_mean_error() -> None:
    sent = torch.zeros(2, 3, 16, 16)
    received = sent.clone()
    received[0] += 1.0 / 255.0  # MSE 1: 48.13 dB
    received[1] += 100.0 / 255.0  # MSE 10^4: 8.13 dB
    values = psnr(received, sent)
    torch.testing.assert_close(values, torch.tensor([48.1308, 8.1308]), rtol=0, atol=1e-3)
    pooled = 10 * math.log10(255**2 / ((1 + 10_000) / 2))  # 11.14 dB
    assert float(values.mean()) == pytest.approx(28.1308, abs=1e-3)
    assert float(values.mean()) - pooled > 16


def test_table() -> None:
    assert [m.name for m in IMAGE_METRICS] == ["psnr", "ssim", "ms_ssim", "mse", "mae"]
    assert [m.label for m in IMAGE_METRICS][:3] == ["PSNR", "SSIM", "MS-SSIM"]
    assert metrics_for(512, 768) == IMAGE_METRICS
    assert [m.name for m in metrics_for(16, 16)] == ["psnr", "ssim", "mse", "mae"]
    assert [m.name for m in metrics_for(175, 4000)] == ["psnr", "ssim", "mse", "mae"]
    assert "ms_ssim" in [m.name for m in metrics_for(176, 176)]

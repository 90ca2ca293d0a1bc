"""What evaluation and reports know of each image metric: its unit, its direction, its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vqlink.metrics import image


@dataclass(frozen=True)
class Metric:
    """One quality of a received message.

    Attributes:
        name: as in result rows, such as ``ms_ssim``.
        unit: as in result rows; empty for a plain number.
        higher_is_better: the direction.
        function: (received, sent), both (B, C, H, W) in [0, 1] -> float32 (B,).
        min_side: shortest side, in pixels, for which it is defined.
    """

    name: str
    unit: str
    higher_is_better: bool
    function: Callable[[Tensor, Tensor], Tensor]
    min_side: int = 1

    @property
    def label(self) -> str:
        """The name as people write it, such as ``MS-SSIM``."""
        return self.name.upper().replace("_", "-")

    def supports(self, height: int, width: int) -> bool:
        """Whether the metric is defined for images of this size."""
        return min(height, width) >= self.min_side


PSNR = Metric("psnr", "dB", True, image.psnr)
SSIM = Metric("ssim", "", True, image.ssim, image.SSIM_MIN_SIDE)
MS_SSIM = Metric("ms_ssim", "", True, image.ms_ssim, image.MS_SSIM_MIN_SIDE)
MSE = Metric("mse", "level^2", False, image.mse)
MAE = Metric("mae", "level", False, image.mae)

IMAGE_METRICS: tuple[Metric, ...] = (PSNR, SSIM, MS_SSIM, MSE, MAE)
"""All image metrics, the headline first; levels are 8-bit levels, 0 to 255."""


def metrics_for(height: int, width: int) -> tuple[Metric, ...]:
    """Those of :data:`IMAGE_METRICS` that are defined for images of this size, in its order."""
    return tuple(metric for metric in IMAGE_METRICS if metric.supports(height, width))

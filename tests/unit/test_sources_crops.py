"""Training crops: right pixels, right distribution, and a function of (seed, step, rank) alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from vqlink.protocols import VqlinkError
from vqlink.sources.crops import RandomCrops


def coded(number: int, height: int, width: int) -> tuple[str, Tensor]:
    """An image whose every pixel tells (image number, row, column) in its colours."""
    rows = torch.arange(height).view(-1, 1).expand(height, width)
    columns = torch.arange(width).expand(height, width)
    image = torch.stack([torch.full((height, width), number), rows, columns])
    return f"image-{number}", image / 255.0


def levels(batch: Tensor) -> Tensor:
    return (batch * 255.0).round().long()


IMAGES = [coded(0, 20, 30), coded(1, 40, 16), coded(2, 16, 16)]


def test_shape_type_and_layout() -> None:
    batch = RandomCrops(IMAGES, 16, seed=0).batch(0, 5)
    assert batch.shape == (5, 3, 16, 16)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert 0.0 <= float(batch.min()) <= float(batch.max()) <= 1.0


def test_crops_are_windows_of_one_image() -> None:
    crops = RandomCrops(IMAGES, 8, seed=0, flip_horizontal=False)
    for crop in levels(crops.batch(0, 64)):
        number, top, left = crop[:, 0, 0].tolist()
        source = levels(IMAGES[number][1])
        assert torch.equal(crop, source[:, top : top + 8, left : left + 8])


@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("vertical", [False, True])
def test_flips_happen_half_the_time_and_only_if_asked(horizontal: bool, vertical: bool) -> None:
    crops = RandomCrops(IMAGES, 8, seed=1, flip_horizontal=horizontal, flip_vertical=vertical)
    batch = levels(crops.batch(0, 2000))
    mirrored = (batch[:, 2, 0, 0] > batch[:, 2, 0, 7]).double().mean()
    upturned = (batch[:, 1, 0, 0] > batch[:, 1, 7, 0]).double().mean()
    # 2000 fair draws: standard deviation 0.011, so 0.06 is over five of them
    assert float(mirrored) == pytest.approx(0.5 if horizontal else 0.0, abs=0.06 * horizontal)
    assert float(upturned) == pytest.approx(0.5 if vertical else 0.0, abs=0.06 * vertical)


def test_images_and_positions_are_equally_likely() -> None:
    crops = RandomCrops(IMAGES, 16, seed=2, flip_horizontal=False)
    corners = levels(crops.batch(0, 6000))[:, :, 0, 0]
    counts = Counter(corners[:, 0].tolist())
    for number in range(3):  # standard deviation 37
        assert counts[number] == pytest.approx(2000, abs=200)
    first = corners[corners[:, 0] == 0]
    assert set(first[:, 1].tolist()) == set(range(5))  # 20 - 16 + 1 rows, the last included
    assert set(first[:, 2].tolist()) == set(range(15))


def test_batch_belongs_to_seed_step_and_rank_alone() -> None:
    def crops(seed: int = 3, rank: int = 0) -> RandomCrops:
        return RandomCrops(IMAGES, 8, seed=seed, rank=rank)

    straight, resumed = crops(), crops()
    torch.manual_seed(1)
    history = [straight.batch(step, 16) for step in range(4)]
    torch.manual_seed(2)
    assert torch.equal(resumed.batch(3, 16), history[3])  # no state: step 3 needs no steps 0 to 2
    for other in (history[2], crops(seed=4).batch(3, 16), crops(rank=1).batch(3, 16)):
        assert not torch.equal(other, history[3])


def test_scales_make_smaller_copies() -> None:
    gradient = torch.linspace(0.0, 1.0, 64).expand(3, 64, 64)
    batch = RandomCrops(
        [("a", gradient)], 16, seed=0, scales=(0.5, 1.0), flip_horizontal=False
    ).batch(0, 200)
    slopes = (batch[:, 0, 8, 12] - batch[:, 0, 8, 4]) / 8 * 63  # 1 at full size, 2 at half size
    rounded = Counter((slopes * 6).round().int().tolist())
    # factors 1, 5/6, 2/3, 1/2 -> slopes 1, 1.2, 1.5, 2; pixels are rounded to 8 bits
    assert {6, 7, 9, 12} <= set(rounded)
    assert min(rounded) >= 5
    assert max(rounded) <= 13


def test_scales_leave_out_copies_that_are_too_small() -> None:
    crops = RandomCrops([coded(0, 20, 30)], 16, seed=0, scales=(0.5, 1.0))
    assert len(crops) == 1
    assert crops.batch(0, 50).shape == (50, 3, 16, 16)


def test_errors() -> None:
    with pytest.raises(VqlinkError, match="image-1: 16x40 is smaller than the 20x20"):
        RandomCrops(IMAGES, 20, seed=0)
    with pytest.raises(
        VqlinkError, match=r"image-0: 30x20 at scale 0\.5 is smaller than the 16x16"
    ):
        RandomCrops(IMAGES, 16, seed=0, scales=(0.25, 0.5))
    with pytest.raises(VqlinkError, match="no images"):
        RandomCrops([], 16, seed=0)
    for scales in [(0.0, 1.0), (0.9, 0.5), (0.5, 1.5)]:
        with pytest.raises(ValueError, match="low <= high"):
            RandomCrops(IMAGES, 16, seed=0, scales=scales)

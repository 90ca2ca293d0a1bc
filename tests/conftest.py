"""Small systems and pictures that tests share; nothing here needs data from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vqlink.config.build import build_system
from vqlink.config.load import load_recipe
from vqlink.config.schema import Recipe
from vqlink.config.weights import save_weights
from vqlink.sources.images import write_image

_SMALL = {
    "compact": (
        "encoder.width=[8, 8]",
        "encoder.depth=[1, 1]",
        "decoder.width=[8, 8]",
        "decoder.depth=[1, 1]",
    ),
    "deepjscc": ("encoder.width=8", "decoder.width=8"),
    "vqvae": (
        "encoder.hidden=8",
        "encoder.residual_hidden=4",
        "encoder.depth=1",
        "encoder.dim=6",
        "decoder.hidden=8",
        "decoder.residual_hidden=4",
        "decoder.depth=1",
    ),
    "multiscale": (
        "encoder.width=[6, 8, 8, 10]",
        "decoder.width=[6, 8, 8, 10]",
        "encoder.stem=4",
        "decoder.stem=4",
    ),
}
_SMALL_RUNS = (
    "training.compile=false",
    "training.precision=float32",
    "training.init_from=null",
    "source.validation=null",
)

SMALL_NETS = (*_SMALL["compact"], *_SMALL_RUNS)


def small_recipe(name: str, *overrides: str) -> Recipe:
    """A shipped recipe with nets that a test can afford."""
    nets = _SMALL[load_recipe(name).encoder.kind]
    return load_recipe(name, [*nets, *_SMALL_RUNS, *overrides])


def smooth_picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(3, H, W): coarse noise, enlarged, with a little texture."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    large = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (large[0] + 0.02 * torch.randn(3, height, width, generator=generator)).clamp(0, 1)


@pytest.fixture(scope="session", name="picture_path")
def fixture_picture_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    write_image(smooth_picture(96, 128), path)
    return path


@pytest.fixture(scope="session", name="picture_folder")
def fixture_picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    for i in range(3):
        write_image(smooth_picture(80, 96, seed=i), folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session", name="weights")
def fixture_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained 64-QAM code at rho 1/12: its linear branch already carries a picture."""
    folder = tmp_path_factory.mktemp("weights")
    recipe = small_recipe("jscc-q64-awgn-1-12")
    save_weights(folder, build_system(recipe).state_dict(), recipe)
    return folder

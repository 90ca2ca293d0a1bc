"""Codes in layers: what is lost drops out, and the first layers are protected most."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import small_recipe, smooth_picture
from vqlink.config.build import build_system
from vqlink.config.weights import load_weights
from vqlink.links.indices import IndexLink
from vqlink.protocols import Point, VqlinkError
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.rng import stream
from vqlink.systems import layered_code
from vqlink.systems.layered_code import LayeredCode, equal_rate
from vqlink.training.loop import train

NAME = "hrvqvae-cifar10"


def code(*overrides: str) -> LayeredCode:
    system = build_system(small_recipe(NAME, *overrides))
    assert isinstance(system, LayeredCode)
    generator = torch.Generator().manual_seed(0)
    for layer in range(system.layers):
        codebook = system.quantizer.codebook(layer).data
        codebook.copy_(0.3 * torch.randn(codebook.shape, generator=generator))
    return system.eval()


def pictures(side: int = 32) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_over_a_clear_channel_all_layers_arrive() -> None:
    system, images = code(), pictures(30)  # padded to whole blocks
    sent = system.transmit(images, Point(snr_db=30.0), generator=stream(0, "n"))
    torch.testing.assert_close(sent.received, system.reconstruct(images))
    assert sent.received.shape == images.shape
    assert float(sent.stats["lost"].max()) == 0
    assert sent.uses.tolist() == [system.uses(30, 30)] * 2
    assert bool(((sent.tx_power - 1).abs() < 0.01).all())


def test_large_pictures_go_in_tiles_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    system = code()
    images = torch.stack([smooth_picture(150, 118, seed) for seed in range(2)])
    maps = system.encode(images)
    whole = system.decode(maps, (150, 118))
    monkeypatch.setattr(layered_code, "_TILE", 32)
    sizes = []
    system.encoder.register_forward_hook(lambda *found: sizes.append(found[1][0].shape[-1]))
    in_tiles = system.encode(images)
    assert max(sizes) < 118
    # Another order of float32 sums may move a latent that lies between two codewords.
    same = torch.stack([(a == b).float().mean() for a, b in zip(maps, in_tiles, strict=True)])
    assert float(same.min()) > 0.999
    torch.testing.assert_close(system.decode(maps, (150, 118)), whole, atol=1e-5, rtol=0)


def test_uses_are_those_of_the_rates() -> None:
    """8 + 5/3 + 4/3 coded bits a bit, QPSK, 3 bits a layer and cell; CRC and filling besides."""
    recipe = small_recipe(NAME)
    assert recipe.rho * 12 == pytest.approx(11 * 3 / 2)
    assert float(recipe.rho) * 3 * 256**2 == pytest.approx(code().uses(256, 256), rel=0.03)


@pytest.mark.parametrize("tree", [True, False])
def test_what_is_lost_drops_out_of_the_sum(tree: bool) -> None:
    system = code(f"quantizer.tree={str(tree).lower()}")
    maps = list(system.encode(pictures()))
    path = system.quantizer.encode(system.encoder(pictures()))
    maps[2][:] = -1
    without_last = system.decoder(system.quantizer.decode(path, layers=2)).clamp(0, 1)
    torch.testing.assert_close(system.decode(maps, (32, 32)), without_last)
    maps[1][:] = -1
    maps[2] = system.encode(pictures())[2]
    without_middle = system.decode(maps, (32, 32))
    first_alone = system.decoder(system.quantizer.decode(path, layers=1)).clamp(0, 1)
    # In a tree the last layer means nothing without the middle one; plain layers still add.
    assert torch.allclose(without_middle, first_alone) is tree


def test_protection_is_unequal() -> None:
    """Between the thresholds of rates 1/8 and 3/4 the first layer arrives and the last does not."""
    system, images = code(), pictures().repeat(4, 1, 1, 1)
    sent = system.transmit(images, Point(snr_db=-4.0), generator=stream(0, "n"))
    assert float(sent.stats["lost1"].mean()) < 0.2
    assert float(sent.stats["lost3"].mean()) > 0.8
    assert float(sent.stats["lost"].mean()) == pytest.approx(
        sum(float(sent.stats[f"lost{layer}"].mean()) for layer in (1, 2, 3)) / 3
    )


def test_the_equal_rate_takes_the_same_uses() -> None:
    rates, bits = [1 / 8, 3 / 5, 3 / 4], [3, 3, 3]
    rate = equal_rate(rates, bits)
    unequal = sum(b / own for b, own in zip(bits, rates, strict=True))
    assert sum(b / rate for b in bits) == pytest.approx(unequal)


@pytest.mark.parametrize(
    "change",
    ["link.rates=[1/2, 1/2]", "link.rates=[1/99, 1/2, 1/2]", "encoder.halvings=2", "losses.kl=1",
     "quantizer={kind: identity}", "link={kind: indices}", "source.crop=31",
     "quantizer.branches=[1024, 1024, 1024]"],
)  # fmt: skip
def test_recipes_that_dont_fit_are_refused(change: str) -> None:
    with pytest.raises(VqlinkError):
        small_recipe(NAME, change)


def test_links_that_dont_fit_are_refused() -> None:
    system = code()
    quantizer = ResidualQuantizer([8, 8], 6)
    with pytest.raises(ValueError, match="one link a layer"):
        LayeredCode(system.encoder, quantizer, system.streams, system.decoder)
    hard = [IndexLink(system.streams[0].channel, [3], lost="hard") for _ in range(2)]
    with pytest.raises(ValueError, match="conceal"):
        LayeredCode(system.encoder, quantizer, hard, system.decoder)


def test_training_starts_the_tree_and_its_weights_load(
    picture_folder: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(
        NAME, f"source.train={picture_folder}", "training.steps=4", "training.messages=4",
        "training.log_every=1", "quantizer.replacement.every=2", "quantizer.branches=[4, 4, 2]",
    )  # fmt: skip
    train(recipe, tmp_path, progress=False)
    system, _ = load_weights(tmp_path / "weights")
    assert isinstance(system, LayeredCode)
    used = system.quantizer.encode(system.encoder(pictures())).unique().numel()
    assert used > 1  # k-means has spread the codewords

"""Training of index codes: codebooks that start and keep up, a discriminator, resumption."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import small_recipe, smooth_picture
from vqlink.config.load import load_recipe
from vqlink.config.schema import AdversaryConfig, Recipe
from vqlink.config.weights import load_weights
from vqlink.layers.patchgan import PatchGAN
from vqlink.protocols import VqlinkError
from vqlink.systems.index_code import IndexCode
from vqlink.training.adversary import Adversary
from vqlink.training.ema import Ema
from vqlink.training.loop import train
from vqlink.training.validation import Validation

SHORT = (
    "source.crop=32", "training.steps=6", "training.warmup=2", "training.messages=2",
    "training.log_every=1", "quantizer.replacement.every=2",
)  # fmt: skip
STRAIGHT = (
    "quantizer.gradient=straight_through", "quantizer.learning=ema", "losses.commitment=1.25",
)  # fmt: skip
NOISE = ("quantizer.gradient=noise", "quantizer.learning=gradient", "losses.commitment=0.0")
GAN = "training.adversary={weight: 1.0, learning_rate: 1.0e-3, width: 4}"


def recipe_of(pictures: Path, *overrides: str) -> Recipe:
    return small_recipe("vqdeepsc-4", f"source.train={pictures}", *SHORT, *overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        (GAN,),
        (*STRAIGHT, "training.flip=0.05"),
        (
            *STRAIGHT, "quantizer.learning=loss", "losses.codebook=5.0",
            "quantizer.replacement={every: 2, until: 6}",
        ),
        NOISE,
    ],
    ids=["adversary", "flip", "codebook-loss", "nsvq"],
)  # fmt: skip
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(
    picture_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
) -> None:
    recipe = recipe_of(picture_folder, *overrides)
    train(recipe, tmp_path / "whole", progress=False)
    update = Ema.update

    def struck(self: Ema, module: torch.nn.Module, done: int) -> None:
        if done == 3:
            signal.raise_signal(signal.SIGINT)
        update(self, module, done)

    monkeypatch.setattr(Ema, "update", struck)
    assert train(recipe, tmp_path / "run", progress=False).step == 3
    monkeypatch.undo()
    train(recipe, tmp_path / "run", resume=True, progress=False)
    for name in ("state.safetensors", "weights/model.safetensors"):
        one, other = (load_file(tmp_path / folder / name) for folder in ("whole", "run"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    logs = [(tmp_path / folder / "log.jsonl").read_text() for folder in ("whole", "run")]
    assert logs[0] == logs[1]
    rival = any(key.startswith("rival") for key in load_file(tmp_path / "run/state.safetensors"))
    assert rival == (GAN in overrides)


def test_a_run_ships_labels_of_the_averaged_codebooks(picture_folder: Path, tmp_path: Path) -> None:
    train(recipe_of(picture_folder, *STRAIGHT), tmp_path / "run", progress=False)
    system, _ = load_weights(tmp_path / "run" / "weights")
    assert isinstance(system, IndexCode)
    shipped = [system.labels(scale).clone() for scale in range(4)]
    system.label_codewords()
    assert all(torch.equal(system.labels(scale), labels) for scale, labels in enumerate(shipped))
    record = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert {"mae", "mse", "commitment", "perplexity0", "perplexity3"} <= record.keys()


def test_validation_is_of_the_labels_that_ship(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []

    def run(self: Validation, ema: Ema) -> dict[str, float]:
        seen.append({name: t.clone() for name, t in ema.state.items() if "labels" in name})
        return {}

    monkeypatch.setattr(Validation, "run", run)
    train(recipe_of(picture_folder, *STRAIGHT), tmp_path / "run", progress=False)
    system, _ = load_weights(tmp_path / "run" / "weights")
    assert isinstance(system, IndexCode)
    assert len(seen[-1]) == 4
    assert all(torch.equal(system.labels(n), seen[-1][f"labels{n}"]) for n in range(4))


def adversary(rate: float = 0.01) -> Adversary:
    fabric = Fabric(devices=1, accelerator="cpu")
    return Adversary(AdversaryConfig(learning_rate=rate, width=4), fabric, seed=0)


def test_the_discriminator_learns_to_tell_and_the_generator_to_fool() -> None:
    rival = adversary()
    generator = torch.Generator().manual_seed(0)
    real = torch.stack([smooth_picture(64, 64, seed) for seed in range(4)])
    fake = torch.rand(4, 3, 64, 64, generator=generator)
    losses = [float(rival.step(fake, real)) for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]
    assert rival.generator_loss(real) < rival.generator_loss(fake)
    moving = fake.clone().requires_grad_()
    rival.generator_loss(moving).backward()
    assert moving.grad is not None
    assert rival.generator_loss(fake - 0.5 * moving.grad.sign()) < rival.generator_loss(fake)


def test_the_generator_s_loss_leaves_the_discriminator_alone() -> None:
    rival = adversary()
    rival.generator_loss(torch.rand(2, 3, 32, 32).requires_grad_()).backward()
    assert all(p.grad is None and p.requires_grad for p in rival.net.parameters())


def test_the_discriminator_has_the_paper_s_sizes() -> None:
    net = PatchGAN(64)
    shapes = [tuple(m.weight.shape) for m in net.net if isinstance(m, torch.nn.Conv2d)]
    assert shapes == [
        (64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4), (1, 512, 4, 4),
    ]  # fmt: skip
    assert net(torch.rand(1, 3, 128, 128)).shape == (1, 1, 14, 14)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quantizer.sizes=[16, 8]", "one codebook a scale"),
        ("quantizer.sizes=[16, 8, 4, 3]", "quantizer.sizes"),
        ("losses.codebook=1.0", "learning loss"),
        ("quantizer={gradient: noise, learning: gradient}", "has no commitment"),
        ("quantizer.learning=gradient", "loss or ema"),
        ("decoder.stem=8", "those of the encoder"),
        ("source.crop=40", "multiple of 16"),
        ("link={kind: values}", "link.kind indices"),
        ("losses={ms_ssim: 1.0}", "ms_ssim"),
        ("encoder.first=5", "number of a scale|quantizer.sizes"),
    ],
)
def test_settings_that_do_not_fit_are_refused(override: str, message: str) -> None:
    with pytest.raises(VqlinkError, match=message):
        load_recipe("vqdeepsc-4", [override])


def test_an_adversary_is_for_index_codes() -> None:
    with pytest.raises(VqlinkError, match="index codes"):
        load_recipe("jscc-awgn-1-12", ["training.flip=0.1"])


def test_codebooks_of_initial_weights_are_kept(picture_folder: Path, tmp_path: Path) -> None:
    """k-means starts fresh codebooks only: those of weights to go on from have been learned."""
    train(recipe_of(picture_folder, *NOISE), tmp_path / "first", progress=False)
    still = (
        *NOISE,
        "training.steps=1",
        "training.learning_rate=1e-9",
        "quantizer.replacement.until=1",
    )
    recipe = recipe_of(picture_folder, *still)
    weights = tmp_path / "first" / "weights"
    train(recipe, tmp_path / "second", initial=weights, progress=False)
    before, after = (
        load_file(tmp_path / n / "weights" / "model.safetensors") for n in ("first", "second")
    )
    for scale in range(4):
        name = f"quantizers.{scale}.codebook"
        assert torch.allclose(before[name], after[name], atol=1e-5)

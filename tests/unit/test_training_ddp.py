"""Two processes under DDP (gloo): the same weights on both, those of one step on both batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file

from tests.conftest import small_recipe
from vqlink.config.schema import Recipe
from vqlink.protocols import VqlinkError
from vqlink.rng import stream, uniform
from vqlink.sources.crops import RandomCrops
from vqlink.sources.datasets import open_images
from vqlink.training.ema import Ema
from vqlink.training.loop import train
from vqlink.training.objective import Objective
from vqlink.training.trainer import Trainer, learning_rate


def recipe_of(pictures: Path, *overrides: str) -> Recipe:
    return small_recipe(
        "jscc-awgn-1-24", f"source.train={pictures}", "source.crop=16", "training.steps=4",
        "training.warmup=2", "training.messages=2", "training.windows=2", "training.log_every=1",
        *overrides,
    )  # fmt: skip


def _steps_on_each_rank(fabric: Fabric, recipe: Recipe, folder: Path, steps: int) -> int:
    """In each process: train, then write down the weights and averages of this rank."""
    source = RandomCrops(open_images(recipe.source.train), 16, seed=0, rank=fabric.global_rank)
    trainer = Trainer(recipe, folder, fabric, source)
    for _ in range(steps):
        trainer.run_step()
    tensors = {f"model/{k}": v.contiguous() for k, v in trainer.system.state_dict().items()}
    tensors |= {f"ema/{k}": v.contiguous() for k, v in trainer.ema.state.items()}
    save_file(tensors, folder / f"rank{fabric.global_rank}.safetensors")
    return trainer.step


def steps_on_the_union(recipe: Recipe, steps: int) -> dict[str, torch.Tensor]:
    """The same by one process: the mean loss over what both ranks draw from their streams."""
    fabric = Fabric(devices=1, accelerator="cpu")
    images, config = open_images(recipe.source.train), recipe.training
    sources = [RandomCrops(images, 16, seed=0, rank=rank) for rank in (0, 1)]
    trainer = Trainer(recipe, Path("unused"), fabric, sources[0])
    objective, parameters = Objective(trainer.system, recipe), list(trainer.system.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1.0, weight_decay=config.weight_decay)
    ema = Ema(trainer.system, config.ema)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step, config)
        optimizer.zero_grad()
        for rank in (0, 1):
            noise = stream(config.seed, "train", step, rank)
            snr = 20.0 * uniform((2,), generator=noise)
            sent = sources[rank].batch(step, 4).unflatten(0, (2, 2))
            (objective(sent, snr, generator=noise)[0] / 2).backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.clip_norm)
        optimizer.step()
        ema.update(trainer.system, step + 1)
    result = {f"model/{k}": v for k, v in trainer.system.state_dict().items()}
    return result | {f"ema/{k}": v for k, v in ema.state.items()}


def test_two_ranks_agree_and_equal_one_process_on_both_batches(
    picture_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(picture_folder)
    fabric = Fabric(devices=2, accelerator="cpu", strategy="ddp_spawn")
    assert fabric.launch(_steps_on_each_rank, recipe, tmp_path, 3) == 3
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1)]
    assert ranks[0].keys() == ranks[1].keys()
    assert all(torch.equal(tensor, ranks[1][name]) for name, tensor in ranks[0].items())
    union = steps_on_the_union(recipe, 3)
    rate = recipe.training.learning_rate
    for name, tensor in union.items():
        # Adam moves each weight by about the rate, whatever the gradient's size: where that is
        # rounding noise its sign may differ. All but such ones agree to 1 % of a step.
        difference = (tensor - ranks[0][name]).abs()
        assert difference.max() <= 6.1 * rate, name
        assert (difference > 0.01 * rate).float().mean() < 0.01, name


def test_two_devices_train_interrupt_nothing_and_resume(
    picture_folder: Path, tmp_path: Path
) -> None:
    """The library's own launch; a mistake that only the processes find arrives as one line."""
    recipe = recipe_of(picture_folder)
    result = train(recipe, tmp_path / "run", devices=2, progress=False)
    assert (result.step, result.complete) == (4, True)
    single = train(recipe, tmp_path / "single", progress=False)
    one, other = (load_file(r.folder / "weights/model.safetensors") for r in (result, single))
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())
    with pytest.raises(VqlinkError, match="128x128 training crop") as caught:
        train(
            recipe_of(picture_folder, "source.crop=128"), tmp_path / "large", devices=2,
            progress=False,
        )  # fmt: skip
    assert "\n" not in str(caught.value)

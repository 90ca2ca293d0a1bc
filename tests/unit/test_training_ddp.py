"""Two processes under DDP (gloo): the same weights on both, those of one step on both batches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file

from tests.conftest import SMALL_NETS, small_recipe
from vqlink.config.schema import Recipe
from vqlink.protocols import VqlinkError
from vqlink.rng import stream, uniform
from vqlink.sources.crops import RandomCrops
from vqlink.sources.datasets import open_images
from vqlink.training.checkpoint import read_header
from vqlink.training.ema import Ema
from vqlink.training.loop import TrainingResult, train
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
    fabric.barrier()
    torch.distributed.destroy_process_group()
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


def test_two_devices_train_on_batches_of_their_own(picture_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(picture_folder)
    result = train(recipe, tmp_path / "two", devices=2, progress=False)
    assert result == TrainingResult(step=4, complete=True, folder=tmp_path / "two")
    train(recipe, tmp_path / "one", progress=False)
    two, one = (load_file(tmp_path / n / "weights/model.safetensors") for n in ("two", "one"))
    assert any(not torch.equal(tensor, one[name]) for name, tensor in two.items())
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 4  # rank 0 alone


@pytest.mark.slow
def test_a_mistake_that_only_the_processes_find_is_one_line(
    picture_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(picture_folder, "source.crop=128")
    with pytest.raises(VqlinkError, match="128x128 training crop") as caught:
        train(recipe, tmp_path / "run", devices=2, progress=False)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["parent", "group"])
def test_interrupted_on_two_devices_both_stop_at_one_step_and_resume(
    picture_folder: Path, tmp_path: Path, whom: str
) -> None:
    """Ctrl-C reaches the whole process group, ``kill`` the parent alone."""
    settings = [
        *SMALL_NETS, f"source.train={picture_folder}", "source.crop=16", "training.log_every=1",
        "training.steps=100000", "training.messages=1",
    ]  # fmt: skip
    words = [sys.executable, "-m", "vqlink.cli.main", "train", "jscc-awgn-1-24", "--devices=2"]
    words += [*(f"--set={text}" for text in settings), "--out", str(tmp_path / "run")]
    steps = [0]
    for more in ([], ["--resume"]):
        process = subprocess.Popen(
            [*words, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and logged_step(tmp_path / "run") < steps[-1] + 3:
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()
        if whom == "group":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        assert "Interrupted and saved at step" in stdout
        steps.append(read_header(tmp_path / "run" / "state.safetensors").step)
        assert steps[-1] == logged_step(tmp_path / "run") >= steps[-2] + 3
    records = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in records] == list(range(1, steps[-1] + 1))


def logged_step(folder: Path) -> int:
    log = folder / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0

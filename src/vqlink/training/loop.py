"""The training loop: plain steps on Lightning Fabric.

Everything random in step t is drawn from streams named (seed, purpose, t, rank), so a run that
was interrupted continues as if it had not been, bit for bit, without any saved random state.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from vqlink.config.build import build_system
from vqlink.config.schema import QAMConfig, Recipe, TrainingConfig
from vqlink.config.weights import load_overlap, read_tensors, save_weights
from vqlink.protocols import Point, VqlinkError
from vqlink.quantizers.qam import QAMQuantizer
from vqlink.rng import stream, uniform
from vqlink.sources.crops import RandomCrops
from vqlink.sources.datasets import open_images
from vqlink.systems.jscc import JSCC, JSCCOutput
from vqlink.training.checkpoint import STATE_NAME, load_state, save_state
from vqlink.training.ema import Ema
from vqlink.training.interrupt import Interrupt
from vqlink.training.log import TrainingLog
from vqlink.training.validation import Validation
from vqlink.units import from_db


@dataclass(frozen=True)
class TrainingResult:
    """How a call of :func:`train` ended.

    Attributes:
        step: finished steps.
        complete: False after an interruption; ``resume=True`` goes on from here.
        folder: the run's folder; ``folder / "weights"`` is a SYSTEM for the other commands.
    """

    step: int
    complete: bool
    folder: Path


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then a cosine from the peak to zero at the last step."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def loss_of(
    output: JSCCOutput, sent: Tensor, snr_db: Tensor, recipe: Recipe
) -> tuple[Tensor, dict[str, Tensor]]:
    """The recipe's weighted sum, and the named parts unweighted.

    Args:
        sent: (N, T, 3, H, W), as the output's ``received``.
        snr_db: (N,) the messages' SNR.
    """
    errors = (output.received - sent).square().flatten(1).mean(dim=1)
    # Balanced round the middle of the range, so that the slope doesn't change the loss's size.
    middle = sum(recipe.training.snr_db) / 2
    weights = from_db(recipe.training.snr_slope * (snr_db - middle))
    parts = {"mse": (errors * weights).mean(), **output.quantized.losses}
    total = torch.stack([weight * parts[name] for name, weight in recipe.losses.items()]).sum()
    return total, {**parts, "plain_mse": errors.mean().detach()}


class Objective(nn.Module):
    """System and loss as one module of tensors in, tensors out, which is what Fabric wraps."""

    def __init__(self, system: JSCC, recipe: Recipe) -> None:
        super().__init__()
        self.system, self.recipe = system, recipe

    def forward(
        self, sent: Tensor, snr_db: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(N, T, 3, H, W) windows and (N,) dB -> the loss and its named parts."""
        output = self.system(sent, Point(snr_db=snr_db), generator=generator)
        return loss_of(output, sent, snr_db, self.recipe)


class Trainer:
    """One run of a recipe in one process (of several under DDP).

    Args:
        recipe: what to train.
        folder: where state, weights and logs go.
        fabric: devices and precision; ``launch`` has been called.
        source: training crops; each rank draws its own.
    """

    def __init__(self, recipe: Recipe, folder: Path, fabric: Fabric, source: RandomCrops) -> None:
        self.recipe, self.folder, self.fabric, self.source = recipe, folder, fabric, source
        self.config = recipe.training
        self.system = build_system(recipe)
        if self.config.init_from is not None:
            load_overlap(self.system, _initial_tensors(self.config.init_from))
        self.system = self.system.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.config.compile:
            self.system.encoder.compile()
            self.system.decoder.compile()
        optimizer = AdamW(
            self.system.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )
        self.ema = Ema(self.system, self.config.ema)
        self.step = 0
        self.model: nn.Module
        self.optimizer: Optimizer
        self.model, self.optimizer = fabric.setup(Objective(self.system, recipe), optimizer)

    @property
    def state_path(self) -> Path:
        return self.folder / STATE_NAME

    def resume(self) -> None:
        """Continue from the folder's state.

        Raises:
            VqlinkError: when there is none, or it belongs to another recipe.
        """
        saved = load_state(self.state_path, self.system, self.optimizer, self.ema)
        if Recipe.model_validate_json(saved.recipe) != self.recipe:
            raise VqlinkError(f"{self.state_path} was made by another recipe: resume with the same")
        self.step = saved.step

    def run_step(self) -> dict[str, Tensor]:
        """One optimiser step; returns the named losses."""
        config, rank = self.config, self.fabric.global_rank
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, config)
        if isinstance(self.recipe.quantizer, QAMConfig):
            start, end = self.recipe.quantizer.hardness
            assert isinstance(self.system.quantizer, QAMQuantizer)
            self.system.quantizer.set_hardness(start + (end - start) * self.step / config.steps)
        noise = stream(config.seed, "train", self.step, rank)
        low, high = config.snr_db
        snr = low + (high - low) * uniform((config.messages,), generator=noise)
        snr = self.fabric.to_device(snr)
        sent = self.source.batch(self.step, config.messages * config.windows)
        sent = self.fabric.to_device(sent).unflatten(0, (config.messages, config.windows))
        loss, parts = self.model(sent, snr, generator=noise)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(self.model, self.optimizer, max_norm=config.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.ema.update(self.system, self.step)
        logged = {**parts, "loss": loss, "gradient_norm": torch.as_tensor(norm)}
        return {name: value.detach() for name, value in logged.items()}

    def any_rank(self, flag: bool) -> bool:
        """Whether any process asks to stop: all must leave the loop at the same step."""
        if self.fabric.world_size == 1:
            return flag
        return bool(self.fabric.all_reduce(torch.tensor(float(flag)), reduce_op="sum") > 0)

    def save(self) -> None:
        """State and shipping weights, from rank 0."""
        if self.fabric.is_global_zero:
            save_state(
                self.state_path,
                self.system,
                self.optimizer,
                self.ema,
                step=self.step,
                recipe=self.recipe.model_dump_json(),
            )
            save_weights(self.folder / "weights", self.ema.state, self.recipe)


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    devices: int = 1,
    nodes: int = 1,
    quiet: bool = False,
) -> TrainingResult:
    """Train a recipe into ``folder``: state, weights, ``log.jsonl`` and TensorBoard files.

    Ctrl-C finishes the step, saves and returns with ``complete=False``.

    Args:
        resume: continue the folder's run; the result equals an uninterrupted one bit for bit
            on CPU.
        devices, nodes: processes under DDP (gloo on CPU, nccl on CUDA).
        quiet: no progress bar.

    Raises:
        VqlinkError: for data, folders or states that can't be used.
    """
    precision = "bf16-mixed" if recipe.training.precision == "bf16" else "32-true"
    strategy = "ddp" if devices * nodes > 1 else "auto"
    fabric = Fabric(devices=devices, num_nodes=nodes, strategy=strategy, precision=precision)
    fabric.launch()
    if not resume and (folder / STATE_NAME).exists():
        raise VqlinkError(f"{folder} already holds a run: add --resume, or name another --out")
    source = RandomCrops(
        open_images(recipe.source.train),
        recipe.source.crop,
        seed=recipe.training.seed,
        rank=fabric.global_rank,
        scales=recipe.source.scales,
    )
    trainer = Trainer(recipe, folder, fabric, source)
    if resume:
        trainer.resume()
    return _run(trainer, quiet=quiet)


def _run(trainer: Trainer, *, quiet: bool) -> TrainingResult:
    config, fabric = trainer.config, trainer.fabric
    validation = Validation(trainer.recipe)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    last_saved = time.monotonic()
    silent = quiet or not fabric.is_global_zero
    with (
        TrainingLog(trainer.folder, step=trainer.step, enabled=fabric.is_global_zero) as log,
        Progress(*columns, console=Console(stderr=True), disable=silent) as progress,
    ):
        task = progress.add_task(
            trainer.recipe.name, total=config.steps, completed=trainer.step, figures=""
        )
        with Interrupt() as interrupt:
            while trainer.step < config.steps:
                losses = trainer.run_step()
                progress.update(task, completed=trainer.step)
                if trainer.step % config.log_every == 0:
                    figures = log.losses(trainer.step, losses)
                    progress.update(task, figures=figures)
                if trainer.step % config.validate_every == 0 and fabric.is_global_zero:
                    log.validation(trainer.step, validation.run(trainer.ema))
                if trainer.any_rank(interrupt.requested):
                    trainer.save()
                    return TrainingResult(trainer.step, complete=False, folder=trainer.folder)
                if time.monotonic() - last_saved > config.checkpoint_seconds:
                    trainer.save()
                    last_saved = time.monotonic()
        trainer.save()
        if fabric.is_global_zero:
            log.validation(trainer.step, validation.run(trainer.ema))
    return TrainingResult(trainer.step, complete=True, folder=trainer.folder)


def _initial_tensors(name: str) -> dict[str, Tensor]:
    folder = Path(name)
    if not folder.is_dir():
        raise VqlinkError(f"training.init_from: {name} is no weights folder")
    return read_tensors(folder)


__all__ = ["JSCC", "Trainer", "TrainingResult", "learning_rate", "loss_of", "train"]

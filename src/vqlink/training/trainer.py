"""The training loop: plain steps on Lightning Fabric, in one process.

Everything random in step t is drawn from streams named (seed, purpose, t, rank), so a run that
was interrupted continues as if it had not been, bit for bit, without any saved random state.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
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

from vqlink.config.build import LearnedSystem, build_system
from vqlink.config.quantizer_parts import CodebooksConfig, ResidualConfig, SoftToHardConfig
from vqlink.config.schema import Recipe
from vqlink.config.text import build_text_code, save_text_weights
from vqlink.config.weights import load_overlap, read_tensors, save_weights
from vqlink.errors import NotFiniteError
from vqlink.protocols import VqlinkError
from vqlink.quantizers.constellation import ConstellationQuantizer
from vqlink.quantizers.labels import neighbourly_labels
from vqlink.quantizers.qam import QAMQuantizer
from vqlink.quantizers.upkeep import Codebooks, keep_up
from vqlink.rng import seeded_dropout, stream, uniform
from vqlink.sources.crops import RandomCrops
from vqlink.sources.text import TokenBatches
from vqlink.systems.index_code import IndexCode
from vqlink.systems.layered_code import LayeredCode
from vqlink.systems.text_code import TextCode
from vqlink.training.adversary import Adversary
from vqlink.training.checkpoint import STATE_NAME, Rival, load_state, read_header, save_state
from vqlink.training.ema import Ema
from vqlink.training.interrupt import Interrupt
from vqlink.training.log import TrainingLog
from vqlink.training.objective import IndexObjective, Objective, TextObjective
from vqlink.training.schedule import learning_rate
from vqlink.training.validation import AnyValidation


class Trainer:
    """One run of a recipe in one process (of several under DDP).

    Args:
        recipe: what to train.
        folder: where state, weights and logs go.
        fabric: devices and precision; ``launch`` has been called.
        source: training crops or sentences; each rank draws its own.
        initial: weights folder to start from, in place of the recipe's ``init_from``.
        resume: go on from the folder's state; nothing else is read then.

    Raises:
        VqlinkError: for a state or initial weights that are missing or don't fit.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        fabric: Fabric,
        source: RandomCrops | TokenBatches,
        *,
        initial: Path | None = None,
        resume: bool = False,
    ) -> None:
        self.recipe, self.folder, self.fabric, self.source = recipe, folder, fabric, source
        self.config = recipe.training
        self.system: LearnedSystem | TextCode
        if isinstance(source, TokenBatches):
            self.system = build_text_code(recipe)
            self.system.learn_statistics(source.lengths, source.counts())
        else:
            self.system = build_system(recipe)
        if resume:
            check_same_run(self.state_path, recipe, fabric.world_size)
        self.fresh = not resume and initial is None and self.config.init_from is None
        if not resume and not self.fresh:
            load_overlap(self.system, _initial_tensors(initial or Path(str(self.config.init_from))))
            for part in self.system.modules():
                if isinstance(part, Codebooks):
                    part.restart()
        self.system = self.system.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.config.compile:
            self.system.encoder.compile()
            self.system.decoder.compile()
        optimizer = AdamW(
            self.system.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            betas=self.config.betas,
        )
        self.model: nn.Module
        self.optimizer: Optimizer
        objective: nn.Module
        if isinstance(self.system, TextCode):
            objective = TextObjective(self.system, recipe)
        elif isinstance(self.system, IndexCode | LayeredCode):
            objective = IndexObjective(self.system, recipe)
        else:
            objective = Objective(self.system, recipe)
        self.model, self.optimizer = fabric.setup(objective, optimizer)
        self.adversary: Adversary | None = None
        if self.config.adversary is not None:
            self.adversary = Adversary(self.config.adversary, fabric, seed=self.config.seed)
        self.ema = Ema(self.system, self.config.ema)  # after setup, which moves the system
        self.step = 0
        if resume:
            self.step = load_state(
                self.state_path, self.system, self.optimizer, self.ema, rival=self._rival
            ).step

    @property
    def state_path(self) -> Path:
        return self.folder / STATE_NAME

    @property
    def _rival(self) -> Rival | None:
        return (self.adversary.net, self.adversary.optimizer) if self.adversary else None

    def run_step(self) -> dict[str, Tensor]:
        """One optimiser step; returns the named losses.

        Raises:
            VqlinkError: when the gradient is not finite; weights and averages are then as before.
        """
        config, rank = self.config, self.fabric.global_rank
        rate = learning_rate(self.step, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if isinstance(self.recipe.quantizer, SoftToHardConfig):
            start, end = self.recipe.quantizer.hardness
            quantizer = self.system.quantizer
            assert isinstance(quantizer, QAMQuantizer | ConstellationQuantizer)
            quantizer.set_hardness(start + (end - start) * self.step / config.steps)
        try:
            with seeded_dropout(config.seed, self.step, rank):
                noise = stream(config.seed, "train", self.step, rank)
                loss, parts, pictures = self._losses(noise)
        except NotFiniteError:
            raise self._diverged() from None
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        norm = torch.as_tensor(
            self.fabric.clip_gradients(
                self.model, self.optimizer, max_norm=config.clip_norm, error_if_nonfinite=False
            )
        )
        if not torch.isfinite(norm):  # the same on all ranks: it is that of the averaged gradient
            raise self._diverged()
        self.optimizer.step()
        self._keep_up_quantizers()
        if self.adversary is not None and pictures is not None:
            parts["adversary"] = self.adversary.step(*pictures)
        self.step += 1
        self.ema.update(self.system, self.step)
        logged = {
            **parts,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": torch.tensor(rate),
        }
        return {name: value.detach() for name, value in logged.items()}

    def _diverged(self) -> VqlinkError:
        return VqlinkError(
            f"training diverged at step {self.step + 1} (its values are not finite): start again "
            "with a lower training.learning_rate"
        )

    def _losses(
        self, noise: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor, Tensor] | None]:
        """The loss, its named parts, and of pictures the (received, sent) ones."""
        config, device = self.config, self.fabric.to_device
        if isinstance(self.source, TokenBatches):
            batch = self.source.batch(self.step, config.messages * config.windows)
            return *self.model(*(device(part) for part in batch), generator=noise), None
        low, high = config.snr_db
        snr = device(low + (high - low) * uniform((config.messages,), generator=noise))
        sent = device(self.source.batch(self.step, config.messages * config.windows))
        sent = sent.unflatten(0, (config.messages, config.windows))
        if self.step == 0 and self.fresh:
            self._start_codebooks(sent)
        loss, parts, received = self.model(sent, snr, generator=noise)
        pictures = (received.flatten(0, 1), sent.flatten(0, 1))
        if self.adversary is not None:
            fooling = self.adversary.generator_loss(pictures[0])
            loss, parts = loss + self.adversary.weight * fooling, {**parts, "fooling": fooling}
        return loss, parts, pictures

    def _start_codebooks(self, sent: Tensor) -> None:
        config = self.recipe.quantizer
        if not isinstance(config, CodebooksConfig | ResidualConfig) or not config.kmeans:
            return
        system = self.system
        assert isinstance(system, IndexCode | LayeredCode)
        encoder: nn.Module = system.encoder
        with torch.no_grad(), self.fabric.autocast():
            latents = encoder(sent.flatten(0, 1))
        scales = (latents,) if isinstance(latents, Tensor) else latents
        codebooks: Sequence[Codebooks] = system.codebooks
        for number, (quantizer, z) in enumerate(zip(codebooks, scales, strict=True)):
            quantizer.initialise(z, generator=stream(self.config.seed, "kmeans", number))

    def _keep_up_quantizers(self) -> None:
        """What codebooks do after an update, in the same way on every rank."""
        if isinstance(self.system, IndexCode | LayeredCode):
            codebooks: Sequence[Codebooks] = self.system.codebooks
            for number, codebook in enumerate(codebooks):
                draws = stream(self.config.seed, "upkeep", self.step, number)
                keep_up(codebook, self.optimizer, generator=draws)
        elif isinstance(self.system.quantizer, ConstellationQuantizer):
            self.system.quantizer.after_step()

    def save(self) -> None:
        """State and shipping weights, from rank 0."""
        if self.fabric.is_global_zero:
            self._label_codewords()
            # The state comes last: once it says that the run is complete, all else is there.
            weights = self.folder / "weights"
            if isinstance(self.source, TokenBatches):
                save_text_weights(weights, self.ema.state, self.recipe, self.source.tokenizer)
            else:
                save_weights(weights, self.ema.state, self.recipe)
            save_state(
                self.state_path,
                self.system,
                self.optimizer,
                self.ema,
                step=self.step,
                recipe=self.recipe.model_dump_json(),
                processes=self.fabric.world_size,
                rival=self._rival,
            )

    def _label_codewords(self) -> None:
        """Labels for the averaged codebooks of an index code, which are the ones that ship.

        A run that flips bits keeps its first labels: the codewords have learned them.
        """
        if not isinstance(self.system, IndexCode) or self.config.flip:
            return
        for scale in range(len(self.system.codebooks)):
            averaged = self.ema.state[f"quantizers.{scale}.codebook"]
            self.ema.state[f"labels{scale}"].copy_(neighbourly_labels(averaged.cpu()))

    def run(self, validation: AnyValidation, *, progress: bool = True) -> int:
        """Steps until the last one or until Ctrl-C or SIGTERM; saves; returns the steps done."""
        config, first = self.config, self.fabric.is_global_zero
        with (
            Interrupt() as interrupt,
            TrainingLog(self.folder, step=self.step, enabled=first) as log,
            _progress_bar(enabled=progress and first) as bar,
        ):
            task = bar.add_task(
                self.recipe.name, total=config.steps, completed=self.step, figures=""
            )
            last_saved, stop = time.monotonic(), False
            while self.step < config.steps and not stop:
                losses = self.run_step()
                stop = self._agree(interrupt.requested)
                ended = stop or self.step == config.steps
                bar.update(task, completed=self.step)
                if self.step % config.log_every == 0:
                    bar.update(task, figures=log.losses(self.step, losses))
                due = self.step % config.validate_every == 0 or self.step == config.steps
                if due and first:
                    self._label_codewords()
                    log.validation(self.step, validation.run(self.ema))
                if ended or time.monotonic() - last_saved > config.checkpoint_seconds:
                    self.save()
                    last_saved = time.monotonic()
        return self.step

    def _agree(self, stop: bool) -> bool:
        """Whether any rank was asked to stop: all must end after the same step."""
        if self.fabric.world_size == 1:
            return stop
        asked: Tensor = self.fabric.all_reduce(torch.tensor(float(stop)), reduce_op="sum")
        return bool(asked > 0)


def check_same_run(state: Path, recipe: Recipe, processes: int) -> None:
    """Refuse to go on from a state of another recipe, or of another number of processes.

    Raises:
        VqlinkError: naming the first section that differs.
    """
    header = read_header(state)
    if header.processes not in (processes, None):
        raise VqlinkError(
            f"{state} is of a run by {header.processes} process{'es' * (header.processes != 1)}, "
            f"not {processes}, each with its own batches: resume with the same --devices and "
            "--nodes"
        )
    try:
        saved = Recipe.model_validate_json(header.recipe)
    except ValidationError:
        raise VqlinkError(f"{state} was made by a vqlink with other recipes: train anew") from None
    if saved == recipe:
        return
    old, new = saved.model_dump(), recipe.model_dump()
    for section, values in new.items():
        if isinstance(values, dict):
            keys = [f"{section}.{key}" for key in values if values[key] != old[section].get(key)]
        else:
            keys = [section] if values != old[section] else []
        if keys or values != old[section]:
            raise VqlinkError(
                f"{state} was made by another recipe ({(keys or [section])[0]} differs): "
                "resume with the same recipe and --set, or name another --out"
            )


def _initial_tensors(folder: Path) -> dict[str, Tensor]:
    if not folder.is_dir():
        raise VqlinkError(
            f"training.init_from: there is no weights folder {folder}; train it first, or "
            "--set training.init_from=null to start afresh"
        )
    return read_tensors(folder)


def _progress_bar(*, enabled: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
        disable=not enabled,
    )

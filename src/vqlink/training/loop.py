"""From a recipe to a trained run: data, devices and processes around the loop."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from vqlink.config.schema import Recipe
from vqlink.config.text import TOKENIZER_NAME, recipe_tokenizer
from vqlink.config.text_parts import TextSource
from vqlink.config.weights import read_config
from vqlink.links.bits import LONGEST
from vqlink.protocols import VqlinkError
from vqlink.sources.crops import RandomCrops
from vqlink.sources.datasets import open_images
from vqlink.sources.text import TokenBatches, open_sentences, read_tokenizer
from vqlink.training.checkpoint import STATE_NAME
from vqlink.training.interrupt import Interrupt
from vqlink.training.trainer import Trainer, check_same_run
from vqlink.training.validation import AnyValidation, TextValidation, Validation

if TYPE_CHECKING:
    from tokenizers import Tokenizer


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


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    initial: Path | None = None,
    devices: int = 1,
    nodes: int = 1,
    progress: bool = True,
) -> TrainingResult:
    """Train a recipe into ``folder``: state, weights, ``log.jsonl`` and TensorBoard files.

    Ctrl-C and SIGTERM finish the step, save and return with ``complete=False``; a second Ctrl-C
    raises KeyboardInterrupt.

    On several devices the processes are spawned, so a script that calls this needs the usual
    ``if __name__ == "__main__"``. Under torchrun each process calls it with the same arguments.
    Every rank draws its own batch, so the effective one is ``devices * nodes`` times as large.

    Args:
        resume: continue the folder's run; the result equals an uninterrupted one bit for bit
            on CPU.
        initial: weights folder to start from, in place of the recipe's ``training.init_from``.
        devices, nodes: processes under DDP (gloo on CPU, nccl on CUDA).
        progress: show a progress bar on standard error.

    Raises:
        VqlinkError: for data, folders, states or devices that can't be used, and when training
            diverges.
    """
    state = folder / STATE_NAME
    if resume:
        check_same_run(state, recipe, devices * nodes)
    elif state.exists():
        raise VqlinkError(f"{folder} already holds a run: add --resume, or name another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VqlinkError(f"can't make the folder {folder}: {error.strerror}") from None
    fabric = _fabric(recipe, devices, nodes)
    step = _launch(fabric, recipe, folder, resume, initial, progress)
    return TrainingResult(step, complete=step >= recipe.training.steps, folder=folder)


def _fabric(recipe: Recipe, devices: int, nodes: int) -> Fabric:
    if devices < 1 or nodes < 1:
        raise VqlinkError("--devices and --nodes start from 1")
    strategy = "auto"
    if devices * nodes > 1:
        strategy = "ddp" if TorchElasticEnvironment.detect() else "ddp_spawn"
    precision = "bf16-mixed" if recipe.training.precision == "bf16" else "32-true"
    try:
        return Fabric(devices=devices, num_nodes=nodes, strategy=strategy, precision=precision)
    except (MisconfigurationException, ValueError) as error:
        raise VqlinkError(f"--devices {devices} --nodes {nodes}: {error}") from None


def _launch(
    fabric: Fabric,
    recipe: Recipe,
    folder: Path,
    resume: bool,
    initial: Path | None,
    progress: bool,
) -> int:
    """Run :func:`_work` in this process or in several; returns rank 0's finished steps."""
    arguments = (recipe, folder, resume, initial, progress)
    if fabric.strategy.launcher is None:
        return _work(fabric, *arguments)
    try:
        with Interrupt(forward=True):
            return int(fabric.launch(_work, *arguments))
    except ProcessRaisedException as error:
        # Of a child's exception only the traceback's text arrives.
        found = re.search(r"^vqlink\.errors\.VqlinkError: (.*)$", str(error), re.MULTILINE)
        if found is None:
            raise
        raise VqlinkError(found[1]) from None
    except ProcessExitedException as error:
        raise VqlinkError(
            f"a training process was killed ({error}); --resume goes on from the last saved state"
        ) from None


def _work(
    fabric: Fabric,
    recipe: Recipe,
    folder: Path,
    resume: bool,
    initial: Path | None,
    progress: bool,
) -> int:
    """What each process does; returns the finished steps."""
    tokenizer = None
    if isinstance(recipe.source, TextSource):
        tokenizer = _tokenizer(fabric, recipe, folder if resume else None, initial)
    source = _source(recipe, fabric.global_rank, tokenizer)
    validation: AnyValidation
    if isinstance(source, TokenBatches):
        validation = TextValidation(recipe, source.tokenizer)
    else:
        validation = Validation(recipe)
    trainer = Trainer(recipe, folder, fabric, source, initial=initial, resume=resume)
    step = trainer.run(validation, progress=progress)
    if torch.distributed.is_initialized():
        # A rank that exits while its gloo threads still run aborts; rank 0 may be validating yet.
        # Gloo's usual barrier is work of such a thread, which holds the last reductions' tensors
        # and deadlocks when the group is destroyed before it has let go of them.
        if torch.distributed.get_backend() == "gloo":
            torch.distributed.monitored_barrier()
        else:
            fabric.barrier()
        torch.distributed.destroy_process_group()
    return step


def _tokenizer(fabric: Fabric, recipe: Recipe, run: Path | None, initial: Path | None) -> Tokenizer:
    """One vocabulary for all ranks and for the whole run, which rank 0 reads or trains.

    Training it again on few sentences may give other pieces, and so other tokens for the net.

    Args:
        run: the folder of a run that is resumed.
        initial: weights folder to start from, in place of the recipe's.
    """
    source = recipe.source
    assert isinstance(source, TextSource)
    text = ""
    if fabric.is_global_zero:
        start = initial
        if start is None and recipe.training.init_from is not None:
            start = Path(recipe.training.init_from)
        if run is not None:
            found = read_tokenizer(run / "weights" / TOKENIZER_NAME)
        elif source.tokenizer is None and start is not None and _knows(start, source.vocabulary):
            found = read_tokenizer(start / TOKENIZER_NAME)
        else:
            found = recipe_tokenizer(recipe)
        text = found.to_str()
    from tokenizers import Tokenizer

    return Tokenizer.from_str(fabric.broadcast(text))


def _knows(weights: Path, vocabulary: int) -> bool:
    """Whether a weights folder is a text code's with a vocabulary of that size."""
    if not (weights / TOKENIZER_NAME).is_file():
        return False
    source = read_config(weights).source
    return isinstance(source, TextSource) and source.vocabulary == vocabulary


def _source(
    recipe: Recipe, rank: int, tokenizer: Tokenizer | None = None
) -> RandomCrops | TokenBatches:
    source, seed = recipe.source, recipe.training.seed
    if isinstance(source, TextSource):
        return TokenBatches(
            open_sentences(source.train),
            tokenizer or recipe_tokenizer(recipe),
            source.vocabulary,
            longest=LONGEST,
            seed=seed,
            rank=rank,
            scramble=source.scramble,
        )
    return RandomCrops(
        open_images(source.train), source.crop, seed=seed, rank=rank, scales=source.scales
    )

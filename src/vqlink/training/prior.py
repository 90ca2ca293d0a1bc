"""Training of priors: maximum likelihood of the maps that a frozen codec makes of pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from vqlink.config.prior import PriorRecipe, build_prior, open_codec, save_prior
from vqlink.errors import VqlinkError
from vqlink.rng import stream
from vqlink.sources.crops import RandomCrops
from vqlink.sources.datasets import open_images
from vqlink.sources.labelled import LabelledPictures
from vqlink.systems.image_prior import ImagePrior
from vqlink.training.checkpoint import STATE_NAME, load_state, read_header, save_state
from vqlink.training.ema import Ema
from vqlink.training.interrupt import Interrupt
from vqlink.training.log import TrainingLog
from vqlink.training.loop import TrainingResult
from vqlink.training.schedule import learning_rate

Report = Callable[[int, str], None]
"""Called with the steps done and figures."""


def train_prior(
    recipe: PriorRecipe,
    codec_folder: Path,
    folder: Path,
    *,
    resume: bool = False,
    report: Report | None = None,
) -> TrainingResult:
    """Train a prior into ``folder``: state, weights and ``log.jsonl``.

    Ctrl-C and SIGTERM finish the step and save; resumption goes on bit for bit.

    Args:
        codec_folder: weights of the recipe's codec.

    Raises:
        VqlinkError: for data, folders or states that can't be used, and when training diverges.
    """
    config, state = recipe.training, folder / STATE_NAME
    codec, digest = open_codec(codec_folder)
    if not resume and state.exists():
        raise VqlinkError(f"{folder} already holds a run: add --resume, or name another --out")
    identity = recipe.model_dump_json() + digest
    if resume and read_header(state).recipe != identity:
        raise VqlinkError(f"{state} was made by another recipe or codec: name another --out")
    prior = build_prior(recipe, codec.eval())
    optimizer = AdamW(prior.parameters(), lr=config.learning_rate, betas=(0.9, 0.98))
    ema = Ema(prior, config.ema)
    step = load_state(state, prior, optimizer, ema).step if resume else 0
    pictures = _pictures(recipe)
    last_saved = time.monotonic()
    with Interrupt() as interrupt, TrainingLog(folder, step=step, enabled=True) as log:
        while step < config.steps and not interrupt.requested:
            values = _step(prior, optimizer, pictures.batch(step, config.batch), step, recipe)
            step += 1
            ema.update(prior, step)
            if step % config.log_every == 0:
                figures = log.losses(step, values)
                if report is not None:
                    report(step, figures)
            if step % config.validate_every == 0 or step == config.steps:
                log.validation(step, validate(recipe, codec_folder, ema))
            ended = step == config.steps or interrupt.requested
            if ended or time.monotonic() - last_saved > config.checkpoint_seconds:
                save_prior(folder / "weights", ema.state, recipe, digest)
                save_state(state, prior, optimizer, ema, step=step, recipe=identity)
                last_saved = time.monotonic()
    return TrainingResult(step, step == config.steps, folder)


def _pictures(recipe: PriorRecipe) -> RandomCrops | LabelledPictures:
    source, seed = recipe.source, recipe.training.seed
    if source.label is None:
        return RandomCrops(open_images(source.train), source.crop, seed=seed)
    return LabelledPictures(source.train, source.label, source.crop, recipe.net.classes, seed=seed)


def _step(
    prior: ImagePrior,
    optimizer: torch.optim.Optimizer,
    batch: Tensor | tuple[Tensor, Tensor],
    step: int,
    recipe: PriorRecipe,
) -> dict[str, Tensor]:
    config = recipe.training
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, config)
    sent, label = (batch, None) if isinstance(batch, Tensor) else batch
    maps = prior.codes.encode(sent)
    prior.train()
    with torch.random.fork_rng(devices=[]):  # for dropout
        drop = torch.randint(2**62, (), generator=stream(config.seed, "drop", step))
        torch.manual_seed(int(drop))
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            bits = prior(maps, label)
    cells = sum(found[0].numel() for found in maps)
    loss = torch.stack([part.mean() for part in bits]).sum() / cells
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(prior.parameters(), config.clip_norm)
    if not torch.isfinite(norm):
        raise VqlinkError(
            f"training diverged at step {step + 1}: start again with a lower learning_rate"
        )
    optimizer.step()
    each = {f"bits{layer}": part.mean().detach() for layer, part in enumerate(bits, 1)}
    return {"loss": loss.detach(), "gradient_norm": norm, **each}


@torch.no_grad()
def validate(recipe: PriorRecipe, codec_folder: Path, ema: Ema) -> dict[str, float]:
    """Bits an image of validation pictures' centres, and those without a prior.

    Empty where the recipe names no pictures, or has classes, which these don't come with.
    """
    if recipe.source.validation is None or recipe.net.classes:
        return {}
    codec, _ = open_codec(codec_folder)
    prior = build_prior(recipe, codec.eval()).eval()
    prior.load_state_dict(ema.state)
    images, side = open_images(recipe.source.validation), recipe.source.crop
    chosen = [images[i][1] for i in range(min(len(images), 128))]
    crops = torch.stack([_centre(image, side) for image in chosen])
    bits = prior(prior.codes.encode(crops))
    total = float(torch.stack(bits).sum(dim=0).mean())
    return {"bits": total, "fixed_bits": prior.fixed_bits(side, side)}


def _centre(image: Tensor, side: int) -> Tensor:
    top, left = ((length - side) // 2 for length in image.shape[1:])
    return image[:, top : top + side, left : left + side]

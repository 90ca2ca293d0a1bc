"""Training of priors: maximum likelihood of the maps that a frozen codec makes of pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vqlink.config.prior import PriorRecipe, build_prior, open_codec, save_prior
from vqlink.errors import VqlinkError
from vqlink.sources.crops import RandomCrops
from vqlink.sources.datasets import open_images
from vqlink.sources.labelled import LabelledPictures
from vqlink.systems.image_prior import ImagePrior
from vqlink.systems.layered_code import LayeredCode
from vqlink.training.loop import TrainingResult
from vqlink.training.plain import PlainRun, Report, State


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
    codec, digest = open_codec(codec_folder)
    prior = build_prior(recipe, codec.eval())
    pictures = _pictures(recipe)
    if not resume:
        validate(recipe, codec, prior.state_dict())  # what can't be is found out at once
    run = PlainRun(
        prior,
        recipe.training,
        folder,
        identity=recipe.model_dump_json() + digest,
        loss=lambda step: negative_log_likelihood(
            prior, pictures.batch(step, recipe.training.batch)
        ),
        validate=lambda state: validate(recipe, codec, state),
        save=lambda state: save_prior(folder / "weights", state, recipe, digest),
    )
    return run.train(resume=resume, report=report)


def _pictures(recipe: PriorRecipe) -> RandomCrops | LabelledPictures:
    source, seed = recipe.source, recipe.training.seed
    if source.label is None:
        return RandomCrops(open_images(source.train), source.crop, seed=seed)
    return LabelledPictures(source.train, source.label, source.crop, recipe.net.classes, seed=seed)


def negative_log_likelihood(
    prior: ImagePrior, batch: Tensor | tuple[Tensor, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Bits a cell of pictures (B, 3, H, W), with or without classes; and those of each map."""
    sent, label = (batch, None) if isinstance(batch, Tensor) else batch
    with torch.autocast("cpu", enabled=False):  # what is sent later is coded in float32, too
        maps = prior.codes.encode(sent)
    bits = prior(maps, label)
    cells = sum(found[0].numel() for found in maps)
    loss = torch.stack([part.mean() for part in bits]).sum() / cells
    return loss, {f"bits{layer}": part.mean().detach() for layer, part in enumerate(bits, 1)}


@torch.no_grad()
def validate(recipe: PriorRecipe, codec: LayeredCode, state: State) -> dict[str, float]:
    """Bits an image of validation pictures' centres, and those without a prior.

    Empty where the recipe names no pictures, or has classes, which these don't come with.
    """
    if recipe.source.validation is None or recipe.net.classes:
        return {}
    prior = build_prior(recipe, codec).eval()
    prior.load_state_dict(state)
    images, side = open_images(recipe.source.validation), recipe.source.crop
    crops = torch.stack([_centre(*images[i], side) for i in range(min(len(images), 128))])
    bits = prior(prior.codes.encode(crops))
    total = float(torch.stack(bits).sum(dim=0).mean())
    return {"bits": total, "fixed_bits": prior.fixed_bits(side, side)}


def _centre(name: str, image: Tensor, side: int) -> Tensor:
    if min(image.shape[1:]) < side:
        raise VqlinkError(f"{name} is smaller than the {side}x{side} that are validated")
    top, left = ((length - side) // 2 for length in image.shape[1:])
    return image[:, top : top + side, left : left + side]

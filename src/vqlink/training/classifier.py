"""Training of classifiers: cross-entropy on mirrored and shifted pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from vqlink.config.classifier import ClassifierRecipe, build_classifier
from vqlink.config.weights import write_folder
from vqlink.metrics.classifier import accuracy
from vqlink.rng import stream
from vqlink.sources.labelled import LabelledPictures
from vqlink.training.loop import TrainingResult
from vqlink.training.plain import PlainRun, Report, State

_SHIFT = 4  # pixels, at most
_SMOOTHING = 0.1


def train_classifier(
    recipe: ClassifierRecipe, folder: Path, *, resume: bool = False, report: Report | None = None
) -> TrainingResult:
    """Train a classifier into ``folder``: state, weights and ``log.jsonl``.

    Ctrl-C and SIGTERM finish the step and save; resumption goes on bit for bit.

    Raises:
        VqlinkError: for data, folders or states that can't be used, and when training diverges.
    """
    net, config, source = build_classifier(recipe), recipe.training, recipe.source
    pictures = LabelledPictures(
        source.train, source.label, source.crop, recipe.classes, seed=config.seed
    )
    held_out = None
    if source.validation is not None:
        held_out = LabelledPictures(
            source.validation, source.label, source.crop, recipe.classes, seed=config.seed
        )

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        sent, label = pictures.batch(step, config.batch)
        sent = shifted(sent, generator=stream(config.seed, "shift", step))
        logits = net(sent).float()
        right = (logits.argmax(dim=1) == label).float().mean()
        loss = functional.cross_entropy(logits, label, label_smoothing=_SMOOTHING)
        return loss, {"accuracy": right}

    def validate(state: State) -> dict[str, float]:
        if held_out is None:
            return {}
        averaged = build_classifier(recipe)
        averaged.load_state_dict(state)
        return {"accuracy": accuracy(averaged, held_out.parts(250))}

    def save(state: State) -> str:
        tree = recipe.model_dump(mode="json")
        return write_folder(folder / "weights", state, tree, storage="float32")

    run = PlainRun(
        net, config, folder, identity=recipe.model_dump_json(),
        loss=loss, validate=validate, save=save,
    )  # fmt: skip
    return run.train(resume=resume, report=report)


def shifted(pictures: Tensor, *, generator: torch.Generator) -> Tensor:
    """Pictures (B, C, H, W), each moved by up to four pixels, its border filled by reflection."""
    batch, _, height, width = pictures.shape
    padded = functional.pad(pictures, [_SHIFT] * 4, mode="reflect")
    down, right = torch.randint(2 * _SHIFT + 1, (2, batch), generator=generator)
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]
    picture = torch.arange(batch)[:, None, None, None]
    channel = torch.arange(pictures.shape[1])[None, :, None, None]
    return padded[picture, channel, rows, columns]

"""``vqlink train`` for nets that train in one process: priors and classifiers."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vqlink.cli.options import check_folder, passing_bar, print_json, run_folder
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from vqlink.training.loop import TrainingResult
    from vqlink.training.plain import Report

    Train = Callable[[Path, bool, Report], TrainingResult]


@dataclass(frozen=True)
class _Job:
    """What is trained: its name, hash and steps, how, and what the weights are good for."""

    name: str
    hash: str
    steps: int
    train: Train
    use: str


def train_plain(
    kind: Literal["prior", "classifier"],
    name: str,
    overrides: Sequence[str],
    out: Path | None,
    *,
    one_process: bool,
    resume: bool,
    as_json: bool,
) -> None:
    """Train a recipe into OUT.

    Raises:
        VqlinkError: for several processes, which these don't have.
    """
    if not one_process:
        raise VqlinkError(f"{kind}s train in one process: no --devices or --nodes here")

    job = _prior(name, overrides) if kind == "prior" else _classifier(name, overrides)
    folder = out if out is not None else run_folder(name)
    if not resume:
        check_folder(folder)
    with passing_bar() as bar:
        task = bar.add_task(job.name, total=job.steps)

        def report(step: int, figures: str) -> None:
            bar.update(task, completed=step, description=f"{job.name} {figures}")

        result = job.train(folder, resume, report)
    weights = folder / "weights"
    again = None
    if not result.complete:
        words = [*(f"--set={text}" for text in overrides), "--out", str(folder), "--resume"]
        again = shlex.join(["vqlink", "train", name, *words])
    if as_json:
        print_json(
            {
                "recipe": job.name, "hash": job.hash, "step": result.step,
                "steps": job.steps, "complete": result.complete,
                "weights": str(weights), "resume": again,
            }
        )  # fmt: skip
    elif again is None:
        print(f"Trained {job.name}: {result.step} steps. Try it:")
        print(f"  {job.use.format(shlex.quote(str(weights)))}")
    else:
        print(f"Interrupted and saved at step {result.step}. Go on with:\n  {again}")


def _prior(name: str, overrides: Sequence[str]) -> _Job:
    from vqlink.config.load import recipe_hash
    from vqlink.config.prior import load_prior_recipe
    from vqlink.training.prior import train_prior
    from vqlink.zoo.prior import codec_folder

    recipe = load_prior_recipe(name, overrides)
    codec = codec_folder(recipe.codec)

    def train(folder: Path, resume: bool, report: Report) -> TrainingResult:
        return train_prior(recipe, codec, folder, resume=resume, report=report)

    steps = recipe.training.steps
    return _Job(recipe.name, recipe_hash(recipe), steps, train, "vqlink sample {}")


def _classifier(name: str, overrides: Sequence[str]) -> _Job:
    from vqlink.config.classifier import load_classifier_recipe
    from vqlink.config.load import recipe_hash
    from vqlink.training.classifier import train_classifier

    recipe = load_classifier_recipe(name, overrides)

    def train(folder: Path, resume: bool, report: Report) -> TrainingResult:
        return train_classifier(recipe, folder, resume=resume, report=report)

    use = "vqlink sample hrvqvae-cifar10-prior -n 2000 --against PICTURES --features {}"
    return _Job(recipe.name, recipe_hash(recipe), recipe.training.steps, train, use)

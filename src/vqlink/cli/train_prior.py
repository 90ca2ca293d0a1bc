"""``vqlink train`` for priors."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from vqlink.cli.options import check_folder, print_json
from vqlink.errors import VqlinkError


def train_prior_command(
    name: str,
    overrides: Sequence[str],
    out: Path | None,
    *,
    one_process: bool,
    resume: bool,
    as_json: bool,
) -> None:
    """Train a prior's recipe into OUT.

    Raises:
        VqlinkError: for several processes, which priors don't have.
    """
    if not one_process:
        raise VqlinkError("priors train in one process: no --devices or --nodes here")
    from rich.console import Console
    from rich.progress import Progress

    from vqlink.config.prior import load_prior_recipe, prior_hash
    from vqlink.training.prior import train_prior
    from vqlink.zoo.prior import codec_folder

    recipe = load_prior_recipe(name, overrides)
    folder = out if out is not None else Path("runs") / recipe.name
    codec = codec_folder(recipe.codec)
    if not resume:
        check_folder(folder)
    with Progress(console=Console(stderr=True, quiet=as_json), transient=True) as bar:
        task = bar.add_task(recipe.name, total=recipe.training.steps)

        def report(step: int, figures: str) -> None:
            bar.update(task, completed=step, description=f"{recipe.name} {figures}")

        result = train_prior(recipe, codec, folder, resume=resume, report=report)
    weights = folder / "weights"
    again = None
    if not result.complete:
        words = [*(f"--set={text}" for text in overrides), "--out", str(folder), "--resume"]
        again = shlex.join(["vqlink", "train", name, *words])
    if as_json:
        print_json(
            {
                "recipe": recipe.name, "hash": prior_hash(recipe), "step": result.step,
                "steps": recipe.training.steps, "complete": result.complete,
                "weights": str(weights), "resume": again,
            }
        )  # fmt: skip
    elif again is None:
        print(f"Trained {recipe.name}: {result.step} steps. Try it:")
        print(f"  vqlink sample {shlex.quote(str(weights))}")
    else:
        print(f"Interrupted and saved at step {result.step}. Go on with:\n  {again}")

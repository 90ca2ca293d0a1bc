"""``vqlink train`` for speech recipes: a minute or two in one process."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from vqlink.cli.options import check_folder, passing_words, print_json, run_folder
from vqlink.errors import VqlinkError


def train_speech(
    name: str,
    overrides: Sequence[str],
    out: Path | None,
    *,
    resume: bool,
    one_process: bool,
    as_json: bool,
) -> None:
    """Train a speech recipe and write its weights to OUT/weights.

    Raises:
        VqlinkError: for several processes, which speech recipes don't have.
    """
    from vqlink.config.load import recipe_hash
    from vqlink.config.speech import load_speech_recipe

    if not one_process:
        raise VqlinkError("speech recipes train in a few minutes: no --devices or --nodes here")
    recipe = load_speech_recipe(name, overrides)
    folder = out if out is not None else run_folder(name)
    if not resume:
        check_folder(folder)

    from vqlink.training.speech_run import train_speech_recipe

    steps = recipe.training.steps
    with passing_words("reading recordings") as say:

        def log(values: dict[str, float]) -> None:
            rest = ", ".join(f"{key} {value:.4g}" for key, value in values.items() if key != "step")
            say(f"{recipe.name}: step {values['step']:.0f} of {steps}, {rest}")

        result = train_speech_recipe(recipe, folder, resume=resume, log=log)
    words = ["vqlink", "train", name, *(f"--set={text}" for text in overrides)]
    words += ["--out", str(folder), "--resume"]
    again = None if result.complete else shlex.join(words)
    if as_json:
        print_json(
            {
                "recipe": recipe.name,
                "hash": recipe_hash(recipe),
                "step": result.step,
                "steps": steps,
                "complete": result.complete,
                "weights": str(result.weights),
                "resume": again,
            }
        )
    elif again is None:
        print(f"Trained {recipe.name}: {steps} steps. Its weights: {result.weights}")
    else:
        print(f"Interrupted and saved at step {result.step} of {steps}. Go on with:\n  {again}")

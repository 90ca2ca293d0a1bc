"""``vqlink train`` for speech recipes: a minute or two in one process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqlink.cli.options import check_folder, print_json
from vqlink.errors import VqlinkError


def train_speech(
    name: str, overrides: Sequence[str], out: Path | None, *, one_process: bool, as_json: bool
) -> None:
    """Train a speech recipe and write its weights to OUT/weights.

    Raises:
        VqlinkError: for several processes or a resumed run, which speech recipes don't have.
    """
    from rich.console import Console

    from vqlink.config.speech import load_speech_recipe, speech_recipe_hash

    if not one_process:
        raise VqlinkError(
            "speech recipes train in a few minutes: no --devices, --nodes or --resume here"
        )
    recipe = load_speech_recipe(name, overrides)
    folder = out if out is not None else Path("runs") / recipe.name
    check_folder(folder)

    from vqlink.training.speech_run import train_speech_recipe

    with Console(stderr=True, quiet=as_json).status("reading recordings") as status:

        def log(values: dict[str, float]) -> None:
            rest = ", ".join(f"{key} {value:.4g}" for key, value in values.items() if key != "step")
            steps = recipe.training.steps
            status.update(f"{recipe.name}: step {values['step']:.0f} of {steps}, {rest}")

        weights = train_speech_recipe(recipe, folder, log=log)
    if as_json:
        print_json(
            {
                "recipe": recipe.name,
                "hash": speech_recipe_hash(recipe),
                "steps": recipe.training.steps,
                "complete": True,
                "weights": str(weights),
            }
        )
    else:
        print(f"Trained {recipe.name}: {recipe.training.steps} steps. Its weights: {weights}")

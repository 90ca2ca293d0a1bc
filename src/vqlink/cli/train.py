"""``vqlink train``: run a recipe, interrupt it, go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vqlink.cli.options import check_folder, print_json


def train_command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a shipped name or a .yaml file")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; repeatable")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the run's folder [default: runs/NAME]")] = None,
    resume: Annotated[bool, typer.Option(help="go on with the run in --out")] = False,
    devices: Annotated[int, typer.Option(min=1, help="processes a node, under DDP")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="nodes, under torchrun")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON alone")] = False,
) -> None:
    """Train RECIPE; Ctrl-C saves and stops, --resume goes on bit for bit."""
    from vqlink.config.load import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    folder = out if out is not None else Path("runs") / loaded.name
    check_folder(folder)

    from vqlink.training.loop import train

    result = train(loaded, folder, resume=resume, devices=devices, nodes=nodes, quiet=as_json)
    if int(os.environ.get("LOCAL_RANK", "0")) != 0:
        return
    if as_json:
        document = {"recipe": loaded.name, "step": result.step, "complete": result.complete}
        print_json({**document, "weights": str(folder / "weights")})
    elif result.complete:
        print(f"Done. Try it: vqlink send PICTURE --system {folder / 'weights'}")
    else:
        sets = "".join(f" --set {text}" for text in overrides or [])
        print(f"Saved at step {result.step} of {loaded.training.steps}. Go on with:")
        print(f"  vqlink train {recipe}{sets} --out {folder} --resume")

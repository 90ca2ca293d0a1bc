"""``vqlink train``: run a recipe, interrupt it, go on."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqlink.cli.options import check_folder, is_watched, print_json, run_folder

if TYPE_CHECKING:
    from vqlink.config.schema import Recipe


def train_command(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a shipped name or a .yaml file")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; repeatable")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="the run's folder [default: runs/NAME, of a file its own]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    devices: Annotated[int, typer.Option(min=1, help="processes on each node, under DDP")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="machines, see docs/training.md")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON alone")] = False,
) -> None:
    """Train RECIPE; Ctrl-C saves and stops, --resume goes on bit for bit."""
    from vqlink.config.load import load_recipe, recipe_hash, recipe_kind

    one_process = devices == 1 and nodes == 1
    kind = recipe_kind(recipe)
    if kind == "speech":
        from vqlink.cli.train_speech import train_speech

        train_speech(
            recipe, overrides or [], out, resume=resume, one_process=one_process, as_json=as_json
        )
        return
    if kind != "code":
        from vqlink.cli.train_plain import train_plain

        train_plain(
            kind, recipe, overrides or [], out,
            one_process=one_process, resume=resume, as_json=as_json,
        )  # fmt: skip
        return
    loaded = load_recipe(recipe, overrides or [])
    folder = out if out is not None else run_folder(recipe)
    if not resume:
        check_folder(folder)
    initial = None if resume else _initial_folder(loaded)

    from vqlink.training.loop import train

    result = train(
        loaded,
        folder,
        resume=resume,
        initial=initial,
        devices=devices,
        nodes=nodes,
        progress=not as_json or is_watched(),
    )
    if os.environ.get("RANK", "0") != "0":  # under torchrun every process comes here
        return
    words = ["vqlink", "train", recipe, *(f"--set={text}" for text in overrides or [])]
    words += ["--out", str(folder)]
    words += [f"--{name}={n}" for name, n in (("devices", devices), ("nodes", nodes)) if n > 1]
    again = None if result.complete else shlex.join([*words, "--resume"])
    if as_json:
        print_json(
            {
                "recipe": loaded.name,
                "hash": recipe_hash(loaded),
                "step": result.step,
                "steps": loaded.training.steps,
                "complete": result.complete,
                "weights": str(folder / "weights"),
                "resume": again,
            }
        )
    elif again is None:
        print(f"Trained {loaded.name}: {result.step} steps. Try it:")
        sentence = "'A man rides a horse.' --channel bec --erasure 0.3"
        what = sentence if loaded.source.kind == "text" else "PICTURE"
        print(f"  vqlink send {what} --system {shlex.quote(str(folder / 'weights'))}")
    else:
        print(
            f"Interrupted and saved at step {result.step} of {loaded.training.steps}. Go on with:"
        )
        print(f"  {again}")


def _initial_folder(recipe: Recipe) -> Path | None:
    """The folder of ``training.init_from`` where that is a zoo name, which training doesn't know.

    A folder is left to training, which tells when there is none.
    """
    name = recipe.training.init_from
    if name is None or os.sep in name:
        return None
    from vqlink.zoo.catalogue import entries, find
    from vqlink.zoo.text import text_entries

    folders = {entry.name: entry.folder for entry in text_entries()}
    folders |= {entry.name: entry.folder for entry in entries()}
    if name not in folders and Path(name).exists():
        return None
    return folders[name] if name in folders else find(name).folder

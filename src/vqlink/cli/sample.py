"""``vqlink sample``: pictures that a prior makes up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqlink.cli.options import check_folder, print_json
from vqlink.errors import VqlinkError


def sample_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a prior's zoo name or folder")],
    count: Annotated[int, typer.Option("--number", "-n", min=1, max=4096)] = 64,
    side: Annotated[int, typer.Option(min=8, max=512, help="of each picture, in pixels")] = 32,
    label: Annotated[int | None, typer.Option(help="class, of a conditional prior")] = None,
    temperature: Annotated[float, typer.Option(help="below 1: likelier pictures")] = 1.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path, typer.Option(help="the grid, a .png")] = Path("samples.png"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON alone")] = False,
) -> None:
    """Draw pictures from a prior over a codec's maps and write them as a grid."""
    if not 0.05 <= temperature <= 10:
        raise VqlinkError(f"--temperature is from 0.05 to 10, not {temperature}")
    if out.suffix.lower() != ".png":
        raise VqlinkError(f"{out}: the grid is a PNG; let the name end in .png")
    if side % 8:
        raise VqlinkError(f"--side is a multiple of 8, not {side}")
    from rich.console import Console
    from rich.progress import Progress

    from vqlink.reporting.grids import picture_grid
    from vqlink.rng import stream
    from vqlink.sources.images import write_image
    from vqlink.systems.image_prior import draw_labels, fill_labels
    from vqlink.zoo.prior import load_prior

    prior = load_prior(name)
    if (label is not None) and not 0 <= label < prior.classes:
        what = f"classes 0 to {prior.classes - 1}" if prior.classes else "no classes"
        raise VqlinkError(f"{name} has {what}: --label {label} is none of them")
    check_folder(out.parent)
    labels = None
    if prior.classes:
        labels = (
            draw_labels(count, prior.classes, seed=seed)
            if label is None
            else (fill_labels(count, label))
        )
    with Progress(console=Console(stderr=True, quiet=as_json), transient=True) as bar:
        task = bar.add_task("sampling")
        images = prior.sample(
            count, (side, side), generator=stream(seed, "samples"), label=labels,
            temperature=temperature,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    write_image(picture_grid(images), out)
    if as_json:
        print_json({"prior": name, "number": count, "side": side, "seed": seed, "grid": str(out)})
    else:
        print(f"{count} pictures of {side} x {side} in {out}")

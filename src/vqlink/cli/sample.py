"""``vqlink sample``: pictures that a prior makes up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqlink.cli.options import check_folder, passing_bar, print_json
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from torch import Tensor

    from vqlink.systems.image_prior import ImagePrior

_SHOWN = 256


def sample_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a prior's zoo name or folder")],
    count: Annotated[int, typer.Option("--number", "-n", min=1, max=50_000)] = 64,
    side: Annotated[int, typer.Option(min=8, max=512, help="of each picture, in pixels")] = 32,
    label: Annotated[int | None, typer.Option(help="class, of a conditional prior")] = None,
    temperature: Annotated[float, typer.Option(help="below 1: likelier pictures")] = 1.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    against: Annotated[
        str | None, typer.Option(help="real pictures, to take a Frechet distance from")
    ] = None,
    features: Annotated[
        str, typer.Option(help="of the distance: a classifier, inception or inception:FILE")
    ] = "cifar10-classifier",
    out: Annotated[Path, typer.Option(help="the grid of the first 256, a .png")] = Path(
        "samples.png"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON alone")] = False,
) -> None:
    """Draw pictures from a prior over a codec's maps and write them as a grid."""
    if not 0.05 <= temperature <= 10:
        raise VqlinkError(f"--temperature is from 0.05 to 10, not {temperature}")
    if out.suffix.lower() != ".png":
        raise VqlinkError(f"{out}: the grid is a PNG; let the name end in .png")
    if side % 8:
        raise VqlinkError(f"--side is a multiple of 8, not {side}")
    import torch

    from vqlink.evaluation.samples import add_real, draw
    from vqlink.reporting.grids import picture_grid
    from vqlink.sources.datasets import open_images
    from vqlink.sources.images import write_image
    from vqlink.zoo.classifier import open_meter
    from vqlink.zoo.prior import load_prior

    prior = load_prior(name)
    labels = _labels(name, prior, count, label, seed)
    if against is not None and count < 2:
        raise VqlinkError("a Frechet distance takes at least two samples: give --number")
    meter = None if against is None else open_meter(features)
    check_folder(out.parent)
    with passing_bar() as bar:
        task = bar.add_task("sampling")

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        if meter is not None and against is not None:
            add_real(meter, open_images(against), (side, side), report=report)
        shown: list[Tensor] = []
        for part in draw(
            prior, count, (side, side), seed=seed, labels=labels, temperature=temperature,
            report=report,
        ):  # fmt: skip
            if len(shown) < _SHOWN:
                shown += part.unbind()
            if meter is not None:
                meter.add(part, real=False)
    write_image(picture_grid(torch.stack(shown[:_SHOWN])), out)
    distance = None if meter is None else meter.distance()
    if as_json:
        found = {"prior": name, "number": count, "side": side, "seed": seed, "grid": str(out)}
        if distance is not None:
            found |= {
                "against": against, "metric": distance.title, "distance": distance.value,
                "real": distance.real,
            }  # fmt: skip
        print_json(found)
        return
    print(f"{count} pictures of {side} x {side}, the first {min(count, _SHOWN)} in {out}")
    if distance is not None:
        print(f"{distance.title}: {distance.value:.2f} from {distance.real} of {against}")


def _labels(
    name: str, prior: ImagePrior, count: int, label: int | None, seed: int
) -> Tensor | None:
    """Of each sample: the one asked for, or all as equally often as can be; None without classes.

    Raises:
        VqlinkError: for a class that the prior doesn't have.
    """
    from vqlink.systems.image_prior import draw_labels, fill_labels

    if (label is not None) and not 0 <= label < prior.classes:
        what = f"classes 0 to {prior.classes - 1}" if prior.classes else "no classes"
        raise VqlinkError(f"{name} has {what}: --label {label} is none of them")
    if not prior.classes:
        return None
    if label is None:
        return draw_labels(count, prior.classes, seed=seed)
    return fill_labels(count, label)

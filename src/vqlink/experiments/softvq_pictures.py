"""Pictures of paper 000's figures: what arrives from the soft and the attentive one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from vqlink.experiments.cells import cell_name
from vqlink.experiments.softvq_data import load_source
from vqlink.experiments.softvq_images import SoftRun, load
from vqlink.experiments.softvq_measure import receive
from vqlink.experiments.softvq_runs import RUNS, cell
from vqlink.reporting.figures import pictures_figure

_CHOSEN = (3, 7, 12)
"""Numbers of the test pictures that are shown."""


def draw_pictures(
    folder: Path, figure: str, regime: str, sigmas: Sequence[float]
) -> tuple[Path, ...]:
    """Draw the figure's pictures from the weights that its runs left in ``runs/``.

    Without weights, such as on a machine that only has the rows, the picture that there is stays.
    """
    path = folder / f"vqvae-awgn-{figure}-pictures.svg"
    rows: dict[str, list[Tensor]] = {}
    for power, suffix in (("none", ""), ("message", ", P = 1")):
        for name, label in (("attention", "attentive"), ("distance", "soft")):
            which = cell(name, regime, power)
            weights = RUNS / f"{cell_name(which)}.safetensors"
            if not weights.exists():
                continue
            run = SoftRun(**dict(which))  # type: ignore[arg-type]
            system = load(run, weights)
            _, test = load_source(run.source, RUNS)
            images = test[list(_CHOSEN)].float() / 255
            values = system.values(images)
            arrived = [receive(system, values, s, images.shape[-2:])[0] for s in sigmas]
            for number in range(len(_CHOSEN)):
                rows[f"{label}{suffix} {number + 1}"] = [
                    images[number],
                    *(received[number] for received in arrived),
                ]
    if rows:
        columns = ["sent", "no noise", *(f"sigma {sigma:g}" for sigma in sigmas if sigma)]
        path.write_text(pictures_figure(rows, columns), encoding="utf-8")
    return (path,) if path.exists() else ()

"""The runs that Figures 2, 4 and 5 of paper 000 are drawn from, and how a cell runs."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from vqlink.experiments.cells import Cell, cell_name
from vqlink.experiments.reproduction import Budget, Row
from vqlink.experiments.softvq_data import load_source
from vqlink.experiments.softvq_images import SoftRun, save, train
from vqlink.experiments.softvq_measure import measure

RUNS = Path("runs/vqvae-awgn")
UPDATES = {"smoke": 10, "cpu": 1000, "full": 50_000}


def cell(assignment: str, regime: str, power: str, **other: Any) -> Cell:
    """A run: the paper's settings but for what is named."""
    return {
        "source": "cifar10", "assignment": assignment, "sent": "mixture", "heads": 1, "sign": -1,
        "scale": "size", "regime": regime, "power": power, "seed": 0, **other,
    }  # fmt: skip


def plan(budget: Budget) -> dict[str, list[Cell]]:
    """The cells of each figure, those that matter most first."""

    def both(regime: str, power: str, **other: Any) -> list[Cell]:
        return [cell(name, regime, power, **other) for name in ("distance", "attention")]

    if budget == "smoke":
        return {"fig2": both("clean", "none"), "fig4": both("fixed", "none") +
                both("fixed", "message"), "fig5": both("integers", "none")}  # fmt: skip
    if budget == "full":
        return {
            figure: [
                {**c, "source": "celeba", "seed": seed}
                for seed in range(3)
                for c in cells
                if c["source"] == "cifar10" and c["seed"] == 0
            ]
            for figure, cells in plan("cpu").items()
        }
    return {
        "fig2": both("clean", "none") + both("clean", "message") + both("clean", "none", seed=1),
        "fig4": [
            *both("fixed", "none"),
            *both("fixed", "message"),
            *both("fixed", "none", seed=1),
            *both("fixed", "message", seed=1),
            cell("identity", "fixed", "none"),
            cell("identity", "fixed", "message"),
            *OPTIONS,
            *both("fixed", "none", source="imagenet"),
            *both("fixed", "message", source="imagenet"),
            *both("fixed", "none", seed=2),
            *both("fixed", "message", seed=2),
        ],
        "fig5": [
            *both("integers", "none"),
            *both("range", "none"),
            *both("range", "message"),
        ],
    }


OPTIONS = (
    cell("attention", "fixed", "none", sign=1),
    cell("attention", "fixed", "none", sign=1, scale="dim"),
    cell("attention", "fixed", "none", heads=4),
    cell("attention", "fixed", "none", sent="signs"),
    cell("distance", "fixed", "none", sent="codeword"),
    cell("attention", "fixed", "none", sent="codeword"),
    cell("attention", "fixed", "message", sign=1),
    cell("attention", "fixed", "message", sign=1, scale="dim"),
    cell("attention", "fixed", "message", heads=4),
    cell("attention", "fixed", "message", sent="signs"),
    cell("distance", "fixed", "message", sent="codeword"),
    cell("attention", "fixed", "message", sent="codeword"),
)


def run_cell(which: Cell, *, updates: int) -> list[Row]:
    """Train one run and measure it; its weights stay in ``runs/`` for the pictures."""
    if which["source"] == "imagenet":
        updates = -(-updates // 2)  # pictures of four times the size
    run = SoftRun(**dict(which), updates=updates)  # type: ignore[arg-type]
    images, test = _pixels(run.source)
    system, log = train(run, images)
    rows = measure(system, test if updates >= 100 else test[:20])
    if updates >= 100:
        save(system, RUNS / f"{cell_name(which)}.safetensors")
    return [{"updates": updates, **row, **log} for row in rows]


@lru_cache(maxsize=1)
def _pixels(source: Any) -> tuple[Tensor, Tensor]:
    return load_source(source, Path("runs/vqvae-awgn"))

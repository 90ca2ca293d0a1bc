"""``hrvqvae-table1``, ``-fig5`` and ``-fig6``: reconstruction by trees, layers and flat codebooks.

All runs share one file of rows. Every model is measured twice: as the papers have it, and healthy,
with k-means at the start and replacement.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqlink.experiments.cells import Cell, run_cells
from vqlink.experiments.hrvqvae_images import HierarchyRun, train
from vqlink.experiments.nsvq_images import cifar10
from vqlink.experiments.reproduction import (
    Budget,
    Claim,
    Reproduction,
    Row,
    Spread,
    of_all,
    select,
    spread,
)
from vqlink.reporting.figures import Curve, curves_figure

TABLE_1 = (("hr", "8x8x8"), ("rvq", "8x8x8"), ("vqvae", "512"), ("vqvae2", "512"))
LARGER = (("hr", "16x16x16"), ("rvq", "16x16x16"), ("vqvae", "4096"))
LARGEST = (("hr", "64x64x64"), ("rvq", "64x64x64"))
DEPTHS = ("64", "8x8", "4x4x4", "4x4x2x2", "4x2x2x2x2", "2x2x2x2x2x2")
GROWTH = {
    "hr": ("4x4x4", "8x8x8", "16x16x16", "64x64x64"),
    "rvq": ("4x4x4", "8x8x8", "16x16x16", "64x64x64"),
    "vqvae": ("64", "512", "4096"),
    "vqvae2": ("64", "512", "4096"),
}
_PAPER_MSE = {"vqvae": 0.00092, "vqvae2": 0.00068, "hr": 0.00041}
_NOTES = (
    "16x16 latents of D = 64; VQ-VAE-2 sends 8x8 and 4x4 maps besides (bits per image in the "
    "table)",
    "measured on the 5,085 lossless images of validation_exact; training images are JPEG-stored",
    "Adam at 1e-3, falling to zero over the last fifth, batches of 32 images; the paper gives no "
    "settings",
    "healthy: codebooks from k-means on 256 images, and replacement until 90 % of the run",
    "losses of eq. 5-6 with all beta 0.25, means over vectors and dimensions; VQ-VAE-2's codebooks "
    "are running means, as in its paper (Razavi et al., 2019, 2.1)",
    "networks: 0.33 million weights, of VQ-VAE-2 1.98 million",
)


def table1(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Everyone at 512 codes, and at 4,096 and 262,144 where a flat search is slow."""
    rows, path = _measure(budget, folder, jobs, [*TABLE_1, *LARGER, *LARGEST], (False, True))
    claims = [
        _ratio(rows, "vqvae2", 0.75),
        _ratio(rows, "vqvae", 0.6),
        _healthy_flat(rows),
    ]
    return _reproduction("hrvqvae-table1", "003, Table 1: CIFAR-10", rows, path, claims, ())


def fig5(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Depth 1 to 6 at 64 final codewords."""
    models = [("hr", branches) for branches in DEPTHS]
    rows, path = _measure(budget, folder, jobs, models, (False, True))
    curves: dict[str, Curve] = {}
    for healthy in (False, True):
        line = []
        for depth, branches in enumerate(DEPTHS, 1):
            found = _figure(rows, "hr", branches, healthy)
            if found is not None:
                line.append((float(depth), found.mean, found.std))
        if line:
            curves["healthy" if healthy else "as in the paper"] = line
    claims = [
        _falling(curves.get(name, ()), name, len(DEPTHS)) for name in ("as in the paper", "healthy")
    ]
    return _reproduction(
        "hrvqvae-fig5", "003, Fig. 5: depth at 64 final codewords", rows, path, claims,
        _plot(path.parent / "hrvqvae-fig5.svg", curves, "layers"),
    )  # fmt: skip


def fig6(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Growing codebooks, as the papers have them and healthy."""
    models = [(model, branches) for model, sizes in GROWTH.items() for branches in sizes]
    rows, path = _measure(budget, folder, jobs, models, (False, True))
    curves: dict[str, Curve] = {}
    for (model, sizes), healthy in itertools.product(GROWTH.items(), (False, True)):
        line = []
        for branches in sizes:
            found = _figure(rows, model, branches, healthy)
            if found is not None:
                bits = sum(int(size).bit_length() - 1 for size in branches.split("x"))
                line.append((float(bits), found.mean, found.std))
        if line:
            curves[model + (" healthy" if healthy else "")] = line
    steps = len(GROWTH["hr"])
    claims = [_falling(curves.get("hr", ()), "hr, as in the paper", steps), _collapse(rows)]
    return _reproduction(
        "hrvqvae-fig6", "003, Fig. 6: growing codebooks", rows, path, claims,
        _plot(path.parent / "hrvqvae-fig6.svg", curves, "bits a vector"),
    )  # fmt: skip


def _measure(
    budget: Budget,
    folder: Path,
    jobs: int,
    models: Sequence[tuple[str, str]],
    variants: Sequence[bool],
) -> tuple[list[Row], Path]:
    updates, seeds = {"smoke": (10, 1), "cpu": (10_000, 1), "full": (50_000, 3)}[budget]
    cells: list[Cell] = [
        {
            "model": model,
            "branches": branches,
            "healthy": healthy,
            "seed": seed,
            "updates": updates,
        }
        for seed, (model, branches), healthy in itertools.product(range(seeds), models, variants)
    ]
    path = folder / "hrvqvae.jsonl"
    return run_cells(cells, _run_cell, path, jobs=jobs), path


def _run_cell(cell: Cell) -> list[Row]:
    run = HierarchyRun(**dict(cell))  # type: ignore[arg-type]
    images, test = cifar10()
    return list(train(run, images, test[:250] if run.updates < 1000 else test))


def _figure(rows: Sequence[Row], model: str, branches: str, healthy: bool) -> Spread | None:
    found = select(rows, model=model, branches=branches, healthy=healthy)
    return spread(row["mse"] for row in found)


def _ratio(rows: Sequence[Row], rival: str, most: float) -> Claim:
    paper = _PAPER_MSE["hr"] / _PAPER_MSE[rival]
    text = f"HR-VQVAE's MSE is at most {most} of {rival}'s at 512 codes, as the papers have them"
    ours, theirs = (_figure(rows, m, b, False) for m, b in (("hr", "8x8x8"), (rival, "512")))
    if ours is None or theirs is None:
        return Claim(text, None, "not run")
    ratio = ours.mean / theirs.mean
    figures = f"{ours.mean:.5f} / {theirs.mean:.5f} = {ratio:.2f} (paper {paper:.2f})"
    return Claim(text, ratio <= most, figures)


def _healthy_flat(rows: Sequence[Row]) -> Claim:
    text = "against a healthy flat codebook HR-VQVAE is ahead from 4,096 codes on"
    ours, theirs = (_figure(rows, m, b, True) for m, b in (("hr", "16x16x16"), ("vqvae", "4096")))
    if ours is None or theirs is None:
        return Claim(text, None, "not run")
    return Claim(text, ours.mean < theirs.mean, f"MSE {ours.mean:.5f} against {theirs.mean:.5f}")


def _falling(curve: Curve, name: str, points: int) -> Claim:
    text = f"the error falls with every step ({name})"
    values = [value for _, value, _ in curve]
    falls: list[bool | None] = [b < a for a, b in itertools.pairwise(values)]
    falls += [None] * (points - 1 - len(falls))
    return of_all(text, falls, "MSE " + ", ".join(f"{v:.5f}" for v in values) if values else "")


def _collapse(rows: Sequence[Row]) -> Claim:
    """Of the rivals without replacement, from one size to the next."""
    text = "without replacement the rivals' error stops falling as their codebooks grow"
    parts: list[str] = []
    stalls: list[bool | None] = []
    for model in ("vqvae", "vqvae2"):
        values = [_figure(rows, model, size, False) for size in GROWTH[model]]
        means = [value.mean for value in values if value is not None]
        stalled = any(b >= a for a, b in itertools.pairwise(means))
        stalls.append(stalled if stalled or len(means) == len(values) else None)
        if means:
            parts.append(f"{model} " + ", ".join(f"{mean:.5f}" for mean in means))
    return of_all(text, stalls, "; ".join(parts))


def _plot(path: Path, curves: dict[str, Curve], axis: str) -> tuple[Path, ...]:
    if not curves:
        return ()
    path.write_text(curves_figure([("MSE", curves)], axis, log=(0,)), encoding="utf-8")
    return (path,)


def _reproduction(
    name: str,
    title: str,
    rows: Sequence[Row],
    path: Path,
    claims: Sequence[Claim],
    plots: tuple[Path, ...],
) -> Reproduction:
    def table_row(row: Row) -> tuple[Any, ...]:
        paper = _PAPER_MSE.get(row["model"]) if row["branches"] in ("512", "8x8x8") else None
        return (
            row["model"], row["branches"], row["healthy"], row["seed"], row["updates"],
            round(row["bits_per_image"]),
            float(f"{row['mse']:.3g}"), round(row["psnr"], 2), round(row["ssim"], 4),
            " ".join(f"{value:.0f}" for value in row["perplexity"]),
            " ".join(str(value) for value in row["unused"]),
            " ".join(f"{value:.2g}" for value in row["mse_by_layers"]), row["train_seconds"], paper,
        )  # fmt: skip

    return Reproduction(
        name=name,
        title=title,
        columns=(
            "model", "codewords", "healthy", "seed", "updates", "bits/image", "mse", "psnr",
            "ssim", "perplexity", "unused", "mse of layers 0, 1, ...", "seconds", "paper mse",
        ),
        table=tuple(table_row(row) for row in rows),
        claims=tuple(claims),
        rows=path,
        plots=plots,
        notes=_NOTES,
    )  # fmt: skip

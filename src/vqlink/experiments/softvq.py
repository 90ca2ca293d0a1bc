"""``vqvae-awgn-fig2``, ``-fig4``, ``-fig5``: soft against attentive assignment in noise (000).

All runs share one file of rows. Every run is measured over sigma, with the SNR that this makes of
its own latents; runs under a power constraint of P = 1 stand beside the paper's, which have none.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqlink.experiments.cells import read_rows, run_cells
from vqlink.experiments.reproduction import Budget, Claim, Reproduction, Row, Spread
from vqlink.experiments.softvq_claims import (
    NAMES,
    TRAINING,
    codes,
    kept,
    lost,
    options_of,
    pair,
    robustness,
    same_pattern,
    source_of,
)
from vqlink.experiments.softvq_curves import Curve, curve
from vqlink.experiments.softvq_pictures import draw_pictures
from vqlink.experiments.softvq_runs import UPDATES, cell, plan, run_cell
from vqlink.reporting.figures import Curve as Line
from vqlink.reporting.figures import curves_figure

SHOWN = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
_NOTES = (
    "the paper gives curves and pictures of CelebA without numbers, so what is held against it are "
    "its statements; figures here are from CIFAR-10 (250 lossless pictures of validation_exact; "
    "the training pictures are JPEG-stored) and, where a row says imagenet, from 64x64 crops of "
    "imagenet_sample; `--budget full` trains on CelebA (hf:flwrlabs/celeba) at 64x64",
    "1,000 updates of 16 pictures (imagenet: 500), Adam at 1e-3, falling to zero over the last "
    "fifth, convolutions in bfloat16 while training; the paper gives neither updates nor batch",
    "the 256 values of a position are four vectors of d = 64, since the tables have no layer "
    "between 256 and 64; codebook from N(0, 1); eq. 3 as MSE + beta |z_e - z_q|^2, means, with "
    "gradient to both",
    "sigma: deviation of the noise in each real value; measured SNR: mean power of what was sent "
    "over 2 sigma^2, per channel use of two values; varying SNR: the same of what differs from "
    "picture to picture, without the constant offset",
    "sent: 'mixture' z_q = w C is a continuum of values, not a code; 'codeword' is that of the "
    "largest weight, 'nearest' that nearest to z_q, both hard; 'signs' are +-1, 64 bits a vector",
    "doubling: the sigma at which the error is twice that without noise, and the SNR there",
)


def fig2(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Trained without noise, noise in the test."""
    rows, path = _measure(budget, "fig2", folder, jobs)
    soft, attentive = pair(rows, "clean", "none")
    claims = [
        lost(soft, 0.01),
        kept(attentive, 0.1),
        *robustness(soft, attentive, pair(rows, "clean", "message")),
    ]
    plots = _plots(rows, path.parent, "fig2", ("clean",))
    return _reproduction(
        "fig2", "000, Fig. 2: trained without noise", rows, claims, path,
        (*plots, *draw_pictures(path.parent, "fig2", "clean", (0.0, 0.01, 0.05, 0.1, 0.2))),
    )  # fmt: skip


def fig4(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Trained at sigma 0.05, tested over sigma; with the options."""
    rows, path = _measure(budget, "fig4", folder, jobs)
    soft, attentive = pair(rows, "fixed", "none")
    claims = [
        *robustness(soft, attentive, pair(rows, "fixed", "message")),
        *robustness(
            *pair(rows, "fixed", "none", source="imagenet"),
            pair(rows, "fixed", "message", source="imagenet"),
            on=" (imagenet crops)",
        ),
        codes(rows),
        *options_of(rows),
    ]
    plots = _plots(rows, path.parent, "fig4", ("fixed",))
    return _reproduction(
        "fig4", "000, Fig. 4: trained at sigma 0.05", rows, claims, path,
        (*plots, *draw_pictures(path.parent, "fig4", "fixed", (0.0, 0.05, 0.1, 0.2, 0.5, 1.0))),
    )  # fmt: skip


def fig5(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Trained on random noise: whole sigmas from 1 to 5 (the paper), and 0.001 to 1."""
    rows, path = _measure(budget, "fig5", folder, jobs)
    soft, attentive = pair(rows, "integers", "none")
    wide = pair(rows, "range", "none")
    claims = [
        *robustness(soft, attentive, None, on=" (sigma 1 to 5)", most=5.0),
        *robustness(*wide, pair(rows, "range", "message"), on=" (sigma 0.001 to 1)"),
        same_pattern(read_rows(path)),
    ]
    plots = _plots(rows, path.parent, "fig5", ("integers", "range"))
    return _reproduction(
        "fig5", "000, Fig. 5: trained on random noise", rows, claims, path,
        (*plots, *draw_pictures(path.parent, "fig5", "integers", (0.0, 0.5, 1.0, 2.0, 5.0))),
    )  # fmt: skip


def _measure(budget: Budget, figure: str, folder: Path, jobs: int) -> tuple[list[Row], Path]:
    path = folder / "vqvae-awgn.jsonl"
    updates = UPDATES[budget]
    work = functools.partial(run_cell, updates=updates)
    cells = plan(budget)[figure]
    least = {"updates": updates // 2}  # large pictures take half
    return run_cells(cells, work, path, jobs=jobs, least=least), path


def _plots(
    rows: Sequence[Row], folder: Path, figure: str, regimes: Sequence[str]
) -> tuple[Path, ...]:
    """The error over sigma, over the measured SNR, and over the SNR at equal power."""
    free: dict[str, Curve] = {}
    bound: dict[str, Curve] = {}
    for regime in regimes:
        for power, curves in (("none", free), ("message", bound)):
            for name in NAMES:
                settings = {**cell(name, regime, power), "source": source_of(rows)}
                label = NAMES[name] + (f", {TRAINING[regime]}" if len(regimes) > 1 else "")
                if found := curve(rows, settings):
                    curves[label] = found
    paths = []
    for kind, curves in (("", free), ("-snr", free), ("-power", bound)):
        lines = {name: _line(found, snr=bool(kind)) for name, found in curves.items()}
        if lines:
            label = "sigma" if not kind else "measured SNR in dB"
            path = folder / f"vqvae-awgn-{figure}{kind}.svg"
            panel = "MSE" if kind != "-power" else "MSE at P = 1"
            svg = curves_figure([(panel, lines)], label, log=(0,), log_x=not kind)
            path.write_text(svg, encoding="utf-8")
            paths.append(path)
    return tuple(paths)


def _line(found: Curve, *, snr: bool) -> Line:
    spots = [(sigma, spot) for sigma, spot in found.items() if spot.snr is not None]
    points = [
        (spot.snr.mean if snr and spot.snr else sigma, spot.mse.mean, spot.mse.std)
        for sigma, spot in spots
    ]
    return sorted(points)


def _table(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """A line for each kind of run, for what was sent, and for the sigmas that are shown."""
    keys = ("source", "assignment", "sent", "heads", "sign", "scale", "regime", "power")
    kinds = dict.fromkeys((*(row[key] for key in keys), row["arrived_from"]) for row in rows)
    table = []
    for *values, arrived in kinds:
        settings = dict(zip(keys, values, strict=True))
        for sigma, spot in curve(rows, settings, arrived_from=arrived).items():
            if sigma in SHOWN:
                table.append(
                    (
                        settings["source"], _label(settings), TRAINING[settings["regime"]],
                        settings["power"], arrived, sigma, _rounded(spot.snr, 1),
                        _rounded(spot.varying, 1), float(f"{spot.mse.mean:.4g}"),
                        spot.mse.rounded_std(2), spot.mse.n, round(spot.psnr.mean, 2),
                        round(spot.ssim.mean, 4),
                    )
                )  # fmt: skip
    return table


def _label(settings: dict[str, Any]) -> str:
    parts = [NAMES[settings["assignment"]]]
    if settings["heads"] > 1:
        parts.append(f"{settings['heads']} heads")
    if settings["sign"] > 0:
        parts.append("plus")
    if settings["scale"] == "dim":
        parts.append("sqrt(d)")
    if settings["sent"] != "mixture":
        parts.append(f"trained on {settings['sent'].removesuffix('s')}s")
    return ", ".join(parts)


def _rounded(value: Spread | None, digits: int) -> float | None:
    return None if value is None else round(value.mean, digits)


def _reproduction(
    figure: str,
    title: str,
    rows: Sequence[Row],
    claims: Sequence[Claim],
    path: Path,
    plots: tuple[Path, ...],
) -> Reproduction:
    return Reproduction(
        name=f"vqvae-awgn-{figure}",
        title=title,
        columns=(
            "source", "assignment", "training noise", "power", "sent", "sigma", "SNR dB",
            "varying SNR dB", "mse", "std", "seeds", "psnr", "ssim",
        ),
        table=tuple(_table(rows)),
        claims=tuple(claims),
        rows=path,
        plots=plots,
        notes=_NOTES,
    )  # fmt: skip

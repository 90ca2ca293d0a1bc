"""``hrvqvae-fig8``: what each layer of the shipped tree carries."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path

import torch
from torch import Tensor

from vqlink.experiments.cells import Cell, run_cells
from vqlink.experiments.hrvqvae_streams import CODEC, DATA
from vqlink.experiments.reproduction import Budget, Reproduction, Row, of_all
from vqlink.experiments.sweeps import (
    can_open,
    weights_now,
    weights_of,
)
from vqlink.metrics.image import psnr, ssim
from vqlink.reporting.figures import pictures_figure
from vqlink.sources.datasets import open_images
from vqlink.systems.layered_code import LayeredCode
from vqlink.zoo.catalogue import load_system

_SHOWN = (1, 5, 9, 20, 33)  # numbers of the pictures that are drawn
_NOTES = (
    "hard codes without a channel; what is left out drops out of the sum, as on the air",
    "lossless pictures of validation_exact, the first ones; mean and deviation over pictures",
)


def reproduce(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Decode with 0, 1, ... layers."""
    samples = {"smoke": 2, "cpu": 1000, "full": 5000}[budget]
    path = folder / "hrvqvae-fig8.jsonl"
    known = can_open(CODEC)
    cells: list[Cell] = [{"system": CODEC}] if known or path.exists() else []
    work = functools.partial(_run_cell, samples=samples)
    rows = run_cells(cells, work, path, jobs=jobs, least={"samples": samples}, weights=weights_now)
    values = [row["psnr"] for row in rows]
    rises: list[bool | None] = [b > a for a, b in itertools.pairwise(values)]
    figures = "PSNR " + ", ".join(f"{value:.2f}" for value in values) + " dB" if values else ""
    return Reproduction(
        "hrvqvae-fig8",
        "003, Fig. 1 and 8: pictures from the first layers",
        ("layers", "bits a picture", "psnr", "std", "ssim", "pictures"),
        tuple(
            (r["layers"], round(r["bits"]), round(r["psnr"], 2), round(r["psnr_std"], 2),
             round(r["ssim"], 4), r["samples"])
            for r in rows
        ),
        (of_all("every layer adds to the picture", rises, figures),),
        path,
        _draw(folder / "hrvqvae-fig8-pictures.svg", enabled=known and budget != "smoke"),
        _NOTES,
    )  # fmt: skip


def _codec() -> tuple[LayeredCode, str]:
    system, _, sha256 = load_system(weights_of(CODEC))
    assert isinstance(system, LayeredCode)
    return system.eval(), sha256


@torch.no_grad()
def _run_cell(cell: Cell, *, samples: int) -> list[Row]:
    system, sha256 = _codec()
    images = open_images(DATA)
    sent = torch.stack([images[i][1] for i in range(samples)])
    cells = system.encode(sent[:1])[0][0].numel()
    rows = []
    for layers in range(system.layers + 1):
        received = torch.cat([_first(system, part, layers) for part in torch.split(sent, 250)])
        quality = psnr(received, sent)
        bits = cells * sum(math.log2(m) for m in system.quantizer.branches[:layers])
        rows.append(
            {
                "layers": layers, "bits": bits, "psnr": float(quality.mean()),
                "psnr_std": float(quality.std()), "ssim": float(ssim(received, sent).mean()),
                "samples": samples, "weights": sha256,
            }
        )  # fmt: skip
    return rows


def _first(system: LayeredCode, sent: Tensor, layers: int) -> Tensor:
    """What the decoder makes of the first layers."""
    maps = [
        choices if layer < layers else torch.full_like(choices, -1)
        for layer, choices in enumerate(system.encode(sent))
    ]
    return system.decode(maps, (sent.shape[-2], sent.shape[-1]))


def _draw(path: Path, *, enabled: bool) -> tuple[Path, ...]:
    if enabled and Path(DATA).exists():
        system, _ = _codec()
        images = open_images(DATA)
        rows = {
            str(number): [
                images[number][1],
                *(
                    _first(system, images[number][1][None], k)[0]
                    for k in range(1, 1 + system.layers)
                ),
            ]
            for number in _SHOWN
        }
        names = [f"{k} layer{'s' * (k > 1)}" for k in range(1, 1 + system.layers)]
        path.write_text(pictures_figure(rows, ["sent", *names]), encoding="utf-8")
    return (path,) if path.exists() else ()

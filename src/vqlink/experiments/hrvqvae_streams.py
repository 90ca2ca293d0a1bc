"""``hrvqvae-streams``: layers under unequal and under equal protection, at the same uses."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqlink.channels.awgn import AWGN
from vqlink.evaluation.rows import channel_noise
from vqlink.experiments.cells import Cell, run_cells
from vqlink.experiments.reproduction import Budget, Claim, Reproduction, Row, select
from vqlink.experiments.sweeps import (
    can_open,
    weights_now,
    weights_of,
)
from vqlink.links.indices import IndexLink, Lost
from vqlink.metrics.image import psnr
from vqlink.protocols import Point
from vqlink.reporting.figures import Curve, curves_figure
from vqlink.sources.datasets import open_images
from vqlink.systems.layered_code import LayeredCode, equal_rate
from vqlink.zoo.catalogue import load_system

CODEC = "hrvqvae-cifar10"
DATA = "data/cifar10/validation_exact.parquet"
UNEQUAL = "unequal, a stream a layer"
EQUAL = {
    "equal, a stream a layer": "conceal",
    "equal, one frame, hard decisions": "hard",
    "equal, one frame, concealed": "conceal",
}
SNR_DB = tuple(float(snr) for snr in range(-8, 7))
_FAILS_DB = 1.0
_NOTES = (
    "QPSK over AWGN, 5G LDPC with CRC-24; unequal: rates 1/8, 3/5, 3/4 for the three layers, "
    "below 1/5 by repetition; equal: the one rate that takes as many uses (0.273), a block a layer "
    "or one block for all",
    "pictures are the first of validation_exact; each meets noise of its own, the same for all",
    "equal protection fails at the highest SNR where the best of its forms is 1 dB or more below "
    "what it gives in a clear channel",
)


def reproduce(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Measure what is missing, and judge."""
    samples = {"smoke": 2, "cpu": 200, "full": 2000}[budget]
    path = folder / "hrvqvae-streams.jsonl"
    cells: list[Cell] = [{"protection": name} for name in (UNEQUAL, *EQUAL)]
    work = functools.partial(_run_cell, samples=samples)
    known = can_open(CODEC) or path.exists()
    rows = run_cells(
        cells if known else [], work, path, jobs=jobs, least={"samples": samples},
        weights=lambda _: weights_now({"system": CODEC}),
    )  # fmt: skip
    return Reproduction(
        "hrvqvae-streams",
        "003: a stream a layer, PSNR over SNR on CIFAR-10",
        ("protection", "SNR dB", "psnr", "ci95", "lost", "uses", "pictures"),
        tuple(
            (r["protection"], r["snr_db"], round(r["psnr"], 2), round(r["psnr_ci95"], 2),
             round(r["lost"], 3), r["uses"], r["samples"])
            for r in rows
        ),
        (_claim(rows),),
        path,
        _plot(rows, path.parent / "hrvqvae-streams.svg"),
        _NOTES,
    )  # fmt: skip


def _run_cell(cell: Cell, *, samples: int) -> list[Row]:
    system, _, sha256 = load_system(weights_of(CODEC))
    assert isinstance(system, LayeredCode)
    images = open_images(DATA)
    sent = torch.stack([images[i][1] for i in range(samples)])
    name = str(cell["protection"])
    return [{**_measure(system, name, sent, snr_db), "weights": sha256} for snr_db in SNR_DB]


@torch.no_grad()
def _measure(system: LayeredCode, name: str, sent: Tensor, snr_db: float) -> Row:
    noise = [channel_noise(0, snr_db, 0, str(i)) for i in range(len(sent))]
    point = Point(snr_db=snr_db)
    if name == UNEQUAL:
        out = system.transmit(sent, point, generator=noise)
        received, lost, uses = out.received, out.stats["lost"], int(out.uses[0])
    elif "frame" in name:
        received, lost, uses = _one_frame(system, EQUAL[name], sent, point, noise)  # type: ignore[arg-type]
    else:
        rate = _equal_rate(system)
        links = [_link([bits], rate, "conceal") for link in system.streams for bits in link.bits]
        equal = LayeredCode(system.encoder, system.quantizer, links, system.decoder)
        out = equal.transmit(sent, point, generator=noise)
        received, lost, uses = out.received, out.stats["lost"], int(out.uses[0])
    quality = psnr(received, sent)
    return {
        "snr_db": snr_db,
        "psnr": float(quality.mean()),
        "psnr_ci95": 1.96 * float(quality.std()) / math.sqrt(len(sent)),
        "lost": float(lost.mean()),
        "uses": uses,
        "samples": len(sent),
    }


def _one_frame(
    system: LayeredCode, lost: Lost, sent: Tensor, point: Point, noise: list[torch.Generator]
) -> tuple[Tensor, Tensor, int]:
    """All layers of a picture in one block: the longest code that there can be."""
    maps = system.encode(sent)
    link = _link([link.bits[0] for link in system.streams], _equal_rate(system), lost)
    out = link(maps, point, generator=noise)
    size = (sent.shape[-2], sent.shape[-1])
    return system.decode(out.received, size), out.stats["lost"], out.uses


def _link(bits: Sequence[int], rate: float, lost: Lost) -> IndexLink:
    return IndexLink(AWGN(), bits, rate=rate, bits_per_symbol=2, lost=lost)


def _equal_rate(system: LayeredCode) -> float:
    streams = system.streams
    return equal_rate([link.rate for link in streams], [link.bits[0] for link in streams])


def _claim(rows: Sequence[Row]) -> Claim:
    text = "3 dB below the SNR where equal protection fails, unequal protection has 3 dB more PSNR"
    best = {
        snr: max(r["psnr"] for r in select(rows, snr_db=snr) if r["protection"] != UNEQUAL)
        for snr in SNR_DB
        if len(select(rows, snr_db=snr)) == 1 + len(EQUAL)
    }
    if len(best) < len(SNR_DB):
        return Claim(text, None, "not run")
    clear = best[SNR_DB[-1]]
    failing = [snr for snr in SNR_DB if best[snr] < clear - _FAILS_DB]
    if not failing or max(failing) - 3 < SNR_DB[0]:
        return Claim(text, None, "equal protection doesn't fail in the range that was measured")
    point = max(failing) - 3
    (unequal,) = select(rows, snr_db=point, protection=UNEQUAL)
    figures = (
        f"fails at {max(failing):g} dB; at {point:g} dB {unequal['psnr']:.2f} against "
        f"{best[point]:.2f} dB; in a clear channel {clear:.2f} dB"
    )
    return Claim(text, unequal["psnr"] - best[point] >= 3, figures)


def _plot(rows: Sequence[Row], path: Path) -> tuple[Path, ...]:
    curves: dict[str, Curve] = {
        name: [(r["snr_db"], r["psnr"], r["psnr_ci95"]) for r in select(rows, protection=name)]
        for name in (UNEQUAL, *EQUAL)
        if select(rows, protection=name)
    }
    if not curves:
        return ()
    path.write_text(curves_figure([("PSNR in dB", curves)], "SNR in dB"), encoding="utf-8")
    return (path,)

"""``packet-loss``: pictures in datagrams, of which some are lost; in no paper.

Index codes with and without interleaving and by ways of concealment, beside JPEG and HEVC files in
as many packets of as many bytes, bare and under RaptorQ. Every system meets the same losses.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from vqlink.evaluation.packets import open_packet_code
from vqlink.experiments.cells import Cell, run_cells
from vqlink.experiments.reproduction import Budget, Claim, Reproduction, Row, of_all, select
from vqlink.experiments.sweeps import weights_now
from vqlink.metrics.image import psnr, ssim
from vqlink.protocols import Point, Transceiver
from vqlink.reporting.figures import Curve, curves_figure
from vqlink.rng import stream
from vqlink.sources.images import open_image
from vqlink.systems.concealment import CONCEALMENTS, Concealment
from vqlink.systems.packet_code import PacketCode, arrivals
from vqlink.systems.packet_file import parse_packet_file

CODES = ("vqdeepsc-4", "vqdeepsc-3")
PICTURES = ("astronaut", "coffee", "rocket")
LOSSES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
DRAWS, CHANNEL = 8, "packet:1200"
FILES = {
    "jpeg+packets": 0.05,
    "hevc+packets": 0.05,
    "jpeg+raptorq@4/5": 0.2,
    "hevc+raptorq@4/5": 0.2,
    "jpeg+raptorq": 0.01,
    "hevc+raptorq": 0.01,
}
"""Files beside, with the loss rate from which on a code should be above."""
BEST: Concealment = "blend"
Figures = dict[str, float]
_FILE = {"layout": "file", "concealment": "none"}
_NOTES = (
    f"{', '.join('sample:' + name for name in PICTURES)}, whole; {DRAWS} draws each, seed 0, the "
    "same for all systems with as many packets; a draw gives every packet a number, and those "
    "below the loss rate are lost, so that a higher rate loses the same packets and more",
    "packets of at most 1,200 bytes, a header of 30 counted, for all; a file's packets are all as "
    "large as the code's largest, which is up to 3 bytes a packet in its favour",
    "bare files (+packets) are decoded up to the first lost packet: a progressive JPEG is then "
    "coarser, HEVC mid-grey from there on; a file that does not decode is mid-grey and counts",
    "+raptorq: RFC 6330 by the package raptorq; without a rate its sender is told the loss rate "
    "and takes the largest file of which at most 1 % fail (where none is small enough, the "
    "smallest), with @4/5 a fifth of the packets is always repair",
    "± is the 95 % interval over pictures and draws together",
)


def reproduce(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Run what is missing."""
    smoke = budget == "smoke"
    cells: list[Cell] = []
    for code in CODES[1:] if smoke else CODES:
        for layout, how in itertools.product(("interleaved", "bands"), CONCEALMENTS):
            # The ways of concealment are compared on one code and interleaved alone.
            if how == BEST or (code == CODES[0] and layout == "interleaved"):
                row = {"bytes_of": code, "system": code, "layout": layout, "concealment": how}
                cells.append(row)
        files = [name for name in FILES if not smoke or name in ("jpeg+packets", "jpeg+raptorq")]
        cells += [{"bytes_of": code, "system": name, **_FILE} for name in files]
    path = folder / "packet-loss.jsonl"
    work = partial(_work, smoke=smoke)
    return summarise(run_cells(cells, work, path, jobs=jobs, weights=weights_now), path)


def summarise(rows: Sequence[Row], path: Path) -> Reproduction:
    """Table, claims and plot of the rows that there are."""
    columns = ("bytes of", "system", "layout", "concealment", *(f"{100 * p:g} %" for p in LOSSES))
    names = sorted({_name(row) for row in rows}, key=_place)
    table = []
    for name in names:
        found = {row["loss"]: row for row in rows if _name(row) == name}
        table.append((*name, *(_cell(found.get(loss)) for loss in LOSSES)))
    return Reproduction(
        name="packet-loss",
        title="PSNR in dB, and pictures lost as a whole, over the probability to lose a packet",
        columns=columns,
        table=tuple(table),
        claims=tuple(_claims(rows)),
        rows=path,
        plots=_plots(rows, path.parent),
        notes=_NOTES,
    )


def _work(cell: Cell, *, smoke: bool) -> list[Row]:
    """A row for each loss rate."""
    opened = open_packet_code(
        str(cell["bytes_of"]),
        interleaved=cell["layout"] != "bands",
        concealment=str(cell["concealment"]) if cell["layout"] != "file" else BEST,  # type: ignore[arg-type]
    )
    code = opened.transceiver
    assert isinstance(code, PacketCode)
    system: Transceiver = code
    if cell["layout"] == "file":
        system = parse_packet_file(str(cell["system"]), code.plan)
    pictures = [open_image(f"sample:{name}") for name in (PICTURES[:1] if smoke else PICTURES)]
    losses = (0.0, 0.1) if smoke else LOSSES
    found: dict[float, list[Figures]] = {loss: [] for loss in losses}
    for name, image in zip(PICTURES, pictures, strict=False):
        packets, _ = code.plan(image.shape[1], image.shape[2])
        known: dict[object, Figures] = {}
        for loss in losses:  # a file is fitted to a picture once for each size: the inner loop
            for draw in range(1 if smoke else DRAWS):
                mask = arrivals(packets, Point(probability=loss), _noise(draw, name))
                # A code that loses the same packets gives the same; a file goes by the rate too.
                same = (tuple(mask), None if system is code else loss)
                if same not in known:
                    known[same] = _measure(system, image, loss, _noise(draw, name))
                found[loss].append(known[same])
    return [_summary(loss, values) for loss, values in found.items()]


def _noise(draw: int, name: str) -> torch.Generator:
    return stream(0, "packet-loss", draw, name)


def _measure(
    system: Transceiver, image: torch.Tensor, loss: float, noise: torch.Generator
) -> Figures:
    sent = system.transmit(image[None], Point(probability=loss), generator=noise)
    return {
        "psnr": float(psnr(sent.received, image[None])[0]),
        "ssim": float(ssim(sent.received, image[None])[0]),
        "outages": float(sent.outage[0]),
        "packets_lost": float(sent.stats["packets_lost"][0]),
        "packets": float(sent.stats["packets"][0]),
        "bytes": float(sent.uses[0]),
    }


def _summary(loss: float, values: Sequence[Figures]) -> Row:
    def mean(name: str) -> float:
        return statistics.fmean(value[name] for value in values)

    spread = statistics.stdev(value["psnr"] for value in values) if len(values) > 1 else 0.0
    return {
        "loss": loss,
        "psnr": mean("psnr"),
        "psnr_ci95": 1.96 * spread / len(values) ** 0.5,
        "ssim": mean("ssim"),
        "outages": int(sum(value["outages"] for value in values)),
        "n": len(values),
        "packets": mean("packets"),
        "packets_lost": mean("packets_lost"),
        "bytes": mean("bytes"),
        "channel": CHANNEL,
        "seed": 0,
    }


def _name(row: Row) -> tuple[str, str, str, str]:
    return row["bytes_of"], row["system"], row["layout"], row["concealment"]


def _place(name: tuple[str, str, str, str]) -> tuple[object, ...]:
    code, _, layout, how = name
    return code != CODES[0], layout == "file", layout == "bands", how != BEST, name


def _cell(row: Row | None) -> str | None:
    if row is None:
        return None
    lost = f", {row['outages']} lost" if row["outages"] else ""
    spread = f" ± {row['psnr_ci95']:.1f}" if row["n"] > 1 else ""
    return f"{row['psnr']:.2f}{spread}{lost}"


def _claims(rows: Sequence[Row]) -> list[Claim]:
    claims = []
    for code in CODES:
        ours = select(rows, system=code, layout="interleaved", concealment=BEST)
        bands = select(rows, system=code, layout="bands", concealment=BEST)
        claims.append(_beside(f"{code}: interleaving gains at every loss rate", ours, bands))
    ours = select(rows, system=CODES[0], layout="interleaved", concealment=BEST)
    for how in CONCEALMENTS:
        if how != BEST:
            others = select(rows, system=CODES[0], layout="interleaved", concealment=how)
            text = f"{CODES[0]}: {BEST} conceals better than {how} at every loss rate"
            claims.append(_beside(text, ours, others))
    for code, (file, least) in itertools.product(CODES, FILES.items()):
        ours = select(rows, system=code, layout="interleaved", concealment=BEST)
        others = [row for row in select(rows, system=file, bytes_of=code) if row["loss"] >= least]
        text = f"{code}: above {file} of the same bytes from {100 * least:g} % on"
        claims.append(_beside(text, ours, others))
    codes = [row for row in rows if row["layout"] != "file"]
    outages, count = sum(r["outages"] for r in codes), sum(r["n"] for r in codes)
    claims.append(
        Claim(
            "no picture of an index code is lost as a whole",
            outages == 0 if codes else None,
            f"{outages} of {count}" if codes else "not run",
        )
    )
    return claims


def _beside(text: str, ours: Sequence[Row], others: Sequence[Row]) -> Claim:
    """Whether ours are above the others' wherever packets are lost, with the differences."""
    theirs = {row["loss"]: row["psnr"] for row in others}
    differences = {
        row["loss"]: row["psnr"] - theirs[row["loss"]]
        for row in ours
        if row["loss"] > 0 and row["loss"] in theirs
    }
    if not differences:
        return Claim(text, None, "not run")
    figures = ", ".join(f"{d:+.2f} dB at {100 * p:g} %" for p, d in differences.items())
    return of_all(text, [difference > 0 for difference in differences.values()], figures)


def _plots(rows: Sequence[Row], folder: Path) -> tuple[Path, ...]:
    shown = ("jpeg+packets", "hevc+raptorq", "jpeg+raptorq", "hevc+raptorq@4/5")
    panels: list[tuple[str, dict[str, Curve]]] = []
    for code in CODES:
        curves: dict[str, Curve] = {}
        for layout in ("interleaved", "bands"):
            found = select(rows, system=code, layout=layout, concealment=BEST)
            curves[f"{code}, {layout}"] = _curve(found)
        for name in shown:
            curves[name] = _curve(select(rows, bytes_of=code, system=name))
        panels.append((f"PSNR in dB, bytes of {code}", {n: c for n, c in curves.items() if c}))
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        return ()
    path = folder / "packet-loss.svg"
    path.write_text(curves_figure(panels, "packets lost, %"), encoding="utf-8")
    return (path,)


def _curve(rows: Sequence[Row]) -> Curve:
    return [
        (100 * r["loss"], r["psnr"], r["psnr_ci95"]) for r in sorted(rows, key=lambda r: r["loss"])
    ]

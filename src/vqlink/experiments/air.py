"""``air``: what a real receiver costs, in dB of PSNR, beside the ideal link at the same SNR.

Every frame crosses the simulated air with a delay, a carrier offset, a phase and a gain of its own
and is received from its samples alone. The ideal link is the same system in AWGN, told h and N0;
over echoes, the same symbols over the same carriers by a receiver that is told their gains.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqlink.air.arrays import Complex
from vqlink.air.header import USES
from vqlink.air.ofdm import noiseless_gains
from vqlink.air.pulse import SPAN, shape
from vqlink.air.sequences import interleaver
from vqlink.air.sigmf import Recording
from vqlink.air.simulate import Air
from vqlink.air.sync import find_preambles, received_chips
from vqlink.evaluation.air import Directory, Sent, receive_frames, transmit_frame
from vqlink.experiments.air_finding import SPS, drawn_air, finding_claims, finding_rows
from vqlink.experiments.cells import Cell, run_cells
from vqlink.experiments.reproduction import Budget, Claim, Reproduction, Row
from vqlink.experiments.sweeps import (
    Sweep,
    open_system,
    weights_now,
)
from vqlink.metrics.image import psnr
from vqlink.protocols import MID_GREY, Point, SymbolSystem
from vqlink.rng import complex_normal, stream
from vqlink.units import noise_variance

SNR_DB = (4.0, 6.0, 8.0, 10.0, 15.0, 20.0)
TARGET_DB = 0.5
_SMALL, _WHOLE = 128, 0
_CELLS = (
    ("single-carrier", "none", "jscc-q64-awgn-1-12", _SMALL),
    ("ofdm", "none", "jscc-q64-awgn-1-12", _SMALL),
    ("single-carrier", "none", "jscc-awgn-1-6", _SMALL),
    ("ofdm", "tdl-a", "jscc-q64-awgn-1-12", _SMALL),
    ("single-carrier", "none", "jscc-q64-awgn-1-12", _WHOLE),
    ("single-carrier", "none", "jscc-q4096-awgn-1-12", _SMALL),
    ("ofdm", "tdl-c", "jscc-q64-awgn-1-12", _SMALL),
    ("single-carrier", "none", "jscc-q64-awgn-1-24", _SMALL),
    ("single-carrier", "none", "vqdeepsc-4", _SMALL),
)
_NOTES = (
    "delay 0 to 200 symbols, offset within 1e-3 cycles a symbol, any phase, gain -30 to 0 dB, "
    "clock within 20 ppm, uniform, one draw a frame; roll-off 0.25, 4 samples a symbol",
    "small: 128x128 centre crops of 12 Kodak pictures; whole: 3 of them at 768x512",
    "loss is the mean over frames of ideal minus received PSNR, each with noise of its own; an "
    "outage counts as mid-grey",
    "the transmitter is told the SNR, as in the ideal link; the receiver estimates it",
    "tdl-a and tdl-c: delay spread of 1 symbol rms, Rayleigh paths drawn for each frame; there the "
    "ideal receiver has the timing of a recording without noise and is told the gain of each "
    "carrier; the SNR is that before the echoes",
)


@dataclass(frozen=True)
class _Frame:
    """One frame's figures."""

    ideal: float
    received: float
    outage: bool
    snr_error: float
    frequency_error: float
    start_error: float
    drift_error: float


def reproduce(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Run what is missing."""
    smoke = budget == "smoke"
    cells: list[Cell] = [
        {"waveform": waveform, "profile": profile, "system": system, "crop": crop}
        for waveform, profile, system, crop in (_CELLS[:1] if smoke else _CELLS)
    ]
    path = folder / "air.jsonl"
    work = functools.partial(_work, smoke=smoke)
    rows = run_cells(cells, work, path, jobs=jobs, weights=weights_now)
    found = finding_rows(folder / "air-finding.jsonl", jobs, smoke=smoke)
    return summarise(rows, found, path)


def summarise(rows: Sequence[Row], found: Sequence[Row], path: Path) -> Reproduction:
    """Table and claims of the rows that there are."""
    return Reproduction(
        name="air",
        title="PSNR over the simulated air beside the ideal link",
        columns=(
            "waveform", "echoes", "system", "pictures", "SNR dB", "ideal", "received", "loss",
            "ci95", "outages", "n", "uses", "payload",
        ),
        table=tuple(
            (
                row["waveform"], row["profile"], row["system"],
                "small" if row["crop"] else "whole", row["snr_db"], round(row["ideal_psnr"], 2),
                round(row["psnr"], 2), round(row["loss"], 3), round(row["loss_ci95"], 3),
                row["outages"], row["n"], row["uses"], row["payload_uses"],
            )
            for row in rows
        ),
        claims=(*_claims(rows), *finding_claims(found)),
        rows=path,
        notes=_NOTES,
    )  # fmt: skip


def _claims(rows: Sequence[Row]) -> list[Claim]:
    groups = {
        "value codes, single carrier": [
            row for row in rows if row["waveform"] != "ofdm" and row["system"].startswith("jscc")
        ],
        "index code, single carrier": [
            row for row in rows if row["waveform"] != "ofdm" and "vqdeepsc" in row["system"]
        ],
        "OFDM without echoes": [
            r for r in rows if (r["waveform"], r["profile"]) == ("ofdm", "none")
        ],
        "OFDM over TDL echoes": [r for r in rows if r["profile"] != "none"],
    }
    claims = []
    for name, group in groups.items():
        text = f"{name}: within {TARGET_DB} dB of the ideal link from 4 dB on"
        if not group:
            claims.append(Claim(text, None, "not run"))
            continue
        worst = max(group, key=lambda row: float(row["loss"]))
        frames, outages = (sum(row[key] for row in group) for key in ("n", "outages"))
        claims.append(
            Claim(
                text,
                worst["loss"] <= TARGET_DB,
                f"largest mean loss {worst['loss']:.3f} dB ({worst['system']} at "
                f"{worst['snr_db']:g} dB); {outages} outages in {frames} frames of "
                f"{len({row['system'] for row in group})} systems",
            )
        )
    return claims


@torch.no_grad()
def _work(cell: Cell, *, smoke: bool) -> list[Row]:
    crop = int(cell["crop"])
    count = 1 if smoke else 3 if crop == _WHOLE else 12
    sweep = Sweep("sample:astronaut" if smoke else "data/kodak", count, SNR_DB, crop=crop or None)
    system = open_system(str(cell["system"]), "awgn", str(cell["system"]))
    directory, images = Directory(), sweep.images()
    profile = None if cell["profile"] == "none" else str(cell["profile"])
    rows = []
    for snr_db in (10.0,) if smoke else SNR_DB:
        frames = []
        for place in range(len(images)):
            image = images[place][1]
            sent = transmit_frame(
                image, system.symbols, system.weights, snr_db=snr_db, waveform=str(cell["waveform"])
            )
            frames.append(_frame(image, sent, system.symbols, directory, profile, snr_db, place))
        losses = [frame.ideal - frame.received for frame in frames]
        deviation = statistics.stdev(losses) if len(losses) > 1 else 0.0
        good = [frame for frame in frames if not frame.outage]
        rows.append(
            {
                "snr_db": snr_db,
                "ideal_psnr": statistics.fmean(frame.ideal for frame in frames),
                "psnr": statistics.fmean(frame.received for frame in frames),
                "loss": statistics.fmean(losses),
                "loss_ci95": 1.96 * deviation / math.sqrt(len(losses)),
                "worst_loss": max(losses),
                "outages": len(frames) - len(good),
                "n": len(frames),
                "uses": sent.uses.total,
                "payload_uses": sent.uses.payload,
                "snr_error_db": None if profile else _rms([frame.snr_error for frame in good]),
                "frequency_error": _rms([frame.frequency_error for frame in good]),
                "start_error": _rms([frame.start_error for frame in good]),
                "drift_error": _rms([frame.drift_error for frame in good]),
                "weights": system.weights,
            }
        )
    return rows


def _frame(
    image: Tensor, sent: Sent, system: SymbolSystem, directory: Directory,
    profile: str | None, snr_db: float, place: int,
) -> _Frame:  # fmt: skip
    def random(purpose: str) -> torch.Generator:
        return stream(0, f"air-{purpose}", profile or "none", snr_db, place)

    air = drawn_air(snr_db, profile, random("offsets"))
    samples = shape(sent.chips, SPS)
    quiet = Air(None, profile=profile, delay_spread=air.delay_spread)
    clean = quiet(samples, sps=SPS, symbol_energy=1.0, generator=random("channel"))
    ideal = _ideal(image, sent, system, snr_db, clean if profile else None, random("ideal"))
    y = air(samples, sps=SPS, symbol_energy=1.0, generator=random("channel"))
    frames = [
        delivery
        for delivery in receive_frames(Recording.of(y, 1e6 * SPS), SPS, directory)
        if delivery.image is not None and delivery.found.header == sent.header
    ]
    best = frames[0] if frames else None
    early = 1 + air.clock  # the receiver's samples in those of the sender
    received = torch.full_like(image, MID_GREY) if best is None else best.image
    assert received is not None
    return _Frame(
        ideal=float(psnr(ideal[None], image[None])[0]),
        received=float(psnr(received[None], image[None])[0]),
        outage=best is None,
        snr_error=0.0 if best is None else best.found.snr_db - snr_db,
        frequency_error=0.0 if best is None else best.found.frequency - air.frequency * early,
        start_error=0.0 if best is None else best.found.start / SPS * early - SPAN - air.delay,
        drift_error=0.0 if best is None else (1 + best.found.drift) * early - 1,
    )


def _ideal(
    image: Tensor, sent: Sent, system: SymbolSystem, snr_db: float, clean: Complex | None,
    random: torch.Generator,
) -> Tensor:  # fmt: skip
    """The picture by a receiver that is told everything; ``clean``: samples with echoes alone."""
    if clean is None:
        point = Point(snr_db=snr_db)
        return system.transmit(image[None], point, generator=random).received[0]
    count = sent.uses.payload
    read = Recording.of(clean, 1.0).read
    place = max(find_preambles(read, len(clean), SPS), key=lambda found: found.likeness)
    place = replace(place, amplitude=1.0)  # gains as they are
    chips = received_chips(read, place, 0, len(sent.chips), SPS)
    gains = np.empty(count)
    gains[interleaver(count)] = np.abs(noiseless_gains(chips, USES + count)[USES:])
    power = torch.from_numpy(gains).float().square().clamp_min(1e-12)
    noise_var = noise_variance(snr_db) / power
    noise = complex_normal((1, count), generator=random) * noise_var.sqrt()
    symbols = system.to_symbols(image[None], snr_db)
    size = (image.shape[1], image.shape[2])
    return system.from_symbols(symbols + noise, noise_var[None], size).received[0]


def _rms(values: list[float]) -> float | None:
    return math.sqrt(statistics.fmean(v * v for v in values)) if values else None

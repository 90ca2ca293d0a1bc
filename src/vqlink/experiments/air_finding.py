"""How well frames are found and their headers read, down to where they are lost."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from vqlink.air.frame import WAVEFORMS, build_frame, find_frames
from vqlink.air.header import Header
from vqlink.air.pulse import shape
from vqlink.air.sigmf import Recording
from vqlink.air.simulate import Air
from vqlink.experiments.cells import Cell, run_cells
from vqlink.experiments.reproduction import Claim, Row, select
from vqlink.rng import complex_normal, stream, uniform

SNR_DB = (-6.0, -5.0, -4.0, -3.0, -2.0, 0.0, 4.0)
SPS = 4


def drawn_air(snr_db: float, profile: str | None, random: torch.Generator) -> Air:
    """Delay, offsets, phase and gain of one frame."""
    delay, offset, turn, level, clock = uniform((5,), generator=random).tolist()
    return Air(
        snr_db,
        frequency=1e-3 * (2 * offset - 1),
        delay=200 * delay,
        phase=2 * math.pi * turn,
        gain_db=-30 * level,
        profile=profile,
        delay_spread=1.0,
        clock=20e-6 * (2 * clock - 1),
    )


def finding_rows(path: Path, jobs: int, *, smoke: bool) -> list[Row]:
    """A row for each waveform and SNR."""
    cells: list[Cell] = [
        {"waveform": waveform, "snr_db": snr_db}
        for waveform in sorted(WAVEFORMS)
        for snr_db in ((0.0,) if smoke else SNR_DB)
    ]
    return run_cells(cells, functools.partial(_find, smoke=smoke), path, jobs=jobs)


def finding_claims(found: Sequence[Row]) -> list[Claim]:
    """Of what :func:`finding_rows` gave."""
    claims = []
    for waveform in sorted(WAVEFORMS):
        rows = sorted(select(found, waveform=waveform), key=lambda row: float(row["snr_db"]))
        figures = ", ".join(f"{row['lost']} of {row['n']} at {row['snr_db']:g} dB" for row in rows)
        claims.append(
            Claim(
                f"{waveform}: no header is lost from 0 dB on",
                all(not row["lost"] for row in rows if row["snr_db"] >= 0) if rows else None,
                f"lost {figures}" if rows else "not run",
            )
        )
    return claims


def _find(cell: Cell, *, smoke: bool) -> list[Row]:
    """How many frames of a short payload are not found, or their header not read."""
    snr_db, waveform = float(cell["snr_db"]), WAVEFORMS[str(cell["waveform"])]
    count, lost, false = 2 if smoke else 100, 0, 0
    for place in range(count):
        random = stream(0, "air-finding", waveform.name, snr_db, place)
        system, weights = (int(1e6 * value) for value in uniform((2,), generator=random))
        header = Header(system, weights, height=64, width=64, uses=247)
        payload = complex_normal((247,), generator=random).numpy()
        air = drawn_air(snr_db, None, random)
        y = air(
            shape(build_frame(header, payload, waveform), SPS), sps=SPS, symbol_energy=1.0,
            generator=random,
        )  # fmt: skip
        headers = [found.header for found in find_frames(Recording.of(y, 1.0).read, len(y), SPS)]
        lost += header not in headers
        false += sum(other not in (header, None) for other in headers)
    return [{"lost": lost, "false": false, "n": count}]

"""``vqlink channel``: the simulated air between a transmitter's file and a receiver's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from vqlink.cli.options import check_snr
from vqlink.errors import VqlinkError

_LIMITS = {"--cfo": 0.01, "--delay": 1e6, "--gain": 120.0, "--phase": 1e6, "--clock": 1000.0}


def channel_command(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="a .sigmf-data file")],
    out: Annotated[Path, typer.Option("-o", "--out", help="ends in .sigmf-data")],
    snr: Annotated[float | None, typer.Option(help="Es/N0 in dB; left out: no noise")] = None,
    cfo: Annotated[float, typer.Option(help="carrier offset in cycles a symbol")] = 0.0,
    delay: Annotated[float, typer.Option(help="in symbols, such as 137.4")] = 0.0,
    phase: Annotated[float, typer.Option(help="in degrees")] = 0.0,
    gain: Annotated[float, typer.Option(help="in dB, of signal and noise alike")] = 0.0,
    clock: Annotated[
        float, typer.Option(help="by how many ppm the sender's clock is faster")
    ] = 0.0,
    multipath: Annotated[str | None, typer.Option(help="echoes: tdl-a to tdl-e")] = None,
    delay_spread: Annotated[float, typer.Option(help="of the echoes, rms, in seconds")] = 1e-6,
    datatype: Annotated[
        str | None, typer.Option(help="cf32_le or ci16_le; left out: as RECORDING")
    ] = None,
    seed: Annotated[int, typer.Option(help="of echoes and noise")] = 0,
) -> None:
    """Write what a receiver would record of RECORDING."""
    check_snr([] if snr is None else [snr])
    given = {"--cfo": cfo, "--delay": delay, "--gain": gain, "--phase": phase, "--clock": clock}
    for name, value in given.items():
        if not math.isfinite(value) or abs(value) > _LIMITS[name]:
            raise VqlinkError(f"{name} lies between +-{_LIMITS[name]:g}, not {value:g}")
    if delay < 0:
        raise VqlinkError(f"--delay is not negative, as {delay:g} is")
    if not 0 <= delay_spread <= 1:
        raise VqlinkError(f"--delay-spread lies between 0 and 1 second, not {delay_spread:g}")
    from vqlink.air.sigmf import DATA, DATATYPES, data_path, read_recording, write_recording
    from vqlink.air.simulate import PROFILES, Air
    from vqlink.evaluation.air import samples_per_chip
    from vqlink.rng import stream
    from vqlink.units import from_db

    if datatype is not None and datatype not in DATATYPES:
        raise VqlinkError(f"--datatype is one of {', '.join(DATATYPES)}, not {datatype!r}")
    if multipath is not None and multipath not in PROFILES:
        raise VqlinkError(f"--multipath is one of {', '.join(PROFILES)}, not {multipath!r}")
    if out.suffix != DATA:
        raise VqlinkError(f"-o {out}: a recording's name ends in {DATA}")
    sent = read_recording(recording)
    if data_path(recording).resolve() == data_path(out).resolve():
        raise VqlinkError("the received recording needs another name than the sent one")
    sps = samples_per_chip(sent)
    if multipath is not None and sent.sample_rate is None:
        raise VqlinkError(
            f"{recording}: its meta file has no core:sample_rate; --multipath needs it"
        )
    spread = delay_spread * (sent.sample_rate or 0.0) / sps
    if spread > 1000:
        raise VqlinkError(f"--delay-spread {delay_spread:g} s is {spread:.0f} symbols, too many")
    samples = sent.read(0, len(sent))
    energy = sent.extra.get("symbol_energy", 0.0)
    if not energy > 0:  # a recording of another program
        energy = float((abs(samples) ** 2).mean()) * sps
    air = Air(
        snr_db=snr,
        frequency=cfo,
        delay=delay,
        phase=math.radians(phase),
        gain_db=gain,
        profile=multipath,
        delay_spread=spread,
        clock=clock * 1e-6,
    )
    received = air(samples, sps=sps, symbol_energy=energy, generator=stream(seed, "air"))
    write_recording(
        out,
        received,
        sample_rate=sent.sample_rate,
        datatype=datatype or sent.datatype,
        description="what a receiver records, simulated by vqlink channel",
        extra={"samples_per_symbol": sps, "symbol_energy": energy * from_db(gain)},
    )
    print(f"{len(received)} samples are in {out}")

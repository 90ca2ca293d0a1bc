"""``vqlink tx``: a picture as a recording of complex baseband samples, or as UDP packets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from vqlink.cli.options import check_snr, print_json, ratio_of
from vqlink.errors import VqlinkError

_WAVEFORMS = ("single-carrier", "ofdm")


def tx_command(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="a picture, or sample:astronaut")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="ends in .sigmf-data")] = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="zoo name, weights folder or link [default: jscc-q64-awgn-1-12; with --udp, "
            "vqdeepsc-4]"
        ),
    ] = None,
    snr: Annotated[float, typer.Option(help="Es/N0 in dB that the sender prepares for")] = 10.0,
    rho: Annotated[
        str | None,
        typer.Option(help="channel uses per source value, for links such as hevc+ldpc5g"),
    ] = None,
    waveform: Annotated[str, typer.Option(help="single-carrier, or ofdm for echoes")] = (
        "single-carrier"
    ),
    datatype: Annotated[str, typer.Option(help="cf32_le or ci16_le")] = "cf32_le",
    sps: Annotated[int, typer.Option(help="samples a symbol, 2 to 64")] = 4,
    symbol_rate: Annotated[float, typer.Option(help="symbols a second")] = 1e6,
    udp: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="send packets there, not a recording")
    ] = None,
    datagram: Annotated[int, typer.Option(help="UDP: most bytes of a packet")] = 1200,
    interleave: Annotated[
        bool, typer.Option(help="UDP: neighbours in different packets, or bands")
    ] = True,
    loss: Annotated[float, typer.Option(help="UDP: probability to drop a packet")] = 0.0,
    seed: Annotated[int, typer.Option(help="UDP: of the packets that are dropped")] = 0,
    mbit: Annotated[float, typer.Option(help="UDP: Mbit/s")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON alone")] = False,
) -> None:
    """Send INPUT into a SigMF recording, OUT.sigmf-data and its .sigmf-meta, or over UDP."""
    if (udp is None) == (out is None):
        raise VqlinkError("name either a recording, --out OUT.sigmf-data, or --udp HOST:PORT")
    if udp is not None and rho is not None:
        raise VqlinkError("--rho is for recordings: over --udp an index code has one rate")
    if udp is None and loss:
        raise VqlinkError("--loss drops packets of --udp; for recordings there is vqlink channel")
    if udp is not None:
        from vqlink.cli.udp import transmit_udp

        transmit_udp(
            source, system or "vqdeepsc-4", udp, datagram=datagram, interleaved=interleave,
            loss=loss, seed=seed, mbit=mbit, as_json=as_json,
        )  # fmt: skip
        return
    assert out is not None
    check_snr([snr])
    from vqlink.air.pulse import SPAN, shape
    from vqlink.air.sigmf import DATA, DATATYPES, write_recording
    from vqlink.config.channels import AWGNConfig
    from vqlink.evaluation.air import transmit_frame
    from vqlink.evaluation.systems import open_systems
    from vqlink.sources.images import open_image

    if waveform not in _WAVEFORMS:
        raise VqlinkError(f"--waveform is one of {', '.join(_WAVEFORMS)}, not {waveform!r}")
    if datatype not in DATATYPES:
        raise VqlinkError(f"--datatype is one of {', '.join(DATATYPES)}, not {datatype!r}")
    if not 2 <= sps <= 64:
        raise VqlinkError(f"--sps lies between 2 and 64, not {sps}")
    if not (math.isfinite(sps * symbol_rate) and symbol_rate > 0):
        raise VqlinkError(f"--symbol-rate is a number above 0, not {symbol_rate}")
    if out.suffix != DATA:
        raise VqlinkError(f"-o {out}: a recording's name ends in {DATA}")
    ratio = ratio_of(rho)
    image = open_image(source)
    (opened,) = open_systems([system or "jscc-q64-awgn-1-12"], AWGNConfig(), ratio)
    sent = transmit_frame(image, opened.symbols, opened.weights, snr_db=snr, waveform=waveform)
    samples = shape(sent.chips, sps)
    write_recording(
        out,
        samples,
        sample_rate=sps * symbol_rate,
        datatype=datatype,
        description=f"one vqlink frame, {waveform}",
        extra={"samples_per_symbol": sps, "symbol_energy": 1.0},
        frames=((SPAN * sps, sps * sent.uses.total),),
    )
    uses = {**vars(sent.uses), "total": sent.uses.total}
    if as_json:
        print_json(
            {
                "system": sent.system,
                "weights": opened.weights,
                "size": [sent.header.width, sent.header.height],
                "snr_db": snr,
                "waveform": waveform,
                "uses": uses,
                "samples": len(samples),
                "sample_rate": sps * symbol_rate,
                "datatype": datatype,
                "out": str(out),
            }
        )
        return
    parts = ", ".join(f"{name} {count}" for name, count in uses.items() if name != "total")
    share = 100 * (1 - sent.uses.payload / sent.uses.total)
    print(f"{sent.system}: {sent.header.width}x{sent.header.height} pixels for {snr:g} dB")
    print(f"{uses['total']} channel uses: {parts} ({share:.1f} % beside the payload)")
    print(f"{len(samples)} samples ({datatype}, {sps} a symbol) are in {out}")

"""``vqlink rx``: the pictures in a recording of complex baseband samples, or in UDP packets."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqlink.cli.options import check_folder, passing_words, print_json
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from vqlink.evaluation.air import Delivery

OUTAGE = 3
"""Exit status where the air lost something: no frame, or not all of them."""


def rx_command(
    out: Annotated[Path, typer.Option("-o", "--out", help="PNG of the first frame's picture")],
    recording: Annotated[
        Path | None, typer.Argument(metavar="RECORDING", help="a .sigmf-data file")
    ] = None,
    system: Annotated[
        list[str] | None, typer.Option(help="weights folders to know beside the zoo; repeatable")
    ] = None,
    sps: Annotated[
        int | None, typer.Option(help="samples a symbol; left out: what the meta file says, or 4")
    ] = None,
    udp: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="listen there for one picture")
    ] = None,
    timeout: Annotated[float, typer.Option(help="UDP: seconds to wait in all")] = 30.0,
    silence: Annotated[
        float, typer.Option(help="UDP: seconds without a new packet that end a picture")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON alone")] = False,
) -> int:
    """Receive every frame in RECORDING, or one picture over UDP.

    The picture of frame k, from the second on, is OUT with -k before its ending. Exit status 0:
    all frames were received; 3: an outage, which is no frame, or one whose header or payload could
    not be decoded or that is cut off; 2: a mistake, such as a system that is not known here. Over
    UDP it is 0 for a picture, lost packets concealed, and 2 for none within --timeout.
    """
    if (udp is None) == (recording is None):
        raise VqlinkError("name either a RECORDING or --udp HOST:PORT")
    if sps is not None and not 2 <= sps <= 64:
        raise VqlinkError(f"--sps lies between 2 and 64, not {sps}")
    if out.suffix.lower() != ".png":
        raise VqlinkError(f"-o {out}: images are written as PNG; let the name end in .png")
    if out.is_dir():
        raise VqlinkError(f"-o {out} is a folder; name a file that ends in .png")
    if not out.parent.is_dir():
        raise VqlinkError(f"-o {out}: there is no folder {out.parent}")
    check_folder(out.parent)
    if udp is not None:
        from vqlink.cli.udp import receive_udp

        receive_udp(udp, out, system or [], seconds=timeout, silence=silence, as_json=as_json)
        return 0
    assert recording is not None
    from vqlink.air.sigmf import read_recording
    from vqlink.evaluation.air import Directory, receive_frames, samples_per_chip
    from vqlink.sources.images import write_image

    samples = read_recording(recording)
    rate = sps or samples_per_chip(samples)
    directory = Directory(system or ())
    outcomes, rows = [], []
    with passing_words(f"receiving {len(samples)} samples"):
        for number, delivery in enumerate(receive_frames(samples, rate, directory), start=1):
            place = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
            if delivery.image is not None:
                write_image(delivery.image, place)
            outcomes.append(delivery.outcome)
            rows.append(_row(number, delivery, place))
            if not as_json:
                stream = sys.stdout if delivery.outcome == "ok" else sys.stderr
                print(_line(number, delivery, place), file=stream)
    if as_json:
        print_json({"frames": rows})
    if not outcomes:
        text = f"no frame found in {recording} at {rate} samples a symbol (--sps)"
        print(f"vqlink: {text}", file=sys.stderr)
        return OUTAGE
    if "unknown" in outcomes:
        return 2
    return OUTAGE if "outage" in outcomes else 0


def _row(number: int, delivery: Delivery, place: Path) -> dict[str, Any]:
    found = delivery.found
    return {
        "frame": number,
        "status": delivery.outcome,
        "message": delivery.message,
        "system": delivery.system or None,
        "waveform": found.waveform,
        "start": found.start,
        "cfo": found.frequency,
        "clock_ppm": round(-1e6 * found.drift, 3),
        "snr_db": round(found.snr_db, 2) if math.isfinite(found.snr_db) else None,
        "size": [found.header.width, found.header.height] if found.header else None,
        "prepared_for_db": found.header.snr_db if found.header else None,
        "lost": delivery.lost,
        "out": str(place) if delivery.image is not None else None,
    }


def _line(number: int, delivery: Delivery, place: Path) -> str:
    found = delivery.found
    text = f"frame {number} ({found.waveform}, at sample {found.start:.2f}): {delivery.message}"
    if delivery.image is None:
        return f"vqlink: {text}"
    assert found.header is not None
    return (
        f"{text}: {delivery.system}, {found.header.width}x{found.header.height} pixels, Es/N0 "
        f"{found.snr_db:.1f} dB, offset {found.frequency * 1e6:+.1f}e-6 cycles a symbol, clock "
        f"{-found.drift * 1e6:+.2f} ppm -> {place}"
    )

"""``vqlink send``: one picture or text through the channel, by learned and digital systems."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqlink.cli.options import (
    arrival_row,
    check_send_folder,
    check_snr,
    file_name,
    print_json,
    replace_rows,
)
from vqlink.cli.send_packets import is_packet_channel, send_packets_command
from vqlink.cli.send_speech import is_recording, send_recording
from vqlink.cli.send_text import is_text, send_text_command
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from fractions import Fraction

    from torch import Tensor

    from vqlink.evaluation.send import Arrival, SendResult
    from vqlink.evaluation.systems import System

_AGAINST = ["hevc+ldpc5g", "jpeg+ldpc5g"]


def send_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="a picture, recording, sentence or .txt; sample:astronaut, sample:voice",
        ),
    ],
    system: Annotated[
        list[str] | None, typer.Option(help="zoo name, weights folder or link; repeatable")
    ] = None,
    channel: Annotated[str, typer.Option(help="awgn, rayleigh, rician:k=4, packet:1200, ...")] = (
        "awgn"
    ),
    snr: Annotated[float, typer.Option(help="Es/N0 in dB")] = 10.0,
    rho: Annotated[
        str | None, typer.Option(help="channel uses per source value [default: 1/12 for pictures]")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="digital links to compare with; repeatable")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for pictures, rows and report")] = Path("out"),
    seed: Annotated[int, typer.Option(help="of the channel's noise")] = 0,
    erasure: Annotated[
        float | None, typer.Option(help="text over bec, pictures over packet: its probability")
    ] = None,
    flip: Annotated[float | None, typer.Option(help="text over bsc: its probability")] = None,
    modem: Annotated[str | None, typer.Option(help="text over symbols: bpsk or qpsk")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print rows as JSON alone")] = False,
) -> None:
    """Send INPUT by each system at the same channel uses; write what arrived, and a report."""
    if is_recording(source):
        if (erasure, flip, modem) != (None, None, None):
            raise VqlinkError("--erasure, --flip and --modem are for a sentence or a .txt file")
        check_snr([snr])
        send_recording(
            source,
            system,
            against,
            channel=channel,
            snr_db=snr,
            rho=rho,
            out=out,
            seed=seed,
            as_json=as_json,
        )
        return
    if is_text(source, channel, system or []):
        send_text_command(
            source, system, channel, snr=snr, erasure=erasure, flip=flip, modem=modem,
            rho=rho, against=against, out=out, seed=seed, as_json=as_json,
        )  # fmt: skip
        return
    if is_packet_channel(channel) and (flip, modem) == (None, None):
        send_packets_command(
            source, system, channel, erasure=erasure, rho=rho, against=against, out=out, seed=seed,
            as_json=as_json,
        )  # fmt: skip
        return
    if (erasure, flip, modem) != (None, None, None):
        raise VqlinkError(
            "--flip and --modem are for a sentence or a .txt file, --erasure also for a picture "
            "over --channel packet"
        )
    check_snr([snr])
    from vqlink.evaluation.systems import default_systems, open_channel, open_systems
    from vqlink.sources.images import open_image
    from vqlink.units import parse_ratio

    try:
        ratio = parse_ratio("1/12" if rho is None else rho)
    except ValueError as error:
        raise VqlinkError(str(error)) from None
    config, channel_text = open_channel(channel)
    image = open_image(source)
    learned = tuple(system) if system else default_systems(ratio, config)
    names = tuple(dict.fromkeys((*learned, *(against if against is not None else _AGAINST))))
    systems = open_systems(names, config, ratio)
    check_send_folder(out)
    result = _send(image, source, systems, channel_text, snr, seed, ratio, quiet=as_json)
    _write(result, out)
    if as_json:
        point = {"snr_db": snr}
        print_json({"rows": [arrival_row(a, channel_text, point) for a in result.arrivals]})
    else:
        _print_table(result)
        print(f"\nPictures, rows and report are in {out}; open {out / 'report.html'}")


def _send(
    image: Tensor,
    source: str,
    systems: tuple[System, ...],
    channel: str,
    snr_db: float,
    seed: int,
    rho: Fraction,
    *,
    quiet: bool,
) -> SendResult:
    from rich.console import Console

    from vqlink.evaluation.send import SendResult, send, sweep, sweep_picture

    console = Console(stderr=True, quiet=quiet)
    with console.status("sending") as status:

        def progress(text: str) -> None:
            status.update(text)

        arrivals = send(
            image, systems, channel=channel, snr_db=snr_db, seed=seed, progress=progress
        )
        part, note = sweep_picture(image)
        roles = _sweep_roles(systems, arrivals)
        rows = sweep(part, roles, channel=channel, seed=seed, progress=progress)
    return SendResult(
        source=source,
        sent=image,
        arrivals=arrivals,
        channel=channel,
        snr_db=snr_db,
        rho=float(rho),
        seed=seed,
        sweep=rows,
        sweep_note=note,
        command="vqlink " + " ".join(shlex.quote(word) for word in sys.argv[1:]),
    )


def _sweep_roles(
    systems: tuple[System, ...], arrivals: tuple[Arrival, ...]
) -> list[tuple[str, System]]:
    """Learned codes as they are; the first digital link at its MCS here, and at the best."""
    from dataclasses import replace

    from vqlink.digital.mcs import parse_mcs
    from vqlink.systems.separation import Separation

    roles = [("learned", system) for system in systems if system.learned]
    for system, arrival in zip(systems, arrivals, strict=True):
        link = system.transceiver
        if not isinstance(link, Separation):
            continue
        mcs = parse_mcs(str(arrival.labels["mcs"]), link.code.name)
        fixed = Separation(link.codec, link.channel, link.budget, mcs, code=link.code)
        roles.append(("fixed", replace(system, name=fixed.name, transceiver=fixed)))
        if link.mcs is None:
            roles.append(("best", system))
        break
    return roles


def _write(result: SendResult, out: Path) -> None:
    from vqlink.reporting.pictures import side_by_side
    from vqlink.reporting.send_report import write_send_report
    from vqlink.sources.images import write_image

    write_image(result.sent, out / "sent.png")
    for arrival in result.arrivals:
        write_image(arrival.received, out / f"{file_name(arrival.system)}.png")
    rows = [row for arrival in result.arrivals for row in arrival.rows]
    replace_rows(check_send_folder(out), [*rows, *result.sweep])
    side_by_side(result, out / "side-by-side.png")
    write_send_report(result, out / "report.html")


def _print_table(result: SendResult) -> None:
    from rich.console import Console
    from rich.table import Table

    structural = "ms_ssim" if "ms_ssim" in result.arrivals[0].metrics else "ssim"
    table = Table(title=f"{result.source} over {result.channel} at {result.snr_db:g} dB")
    table.add_column("system", overflow="fold")
    for head in ("PSNR dB", structural.upper().replace("_", "-"), "uses", "rho", "power", "status"):
        table.add_column(head, justify="right", no_wrap=True)
    for arrival in result.arrivals:
        mcs = f" ({arrival.labels['mcs']})" if "mcs" in arrival.labels else ""
        table.add_row(
            arrival.system + mcs,
            f"{arrival.metrics['psnr']:.2f}",
            f"{arrival.metrics[structural]:.4f}",
            f"{arrival.uses}",
            f"{arrival.rho:.4f}",
            f"{arrival.tx_power:.3f}",
            arrival.shown_status,
        )
    Console().print(table)

"""``vqlink send``: one picture or text through the channel, by learned and digital systems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqlink.cli.options import (
    arrival_row,
    check_send_folder,
    check_snr,
    command_line,
    file_name,
    passing_words,
    print_json,
    ratio_of,
    replace_rows,
    table_console,
    table_of,
)
from vqlink.cli.send_packets import is_packet_channel, send_packets_command
from vqlink.cli.send_speech import is_recording, send_recording
from vqlink.cli.send_text import is_text, send_text_command
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
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
    from fractions import Fraction

    from vqlink.evaluation.systems import default_systems, open_channel, open_systems
    from vqlink.sources.images import open_image

    ratio = ratio_of(rho)
    config, channel_text = open_channel(channel)
    image = open_image(source)
    usual = ratio or Fraction(1, 12)
    learned = tuple(system) if system else default_systems(usual, config)
    names = tuple(dict.fromkeys((*learned, *(against if against is not None else _AGAINST))))
    links_alone = all("+" in name for name in names)
    systems = open_systems(names, config, usual if links_alone else ratio)
    check_send_folder(out)
    result = _send(image, source, systems, channel_text, snr, seed)
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
) -> SendResult:
    from vqlink.evaluation.send import SendResult, send, sweep, sweep_picture

    with passing_words("sending") as progress:
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
        seed=seed,
        sweep=rows,
        sweep_note=note,
        command=command_line(),
    )


def _sweep_roles(
    systems: tuple[System, ...], arrivals: tuple[Arrival, ...]
) -> list[tuple[str, System]]:
    """Learned codes as they are; the first digital link at its MCS here, and at the best."""
    from vqlink.digital.mcs import parse_mcs
    from vqlink.evaluation.systems import link_system
    from vqlink.systems.separation import Separation

    roles = [("learned", system) for system in systems if system.learned]
    for system, arrival in zip(systems, arrivals, strict=True):
        link = system.transceiver
        if not isinstance(link, Separation):
            continue
        mcs = parse_mcs(str(arrival.labels["mcs"]), link.code.name)
        fixed = Separation(link.codec, link.channel, link.budget, mcs, code=link.code)
        roles.append(("fixed", link_system(fixed.name, fixed)))
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
    structural = "ms_ssim" if "ms_ssim" in result.arrivals[0].metrics else "ssim"
    title = f"{result.source} over {result.channel} at {result.snr_db:g} dB"
    name = structural.upper().replace("_", "-")
    heads = ("system", "PSNR dB", name, "uses", "rho", "power", "status")
    rows = [
        (
            arrival.system + (f" ({arrival.labels['mcs']})" if "mcs" in arrival.labels else ""),
            f"{arrival.metrics['psnr']:.2f}",
            f"{arrival.metrics[structural]:.4f}",
            f"{arrival.uses}",
            f"{arrival.rho:.4f}",
            f"{arrival.tx_power:.3f}",
            arrival.shown_status,
        )
        for arrival in result.arrivals
    ]
    table_console().print(table_of(heads, rows, title=title))

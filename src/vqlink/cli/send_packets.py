"""``vqlink send --channel packet``: a picture in datagrams, of which some are lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vqlink.cli.options import (
    arrival_row,
    check_send_folder,
    drop_report,
    file_name,
    passing_words,
    print_json,
    replace_rows,
    table_console,
    table_of,
)
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from torch import Tensor

    from vqlink.evaluation.send import Arrival

_KIND = "packet"


def is_packet_channel(channel: str) -> bool:
    """Whether the channel's name is ``packet`` or ``packet:BYTES``."""
    return channel.strip().lower().partition(":")[0] == _KIND


def send_packets_command(
    source: str,
    systems: list[str] | None,
    channel: str,
    *,
    erasure: float | None,
    rho: str | None,
    against: list[str] | None,
    out: Path,
    seed: int,
    as_json: bool,
) -> None:
    """Send a picture by each system in packets of as many bytes, and show what arrives."""
    if erasure is None or not 0 <= erasure <= 1:
        given = "" if erasure is None else f", not {erasure}"
        raise VqlinkError(
            f"--channel packet needs --erasure, a probability from 0 to 1 such as 0.1{given}"
        )
    if rho is not None:
        raise VqlinkError(
            "--rho is for channels with an SNR: over packets all systems have as many bytes as "
            "the first index code"
        )
    from vqlink.config.channels import PacketErasureConfig, channel_name, parse_channel
    from vqlink.evaluation.packets import DEFAULT_CODE, default_files, open_packet_systems
    from vqlink.evaluation.send import send_at
    from vqlink.protocols import Point
    from vqlink.sources.images import open_image
    from vqlink.systems.packet_code import DEFAULT_DATAGRAM

    config = parse_channel(channel)
    assert isinstance(config, PacketErasureConfig)
    if ":" not in channel:
        config = PacketErasureConfig(packet_size=DEFAULT_DATAGRAM)
    image = open_image(source)
    names = [*(systems or [DEFAULT_CODE]), *(default_files() if against is None else against)]
    opened = open_packet_systems(list(dict.fromkeys(names)), datagram=config.packet_size)
    check_send_folder(out)
    name = channel_name(config)
    with passing_words("sending") as progress:
        arrivals = send_at(
            image, opened, channel=name, point=Point(probability=erasure), seed=seed,
            progress=progress,
        )  # fmt: skip
    _write(image, arrivals, out)
    if as_json:
        axis = {"probability": erasure}
        print_json({"rows": [arrival_row(arrival, name, axis) for arrival in arrivals]})
        return
    _print_table(arrivals, f"{source} over {name}, each packet lost with probability {erasure:g}")
    if against is None and "hevc+raptorq" not in names:
        print("\nHEVC under an erasure code beside it: pip install 'vqlink[packets]'")
    print(f"\nPictures and rows are in {out}; open {out / 'side-by-side.png'}")


def _write(image: Tensor, arrivals: tuple[Arrival, ...], out: Path) -> None:
    from vqlink.reporting.pictures import arrivals_beside
    from vqlink.sources.images import write_image

    write_image(image, out / "sent.png")
    for arrival in arrivals:
        write_image(arrival.received, out / f"{file_name(arrival.system)}.png")
    rows = [row for arrival in arrivals for row in arrival.rows]
    replace_rows(check_send_folder(out), rows)
    drop_report(out)
    arrivals_beside(image, arrivals, out / "side-by-side.png")


def _print_table(arrivals: tuple[Arrival, ...], title: str) -> None:
    structural = "ms_ssim" if "ms_ssim" in arrivals[0].metrics else "ssim"
    name = structural.upper().replace("_", "-")
    heads = ("system", "PSNR dB", name, "bytes", "packets lost", "status")
    rows = [
        (
            arrival.system,
            f"{arrival.metrics['psnr']:.2f}",
            f"{arrival.metrics[structural]:.4f}",
            f"{arrival.uses}",
            f"{int(arrival.labels['packets_lost'])} of {int(arrival.labels['packets'])}",
            arrival.shown_status,
        )
        for arrival in arrivals
    ]
    table_console().print(table_of(heads, rows, title=title))

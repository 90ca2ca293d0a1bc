"""``vqlink tx --udp`` and ``vqlink rx --udp``: a picture from one process to another in packets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vqlink.cli.options import print_json
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from vqlink.packets.assembly import Assembly, Verdict

_MOST_SECONDS = 3600.0


def transmit_udp(
    source: str,
    system: str,
    address_text: str,
    *,
    datagram: int,
    interleaved: bool,
    loss: float,
    seed: int,
    mbit: float,
    as_json: bool,
) -> None:
    """Send a picture's packets, all but those that ``loss`` takes away."""
    from vqlink.evaluation.packets import open_packet_code
    from vqlink.packets.udp import parse_address, send_datagrams
    from vqlink.protocols import Point
    from vqlink.rng import stream
    from vqlink.sources.images import open_image
    from vqlink.systems.packet_code import PacketCode, arrivals

    if not 0 <= loss <= 1:
        raise VqlinkError(f"--loss is a probability from 0 to 1, not {loss}")
    if not 0.001 <= mbit <= 1e6:
        raise VqlinkError(f"--mbit lies between 0.001 and 1,000,000, not {mbit}")
    address = parse_address(address_text)
    image = open_image(source)
    opened = open_packet_code(system, datagram=datagram, interleaved=interleaved)
    code = opened.transceiver
    assert isinstance(code, PacketCode)
    datagrams = code.to_datagrams(image)
    kept = arrivals(len(datagrams), Point(probability=loss), stream(seed, "udp"))
    sent = [one for one, here in zip(datagrams, kept, strict=True) if here]
    seconds = send_datagrams(sent, address, bits_per_second=1e6 * mbit)
    size = [image.shape[2], image.shape[1]]
    if as_json:
        print_json(
            {
                "system": code.name,
                "weights": opened.weights,
                "size": size,
                "udp": str(address),
                "packets": len(datagrams),
                "dropped": len(datagrams) - len(sent),
                "bytes": sum(map(len, datagrams)),
                "bytes_sent": sum(map(len, sent)),
                "interleaved": interleaved,
                "loss": loss,
                "seed": seed,
                "seconds": round(seconds, 4),
            }
        )
        return
    dropped = f", {len(datagrams) - len(sent)} dropped on purpose" if loss else ""
    print(
        f"{code.name}: {size[0]}x{size[1]} pixels in {len(datagrams)} packets of up to "
        f"{max(map(len, datagrams))} bytes{dropped}, {sum(map(len, sent))} bytes to {address} in "
        f"{seconds:.2f} s"
    )


def receive_udp(
    address_text: str,
    out: Path,
    folders: list[str],
    *,
    seconds: float,
    silence: float,
    as_json: bool,
) -> None:
    """Receive one picture and write it; raises VqlinkError when none comes in time."""
    from vqlink.evaluation.packets import PacketReceiver
    from vqlink.packets.udp import listen, parse_address, receive_datagrams
    from vqlink.sources.images import write_image

    for name, value in (("--timeout", seconds), ("--silence", silence)):
        if not 0 < value <= _MOST_SECONDS:
            raise VqlinkError(f"{name} is a number of seconds above 0, at most 3600, not {value}")
    address = parse_address(address_text)
    receiver = PacketReceiver(folders)
    assembly = receiver.assembly
    with listen(address) as bound:
        host, port = bound.getsockname()[:2]
        place = parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        print(f"listening at {place}", file=sys.stderr, flush=True)
        receive_datagrams(
            bound, lambda datagram: assembly.add(datagram) == "new",
            done=lambda: assembly.complete, seconds=seconds, silence=silence,
        )  # fmt: skip
    image = receiver.picture()
    if image is None or assembly.header is None:
        raise VqlinkError(_nothing(str(place), seconds, assembly))
    write_image(image, out)
    total, counts = assembly.header.total, assembly.counts
    height, width = receiver.size
    if as_json:
        print_json(
            {
                "status": "ok",
                "system": receiver.name,
                "size": [width, height],
                "udp": str(place),
                "packets": total,
                "received": counts["new"],
                "duplicate": counts["duplicate"],
                "corrupt": counts["corrupt"],
                "foreign": counts["foreign"],
                "lost": assembly.lost,
                "interleaved": assembly.header.interleaved,
                "out": str(out),
            }
        )
        return
    kinds: tuple[Verdict, ...] = ("duplicate", "corrupt", "foreign")
    dropped = [f"{counts[kind]} {kind}" for kind in kinds if counts[kind]]
    print(
        f"{receiver.name}: {width}x{height} pixels, {counts['new']} of {total} packets"
        + (f" ({', '.join(dropped)} dropped)" if dropped else "")
        + (f", {100 * assembly.lost:.1f} % of the picture concealed" if assembly.lost else "")
        + f" -> {out}"
    )


def _nothing(place: str, seconds: float, assembly: Assembly) -> str:
    text = f"no packet of a picture came to {place} within {seconds:g} s (--timeout)"
    if assembly.counts["foreign"]:
        return f"{text}; {assembly.counts['foreign']} were refused, such as {assembly.refusal}"
    if assembly.counts["corrupt"]:
        return f"{text}; {assembly.counts['corrupt']} datagrams were no packets, or damaged"
    return text

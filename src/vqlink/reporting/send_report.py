"""The report of ``vqlink send``: one page with all that it takes to judge and to repeat it."""

from __future__ import annotations

import html
from pathlib import Path

from vqlink.evaluation.send import Arrival, SendResult
from vqlink.reporting.html import facts, page, picture, plot, table
from vqlink.reporting.pictures import figures, title, to_pillow
from vqlink.reporting.plots import Spot, curve_figure, curves, largest_fall

_CODES = {"ldpc5g": "5G LDPC", "ldpc80211ad": "802.11ad LDPC"}


def write_send_report(result: SendResult, path: Path) -> None:
    """Write a self-contained HTML page."""
    body = [
        f"<h1>{html.escape(headline(result))}</h1>",
        f'<p class="lead">{html.escape(_where(result))}</p>',
        _table(result),
        "<h2>What arrived</h2>",
        f'<div class="pictures">{_pictures(result)}</div>',
        "<h2>As the channel gets worse</h2>",
        f"<p>{html.escape(degradation(result))}</p>",
        plot(
            curve_figure(result.sweep, "PSNR in dB"),
            f"PSNR over the SNR, on {result.sweep_note}; every point simulated once. "
            "A hollow mark is an outage: the receiver shows mid-grey.",
        ),
        "<h2>How it was measured</h2>",
        facts(_facts(result)),
        f"<pre>{html.escape(result.command)}</pre>",
    ]
    path.write_text(page(f"vqlink: {result.source}", "\n".join(body)), "utf-8", "backslashreplace")


def headline(result: SendResult) -> str:
    """Who arrived best, and by how much, among learned codes and digital links."""
    ranked = sorted(result.arrivals, key=lambda a: a.metrics["psnr"], reverse=True)
    best = ranked[0]
    if len(ranked) == 1:
        return f"{best.system} arrived at {best.metrics['psnr']:.1f} dB"
    lead = best.metrics["psnr"] - ranked[1].metrics["psnr"]
    return f"{best.system} arrived best, {lead:.1f} dB ahead of {ranked[1].system}"


def degradation(result: SendResult) -> str:
    """What the sweep shows, in words and figures."""
    parts = []
    for (system, role), spots in curves(result.sweep).items():
        if role == "learned":
            parts.append(
                f"{system} loses at most {largest_fall(spots):.1f} dB for a step of 2 dB of SNR, "
                f"from {spots[-1].mean:.1f} dB to {spots[0].mean:.1f} dB over the whole range."
            )
        elif role == "fixed":
            parts.append(_cliff(result, system, spots))
    return " ".join(parts)


def _cliff(result: SendResult, system: str, spots: list[Spot]) -> str:
    lost = [spot.snr_db for spot in spots if spot.outages]
    if not lost:
        return f"{system} arrives at every SNR here."
    # In slow fading every SNR has a fade of its own, and any may be the one that loses the picture.
    below = all(spot.outages for spot in spots if spot.snr_db <= max(lost))
    where = f"{max(lost):g} dB and below" if below else ", ".join(f"{x:g}" for x in lost) + " dB"
    return (
        f"{system}, whose scheme was chosen for {result.snr_db:g} dB and is kept, is lost at "
        f"{where}: a fall of {largest_fall(spots):.1f} dB within one step."
    )


def _where(result: SendResult) -> str:
    uses = {arrival.uses for arrival in result.arrivals}
    same = f"{uses.pop():,} channel uses each" if len(uses) == 1 else "different channel uses"
    return (
        f"{result.source} over {result.channel} at Es/N0 = {result.snr_db:g} dB, "
        f"{same} (rho = {result.arrivals[0].rho:.4f})"
    )


def _table(result: SendResult) -> str:
    structural = "ms_ssim" if "ms_ssim" in result.arrivals[0].metrics else "ssim"
    heads = ("system", "PSNR dB", structural.upper().replace("_", "-"), "channel uses", "rho",
             "measured power", "status", "MCS", "payload bytes", "seconds")  # fmt: skip
    return table(heads, [_row(arrival, structural) for arrival in result.arrivals])


def _row(arrival: Arrival, structural: str) -> tuple[str, ...]:
    payload = arrival.labels.get("payload_bytes")
    return (
        arrival.system,
        f"{arrival.metrics['psnr']:.2f}",
        f"{arrival.metrics[structural]:.4f}",
        f"{arrival.uses:,}",
        f"{arrival.rho:.4f}",
        f"{arrival.tx_power:.3f}",
        "ok" if arrival.shown_status == "ok" else f"!{arrival.shown_status}",
        str(arrival.labels.get("mcs", "-")),
        "-" if payload is None else f"{int(float(payload)):,}",
        f"{arrival.seconds:.1f}",
    )


def _pictures(result: SendResult) -> str:
    shown = [picture(to_pillow(result.sent), "sent")]
    shown += [
        picture(to_pillow(arrival.received), f"{title(arrival)}: {figures(arrival)}")
        for arrival in result.arrivals
    ]
    return "\n".join(shown)


def _facts(result: SendResult) -> list[tuple[str, str]]:
    first = result.arrivals[0].rows[0]
    links = [arrival.system for arrival in result.arrivals if "+" in arrival.system]
    codes = dict.fromkeys(link.partition("+")[2].partition("@")[0] for link in links)
    named = " or ".join(_CODES[code] for code in codes)
    digital = (f"payload, CRC, parity and padding all count; {named}, decoded by belief "
               "propagation; one failed CRC is an outage")  # fmt: skip
    return [
        ("SNR", "Es/N0 per complex channel use at mean power 1; N0 is the whole complex variance"),
        ("power", "measured over each message's symbols; more than 0.1 dB off budget is marked"),
        *([("digital links", digital)] if links else []),
        ("PSNR", "on 8-bit pixels of the whole picture"),
        ("seed", str(result.seed)),
        ("versions", ", ".join(f"{name} {value}" for name, value in first.versions.items())),
    ]  # fmt: skip

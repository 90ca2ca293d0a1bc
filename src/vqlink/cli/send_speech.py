"""``vqlink send`` with a recording: what each system's receiver hears."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqlink.cli.options import (
    arrival_row,
    check_send_folder,
    command_line,
    file_name,
    passing_words,
    print_json,
    replace_rows,
    table_console,
    table_of,
)
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from vqlink.evaluation.send import Arrival
    from vqlink.sources.audio import Recording

SAMPLE = "sample:voice"
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".m4a")
_HEADS = {"pesq": "PESQ", "stoi": "STOI", "psnr_weighted": "pSNR dB"}


def is_recording(source: str) -> bool:
    """Whether INPUT is a recording, by its name."""
    return source == SAMPLE or source.lower().endswith(SUFFIXES)


def send_recording(
    source: str,
    systems: Sequence[str] | None,
    against: Sequence[str] | None,
    *,
    channel: str,
    snr_db: float,
    rho: str | None,
    out: Path,
    seed: int,
    as_json: bool,
) -> None:
    """Send a recording by each system; write wavs, spectrograms, rows and a report.

    Raises:
        VqlinkError: for what can't be read, opened or written, or a ``rho`` that speech hasn't.
    """
    from vqlink.evaluation.send_speech import (
        CODEC_LINK,
        default_speech_systems,
        open_speech_systems,
        send_speech,
    )
    from vqlink.evaluation.systems import open_channel
    from vqlink.reporting.spectrograms import spectrograms
    from vqlink.sources.audio import write_audio

    if rho is not None:
        raise VqlinkError("speech goes at 8,400 channel uses a second: leave --rho out")
    config, channel_name = open_channel(channel)
    recording = _read(source)
    learned = tuple(systems) if systems else default_speech_systems()
    names = tuple(dict.fromkeys((*learned, *(against if against is not None else [CODEC_LINK]))))
    opened = open_speech_systems(names, config)
    check_send_folder(out)

    with passing_words("sending") as progress:
        arrivals = send_speech(
            recording.samples,
            opened,
            channel=channel_name,
            snr_db=snr_db,
            seed=seed,
            progress=progress,
        )
    write_audio(recording.samples, out / "sent.wav")
    for arrival in arrivals:
        write_audio(arrival.received, out / f"{file_name(arrival.system)}.wav")
    shown = {f"sent: {source}": recording.samples}
    shown |= {f"{a.system}{_mcs(a)}: {_figures(a)}": a.received for a in arrivals}
    spectrograms(shown, out / "spectrograms.png")
    rows = [row for arrival in arrivals for row in arrival.rows]
    replace_rows(check_send_folder(out), rows)
    title = f"{source} over {channel_name} at {snr_db:g} dB"
    _write_report(title, recording, arrivals, out)
    if as_json:
        point, notes = {"snr_db": snr_db}, list(recording.notes)
        found = [arrival_row(a, channel_name, point, notes=notes) for a in arrivals]
        print_json({"rows": found})
        return
    for note in recording.notes:
        print(f"note: {source}: {note}")
    rows_shown = [_cells(arrival) for arrival in arrivals]
    table_console().print(table_of(_columns(arrivals), rows_shown, title=title))
    print(f"\nRecordings, spectrograms and rows are in {out}; open {out / 'report.html'}")


def _read(source: str) -> Recording:
    from vqlink.sources.audio import Recording, read_audio
    from vqlink.sources.voice import synthetic_voice

    if source == SAMPLE:
        return Recording(synthetic_voice(), ("a synthetic voice, not a person's",))
    return read_audio(source)


def _mcs(arrival: Arrival) -> str:
    mcs = str(arrival.labels.get("mcs", ""))
    return f" ({mcs})" if mcs and mcs not in arrival.system else ""


def _figures(arrival: Arrival) -> str:
    parts = [f"{_HEADS[name]} {value:.2f}" for name, value in arrival.metrics.items()]
    return ", ".join([*parts, *([arrival.shown_status] if arrival.shown_status != "ok" else [])])


def _cells(arrival: Arrival) -> tuple[str, ...]:
    kbps = arrival.labels.get("kbps")
    return (
        arrival.system + _mcs(arrival),
        *(f"{value:.3f}" for value in arrival.metrics.values()),
        "-" if kbps is None else f"{float(kbps):g}",
        f"{arrival.uses}",
        f"{arrival.tx_power:.3f}",
        arrival.shown_status,
    )


def _columns(arrivals: Sequence[Arrival]) -> tuple[str, ...]:
    names = [_HEADS[name] for name in arrivals[0].metrics]
    return ("system", *names, "kbit/s", "uses", "power", "status")


def _write_report(title: str, recording: Recording, arrivals: Sequence[Arrival], out: Path) -> None:
    import html

    from PIL import Image

    from vqlink.reporting.html import facts, page, picture, table

    sounds = [("sent", "sent.wav")]
    sounds += [(a.system + _mcs(a), f"{file_name(a.system)}.wav") for a in arrivals]
    players = "".join(
        f'<p>{html.escape(name)}<br><audio controls src="{html.escape(file)}"></audio></p>'
        for name, file in sounds
    )
    with Image.open(out / "spectrograms.png") as drawn:
        drawing = picture(drawn.convert("RGB"), "70 dB from the loudest spot of what was sent")
    about = [
        ("SNR", "Es/N0 per complex channel use at mean power 1"),
        ("uses", "equal for all systems: header, CRC, parity and filling included"),
        ("pSNR", "signal to error, both weighted by |A(z/0.92)| of the sent speech (AMR-WB)"),
        ("input", "; ".join((f"{recording.seconds:.2f} s at 16 kHz", *recording.notes))),
    ]
    body = [
        f"<h1>{html.escape(title)}</h1>",
        table(_columns(arrivals), [_cells(arrival) for arrival in arrivals]),
        "<h2>To hear</h2>",
        players,
        "<h2>To see</h2>",
        drawing,
        "<h2>How it was measured</h2>",
        facts(about),
        f"<pre>{html.escape(command_line())}</pre>",
    ]
    report = page(f"vqlink: {title}", "\n".join(body))
    (out / "report.html").write_text(report, "utf-8", "backslashreplace")

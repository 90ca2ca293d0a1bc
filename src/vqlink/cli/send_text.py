"""``vqlink send`` of a sentence or a text file."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqlink.cli.options import (
    check_send_folder,
    check_snr,
    drop_report,
    file_name,
    passing_words,
    print_json,
    replace_rows,
    table_console,
    table_of,
)
from vqlink.cli.send_speech import SUFFIXES as RECORDINGS
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from vqlink.evaluation.text import TextArrival

_AGAINST = ("huffman+ldpc5g", "huffman+turbo")
_SHOWN = 20
_SHOWN_METRICS = {
    "similarity": "similarity",
    "bleu4": "BLEU-4",
    "token_accuracy": "words right",
    "sentence_accuracy": "whole",
}


def is_text(source: str, channel: str, systems: Sequence[str]) -> bool:
    """Whether INPUT is a text: a .txt file, or words that name no other file or sample.

    A single word could be a name misspelt: it is a text for bits' channels and text systems only.
    """
    if source.lower().endswith(".txt"):
        return True
    from vqlink.sources.images import SUFFIXES as PICTURES

    other_files = (*PICTURES, ".gif", ".parquet", *RECORDINGS)
    names_a_file = source.startswith("sample:") or source.lower().endswith(other_files)
    if names_a_file or os.path.lexists(source):
        return False
    if channel.strip().lower() in ("bec", "bsc"):
        return True
    if any(name.startswith(("text-", "huffman")) for name in systems):
        return True
    if systems:
        from vqlink.zoo.kinds import kind_of

        if any(kind_of(name) == "sentences" for name in systems):
            return True
    return not source.strip() or any(c.isspace() for c in source) or not source.isascii()


def read_text(source: str) -> list[str]:
    """The sentences of a file, or of the words themselves.

    Raises:
        VqlinkError: when there is nothing to send, or a file can't be read.
    """
    from vqlink.sources.text import open_sentences, split_sentences

    if source.lower().endswith(".txt"):
        lines = open_sentences(source)
        sentences = [sentence for line in lines for sentence in split_sentences(line)]
    else:
        sentences = split_sentences(source)
    if not sentences:
        raise VqlinkError("there is nothing to send: INPUT is an empty text")
    return sentences


def send_text_command(
    source: str,
    systems: list[str] | None,
    channel: str,
    *,
    snr: float,
    erasure: float | None,
    flip: float | None,
    modem: str | None,
    rho: str | None,
    against: list[str] | None,
    out: Path,
    seed: int,
    as_json: bool,
) -> None:
    """Send a text by each system, a frame a sentence, and print what each receiver reads."""
    sentences = read_text(source)
    value = _probability(channel, erasure, flip)
    check_snr([snr])
    if rho is not None:
        raise VqlinkError("a sentence takes the channel uses that its words need: leave --rho out")
    if modem not in (None, "bpsk", "qpsk"):
        raise VqlinkError(f"--modem of a text is bpsk or qpsk, not {modem!r}")
    from vqlink.config.channels import channel_name, parse_channel
    from vqlink.evaluation.text import DEFAULT_CODE, frames, open_text_systems, send_text
    from vqlink.protocols import Point

    config = parse_channel(channel)
    names = list(dict.fromkeys([*(systems or [DEFAULT_CODE]), *(against or _AGAINST)]))
    opened = open_text_systems(
        names, config, bits_per_symbol={None: None, "bpsk": 1, "qpsk": 2}[modem]
    )
    check_send_folder(out)
    point = Point(snr_db=snr) if value is None else Point(probability=value)
    sentences = frames(opened, sentences)
    with passing_words("sending") as progress:
        arrivals = send_text(
            sentences, opened, channel=config, point=point, seed=seed, progress=progress
        )
    where = f"{channel_name(config)} at " + (f"{snr:g} dB" if value is None else f"{value:g}")
    _write(sentences, arrivals, out)
    if as_json:
        axis = {"snr_db": snr} if value is None else {"probability": value}
        characters = sum(map(len, sentences))
        rows = [_row(arrival, channel_name(config), axis, characters) for arrival in arrivals]
        print_json({"sentences": sentences, "rows": rows})
        return
    _print(sentences, arrivals, where)
    print(f"\nTexts and rows are in {out}")


def _probability(channel: str, erasure: float | None, flip: float | None) -> float | None:
    """The point of a channel of bits; None for a channel with an SNR."""
    kind = channel.strip().lower().split(":")[0]
    for name, option, value in (("bec", "--erasure", erasure), ("bsc", "--flip", flip)):
        if value is not None and kind != name:
            raise VqlinkError(f"{option} is the probability of --channel {name}, not of {channel}")
        if kind == name:
            if value is None:
                raise VqlinkError(f"--channel {name} needs {option}, a probability such as 0.3")
            if not 0 <= value <= 1:
                raise VqlinkError(f"{option} is a probability from 0 to 1, not {value}")
            return value
    return None


def _write(sentences: list[str], arrivals: tuple[TextArrival, ...], out: Path) -> None:
    (out / "sent.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    for arrival in arrivals:
        text = "\n".join(arrival.sent.received) + "\n"
        (out / f"{file_name(arrival.system)}.txt").write_text(text, encoding="utf-8")
    rows = [row for arrival in arrivals for row in arrival.rows]
    replace_rows(check_send_folder(out), rows)
    drop_report(out)


def _row(
    arrival: TextArrival, channel: str, point: dict[str, float], characters: int
) -> dict[str, Any]:
    sent = arrival.sent
    return {
        "system": arrival.system,
        "channel": channel,
        "point": point,
        "rho": int(sent.uses.sum()) / max(1, characters),
        "uses": int(sent.uses.sum()),
        "tx_power": float(sent.tx_power.mean()),
        "status": "outage" if bool(sent.outage.all()) else "ok",
        "outages": int(sent.outage.sum()),
        **{name: float(values.mean()) for name, values in arrival.metrics.items()},
        "received": list(sent.received),
        "stats": {name: float(values.mean()) for name, values in sent.stats.items()},
        "seconds": round(arrival.seconds, 3),
    }


def _print(sentences: list[str], arrivals: tuple[TextArrival, ...], where: str) -> None:
    from rich.text import Text

    console = table_console()
    # Lines as long as they are: a sentence that a pipe reads is not broken at 80 columns.
    show = functools.partial(console.print, soft_wrap=True, markup=False)
    for place, sentence in enumerate(sentences[:_SHOWN]):
        show(Text(f"{'sent':20} {sentence}", style="bold"))
        for arrival in arrivals:
            lost = " [outage]" if bool(arrival.sent.outage[place]) else ""
            show(Text(f"{arrival.system:20} {arrival.sent.received[place]}{lost}"))
    if len(sentences) > _SHOWN:
        console.print(f"... and {len(sentences) - _SHOWN} sentences more")
    heads = ("system", *_SHOWN_METRICS.values(), "uses", "outages")
    rows = []
    for arrival in arrivals:
        means = {name: f"{float(values.mean()):.3f}" for name, values in arrival.metrics.items()}
        uses, outages = int(arrival.sent.uses.sum()), int(arrival.sent.outage.sum())
        shown = [means.get(name, "-") for name in _SHOWN_METRICS]
        rows.append((arrival.system, *shown, f"{uses}", f"{outages} of {len(sentences)}"))
    title = f"{len(sentences)} sentence{'s' * (len(sentences) > 1)} over {where}"
    console.print(table_of(heads, rows, title=title))
    if any("similarity" not in a.metrics or "bleu4" not in a.metrics for a in arrivals):
        show("similarity and BLEU: pip install 'vqlink[text]'")
    for arrival in arrivals:
        unknown = int(arrival.sent.stats["unknown"].sum()) if "unknown" in arrival.sent.stats else 0
        if unknown:
            show(
                f"{arrival.system}: {unknown} words or signs are not in its vocabulary, which is "
                "of English sentences; its receiver shows them as �"
            )
        small = arrival.sent.stats.get("too_small")
        if small is not None and bool(small.any()):
            show(
                f"{arrival.system}: {int(small.sum())} sentences don't fit into the learned code's "
                "channel uses; nothing is sent of them"
            )

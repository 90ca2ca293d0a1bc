"""``vqlink zoo``: what weights there are, and what they are expected to give."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqlink.cli.options import print_json

if TYPE_CHECKING:
    from vqlink.zoo.catalogue import Entry

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
_Json = Annotated[bool, typer.Option("--json", help="print JSON alone")]


@app.callback()
def list_command(context: typer.Context, as_json: _Json = False) -> None:
    """List the weights that ship, with their expected figure."""
    if context.invoked_subcommand is not None:
        return
    from vqlink.zoo.catalogue import entries
    from vqlink.zoo.speech import speech_entries
    from vqlink.zoo.text import text_entries

    if as_json:
        print_json([*map(_json, entries()), *(text.document() for text in text_entries())])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "paper", "channel", "rho", "bits a use", "parameters", "expected PSNR")
    for entry in entries():
        bits = "any" if entry.bits is None else f"{entry.bits:g}"
        figure = f"{entry.expected.psnr_db:.2f} dB at {entry.expected.snr_db:g} dB"
        row = (entry.name, entry.paper, entry.channel, str(entry.rho), bits)
        table.add_row(*row, f"{entry.params:,}", figure)
    Console().print(table)
    if speech_entries():
        table = Table("name", "paper", "parameters", "expected weighted SNR", title="speech")
        for item in speech_entries():
            table.add_row(item.name, item.paper, f"{item.params:,}", f"{item.psnr_db:.2f} dB")
        Console().print(table)
    texts = Table(
        "name", "paper", "channel", "bits a token", "parameters", "expected token accuracy"
    )
    for text in text_entries():
        figure = f"{text.expected:.3f} at {text.erasure:g} erased"
        texts.add_row(
            text.name, text.paper, text.channel, f"{text.bits}", f"{text.params:,}", figure
        )
    Console().print(texts)


@app.command("show")
def show_command(name: str, as_json: _Json = False) -> None:
    """Show one set of weights in full."""
    from vqlink.zoo.catalogue import find
    from vqlink.zoo.text import text_entries

    text = {entry.name: entry for entry in text_entries()}
    document = text[name].document() if name in text else _json(find(name))
    if as_json:
        print_json(document)
        return
    for key, value in document.items():
        print(f"{key:10} {value}")


def _json(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "rho": str(entry.rho)}

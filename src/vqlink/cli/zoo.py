"""``vqlink zoo``: what weights there are, and what they are expected to give."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqlink.cli.options import print_json
from vqlink.errors import VqlinkError, did_you_mean

if TYPE_CHECKING:
    from rich.table import Table

    from vqlink.zoo.catalogue import Entry
    from vqlink.zoo.classifier import ClassifierEntry
    from vqlink.zoo.kinds import Kind
    from vqlink.zoo.prior import PriorEntry
    from vqlink.zoo.speech import SpeechEntry
    from vqlink.zoo.text import TextEntry

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
_Json = Annotated[bool, typer.Option("--json", help="print JSON alone")]


@app.callback()
def list_command(context: typer.Context, as_json: _Json = False) -> None:
    """List the weights that ship, with their expected figure."""
    if context.invoked_subcommand is not None:
        return
    if as_json:
        print_json(list(_documents().values()))
        return
    from rich.console import Console

    from vqlink.zoo.kinds import all_entries

    console = Console()
    for kind, entries in groupby(all_entries(), key=lambda entry: entry.kind):
        console.print(_TABLES[kind](tuple(entries)))


@app.command("show")
def show_command(name: str, as_json: _Json = False) -> None:
    """Show one set of weights in full."""
    known = _documents()
    if name not in known:
        hint = did_you_mean(name, known)
        raise VqlinkError(f"no weights named {name!r} in the zoo{hint} (known: {', '.join(known)})")
    if as_json:
        print_json(known[name])
        return
    for key, value in known[name].items():
        print(f"{key:16} {value}")


def _documents() -> dict[str, dict[str, Any]]:
    from vqlink.zoo.kinds import all_entries

    return {entry.name: entry.document() for entry in all_entries()}


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("name", no_wrap=True)
    for column in columns:
        table.add_column(column)
    return table


def _images(entries: tuple[Entry, ...]) -> Table:
    table = _table("images", "paper", "channel", "rho", "bits a use", "expected PSNR")
    for entry in entries:
        bits = "any" if entry.bits is None else f"{entry.bits:g}"
        figure = f"{entry.expected.psnr_db:.2f} dB at {entry.expected.snr_db:g} dB"
        table.add_row(entry.name, entry.paper, entry.channel, str(entry.rho), bits, figure)
    return table


def _priors(entries: tuple[PriorEntry, ...]) -> Table:
    table = _table("priors", "paper", "codec", "expected bits a picture")
    for entry in entries:
        table.add_row(entry.name, entry.paper, entry.codec, f"{entry.bits:g}")
    return table


def _classifiers(entries: tuple[ClassifierEntry, ...]) -> Table:
    table = _table("classifiers", "paper", "classes", "accuracy")
    for entry in entries:
        table.add_row(entry.name, entry.paper, str(entry.classes), f"{entry.accuracy:.3f}")
    return table


def _texts(entries: tuple[TextEntry, ...]) -> Table:
    table = _table("text", "paper", "channel", "bits a token", "expected token accuracy")
    for entry in entries:
        figure = f"{entry.expected:.3f} at {entry.erasure:g} erased"
        table.add_row(entry.name, entry.paper, entry.channel, f"{entry.bits}", figure)
    return table


def _speech(entries: tuple[SpeechEntry, ...]) -> Table:
    table = _table("speech", "paper", "expected weighted SNR")
    for entry in entries:
        table.add_row(entry.name, entry.paper, f"{entry.psnr_db:.2f} dB")
    return table


_TABLES: dict[Kind, Callable[[tuple[Any, ...]], Table]] = {
    "pictures": _images,
    "samples": _priors,
    "features": _classifiers,
    "sentences": _texts,
    "recordings": _speech,
}

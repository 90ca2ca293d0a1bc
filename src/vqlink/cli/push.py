"""``vqlink push``: weights to the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from vqlink.cli.options import print_json
from vqlink.errors import VqlinkError

_SHIPPED = "apache-2.0"


def push_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a zoo name or a weights folder")],
    place: Annotated[str, typer.Argument(metavar="hf://ORG/NAME", help="where to put it")],
    private: Annotated[bool, typer.Option("--private", help="for your account alone")] = False,
    licence: Annotated[
        str | None, typer.Option("--license", help="for the card, such as mit [default: none]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON alone")] = False,
) -> None:
    """Put weights on the hub, with their sha256 and a model card."""
    from vqlink.zoo.hub import parse_location

    parse_location(place)
    from vqlink.zoo.add import describe
    from vqlink.zoo.catalogue import entries, find
    from vqlink.zoo.hub import push

    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise VqlinkError("--license is the hub's short name of one, such as mit or cc-by-4.0")
    shipped = any(entry.name == name for entry in entries()) or not Path(name).is_dir()
    if shipped and licence not in (None, _SHIPPED):
        raise VqlinkError(f"what ships with vqlink is under {_SHIPPED}: leave --license out")
    if shipped:
        entry = find(name)
        folder, licence = entry.folder, _SHIPPED
    else:
        folder = Path(name)
        entry = describe(folder)
    where = push(folder, entry, place, private=private, licence=licence)
    if as_json:
        print_json({"name": entry.name, "place": place, "url": where, "sha256": entry.sha256})
    else:
        print(f"{entry.name} is at {where}. Try it:")
        print(f"  vqlink send PICTURE --system {place}")

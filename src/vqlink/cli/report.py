"""``vqlink report``: a static site, or one page, from a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqlink.cli.options import check_folder, print_json


def report_command(
    rows: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="folders of results, or JSONL files")
    ],
    out: Annotated[
        Path, typer.Option(help="the folder to write; a name in .html makes one page of all")
    ] = Path("report"),
    listen: Annotated[
        bool,
        typer.Option(
            "--listen", help="send the sample voice by the speech codes that ship, to hear"
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON alone")] = False,
) -> None:
    """Write a site of all RESULTS: curves, tables beside the papers', plots, sounds.

    It takes what `vqlink evaluate`, `send` and `reproduce` write, and needs no network.
    """
    check_folder(out.parent)
    from vqlink.reporting.site.write import write_report

    count = write_report(rows, out, listen=listen)
    page = out if out.is_file() else out / "index.html"
    if as_json:
        print_json({"rows": count, "report": str(page)})
    else:
        print(f"{count:,} rows in {page}")

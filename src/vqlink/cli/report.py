"""``vqlink report``: a page from result rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqlink.cli.options import check_folder, print_json


def report_command(
    rows: Annotated[list[Path], typer.Argument(metavar="ROWS...", help="JSONL files or folders")],
    out: Annotated[Path, typer.Option(help="the page to write")] = Path("report.html"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON alone")] = False,
) -> None:
    """Write one self-contained page with curves and tables of ROWS."""
    check_folder(out.parent)
    from vqlink.reporting.rows_report import write_rows_report

    count = write_rows_report(rows, out)
    if as_json:
        print_json({"rows": count, "report": str(out)})
    else:
        print(f"{count:,} rows in {out}")

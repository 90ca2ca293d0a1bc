"""``vqlink export``: a code for other runtimes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqlink.cli.options import check_folder, print_json, table_console, table_of
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from vqlink.deploy.export import Exported


def export_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a zoo name or a weights folder")],
    form: Annotated[Literal["onnx"], typer.Option("--format", help="what to write")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="also an 8-bit form, and its loss")] = False,
    calibrate: Annotated[
        str | None, typer.Option(help="pictures that set int8's scales [default: samples]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="a folder [default: exports/NAME]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON alone")] = False,
) -> None:
    """Export encoder and decoder, check them against PyTorch, and time them."""
    if calibrate is not None and not int8:
        raise VqlinkError("--calibrate sets the scales of 8 bits: add --int8")
    from vqlink.deploy.export import export, name_of
    from vqlink.zoo.catalogue import weights_folder

    weights_folder(name)  # what can't be opened leaves no folder behind
    folder = out if out is not None else Path("exports") / name_of(name)
    check_folder(folder)

    exported = export(name, folder, int8=int8, calibration=calibrate)
    if as_json:
        document = asdict(exported)
        for entry in document["forms"]:
            entry["folder"] = None if entry["folder"] is None else str(entry["folder"])
        print_json({"format": form, **document})
    else:
        _print(exported)


def _print(exported: Exported) -> None:
    from vqlink.deploy.export import SNR_DB

    at = ", ".join(f"{snr_db:g}" for snr_db in SNR_DB)
    heads = ("form", "encode ms", "decode ms", "MB", f"PSNR at {at} dB", "folder")
    rows = [
        (
            form.name,
            f"{form.seconds.encode * 1e3:.0f}",
            f"{form.seconds.decode * 1e3:.0f}",
            "" if form.bytes is None else f"{form.bytes / 1e6:.1f}",
            ", ".join(f"{value:.2f}" for value in form.psnr_db),
            "" if form.folder is None else str(form.folder),
        )
        for form in exported.forms
    ]
    table_console().print(table_of(heads, rows, figures=False))
    differs = exported.agreement
    print(f"Largest difference to PyTorch: {max(differs.latents, differs.pixels):.1e}")

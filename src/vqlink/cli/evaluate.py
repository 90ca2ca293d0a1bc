"""``vqlink evaluate``: systems over a data set and a range of points, resumable."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqlink.cli.options import check_folder, check_snr, known_command, print_json
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from vqlink.evaluation.run import Summary


def evaluate_command(
    systems: Annotated[list[str], typer.Argument(metavar="S...", help="zoo names, folders, links")],
    data: Annotated[str, typer.Option(help="a folder of pictures, a parquet file, a picture")],
    channel: Annotated[str, typer.Option(help="awgn, rayleigh, rician:k=4, ...")] = "awgn",
    snr: Annotated[list[str] | None, typer.Option(help="Es/N0 in dB, as in --snr 0 5 10")] = None,
    rho: Annotated[str | None, typer.Option(help="for digital links without a code")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="the first so many pictures")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="channel draws a picture and point")] = 1,
    metric: Annotated[
        list[str] | None, typer.Option(help="psnr, ms_ssim, ssim, mse, mae [default: all]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSONL file of rows; resumed if there")] = None,
    seed: Annotated[int, typer.Option(help="of the channel's noise")] = 0,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="measure here, or on a Ray cluster")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="of the cluster: auto, HOST:6379 [default: this machine]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the means as JSON alone")] = False,
) -> None:
    """Measure each system S on every picture at every SNR."""
    points = _points(snr or ["10"])
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from vqlink.evaluation.run import check_metrics, evaluate, summarise
    from vqlink.evaluation.systems import open_channel, open_systems
    from vqlink.sources.datasets import open_images
    from vqlink.units import parse_ratio

    if address is not None and engine != "ray":
        raise VqlinkError("--address is of a Ray cluster: add --engine ray")
    check_metrics(metric or [])
    config, channel_text = open_channel(channel)
    try:
        ratio = parse_ratio(rho) if rho is not None else None
    except ValueError as error:
        raise VqlinkError(str(error)) from None
    opened = open_systems(list(dict.fromkeys(systems)), config, ratio)
    images = open_images(data)
    elsewhere = None
    if engine == "ray":
        from vqlink.evaluation.ray_engine import RayEngine

        elsewhere = RayEngine(opened, channel_text, ratio, address=address)
    if out is not None:
        check_folder(out.parent)
        if out.exists() and not (known_command(out) or "vqlink evaluate").startswith(
            "vqlink evaluate"
        ):
            raise VqlinkError(f"{out} holds rows of another verb: name another --out")
    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    from rich.console import Console

    with Progress(*columns, console=Console(stderr=True), disable=as_json) as bar:
        task = bar.add_task("transmissions")
        rows = evaluate(
            opened,
            images,
            channel=channel_text,
            snr_db=points,
            samples=samples,
            repeats=repeats,
            seed=seed,
            metrics=metric,
            out=out,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            engine=elsewhere,
        )
    summaries = summarise(rows)
    if as_json:
        print_json({"rows": [asdict(summary) for summary in summaries]})
    else:
        _print_table(summaries)


def _points(words: list[str]) -> list[float]:
    """Words, each one number of dB or several with commas."""
    text = " ".join(words)
    try:
        points = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise VqlinkError(f"--snr takes numbers of dB, as in 0 5 10, not {text!r}") from None
    if not points:
        raise VqlinkError("--snr takes at least one number of dB")
    check_snr(points)
    return list(dict.fromkeys(points))


def _print_table(summaries: list[Summary]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("system", "SNR dB", "metric", "mean", "± 95 %", "n", "outages", "rho", "power")
    for summary in summaries:
        if summary.metric not in ("psnr", "ms_ssim", "ssim"):
            continue
        table.add_row(
            summary.system,
            f"{summary.point['snr_db']:g}",
            summary.metric,
            f"{summary.mean:.4f}" if "ssim" in summary.metric else f"{summary.mean:.2f}",
            "" if summary.ci95 is None else f"{summary.ci95:.2g}",
            str(summary.n),
            str(summary.outages),
            f"{summary.rho:.4f}",
            f"{summary.tx_power:.3f}" + (" !" if summary.flags else ""),
        )
    Console().print(table)

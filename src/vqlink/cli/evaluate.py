"""``vqlink evaluate``: systems over a data set and a range of points, resumable."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqlink.cli.options import (
    INTERRUPTED,
    check_folder,
    check_maker,
    check_snr,
    is_watched,
    note_command,
    print_json,
    ratio_of,
    table_console,
    table_of,
)
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vqlink.evaluation.run import Summary

_SHOWN = ("psnr", "ms_ssim", "ssim")  # where no metric is named
_DIGITS = {"psnr": ".2f", "ms_ssim": ".4f", "ssim": ".4f"}


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
) -> int:
    """Measure each system S on every picture at every SNR."""
    points = _points(snr or ["10"])
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from vqlink.evaluation.rows import mend_rows
    from vqlink.evaluation.run import check_metrics, evaluate, summarise
    from vqlink.evaluation.systems import open_channel, open_systems
    from vqlink.sources.datasets import open_images

    if address is not None and engine != "ray":
        raise VqlinkError("--address is of a Ray cluster: add --engine ray")
    check_metrics(metric or [])
    config, channel_text = open_channel(channel)
    ratio = ratio_of(rho)
    opened = open_systems(list(dict.fromkeys(systems)), config, ratio)
    images = open_images(data)
    elsewhere = None
    if engine == "ray":
        from vqlink.evaluation.ray_engine import RayEngine

        elsewhere = RayEngine(opened, channel_text, ratio, address=address)
    if out is not None:
        check_folder(out.parent)
        check_maker(out, "evaluate")
        if out.exists():
            mend_rows(out)  # nothing is noted of a file that holds anything else
        note_command(out)
    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    quiet = as_json and not is_watched()
    try:
        with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
            task = bar.add_task("transmissions", total=None)
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
    except KeyboardInterrupt:
        if out is None or not out.exists():
            raise
        text = f"interrupted; the rows so far are in {out}, the same command goes on"
        print(f"vqlink: {text}", file=sys.stderr)
        return INTERRUPTED
    summaries = summarise(rows)
    if as_json:
        print_json({"rows": [asdict(summary) for summary in summaries]})
    else:
        _print_table([s for s in summaries if s.metric in (metric or _SHOWN)])
    return 0


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


def _print_table(summaries: Sequence[Summary]) -> None:
    heads = ("system", "SNR dB", "metric", "mean", "± 95 %", "n", "outages", "rho", "power")
    rows = [
        (
            summary.system,
            f"{summary.point['snr_db']:g}",
            summary.metric,
            format(summary.mean, _DIGITS.get(summary.metric, ".4g")),
            "" if summary.ci95 is None else f"{summary.ci95:.2g}",
            str(summary.n),
            str(summary.outages),
            f"{summary.rho:.4f}",
            f"{summary.tx_power:.3f}" + (" !" if summary.flags else ""),
        )
        for summary in summaries
    ]
    table_console().print(table_of(heads, rows))
    if any(summary.flags for summary in summaries):
        print("! some message's power is more than 0.1 dB off the budget, a mean of 1")

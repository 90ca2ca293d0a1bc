"""``vqlink report``: curves and tables of any result rows, in one page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from vqlink.errors import VqlinkError
from vqlink.evaluation.rows import Row, read_rows
from vqlink.reporting.html import page, plot, table
from vqlink.reporting.plots import curve_figure, curves

_LABELS = {"psnr": "PSNR in dB", "ms_ssim": "MS-SSIM", "ssim": "SSIM", "mse": "MSE", "mae": "MAE"}


def write_rows_report(sources: Sequence[Path], path: Path) -> int:
    """Report every row in files or folders of ``.jsonl`` files; returns the number of rows.

    Raises:
        VqlinkError: when a source is missing or holds no rows, or a file is no row file.
    """
    files = [file for source in sources for file in _files(source)]
    groups: dict[tuple[str, str, str], list[Row]] = {}
    count = 0
    for file in files:
        for row in read_rows(file):
            key = (row.channel, f"{row.rho:.4f}", row.metric)
            groups.setdefault(key, []).append(row)
            count += 1
    if not count:
        raise VqlinkError(f"no result rows in {', '.join(str(source) for source in sources)}")
    body = [
        "<h1>vqlink results</h1>",
        f'<p class="lead">{count:,} rows from {html.escape(", ".join(map(str, files)))}. '
        "Means over messages and draws, outages included; intervals are 95 % over messages.</p>",
        *(_section(*key, rows) for key, rows in sorted(groups.items(), key=_order)),
    ]
    path.write_text(page("vqlink results", "\n".join(body)), encoding="utf-8")
    return count


def _order(item: tuple[tuple[str, str, str], list[Row]]) -> tuple[str, float, int]:
    (channel, rho, metric), _ = item
    known = list(_LABELS)
    return channel, -float(rho), known.index(metric) if metric in known else len(known)


def _section(channel: str, rho: str, metric: str, rows: list[Row]) -> str:
    label = _LABELS.get(metric, metric)
    lines = [
        (
            system,
            f"{spot.snr_db:g}",
            f"{spot.mean:.4f}" if "ssim" in metric else f"{spot.mean:.2f}",
            f"{spot.ci95:.2g}" if spot.ci95 else "-",
            str(spot.n),
            f"!{spot.outages}" if spot.outages else "0",
            f"!{off}" if (off := _flagged(rows, system, spot.snr_db)) else "0",
        )
        for (system, _), spots in curves(rows).items()
        for spot in spots
    ]
    heads = ("system", "SNR dB", label, "± 95 %", "n", "outages", "off power")
    return (
        f"<h2>{html.escape(label)} over {html.escape(channel)}, rho = {rho}</h2>"
        + plot(curve_figure(rows, label), f"{label}; hollow marks: points with outages")
        + table(heads, lines)
    )


def _flagged(rows: Sequence[Row], system: str, snr_db: float) -> int:
    return sum(
        "power" in row.flags
        for row in rows
        if row.system == system and row.point["snr_db"] == snr_db
    )


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        found = sorted(source.rglob("*.jsonl"))
        if not found:
            raise VqlinkError(f"{source} holds no .jsonl files")
        return found
    if not source.exists():
        raise VqlinkError(f"{source}: no such file or folder")
    return [source]

"""Write the figures of README.md and of the pages in docs/ from measured files.

    python benchmarks/figures.py

Nothing is measured here: tables and curves come from the rows in results/ and the JSON files in
benchmarks/, and a point that was not run is left out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from vqlink.evaluation.rows import Row, read_rows
from vqlink.evaluation.run import Summary, summarise
from vqlink.experiments import cells, nsvq_table1, nsvq_table2
from vqlink.experiments.reproduction import Reproduction
from vqlink.reporting.plots import curve_figure

ROOT = Path(__file__).parents[1]
RATIOS = ("1/6", "1/12", "1/24")
FLOORS = {
    "jscc-awgn-1-6": 33.8,
    "jscc-q64-awgn-1-6": 32.3,
    "jscc-awgn-1-12": 31.0,
    "jscc-q64-awgn-1-12": 30.2,
    "jscc-awgn-1-24": 28.8,
}


def main() -> None:
    rows = {ratio: _rows(ratio) for ratio in RATIOS}
    text = _headline(rows)
    fill(ROOT / "README.md", text)
    fill(ROOT / "docs" / "quantizers.md", quantizer_figures())
    pages = {
        "deepjsccq": "deepjsccq",
        "vqdeepsc": "vqdeepsc",
        "soft-vqvae": "vqvae-awgn",
        "text": "text",
        "packets": "packet",
    }
    for page, prefix in pages.items():
        fill(ROOT / "docs" / f"{page}.md", documents(prefix))
    parts = [(ROOT / "docs" / "results-words.md").read_text().rstrip(), ""]
    for ratio, some in rows.items():
        psnr = [row for row in some if row.metric == "psnr"]
        if not psnr:
            continue
        name = f"kodak-awgn-{ratio.replace('/', '-')}"
        svg = curve_figure(psnr, "PSNR in dB, mean over Kodak").replace(
            "<svg ", '<svg style="background:#fff" ', 1
        )
        (ROOT / "docs" / f"{name}.svg").write_text(svg)
        parts += [f"## rho = {ratio}", "", f"![PSNR over SNR at rho {ratio}]({name}.svg)", ""]
        parts += [_curves(summarise(some)), ""]
    (ROOT / "docs" / "results.md").write_text("\n".join(parts))


def fill(page: Path, text: str) -> None:
    """Put ``text`` between the page's markers."""
    marked = re.compile(r"(<!-- figures: begin -->\n).*(<!-- figures: end -->)", re.DOTALL)
    page.write_text(marked.sub(lambda m: m[1] + text + m[2], page.read_text()))


def quantizer_figures() -> str:
    """Speed beside vector-quantize-pytorch, and the two tables of paper 002."""
    parts = ["### Speed", "", _speed(), ""]
    for name, summarise_rows in (
        ("nsvq-table2", nsvq_table2.summarise),
        ("nsvq-table1", nsvq_table1.summarise),
    ):
        path = ROOT / "results" / f"{name}.jsonl"
        if path.exists():
            parts += [_reproduction(summarise_rows(cells.read_rows(path), path)), ""]
    return "\n".join(parts)


def documents(prefix: str) -> str:
    """The tables and claims that ``vqlink reproduce`` left in results/ for a paper's page."""
    parts = []
    for path in sorted((ROOT / "results").glob(f"{prefix}-*.json"), key=_natural):
        parts += [_document(json.loads(path.read_text())), ""]
    return "\n".join(parts)


def _natural(path: Path) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", path.stem)]


def _document(found: dict[str, Any]) -> str:
    verdicts = {True: "held", False: "**not held**", None: "open"}
    lines = [f"### {found['title']}", "", f"`vqlink reproduce {found['experiment']}`", ""]
    lines += ["| claim | | figures |", "|---|---|---|"]
    lines += [f"| {c['text']} | {verdicts[c['held']]} | {c['figures']} |" for c in found["claims"]]
    lines.append("")
    for plot in found["plots"]:
        lines += [f"![{Path(plot).stem}](../results/{Path(plot).name})", ""]
    if found["table"]:
        columns = list(found["table"][0])
        lines += ["<details><summary>The table</summary>", ""]
        lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        for row in found["table"]:
            cells = ("" if value is None else str(value) for value in row.values())
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", "</details>", ""]
    return "\n".join([*lines, *(f"- {note}" for note in found["notes"]), ""])


def _speed() -> str:
    found = json.loads((ROOT / "benchmarks" / "search.json").read_text())
    lines = [
        f"{found['vectors']:,} vectors of D = {found['dim']}, {found['threads']} threads; after a "
        "first run, which is slower, the median of seven of vqlink and of `product`, and one of "
        "vector-quantize-pytorch. Theirs has no NSVQ: `train:nsvq` stands beside its DiVeQ. "
        "`product` is the bare chunked matrix product of the same shape "
        "(`python benchmarks/search.py --out benchmarks/search.json`):",
        "",
        "| K | mode | vqlink ms | of product | vector-quantize-pytorch ms | times | MiB | theirs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    keys = (
        "K",
        "mode",
        "ours_ms",
        "of_product",
        "theirs_ms",
        "times_faster",
        "ours_mib",
        "theirs_mib",
    )
    lines += ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in found["rows"]]
    return "\n".join(lines)


def _reproduction(found: Reproduction) -> str:
    verdicts = {True: "held", False: "**not held**", None: "open"}
    lines = [f"### {found.title}", "", f"`vqlink reproduce {found.name}`", ""]
    lines += ["| claim | | figures |", "|---|---|---|"]
    lines += [f"| {c.text} | {verdicts[c.held]} | {c.figures} |" for c in found.claims]
    lines += ["", "| " + " | ".join(found.columns) + " |", "|---" * len(found.columns) + "|"]
    for row in found.table:
        lines.append("| " + " | ".join("" if v is None else str(v) for v in row) + " |")
    lines += ["", *(f"- {note}" for note in found.notes), ""]
    for plot in found.plots:
        lines += [f"![{plot.stem}](../results/{plot.name})", ""]
    return "\n".join(lines)


def _rows(ratio: str) -> list[Row]:
    path = ROOT / "results" / f"kodak-awgn-{ratio.replace('/', '-')}.jsonl"
    return read_rows(path) if path.exists() else []


def _headline(rows: dict[str, list[Row]]) -> str:
    lines = [
        "Kodak, 24 pictures of 768x512, AWGN; mean ± 95 % interval over the pictures; seed 0:",
        "",
        "| rho | system | PSNR at 4 dB | at 10 dB | at 16 dB | MS-SSIM at 10 dB | floor at 10 dB |",
        "|---|---|---|---|---|---|---|",
    ]
    for ratio, some in rows.items():
        found = {(s.system, s.point["snr_db"], s.metric): s for s in summarise(some)}
        for system in dict.fromkeys(row.system for row in some):
            cells = [_cell(found.get((system, snr, "psnr")), 2) for snr in (4.0, 10.0, 16.0)]
            cells.append(_cell(found.get((system, 10.0, "ms_ssim")), 3))
            floor = f"{FLOORS[system]:.1f}" if system in FLOORS else "-"
            lines.append(f"| {ratio} | {system} | {' | '.join(cells)} | {floor} |")
    lines += [
        "",
        "`hevc` is x265 tuned for PSNR, `hevc-ssim` tuned for SSIM, as HEIF libraries do unasked "
        "([digital links](docs/digital-links.md#hevc-alone)).",
        "",
        "```",
    ]
    for ratio, some in rows.items():
        systems = dict.fromkeys(row.system for row in some)
        name = f"results/kodak-awgn-{ratio.replace('/', '-')}.jsonl"
        for group in (
            [s for s in systems if "+" not in s],
            [s for s in systems if "+" in s],
        ):
            if not group:
                continue
            points = sorted({row.point["snr_db"] for row in some if row.system in group})
            rho = f" --rho {ratio}" if "+" in group[0] else ""
            lines.append(
                f"vqlink evaluate {' '.join(group)} --data data/kodak{rho} "
                f"--snr {' '.join(f'{p:g}' for p in points)} --metric psnr ms_ssim --out {name}"
            )
    return "\n".join([*lines, "python benchmarks/figures.py", "```", "", *_fading()])


def _fading() -> list[str]:
    """Slow Rayleigh fading, where the transmitter doesn't know h: means over fades."""
    path = ROOT / "results" / "deepjsccq-rayleigh.jsonl"
    if not path.exists():
        return []
    rows = cells.read_rows(path)
    points = sorted({row["snr_db"] for row in rows})
    systems = dict.fromkeys(row["system"] for row in rows)
    counts = {(row["pictures"], row["repeats"]) for row in rows}
    drawn = ", ".join(f"{pictures} pictures x {fades} fades" for pictures, fades in counts)
    lines = [
        "In slow Rayleigh fading, where the transmitter doesn't know the fade, a digital link is "
        "lost whenever the fade is deeper than its code can take. PSNR in dB, Kodak "
        f"({drawn}, seed 0; lost messages count as mid-grey), rho 1/12, over the mean SNR; mean "
        "± 95 % interval over the pictures:",
        "",
        "| system | " + " | ".join(f"{x:g} dB" for x in points) + " |",
        "|---" * (len(points) + 1) + "|",
    ]
    for system in sorted(systems, key=lambda name: ("+" in name, name)):
        found = {row["snr_db"]: row for row in rows if row["system"] == system}
        texts = [
            _figure(row["psnr"], row["psnr_ci95"], row["outages"]) if row else ""
            for row in map(found.get, points)
        ]
        lines.append(f"| {system} | " + " | ".join(texts) + " |")
    words = "`hevc+ldpc5g` takes the MCS of the best expected quality at each mean SNR."
    return [*lines, "", words, "", "```", "vqlink reproduce deepjsccq-fig9", "```", ""]


def _cell(summary: Summary | None, digits: int) -> str:
    if summary is None:
        return "-"
    return _figure(summary.mean, summary.ci95, summary.outages, digits)


def _figure(mean: float, ci95: float | None, outages: int, digits: int = 2) -> str:
    spread = "" if ci95 is None else f" ± {ci95:.{1 if digits == 2 else 3}f}"
    lost = f", {outages} lost" if outages else ""
    return f"{mean:.{digits}f}{spread}{lost}"


def _curves(summaries: list[Summary]) -> str:
    psnr = [s for s in summaries if s.metric == "psnr"]
    points = sorted({s.point["snr_db"] for s in psnr})
    lines = [
        "| system, PSNR in dB at | " + " | ".join(f"{p:g} dB" for p in points) + " |",
        "|---" * (len(points) + 1) + "|",
    ]
    for system in dict.fromkeys(s.system for s in psnr):
        at = {s.point["snr_db"]: s for s in psnr if s.system == system}
        cells = [f"{at[p].mean:.2f}" if p in at else "" for p in points]
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

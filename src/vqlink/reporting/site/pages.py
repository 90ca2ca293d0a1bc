"""What stands on each page of a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vqlink.reporting.site import markup
from vqlink.reporting.site.charts import curve_chart
from vqlink.reporting.site.collect import Experiment, Results, RowFile, Scalar
from vqlink.reporting.site.markup import esc
from vqlink.reporting.site.panels import SEEDS_OF, Panel, panels
from vqlink.reporting.site.points import point_figures

PAPERS = {
    "000": "Soft and attentive VQ-VAE",
    "001": "DeepJSCC-Q",
    "002": "NSVQ",
    "003": "HR-VQVAE",
    "004": "VQ-DeepSC",
}
_METRICS_DRAWN = 3


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        slug: its file name without the ending.
        group: under which heading of the navigation it stands.
        short: its name there.
        body: HTML, as :mod:`vqlink.reporting.site.markup` describes.
    """

    slug: str
    title: str
    group: str
    short: str
    body: str


@dataclass
class Files:
    """Names for the files that a report carries, and for its pages; each name is given once."""

    media: dict[str, Path] = field(default_factory=dict)
    _slugs: set[str] = field(default_factory=set)

    def add(self, path: Path) -> str:
        """The name of a plot, picture or sound in the report."""
        for name, known in self.media.items():
            if known == path:
                return name
        stem = _plain(path.stem)
        name, number = f"{stem}{path.suffix.lower()}", 2
        while name in self.media:
            name, number = f"{stem}-{number}{path.suffix.lower()}", number + 1
        self.media[name] = path
        return name

    def slug(self, text: str) -> str:
        """A page's file name without the ending."""
        base = _plain(text)
        name, number = base, 2
        while name in self._slugs:
            name, number = f"{base}-{number}", number + 1
        self._slugs.add(name)
        return name


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "page"


@dataclass(frozen=True)
class Part:
    """A page with what the overview says of it."""

    page: Page
    experiment: Experiment | None
    thumb: str
    about: str


def group_order(group: str) -> tuple[int, str]:
    """A key that puts papers first."""
    last = ("In no paper", "Rows", "More")
    return (last.index(group) + 1 if group in last else 0, group)


def paper_of(experiment: Experiment) -> str:
    """``002`` from a title that begins so; empty for what is in no paper."""
    match = re.match(r"(\d{3}),", experiment.title)
    return match[1] if match else ""


def parts(results: Results, files: Files) -> list[Part]:
    """A page for each experiment and for each file of rows that isn't one experiment's alone."""
    owners: dict[Path, list[str]] = {}
    for folder, experiment in results.experiments:
        owners.setdefault(folder / Path(experiment.rows).name, []).append(experiment.experiment)
    by_path = {found.path: found for found in results.row_files}
    media = _beside(results)
    made = []
    for folder, experiment in sorted(results.experiments, key=lambda pair: _natural(pair[1].title)):
        rows = by_path.get(folder / Path(experiment.rows).name)
        alone = rows is not None and len(owners[rows.path]) == 1
        plots = [path for p in experiment.plots if (path := folder / Path(p).name) in results.plots]
        made.append(_experiment(experiment, rows, plots, files, alone=alone))
    for found in results.row_files:
        names = owners.get(found.path, [])
        if len(names) != 1:
            made.append(_rows(found, names, media.get(found.path, []), files))
    left = [path for path in results.plots if path not in files.media.values()]
    left += [p for p in (*results.pictures, *results.sounds) if p not in files.media.values()]
    if left:
        made.append(_left(left, files))
    return made


def _natural(title: str) -> list[tuple[int, str]]:
    """A key by which Fig. 9 comes before Fig. 10."""
    return [
        (int(part), "") if part.isdigit() else (0, part)
        for part in re.findall(r"\d{1,9}|\D+", title)
    ]


def _experiment(
    experiment: Experiment,
    rows: RowFile | None,
    plots: Sequence[Path],
    files: Files,
    *,
    alone: bool,
) -> Part:
    paper = paper_of(experiment)
    made = f"vqlink reproduce {experiment.experiment}"
    names = [files.add(path) for path in plots]
    how = markup.made_by(made)
    eyebrow = f"Paper {paper}, {PAPERS.get(paper, '')}".rstrip(", ") if paper else "In no paper"
    body = [
        f'<p class="eyebrow">{esc(eyebrow)}</p><h1>{esc(experiment.title)}</h1>',
        markup.score(experiment.claims),
        markup.command(made),
        '<p class="muted">The command measures what is missing in its rows and draws table and '
        "plots again; with <code>--jobs 0</code> it only draws. </p>",
    ]
    if experiment.claims:
        claims = markup.claims_table((claim, "") for claim in experiment.claims)
        body.append(f"<h2>What held</h2>{claims}")
    if names:
        source = f"{Path(experiment.rows).name}{_seeds(rows)}"
        drawn = "".join(
            markup.image(name, f"{path.stem}, drawn from {source}", how)
            for name, path in zip(names, plots, strict=True)
        )
        body.append(f'<h2>Plots</h2><div class="plots">{drawn}</div>')
    body.append(_table(experiment))
    if rows is not None and alone:
        body.append(_curves(panels(rows.rows), rows, made, guessed=False))
        body.append(_points(rows, how))
    if experiment.notes:
        items = "".join(f"<li>{esc(note)}</li>" for note in experiment.notes)
        body.append(f'<h2>Choices and deviations</h2><ul class="notes">{items}</ul>')
    thumb = f'<img src="@@{esc(names[0])}" alt="">' if names else ""
    short = experiment.title.split(":")[0].removeprefix(f"{paper}, ") if paper else ""
    page = Page(
        files.slug(experiment.experiment),
        experiment.title,
        f"{paper} {PAPERS.get(paper, '')}".strip() if paper else "In no paper",
        short or experiment.experiment,
        "\n".join(body),
    )
    return Part(page, experiment, thumb, f"vqlink reproduce {experiment.experiment}")


def _seeds(rows: RowFile | None) -> str:
    values = [row.get(name) for row in (rows.rows if rows else ()) for name in SEEDS_OF]
    shown = sorted({str(seed) for seed in values if isinstance(seed, int)})
    return f"; seed{'s' if len(shown) > 1 else ''} {', '.join(shown)}" if shown else ""


def _table(experiment: Experiment) -> str:
    if not experiment.table:
        return '<h2>Table</h2><p class="muted">Nothing has been measured yet.</p>'
    heads = list(dict.fromkeys(name for row in experiment.table for name in row))
    paper = [head for head in heads if head.startswith("paper")]
    cells: list[list[Scalar]] = [[row.get(head) for head in heads] for row in experiment.table]
    title = "Ours beside the paper's" if paper else "Table"
    tinted = '<p class="muted">Tinted columns: the paper\'s figures.</p>' if paper else ""
    drawn = markup.table(heads, cells, name=experiment.experiment, paper=paper, fold=False)
    return f"<h2>{title}</h2>{tinted}{drawn}"


def _rows(found: RowFile, owners: Sequence[str], media: Sequence[Path], files: Files) -> Part:
    made, guessed = found.command, found.guessed and bool(found.command)
    shown = panels(found.rows)
    used = f" They belong to {', '.join(owners)}." if owners else ""
    body = [
        f'<p class="eyebrow">Rows</p><h1>{esc(found.name)}</h1>',
        f'<p class="lead">{found.count:,} rows in {esc(found.name)}.jsonl.{esc(used)}</p>',
        '<p class="muted">As far as the rows tell, they were made by:</p>'
        if guessed and made
        else "",
        markup.command(made) or f"<p>{markup.made_by('')}</p>",
        _curves(shown, found, made, guessed=guessed),
        _points(found, markup.made_by(made, guessed)),
        _media(media, files),
    ]
    if not shown:
        body.append('<p class="muted">No metric in these rows is one that a report draws.</p>')
    if found.versions:
        body.append(f"<h2>Versions</h2><p>{esc(', '.join(found.versions))}</p>")
    drawn = next((c for p in shown for m in p.metrics if (c := curve_chart(p, m))), "")
    page = Page(files.slug(f"rows-{found.name}"), found.name, "Rows", found.name, "\n".join(body))
    return Part(page, None, drawn, f"{found.count:,} rows")


def _curves(shown: Sequence[Panel], found: RowFile, made: str, *, guessed: bool) -> str:
    if not shown:
        return ""
    how = markup.made_by(made, guessed)
    body = ["<h2>From the rows</h2>"]
    for panel in shown:
        body.append(f"<h3>{esc(panel.title)}</h3>" if panel.title else "")
        charts = [
            chart
            for metric in panel.metrics
            if (chart := markup.chart_figure(panel, metric, found.path.name, how))
        ]
        body.append(f'<div class="charts">{"".join(charts[:_METRICS_DRAWN])}</div>')
        body.append(markup.panel_table(panel))
        if not charts:
            body.append(f'<p class="muted">{esc(markup.spread(panel, panel.metrics[0]))}</p>{how}')
    same = {k: v for k, v in shown[0].facts.items() if all(p.facts.get(k) == v for p in shown)}
    body.append(markup.facts(same))
    return "\n".join(body)


def _points(found: RowFile, how: str) -> str:
    drawn = point_figures(found.rows)
    return f"<h2>Points</h2>{drawn}<p>{how}</p>" if drawn else ""


def _media(paths: Iterable[Path], files: Files) -> str:
    plots, pictures, sounds = [], [], []
    for path in paths:
        name, suffix = files.add(path), path.suffix.lower()
        if suffix == ".wav":
            sounds.append(markup.player(name, path.stem))
        elif suffix == ".svg":
            plots.append(markup.image(name, path.stem))
        else:
            pictures.append(markup.image(name, path.stem))
    body = f'<h2>Plots</h2><div class="plots">{"".join(plots)}</div>' if plots else ""
    body += f'<h2>To hear</h2><div class="sounds">{"".join(sounds)}</div>' if sounds else ""
    body += f'<h2>To see</h2><div class="pictures">{"".join(pictures)}</div>' if pictures else ""
    return body


def _beside(results: Results) -> dict[Path, list[Path]]:
    """Pictures and sounds -> the file of rows in whose folder they lie, if there is one alone."""
    media: dict[Path, list[Path]] = {}
    for path in (*results.pictures, *results.sounds):
        near = [found.path for found in results.row_files if found.path.parent == path.parent]
        named = [p for p in near if path.stem.startswith(p.stem)]
        owner = near[0] if len(near) == 1 else named[0] if len(named) == 1 else None
        if owner is not None:
            media.setdefault(owner, []).append(path)
    return media


def _left(paths: Sequence[Path], files: Files) -> Part:
    body = (
        '<p class="eyebrow">Files</p><h1>Other plots, pictures and sounds</h1>'
        '<p class="lead">They lie among the rows, but no row or table names them.</p>'
        + _media(paths, files)
    )
    page = Page(files.slug("other-files"), "Other files", "More", "Other files", body)
    return Part(page, None, "", f"{len(paths)} files")

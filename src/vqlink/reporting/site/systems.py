"""Pages of the systems: what each is, and everything that was measured of it."""

from __future__ import annotations

from collections.abc import Sequence

from vqlink.reporting.site import markup
from vqlink.reporting.site.collect import Flat, Results, RowFile
from vqlink.reporting.site.markup import esc
from vqlink.reporting.site.pages import Files, Page
from vqlink.reporting.site.panels import panels
from vqlink.reporting.site.points import zoo_points
from vqlink.zoo.catalogue import entries
from vqlink.zoo.kinds import all_entries


def system_pages(results: Results, files: Files) -> list[Page]:
    """A page for each system that some row names, and the list of them first."""
    measured: dict[str, list[tuple[RowFile, list[Flat]]]] = {}
    for found in results.row_files:
        groups: dict[str, list[Flat]] = {}
        for row in found.rows:
            if isinstance(row.get("system"), str) and row["system"]:
                groups.setdefault(row["system"], []).append(row)
        for name, rows in groups.items():
            measured.setdefault(name, []).append((found, rows))
    if not measured:
        return []
    known = {entry.name: entry.document() for entry in all_entries()}
    slugs = {name: files.slug(f"system-{name}") for name in sorted(measured)}
    drawn = {entry.name: zoo_points(entry) for entry in entries() if entry.name in slugs}
    pages = [
        _page(name, slug, measured[name], known.get(name), drawn.get(name, ""))
        for name, slug in slugs.items()
    ]
    shown = {name: text for name, text in drawn.items() if text}
    gallery = [_gallery(shown, slugs, files.slug("points"))] if shown else []
    return [_list(slugs, measured, known, files.slug("systems")), *gallery, *pages]


def _gallery(drawn: dict[str, str], slugs: dict[str, str], slug: str) -> Page:
    body = (
        "<h1>Constellations and codebooks</h1><p class='lead'>What the learned systems of this "
        "report can send, from the weights that ship (<code>vqlink zoo</code>).</p>"
    )
    tiles = ""
    for name, text in drawn.items():
        title = f'<h3><a href="@{slugs[name]}">{esc(name)}</a></h3>'
        if text.count("<figure>") == 1:
            tiles += f"<div>{title}{text}</div>"
        else:
            body += f'{title}<div class="squares">{text}</div>'
    body += f'<div class="squares">{tiles}</div>'
    return Page(slug, "Constellations and codebooks", "", "Constellations, codebooks", body)


def _kind(name: str, document: dict[str, object] | None) -> str:
    if document is not None:
        return "learned, ships with vqlink"
    return "digital link" if "+" in name.partition("@")[0] else "not in the zoo"


def _list(
    slugs: dict[str, str],
    measured: dict[str, list[tuple[RowFile, list[Flat]]]],
    known: dict[str, dict[str, object]],
    slug: str,
) -> Page:
    items = "".join(
        f'<tr><td><a href="@{slugs[name]}">{esc(name)}</a></td>'
        f"<td>{esc(_kind(name, known.get(name)))}</td>"
        f"<td>{esc(str((known.get(name) or {}).get('rho', '') or ''))}</td>"
        f"<td class='text'>{esc(', '.join(found.name for found, _ in parts))}</td></tr>"
        for name, parts in sorted(measured.items())
    )
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{head}</button></th>'
        for head in ("system", "what it is", "rho", "rows")
    )
    body = (
        "<h1>Systems</h1><p class='lead'>Every system that some row names, each with a page of all "
        'that was measured of it.</p><div class="scroll"><table class="sortable"><thead><tr>'
        f"{heads}</tr></thead><tbody>{items}</tbody></table></div>"
    )
    return Page(slug, "Systems", "", f"Systems ({len(slugs)})", body)


def _page(
    name: str,
    slug: str,
    measured: Sequence[tuple[RowFile, list[Flat]]],
    document: dict[str, object] | None,
    points: str,
) -> Page:
    hashes = {str(row["weights"]) for _, rows in measured for row in rows if row.get("weights")}
    body = [
        f'<p class="eyebrow">System: {esc(_kind(name, document))}</p><h1>{esc(name)}</h1>',
        _about(document, hashes),
    ]
    if points:
        body.append(f'<h2>What it can send</h2><div class="squares">{points}</div>')
    for found, rows in measured:
        shown = panels(rows)
        if not shown:
            continue
        how = markup.made_by(found.command, found.guessed)
        body.append(f"<h2>{esc(found.name)}</h2>")
        for panel in shown:
            body.append(f"<h3>{esc(panel.title)}</h3>" if panel.title else "")
            charts = [
                chart
                for metric in panel.metrics[:2]
                if (chart := markup.chart_figure(panel, metric, found.path.name, how))
            ]
            body.append(f'<div class="charts">{"".join(charts)}</div>{markup.panel_table(panel)}')
    return Page(slug, name, "system", name, "\n".join(body))


def _about(document: dict[str, object] | None, hashes: set[str]) -> str:
    if document is None:
        return markup.facts({"weights in the rows": ", ".join(sorted(hashes))} if hashes else {})
    shown = {
        name: f"{value:,}" if isinstance(value, int) else str(value)
        for name in ("recipe", "paper", "source", "channel", "rho", "bits", "params", "sha256")
        if (value := document.get(name)) is not None
    }
    other = hashes - {str(document["sha256"])}
    warning = (
        '<p class="muted">Some rows were measured with other weights: '
        f"{esc(', '.join(h[:12] for h in sorted(other)))}.</p>"
        if other
        else '<p class="muted">The rows were measured with these weights.</p>'
        if hashes
        else ""
    )
    return markup.facts(shown) + warning + markup.command(f"vqlink zoo show {document['name']}")

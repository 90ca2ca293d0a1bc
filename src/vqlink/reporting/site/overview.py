"""The first page of a report, and the list of all claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vqlink.reporting.site import markup
from vqlink.reporting.site.collect import Claim, Results
from vqlink.reporting.site.markup import esc
from vqlink.reporting.site.pages import Page, Part, group_order


def overview_page(
    slug: str,
    results: Results,
    made: Sequence[Part],
    systems: int,
    claims: str,
    papers: Mapping[str, str],
) -> Page:
    """What there is, how many claims held, and a card for each page.

    Args:
        systems: how many have a page.
        claims: slug of the page of claims.
        papers: group of the navigation -> slug of the paper's page.
    """
    rows = sum(found.count for found in results.row_files)
    all_claims = [claim for part in made if part.experiment for claim in part.experiment.claims]
    numbers = [(f"{rows:,}", "result rows"), (f"{len(results.row_files)}", "files of rows")]
    if results.experiments:
        numbers.append((f"{len(results.experiments)}", "experiments"))
    if systems:
        numbers.append((f"{systems}", "systems"))
    shown = "".join(f"<li><b>{number}</b><span>{text}</span></li>" for number, text in numbers)
    body = [
        "<h1>Results of vqlink</h1>",
        '<p class="lead">Learned joint source-channel codes and real digital links, at the same '
        "number of channel uses. Every figure is drawn from result rows; a point that was not run "
        "is not there, and a message that was lost counts.</p>",
        f'<ul class="numbers">{shown}</ul>',
    ]
    if all_claims:
        body.append(
            f"<h2>Claims</h2>{markup.score(all_claims)}<p>Statements of the papers, and aims of "
            f'this project, each held against its rows: <a href="@{claims}">all claims</a>. '
            "<em>Open</em> means that the rows do not suffice to say.</p>"
        )
    groups: dict[str, list[Part]] = {}
    for part in made:
        groups.setdefault(part.page.group, []).append(part)
    for group in sorted(groups, key=group_order):
        title = esc(f"Paper {group}" if group in papers else group)
        title = f'<a href="@{papers[group]}">{title}</a>' if group in papers else title
        cards = "".join(_card(part) for part in groups[group])
        body.append(f'<h2>{title}</h2><div class="cards">{cards}</div>')
    body.append(
        "<h2>How to read it</h2><p>SNR is Es/N0 per complex channel use at mean power 1; "
        "PSNR is on 8-bit pixels, for each picture, then averaged. Each curve says what its band "
        "is: a 95 % interval over messages, or a standard deviation over seeds. Each figure names "
        "its rows and, where it is known, its command.</p>"
    )
    if results.others:
        names = ", ".join(path.name for path in results.others)
        body.append(
            f'<p class="muted">Not shown, since a report knows no such files: {esc(names)}.</p>'
        )
    return Page(slug, "Results", "", "Overview", "\n".join(body))


def claims_page(slug: str, made: Sequence[Part]) -> Page:
    """All claims with a filter by verdict."""
    pairs = _claims(made)
    buttons = "".join(
        f'<button type="button" value="{value}" aria-pressed="{"false" if value else "true"}">'
        f"{text}</button>"
        for value, text in (("", "all"), ("held", "held"), ("missed", "not held"), ("open", "open"))
    )
    body = (
        "<section><h1>Claims</h1>"
        '<p class="lead">What the papers state and what this project aims at, held against the '
        f"rows.</p>{markup.score(claim for claim, _ in pairs)}"
        f'<div class="filter" role="group" aria-label="Verdict">{buttons}</div>'
        f"{markup.claims_table(pairs)}</section>"
    )
    return Page(slug, "Claims", "", f"Claims ({len(pairs)})", body)


def paper_page(slug: str, group: str, made: Sequence[Part]) -> Page:
    """All that was measured of one paper."""
    pairs = _claims(made)
    cards = "".join(_card(part) for part in made)
    body = (
        f'<p class="eyebrow">Paper {esc(group[:3])}</p><h1>{esc(group[4:])}</h1>'
        f"{markup.score(claim for claim, _ in pairs)}<h2>Experiments</h2>"
        f'<div class="cards">{cards}</div><h2>What held</h2>{markup.claims_table(pairs)}'
    )
    return Page(slug, f"Paper {group}", group, "All of it", body)


def _claims(made: Sequence[Part]) -> list[tuple[Claim, str]]:
    """Claims with a link to the experiment of each."""
    return [
        (claim, f'<a href="@{part.page.slug}">{esc(part.experiment.experiment)}</a>')
        for part in made
        if part.experiment
        for claim in part.experiment.claims
    ]


def _card(part: Part) -> str:
    own = " own" if part.thumb.startswith("<svg") else ""
    thumb = f'<div class="thumb{own}">{part.thumb}</div>' if part.thumb else ""
    claims = markup.score(part.experiment.claims) if part.experiment else ""
    return (
        f'<a class="card" href="@{part.page.slug}">{thumb}<div class="words">'
        f"<h3>{esc(part.page.title)}</h3><p>{esc(part.about)}</p>{claims}</div></a>"
    )

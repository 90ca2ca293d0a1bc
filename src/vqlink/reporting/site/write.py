"""A report on disk: a folder of pages, or one page with everything inside."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from vqlink.errors import VqlinkError
from vqlink.reporting.site.collect import Results, collect
from vqlink.reporting.site.markup import esc
from vqlink.reporting.site.overview import claims_page, overview_page, paper_page
from vqlink.reporting.site.pages import Files, Page, Part, group_order, parts
from vqlink.reporting.site.systems import system_pages

MARK = '<meta name="generator" content="vqlink report">'
_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg",
          ".jpeg": "image/jpeg", ".webp": "image/webp", ".wav": "audio/wav"}  # fmt: skip


def write_report(sources: Sequence[Path], out: Path, *, listen: bool = False) -> int:
    """Write all results of files and folders; returns the number of rows.

    Pages are made in a temporary folder beside ``out`` and moved there when they are whole, so a
    failure leaves an earlier report as it was.

    Args:
        out: a folder, or a file that ends in ``.html`` for one page with everything inside.
        listen: whether to send the sample voice by the speech codes that ship.

    Raises:
        VqlinkError: for what :func:`collect` refuses, or when ``out`` holds something else.
    """
    single = out.suffix.lower() in (".html", ".htm")
    _check_free(out, single)
    results = collect(sources, leave_out=None if single else out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vqlink-report-", dir=out.parent) as temporary:
        files = Files()
        pages = _pages(results, files)
        if listen:
            from vqlink.reporting.site.listen import listen_page

            pages.insert(1, listen_page(Path(temporary) / "sounds", files))
        made = Path(temporary) / "report"
        if single:
            made.write_text(_single(pages, files), "utf-8", "backslashreplace")
            made.replace(out)
        else:
            _folder(pages, files, made)
            if out.exists():
                out.rename(Path(temporary) / "before")
            made.rename(out)
    return sum(found.count for found in results.row_files)


def _pages(results: Results, files: Files) -> list[Page]:
    index, claims = files.slug("index"), files.slug("claims")
    made = parts(results, files)
    systems = system_pages(results, files)
    of_papers: dict[str, list[Part]] = {}
    for part in made:
        if part.page.group[:3].isdigit():
            of_papers.setdefault(part.page.group, []).append(part)
    papers = {group: files.slug(f"paper-{group[:3]}") for group in of_papers}
    named = [page for page in systems if page.group == "system"]
    first = [overview_page(index, results, made, len(named), claims, papers)]
    first += [claims_page(claims, made)] if any(part.experiment for part in made) else []
    listed = [paper_page(papers[group], group, some) for group, some in of_papers.items()]
    listed += [part.page for part in made]
    listed.sort(key=lambda page: group_order(page.group))
    return [*first, *(page for page in systems if page.group == ""), *listed, *named]


def _check_free(out: Path, single: bool) -> None:
    """Refuse a folder that holds anything but an earlier report."""
    if not out.exists():
        return
    if single:
        if out.is_dir():
            raise VqlinkError(
                f"{out} is a folder; name a file for --out, or a folder without .html"
            )
        return
    if not out.is_dir():
        raise VqlinkError(f"{out} is a file; name a folder for --out, or a file that ends in .html")
    inside = list(out.iterdir())
    whole = not inside or (out / "index.html").is_file()
    if not (whole and all(_is_ours(path) for path in inside)):
        raise VqlinkError(f"{out} holds files that are no report of vqlink; name another --out")


def _is_ours(path: Path) -> bool:
    """Whether an earlier report wrote it: a page with the mark, or a folder of its media alone."""
    if path.is_dir():
        inside = path.iterdir() if path.name == "files" else [path]
        return all(one.is_file() and one.suffix.lower() in _TYPES for one in inside)
    with path.open("rb") as file:
        return path.suffix == ".html" and MARK.encode() in file.read(2000)


def _folder(pages: Sequence[Page], files: Files, folder: Path) -> None:
    (folder / "files").mkdir(parents=True)
    for name, path in files.media.items():
        shutil.copyfile(path, folder / "files" / name)
    for page in pages:
        inside = f'<main id="main">{page.body}</main>'
        text = _document(page.title, _navigation(pages, page), inside)
        text = re.sub(r'href="@([a-z0-9-]+)"', r'href="\1.html"', text)
        text = re.sub(r'(src|href)="@@([^"]+)"', r'\1="files/\2"', text)
        (folder / f"{page.slug}.html").write_text(text, "utf-8", "backslashreplace")


def _single(pages: Sequence[Page], files: Files) -> str:
    sections = "".join(f'<section id="{page.slug}">{page.body}</section>' for page in pages)
    text = _document(pages[0].title, _navigation(pages, None), f'<main id="main">{sections}</main>')
    text = re.sub(r'href="@([a-z0-9-]+)"', r'href="#\1"', text)
    text = re.sub(r' href="@@[^"]+"', "", text)
    return re.sub(r'src="@@([^"]+)"', lambda match: f'src="{_data(files.media[match[1]])}"', text)


def _data(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:{_TYPES[path.suffix.lower()]};base64,{content}"


def _navigation(pages: Sequence[Page], here: Page | None) -> str:
    items: dict[str, list[str]] = {}
    for page in pages:
        if page.group == "system":
            continue
        current = ' aria-current="page"' if page is here else ""
        link = f'<li><a href="@{page.slug}"{current}>{esc(page.short)}</a></li>'
        items.setdefault(page.group, []).append(link)
    lists = "".join(
        (f"<h2>{esc(group)}</h2>" if group else "") + f"<ul>{''.join(links)}</ul>"
        for group, links in items.items()
    )
    return (
        '<nav class="side" aria-label="Pages"><a class="brand" href="@index">vqlink results</a>'
        f"<details open><summary>Pages</summary>{lists}</details></nav>"
    )


def _document(title: str, navigation: str, main: str) -> str:
    here = resources.files("vqlink.reporting.site")
    style = here.joinpath("style.css").read_text(encoding="utf-8")
    script = here.joinpath("script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Should a file of results ever get past the escaping, the page still runs and fetches nothing.
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src 'self' file: data:; media-src 'self' file: data:"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'{MARK}<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{esc(title)} · vqlink</title><style>{style}</style></head>\n"
        '<body><a class="skip" href="#main">To the content</a>'
        f'<div class="layout">{navigation}{main}</div><script>{script}</script></body></html>\n'
    )

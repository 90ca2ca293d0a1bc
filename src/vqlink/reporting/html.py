"""A page in one file: styles, pictures and plots inside, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

_CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --muted: #5c6673; --paper: #fff; --line: #d8dde3;
  --accent: #0072b2; --bad: #c92a2a; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --muted: #9aa4b0; --paper: #14171a;
  --line: #343a41; --accent: #56b4e9; --bad: #ff8787; --card: #1d2126; }
  figure.plot { background: #fff; border-radius: 8px; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1080px; margin: 0 auto; padding: 2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p.lead { font-size: 1.05rem; color: var(--muted); margin-top: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--muted); font-size: .85rem; }
td.bad { color: var(--bad); font-weight: 600; }
.pictures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); }
figure { margin: 0; } figure img { width: 100%; border-radius: 6px; display: block; }
figcaption { font-size: .9rem; color: var(--muted); padding-top: .3rem; }
figure.plot svg { width: 100%; height: auto; }
code, pre { background: var(--card); border-radius: 6px; padding: .15rem .35rem;
  font-size: .88rem; }
pre { padding: .8rem; overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; }
dt { color: var(--muted); } dd { margin: 0; }
.scroll { overflow-x: auto; }
"""


def page(title: str, body: str) -> str:
    """A whole document; ``title`` is escaped, ``body`` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_CSS}</style></head>\n<body>{body}</body></html>\n"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts; a cell that begins with ``!`` is marked as bad news."""

    def cell(text: str) -> str:
        if text.startswith("!"):
            return f'<td class="bad">{html.escape(text[1:])}</td>'
        return f"<td>{html.escape(text)}</td>"

    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(cell(text) for text in row)}</tr>" for row in rows)
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{whole}</div>'


def picture(image: Image.Image, caption: str, *, width: int = 900) -> str:
    """A figure with the picture inside the page, at most ``width`` pixels wide."""
    if image.width > width:
        size = (width, max(1, round(image.height * width / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=92, method=4)
    data = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/webp;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def plot(svg: str, caption: str) -> str:
    """A figure around SVG text; ``caption`` is escaped."""
    text = html.escape(caption)
    return f'<figure class="plot">{svg}<figcaption>{text}</figcaption></figure>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A list of names and values, escaped."""
    items = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in pairs)
    return f"<dl>{items}</dl>"

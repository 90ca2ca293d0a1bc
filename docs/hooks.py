"""What `mkdocs build` needs so that pages read the same on the site and in the repository.

Links that leave docs/ (``../results/x.svg``, ``../src/vqlink/...``) work in the repository. Here
the files that they name are copied beside the pages, below ``repository/``, and the links are
turned; a link to a file that isn't there stops the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)")
_LINK = re.compile(r"\[([^\]]*)\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)")

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):<code>~?([^<]*)</code>")


def on_files(files: Any, config: Any) -> Any:
    """Add every file outside docs/ that a page links to."""
    for page in list(files.documentation_pages()):
        for path, _ in _OUTSIDE.findall(Path(page.abs_src_path).read_text(encoding="utf-8")):
            source = ROOT / path
            if not source.exists():
                raise PluginError(f"{page.src_uri} links to {path}, which is not there")
            uri = f"repository/{path}"
            if source.is_file() and path != "README.md" and files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links, and let Markdown be read inside folded parts."""
    depth = posixpath.relpath(".", posixpath.dirname(page.file.src_uri) or ".")

    def turned(match: re.Match[str]) -> str:
        text, path, anchor = match[1], match[2], match[3] or ""
        if path == "README.md":
            return f"[{text}]({posixpath.join(depth, 'index.md')})"
        if (ROOT / path).is_dir():
            return f"{text} (`{path}`)"
        return f"[{text}]({posixpath.join(depth, 'repository', path)}{anchor})"

    return _LINK.sub(turned, markdown).replace(
        "<details><summary>", '<details markdown="1"><summary>'
    )


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name objects as Sphinx does, ``:class:`Row```; only the name is shown."""
    return _ROLE.sub(r"<code>\1</code>", html)

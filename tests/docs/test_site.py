"""The documentation builds without network and without a broken link, where its extra is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="pip install -e '.[docs]'")
pytest.importorskip("mkdocstrings_handlers.python", reason="pip install -e '.[docs]'")

ROOT = Path(__file__).parents[2]
_LOADED = re.compile(r'<(?:script|img|iframe|audio|video|source)\b[^>]*\bsrc="([^"]+)"')
_LINKED = re.compile(r'<link\b[^>]*\bhref="([^"]+)"')


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    names = {page.stem for page in pages}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - names <= {"results-words"}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for address in (*_LOADED.findall(text), *_LINKED.findall(text)):
            assert not address.startswith(("http:", "https:", "//")), (page.name, address)
        assert ":class:" not in text
    assert "bits_per_vector" in (tmp_path / "site" / "api" / "protocols.html").read_text()
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("link", ["[x](nothing.md)", "[x](start.md#nothing)", "[x](../src/no.py)"])
def test_a_broken_link_fails(link: str, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    root.mkdir()
    shutil.copytree(ROOT / "docs", root / "docs")
    for name in ("src", "results", "benchmarks", "tests", "README.md"):
        (root / name).symlink_to(ROOT / name)
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (root / "mkdocs.yml").write_text(config, encoding="utf-8")
    page = root / "docs" / "start.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{link}\n", encoding="utf-8")
    assert build(root, tmp_path / "site").returncode != 0

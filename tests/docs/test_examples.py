"""The code in docs/ and the README runs as it stands, a page at a time, and keeps the contracts."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import smooth_picture
from tests.contract import test_channels as channels
from tests.contract import test_quantizers as quantizers
from vqlink.sources.audio import write_audio
from vqlink.sources.images import write_image
from vqlink.sources.voice import synthetic_voice

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FRAGMENTS = ("deployment.md", "quantizers.md", "soft-vqvae.md", "vqdeepsc.md")
"""Pages whose code shows calls among names that it doesn't define."""

PAGES = [
    page
    for page in (*sorted(path.name for path in DOCS.glob("*.md")), "../README.md")
    if page not in FRAGMENTS and _BLOCK.search((DOCS / page).read_text(encoding="utf-8"))
]


def run_page(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Execute the blocks of a page, one after the other, where the files they name exist."""
    write_image(smooth_picture(96, 128), folder / "photo.png")
    write_audio(synthetic_voice(), folder / "hello.wav")
    monkeypatch.chdir(folder)
    page = ModuleType("page_of_docs")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    text = (DOCS / name).read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        code = compile("\n" * line + match[1], str(DOCS / name), "exec", dont_inherit=True)
        exec(code, vars(page))
    return vars(page)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_page(page, tmp_path, monkeypatch)


def test_pages_about_parts_have_code() -> None:
    assert {"add-channel.md", "add-quantizer.md", "add-source.md", "start.md"} <= set(PAGES)


def test_the_channel_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run_page("add-channel.md", tmp_path, monkeypatch)["ImpulsiveNoise"]
    case = channels.Case(made, channels.symbols)
    channels.test_frozen_and_one_of_the_protocol(case)
    channels.test_shape_and_dtype_are_kept(case)
    for silent in (False, True):
        channels.test_a_message_alone_arrives_as_it_does_in_a_batch(case, silent)
    channels.test_the_generator_decides_all(case)
    channels.test_generator_is_not_optional(case)


def test_the_quantizer_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run_page("add-quantizer.md", tmp_path, monkeypatch)["TernaryQuantizer"]
    for check in (
        quantizers.test_evaluation_is_deterministic_and_equals_decoded_indices,
        quantizers.test_decode_inverts_encode,
        quantizers.test_training_output_has_the_shape_and_a_gradient,
        quantizers.test_an_empty_batch_is_no_accident,
        quantizers.test_autocast_and_half_precision_change_no_index,
    ):
        check(made(6))


def test_every_page_is_in_the_navigation() -> None:
    config = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in (DOCS).rglob("*.md")}
    missing = sorted(page for page in pages if page not in config)
    assert not missing

"""The command lines in docs/ and the README: verbs, options and names that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from vqlink.cli.arguments import spread
from vqlink.cli.main import app
from vqlink.config.load import every_recipe_name, load_recipe, recipe_kind
from vqlink.experiments.catalogue import find

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```\w*\n(.*?)^```|^((?:    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^ *(vqlink .*)$", re.MULTILINE)


def command_lines(page: Path) -> list[str]:
    """Those in blocks, with what a shell would take off taken off."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(match[1] or match[2] for match in _BLOCK.finditer(text))
    return [part.strip() for line in _LINE.findall(blocks) for part in line.split(" & ")]


def parse(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The verb and its parameters; raises what the command line would end with."""
    command: Any = typer.main.get_command(app)
    context = None
    while hasattr(command, "resolve_command"):
        if not words:
            return command.name or "", {}
        context = command.make_context(command.name, list(words), parent=context)
        name, command, words = command.resolve_command(context, words)
    return name, command.make_context(name, list(words), parent=context).params


LINES = sorted({(page.name, line) for page in PAGES for line in command_lines(page)})


def test_there_are_lines() -> None:
    assert len(LINES) > 100
    with pytest.raises(typer.BadParameter.__mro__[2]):
        parse(["send", "x.png", "--no-such-option"])


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda text: text[:60])
def test_a_line_can_be_typed(page: str, line: str) -> None:
    words = spread(shlex.split(line, comments=True)[1:])
    if words in (["reproduce"], ["--help"]):
        return
    verb, found = parse(words)
    if verb == "reproduce":
        find(found["experiment"])
    if verb == "train" and found["recipe"] in every_recipe_name():
        settings = [one for one in found["overrides"] or [] if "PICTURES" not in one]
        if recipe_kind(found["recipe"]) == "code":
            load_recipe(found["recipe"], settings)

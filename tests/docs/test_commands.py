"""The command lines in docs/ and the README: verbs, options and names that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from vqlink.channels.awgn import AWGN
from vqlink.cli.arguments import spread
from vqlink.cli.main import _UsageError, app
from vqlink.config.channels import parse_channel
from vqlink.config.classifier import load_classifier_recipe
from vqlink.config.load import every_recipe_name, load_recipe, recipe_kind
from vqlink.config.prior import load_prior_recipe
from vqlink.config.speech import load_speech_recipe
from vqlink.errors import VqlinkError
from vqlink.evaluation.send_speech import open_speech_systems
from vqlink.experiments.catalogue import find
from vqlink.systems.packet_file import PROTECTIONS, parse_packet_file
from vqlink.systems.separation import parse_separation
from vqlink.systems.text_separation import TEXT_LINKS
from vqlink.zoo.kinds import kind_of

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```\w*\n(.*?)^```|^((?:    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^ *((?:vqlink|python -m vqlink\.zoo\.\w+) .*)$", re.MULTILINE)
_RUN = re.compile(r"\bruns/[\w-]+/weights\b")

_LOADERS = {
    "code": load_recipe,
    "speech": load_speech_recipe,
    "prior": load_prior_recipe,
    "classifier": load_classifier_recipe,
}
_SYSTEMS = {
    "send": ("system", "against"),
    "evaluate": ("systems",),
    "tx": ("system",),
    **dict.fromkeys(("show", "export", "push", "sample"), ("name",)),
}
"""Parameters of a verb that name systems."""


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


def parse_line(line: str) -> tuple[str, dict[str, Any]]:
    words = spread(shlex.split(line, comments=True)[1:])
    return ("", {}) if words in (["reproduce"], ["--help"]) else parse(words)


def follow(lines: Sequence[str]) -> tuple[set[str], dict[str, str]]:
    """What there is after these lines: folders of weights, and recipe files with their origins."""
    folders: set[str] = set()
    recipes: dict[str, str] = {}
    for line in lines:
        verb, found = parse_line(line) if line.startswith("vqlink") else ("", {})
        if verb == "cp":
            recipes[str(found["file"])] = found["name"]
        elif verb == "train" and (found["out"] or found["recipe"] in every_recipe_name()):
            folders.add(f"{found['out'] or 'runs/' + found['recipe']}/weights")
        elif verb == "export":
            made = found["out"] or f"exports/{found['name']}"
            folders |= {f"{made}/float32", *([f"{made}/int8"] if found["int8"] else [])}
    return folders, recipes


def check(line: str, earlier: Sequence[str]) -> None:
    """Raise where a line of a page, after those above it, would end in a mistake."""
    folders, recipes = follow(earlier)
    missing = set(_RUN.findall(line.partition("#")[0])) - folders
    assert not missing, f"no line above makes {missing}"
    if not line.startswith("vqlink"):
        return
    verb, found = parse_line(line)
    if verb == "reproduce":
        find(found["experiment"])
    if verb == "train":
        check_training(recipes.get(found["recipe"], found["recipe"]), found["overrides"], folders)
    for parameter in _SYSTEMS.get(verb, ()):
        value = found[parameter] or ()
        for name in [value] if isinstance(value, str) else value:
            check_system(name, folders)


def check_training(recipe: str, overrides: Sequence[str] | None, folders: set[str]) -> None:
    kind = recipe_kind(recipe)
    loaded = _LOADERS[kind](recipe, overrides or ())
    start = getattr(loaded.training, "init_from", None)
    if start is not None:
        check_system(start, folders)


def check_system(name: str, folders: set[str]) -> None:
    """Raise unless it is of the zoo or the hub, made above, or a digital link."""
    source, plus, code = name.partition("+")
    if name in folders or name.startswith("hf://") or name in ("S", "..."):  # as usage has it
        return
    assert "/" not in source, f"no line above makes {name}"
    kind = kind_of(name)
    if not plus:
        assert kind is not None, f"no system {name}"
    elif kind == "recordings":
        open_speech_systems((name,), parse_channel("awgn"))
    elif kind == "sentences":
        assert name in TEXT_LINKS
    elif code.partition("@")[0] in PROTECTIONS:
        parse_packet_file(name, lambda height, width: (1, 1200))
    else:
        parse_separation(name, AWGN(), lambda height, width: 1000)


LINES = [
    pytest.param(line, lines[:number], id=f"{page.name}: {line[:60]}")
    for page in PAGES
    for lines in [command_lines(page)]
    for number, line in enumerate(lines)
]


def test_there_are_lines() -> None:
    assert len(LINES) > 100


@pytest.mark.parametrize(("line", "earlier"), LINES)
def test_a_line_can_be_typed(line: str, earlier: list[str]) -> None:
    check(line, earlier)


MINE = "vqlink recipes cp jscc-q64-awgn-1-12 mine.yaml"


@pytest.mark.parametrize(
    ("line", "earlier"),
    [
        ("vqlink send x.png --no-such-option", []),
        ("vqlink send x.png --system runs/mine/weights", [MINE, "vqlink train mine.yaml"]),
        ("python -m vqlink.zoo.add runs/jscc-awgn-1-6/weights", []),
        ("vqlink train no-such-recipe", []),
        ("vqlink train mine.yaml --out runs/mine", []),
        ("vqlink train mine.yaml --set training.no_such=1", [MINE]),
        ("vqlink train jscc-awgn-1-12", []),  # starts from a run that nobody has made
        ("vqlink train jscc-q64-awgn-1-12 --set training.init_from=no-such-code", []),
        ("vqlink train speech-jscc --set training.no_such=1", []),
        ("vqlink train hrvqvae-cifar10-prior --set training.no_such=1", []),
        ("vqlink train cifar10-classifier --set training.no_such=1", []),
        ("vqlink send x.png --system no-such-code", []),
        ("vqlink send x.png --against hevc+no-such-code", []),
        ("vqlink send hello.wav --against speech+no-such-code", []),
        ("vqlink send x.txt --against huffman+no-such-code", []),
        ("vqlink send x.png --against hevc+raptorq@5/4", []),
        ("vqlink evaluate jscc-awgn-1-12 hevc+ldpc5g@qpsk-1/7 --data PICTURES", []),
        ("vqlink evaluate exports/x/int8 --data PICTURES", ["vqlink export x"]),
        ("vqlink zoo show no-such-code", []),
        ("vqlink tx x.png -o y.sigmf-data --system no-such-code", []),
        ("vqlink export no-such-code", []),
    ],
)
def test_a_line_that_fails_is_found(line: str, earlier: list[str]) -> None:
    with pytest.raises((AssertionError, VqlinkError, _UsageError)):
        check(line, earlier)


@pytest.mark.parametrize(
    ("line", "earlier"),
    [
        ("vqlink send x.png --system runs/mine/weights",
         [MINE, "vqlink train mine.yaml --out runs/mine"]),
        ("python -m vqlink.zoo.text runs/text-q32/weights", ["vqlink train text-q32"]),
        ("vqlink evaluate exports/x/int8 --data PICTURES", ["vqlink export x --int8"]),
        ("vqlink send hello.wav --against speech+ldpc5g@qpsk-1/2", []),
        ("vqlink send x.txt --system text-q32 --against huffman+turbo", []),
        ("vqlink send x.png --against hevc+raptorq@4/5 jpeg+ldpc80211ad@16qam-1/2", []),
    ],
)  # fmt: skip
def test_what_is_made_above_can_be_named(line: str, earlier: list[str]) -> None:
    check(line, earlier)

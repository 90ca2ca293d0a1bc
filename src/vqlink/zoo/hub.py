"""Weights on the Hugging Face hub: ``hf://ORG/NAME``, read strictly and pushed with a model card.

A repository holds ``config.json`` (the recipe), ``model.safetensors``, ``vqlink.json`` (what the
zoo's manifest says of it, with the sha256 of both files) and ``README.md``, the card. Only the
first three are ever fetched; no pickle and no code.

With ``VQLINK_HUB=FOLDER`` in the environment a folder stands in for the hub, one subfolder
ORG/NAME for each repository: for machines without network, and for tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from vqlink.config.weights import CONFIG_NAME, MODEL_NAME, load_weights, sha256_of
from vqlink.errors import one_line
from vqlink.protocols import VqlinkError
from vqlink.zoo.card import model_card
from vqlink.zoo.catalogue import Entry
from vqlink.zoo.manifest import STRICT, Sha256, parse_json

SCHEME = "hf://"
ENTRY_NAME, CARD_NAME = "vqlink.json", "README.md"
_FETCHED = (ENTRY_NAME, CONFIG_NAME, MODEL_NAME)
_LOCATION = re.compile(r"hf://([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w.-]+))?", re.ASCII)


@dataclass(frozen=True)
class Location:
    """A repository and a revision (a branch, tag or commit; None for the main branch)."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Published:
    """What ``vqlink.json`` says: the manifest's entry, and the sha256 of ``config.json``."""

    __pydantic_config__ = STRICT

    entry: Entry
    config_sha256: Sha256


_PUBLISHED = TypeAdapter(Published)


def parse_location(text: str) -> Location:
    """``hf://ORG/NAME`` or ``hf://ORG/NAME@REVISION``.

    Raises:
        VqlinkError: for anything else.
    """
    found = _LOCATION.fullmatch(text)
    if found is None or ".." in text:
        raise VqlinkError(f"{text!r} is no place on the hub: write hf://ORG/NAME[@REVISION]")
    return Location(found[1], found[2])


def fetch(text: str) -> tuple[Path, Entry]:
    """The weights folder of ``hf://ORG/NAME``, in the hub's own cache, checked by its sha256.

    Raises:
        VqlinkError: for a wrong place, a hub that can't be reached, or a repository that is
            incomplete, damaged, or not vqlink's.
    """
    location = parse_location(text)
    stand_in = _stand_in()
    if stand_in is None:
        folder = _download(location)
    else:
        folder = stand_in / location.repository
        if location.revision is not None:
            raise VqlinkError(f"{text}: the folder in VQLINK_HUB has no revisions")
    missing = [name for name in _FETCHED if not (folder / name).is_file()]
    if missing:
        raise VqlinkError(f"{text} holds no weights of vqlink: it has no {missing[0]}")
    published = parse_published((folder / ENTRY_NAME).read_bytes(), f"{text}/{ENTRY_NAME}")
    entry = published.entry
    for name, expected in ((MODEL_NAME, entry.sha256), (CONFIG_NAME, published.config_sha256)):
        found = sha256_of(folder / name)
        if found != expected:
            raise VqlinkError(
                f"{text}: {name} is damaged: its sha256 is {found[:12]}..., "
                f"{ENTRY_NAME} says {expected[:12]}..."
            )
    return folder, entry


def parse_published(text: str | bytes, name: str) -> Published:
    """What ``vqlink.json`` holds; ``name`` is used in error messages.

    Raises:
        VqlinkError: when it is something else.
    """
    return parse_json(_PUBLISHED, text, name)


def push(
    folder: Path, entry: Entry, text: str, *, private: bool = False, licence: str | None = None
) -> str:
    """Put a weights folder on the hub with its entry and a card; returns where it is to be seen.

    The weights are loaded strictly first: what does not load is not pushed.

    Args:
        licence: the hub's short name of one, for the card; None says nothing.

    Raises:
        VqlinkError: for weights that don't load or aren't the entry's, a wrong place, or a hub
            that refuses.
    """
    location = parse_location(text)
    if location.revision is not None:
        raise VqlinkError(f"{text}: weights are pushed to the main branch, without @REVISION")
    _, recipe = load_weights(folder)
    if sha256_of(folder / MODEL_NAME) != entry.sha256:
        raise VqlinkError(f"{folder}: its weights are not those of {entry.name}'s sha256")
    with tempfile.TemporaryDirectory() as name:
        staged = Path(name)
        for file in (CONFIG_NAME, MODEL_NAME):
            shutil.copyfile(folder / file, staged / file)
        document = {"entry": entry.document(), "config_sha256": sha256_of(staged / CONFIG_NAME)}
        (staged / ENTRY_NAME).write_text(json.dumps(document, indent=1) + "\n")
        (staged / CARD_NAME).write_text(
            model_card(entry, recipe, str(location), licence=licence), "utf-8"
        )
        stand_in = _stand_in()
        if stand_in is None:
            return _upload(staged, location, private)
        target = stand_in / location.repository
        target.mkdir(parents=True, exist_ok=True)
        for file_path in staged.iterdir():
            partial = target / f"{file_path.name}.partial"
            shutil.copyfile(file_path, partial)
            os.replace(partial, target / file_path.name)
        return str(target)


def _stand_in() -> Path | None:
    name = os.environ.get("VQLINK_HUB")
    return Path(name) if name else None


def _download(location: Location) -> Path:
    import huggingface_hub

    try:
        # One call, so that all files are of one commit; it reads a file in the cache offline.
        return Path(
            huggingface_hub.snapshot_download(
                location.repository, revision=location.revision, allow_patterns=list(_FETCHED)
            )
        )
    except Exception as error:  # the client raises its own, its transport's, OSError, ValueError
        raise VqlinkError(f"{location} cannot be fetched: {one_line(error)}") from None


def _upload(folder: Path, location: Location, private: bool) -> str:
    import huggingface_hub

    api = huggingface_hub.HfApi()
    try:
        where = api.create_repo(location.repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=location.repository,
            folder_path=folder,
            commit_message="Weights of vqlink",
        )
    except Exception as error:  # as above
        raise VqlinkError(
            f"{location} cannot be pushed: {one_line(error)} (is `hf auth login` done?)"
        ) from None
    return str(where)

"""What all manifests of weights share: where they lie, reading, checking, finding, writing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from vqlink.config.weights import MODEL_NAME, sha256_of
from vqlink.errors import VqlinkError, did_you_mean, one_line

ZOO = Path(str(resources.files("vqlink.zoo")))

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

_T = TypeVar("_T")


class Shipped(Protocol):
    """An entry of any manifest."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def folder(self) -> Path: ...


def parse_json(adapter: TypeAdapter[_T], text: str | bytes, name: str) -> _T:
    """A JSON document as what ``adapter`` is for; ``name`` is used in error messages.

    Raises:
        VqlinkError: when it doesn't fit.
    """
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = one_line(f"{where}: {first['msg']}")
        raise VqlinkError(f"{name} is no manifest of vqlink: {reason}") from None


def read_manifest(adapter: TypeAdapter[tuple[_T, ...]], path: Path) -> tuple[_T, ...]:
    """The entries of a manifest; none where there is no file.

    Raises:
        VqlinkError: when the file is damaged.
    """
    return parse_json(adapter, path.read_bytes(), str(path)) if path.exists() else ()


def write_manifest(path: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    """Write entries as plain mappings, sorted by name; of two of one name the later stays."""
    kept = {document["name"]: document for document in documents}
    path.write_text(json.dumps([kept[name] for name in sorted(kept)], indent=1) + "\n")


def check_file(folder: Path, file: str, sha256: str) -> None:
    """Raise VqlinkError unless a file that ships is there and what the manifest says."""
    if not (folder / file).exists() or sha256_of(folder / file) != sha256:
        raise VqlinkError(f"the weights of {folder.name} are damaged: install vqlink again")


def find_folder(
    name_or_folder: str, entries: Iterable[Shipped], what: str, *, besides: Iterable[str] = ()
) -> Path:
    """A weights folder: an entry's, checked, or any other.

    Args:
        what: are looked for, as in ``no WHAT named 'x'``.
        besides: other names that the caller knows.

    Raises:
        VqlinkError: for an unknown name, or a zoo file that isn't what the manifest says.
    """
    known = {entry.name: entry for entry in entries}
    if name_or_folder in known:
        entry = known[name_or_folder]
        check_file(entry.folder, MODEL_NAME, entry.sha256)
        return entry.folder
    folder = Path(name_or_folder)
    if not folder.is_dir():
        names = ", ".join((*besides, *known)) or "none"
        hint = did_you_mean(name_or_folder, known)
        raise VqlinkError(f"no {what} named {name_or_folder!r}{hint} (known: {names})")
    return folder

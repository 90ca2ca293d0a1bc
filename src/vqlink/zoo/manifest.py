"""What all manifests of weights share: where they lie, reading, checking, finding, writing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from vqlink.config.weights import MODEL_NAME, sha256_of
from vqlink.errors import VqlinkError, did_you_mean, one_line
from vqlink.zoo.kinds import Kind, Shipped, all_entries, check_kind

ZOO = Path(str(resources.files("vqlink.zoo")))

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

_T = TypeVar("_T")
_Entry = TypeVar("_Entry", bound=Shipped)


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


def find_entry(
    name: str, entries: Iterable[_Entry], kind: Kind, what: str, *, besides: Sequence[str] = ()
) -> _Entry:
    """The entry of that name.

    Args:
        kind: of ``entries``.
        what: is looked for, as in ``no WHAT named 'x'``.
        besides: other names that the caller knows.

    Raises:
        VqlinkError: for a name of another kind, saying what it is for, or an unknown one.
    """
    known = {entry.name: entry for entry in entries}
    if name in known:
        return known[name]
    check_kind(name, kind)
    names = (*besides, *known)
    every = (entry.name for entry in all_entries())
    hint = did_you_mean(name, names) or did_you_mean(name, every)
    raise VqlinkError(f"no {what} named {name!r}{hint} (known: {', '.join(names) or 'none'})")


def find_folder(
    name_or_folder: str,
    entries: Sequence[Shipped],
    kind: Kind,
    what: str,
    *,
    besides: Sequence[str] = (),
) -> Path:
    """A weights folder: an entry's, checked, or any other; as :func:`find_entry`.

    Raises:
        VqlinkError: also for a folder of another kind, or a zoo file that isn't what the manifest
            says.
    """
    folder = Path(name_or_folder)
    if folder.is_dir() and all(entry.name != name_or_folder for entry in entries):
        check_kind(name_or_folder, kind)
        return folder
    entry = find_entry(name_or_folder, entries, kind, what, besides=besides)
    check_file(entry.folder, MODEL_NAME, entry.sha256)
    return entry.folder

"""What ships, of every kind, and what a SYSTEM is for: pictures, sentences, recordings, or else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from vqlink.config.weights import read_plain_config
from vqlink.errors import VqlinkError

Kind = Literal["pictures", "sentences", "recordings", "samples", "features"]

_INSTEAD: dict[Kind, str] = {
    "pictures": "`vqlink send PICTURE --system {}`",
    "sentences": (
        "`vqlink send 'A man rides a horse.' --system {}` sends one, and `vqlink reproduce "
        "text-bec-fig3` measures a test set"
    ),
    "recordings": "`vqlink send RECORDING.wav --system {}`",
    "samples": "`vqlink sample {}`",
    "features": "`vqlink sample PRIOR --against PICTURES --features {}`",
}
_LOADERS: dict[Kind, str] = {
    "pictures": "vqlink.load",
    "sentences": "vqlink.load_text",
    "recordings": "vqlink.zoo.speech.load_speech",
    "samples": "vqlink.zoo.prior.load_prior",
    "features": "vqlink.zoo.classifier.load_classifier",
}


class Shipped(Protocol):
    """An entry of any manifest."""

    kind: ClassVar[Kind]

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    def document(self) -> dict[str, Any]: ...


def all_entries() -> Iterator[Shipped]:
    """All weights that ship, manifest by manifest; each manifest has one kind."""
    # Each import when it is needed: the manifests' modules use this one.
    from vqlink.zoo.catalogue import entries

    yield from entries()
    from vqlink.zoo.prior import prior_entries

    yield from prior_entries()
    from vqlink.zoo.classifier import classifier_entries

    yield from classifier_entries()
    from vqlink.zoo.text import text_entries

    yield from text_entries()
    from vqlink.zoo.speech import speech_entries

    yield from speech_entries()


def check_kind(name: str, wanted: Kind) -> None:
    """Raise VqlinkError for a system that is known to be for something else, saying how to use it.

    A name that nothing is known of passes: whoever opens it says so.
    """
    kind = kind_of(name)
    if kind is None or kind == wanted:
        return
    # A codec goes over a channel as part of a link.
    instead = _INSTEAD[kind].format("speech+ldpc5g" if name == "speech-codec" else name)
    in_python = "" if "+" in name else f"; in Python {_LOADERS[kind]} opens it"
    raise VqlinkError(f"{name} is for {kind}, not for {wanted}: {instead}{in_python}")


def kind_of(name: str) -> Kind | None:
    """By the name of a link, of an entry of the zoo, or by what a weights folder holds.

    None for what is unknown.
    """
    source, plus, _ = name.partition("+")
    if plus:
        if source == "speech":
            return "recordings"
        return "sentences" if source in ("huffman", "huffman-char") else None
    named = (entry.kind for entry in all_entries() if entry.name == name)
    return next(named, None) or _kind_in(Path(name))


def _kind_in(folder: Path) -> Kind | None:
    try:
        tree = read_plain_config(folder)
    except VqlinkError:
        return None
    if not isinstance(tree, dict):
        return None
    if str(tree.get("kind", "")).startswith("speech"):
        return "recordings"
    if "codec_sha256" in tree:
        return "samples"
    if tree.get("kind") == "classifier":
        return "features"
    source = tree.get("source")
    if isinstance(source, dict) and source.get("kind") == "text":
        return "sentences"
    return "pictures" if "encoder" in tree else None

"""What a SYSTEM is for: pictures, sentences or recordings; or a prior, a classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from vqlink.config.weights import CONFIG_NAME
from vqlink.errors import VqlinkError
from vqlink.zoo.catalogue import entries

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


def check_kind(name: str, wanted: Kind) -> None:
    """Raise VqlinkError for a system that is known to be for something else, saying how to use it.

    A name that nothing is known of passes: whoever opens it says so.
    """
    kind = kind_of(name)
    if kind is None or kind == wanted:
        return
    # A codec goes over a channel as part of a link.
    instead = _INSTEAD[kind].format("speech+ldpc5g" if name == "speech-codec" else name)
    raise VqlinkError(f"{name} is for {kind}, not for {wanted}: {instead}")


def kind_of(name: str) -> Kind | None:
    """By the name of a link, of an entry of the zoo, or by what a weights folder holds.

    None for what is unknown.
    """
    source, plus, _ = name.partition("+")
    if plus:
        if source == "speech":
            return "recordings"
        return "sentences" if source in ("huffman", "huffman-char") else None
    if any(entry.name == name for entry in entries()):
        return "pictures"
    # Late: pictures need none of them.
    from vqlink.zoo.classifier import classifier_entries
    from vqlink.zoo.prior import prior_entries
    from vqlink.zoo.speech import speech_entries
    from vqlink.zoo.text import text_entries

    if any(entry.name == name for entry in text_entries()):
        return "sentences"
    if any(entry.name == name for entry in speech_entries()):
        return "recordings"
    if any(entry.name == name for entry in prior_entries()):
        return "samples"
    if any(entry.name == name for entry in classifier_entries()):
        return "features"
    return _kind_in(Path(name))


def _kind_in(folder: Path) -> Kind | None:
    try:
        tree = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
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

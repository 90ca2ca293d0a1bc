"""The text codes that ship: their manifest, loading, and how weights get in.

python -m vqlink.zoo.text runs/text-q32/weights [more folders]
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter

from vqlink.config.channels import channel_name
from vqlink.config.schema import Recipe
from vqlink.config.text import TOKENIZER_NAME, load_text_code, save_text_weights
from vqlink.config.text_parts import BinaryConfig
from vqlink.config.weights import MODEL_NAME, read_config, read_tensors, sha256_of
from vqlink.metrics.text import token_accuracy
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.sources.text import read_tokenizer
from vqlink.systems.text_code import TextCode
from vqlink.zoo.kinds import Kind
from vqlink.zoo.manifest import STRICT, ZOO, check_file, find_folder, read_manifest, write_manifest

MANIFEST = ZOO / "manifest_text.json"
_SEED, _ERASURE = 0, 0.5
SENTENCES = (
    "A man is riding a bicycle down the street.",
    "Two dogs are running through the snow.",
    "A woman in a red dress sings on a stage.",
    "Three children play football in a park.",
    "An old man sits on a bench and reads a newspaper.",
    "A group of people is waiting for a train.",
    "A girl with long hair is holding a camera.",
    "Several cyclists race past a crowd.",
)
"""The case of the expected figure; none of them is in the training data."""


@dataclass(frozen=True)
class TextEntry:
    """One set of weights of a text code.

    Attributes:
        bits: Q, bits a token.
        sha256, tokenizer_sha256: of the tensors' and of the tokenizer's file.
        expected: token accuracy of :data:`SENTENCES` over ``bec`` at ``erasure``, with ``seed``.
    """

    __pydantic_config__ = STRICT
    kind: ClassVar[Kind] = "sentences"

    name: str
    recipe: str
    paper: str
    channel: str
    bits: int
    params: int
    sha256: str
    tokenizer_sha256: str
    erasure: float
    seed: int
    expected: float
    source: str = "text"

    @property
    def folder(self) -> Path:
        return ZOO / "weights" / self.name

    def document(self) -> dict[str, Any]:
        """As a plain mapping with the keys of every zoo entry."""
        figure = {"erasure": self.erasure, "seed": self.seed, "token_accuracy": self.expected}
        return asdict(self) | {"expected": figure}


_ENTRIES = TypeAdapter(tuple[TextEntry, ...])


@lru_cache(maxsize=1)
def text_entries() -> tuple[TextEntry, ...]:
    """All text codes in the manifest."""
    return read_manifest(_ENTRIES, MANIFEST)


def load_text_system(name_or_folder: str) -> tuple[TextCode, Recipe, str]:
    """A text code by zoo name or weights folder: (code, recipe, sha256 of its weights).

    Raises:
        VqlinkError: for an unknown name, or a zoo file that isn't what the manifest says.
    """
    folder = find_folder(name_or_folder, text_entries(), "sentences", "text code")
    for entry in text_entries():
        if entry.name == name_or_folder:
            check_file(folder, TOKENIZER_NAME, entry.tokenizer_sha256)
    code, recipe = load_text_code(folder)
    return code, recipe, sha256_of(folder / MODEL_NAME)


def load_text(name_or_folder: str) -> TextCode:
    """A text code, ready to ``transmit`` sentences."""
    return load_text_system(name_or_folder)[0]


def measure_expected(folder: Path) -> float:
    """Token accuracy of the manifest's case: hard bits over simulated erasures."""
    code, _ = load_text_code(folder)
    noise = [stream(_SEED, "expected", i) for i in range(len(SENTENCES))]
    sent = code.transmit(SENTENCES, Point(probability=_ERASURE), generator=noise)
    return round(float(token_accuracy(sent.received, SENTENCES).mean()), 4)


def add(folder: Path) -> TextEntry:
    """Copy one weights folder into the zoo, in int8, and into its manifest."""
    recipe = read_config(folder)
    assert isinstance(recipe.quantizer, BinaryConfig)
    target = ZOO / "weights" / recipe.name
    tokenizer = read_tokenizer(folder / TOKENIZER_NAME)
    sha256 = save_text_weights(target, read_tensors(folder), recipe, tokenizer, storage="int8")
    code, _ = load_text_code(target)
    entry = TextEntry(
        name=recipe.name,
        recipe=recipe.name,
        paper=recipe.paper,
        channel=channel_name(recipe.link.channel),
        bits=recipe.quantizer.bits,
        params=sum(parameter.numel() for parameter in code.parameters()),
        sha256=sha256,
        tokenizer_sha256=sha256_of(target / TOKENIZER_NAME),
        erasure=_ERASURE,
        seed=_SEED,
        expected=measure_expected(target),
    )
    write_manifest(MANIFEST, [asdict(e) for e in (*text_entries(), entry)])
    text_entries.cache_clear()
    return entry


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(add(Path(argument)))

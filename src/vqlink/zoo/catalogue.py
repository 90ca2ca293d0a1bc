"""The weights that ship, and how to load them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, TypeAdapter

from vqlink.config.build import LearnedSystem
from vqlink.config.schema import Recipe
from vqlink.config.weights import MODEL_NAME, load_weights, sha256_of
from vqlink.zoo.kinds import Kind
from vqlink.zoo.manifest import (
    STRICT,
    ZOO,
    Sha256,
    find_entry,
    find_folder,
    parse_json,
    read_manifest,
)

MANIFEST = ZOO / "manifest.json"


def _ratio(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,6}/[1-9][0-9]{0,5}", value):
        raise ValueError("a ratio is written as in 1/12")
    return Fraction(value)


@dataclass(frozen=True)
class Expected:
    """A figure that the weights give, on a case that comes with the product.

    Attributes:
        case: the picture, such as ``sample:astronaut`` (its centre of ``side`` pixels).
        side: of the centre crop.
        snr_db: mean Es/N0 over the channel that the weights were trained for.
        seed: of the one draw of fade and noise.
        psnr_db: the figure.
    """

    __pydantic_config__ = STRICT

    case: str
    side: int
    snr_db: float
    seed: int
    psnr_db: float


@dataclass(frozen=True)
class Entry:
    """One set of weights.

    Attributes:
        bits: per channel use; None for an unquantised code.
        featured: one of those that ``vqlink send`` takes where no system is named.
    """

    __pydantic_config__ = STRICT
    kind: ClassVar[Kind] = "pictures"

    name: str
    recipe: str
    paper: str
    source: str
    channel: str
    rho: Annotated[Fraction, BeforeValidator(_ratio)]
    bits: float | None
    params: int
    sha256: Sha256
    expected: Expected
    featured: bool = False

    @property
    def folder(self) -> Path:
        return ZOO / "weights" / self.name

    def document(self) -> dict[str, Any]:
        """As a plain mapping: what :func:`parse_entry` reads."""
        return {**asdict(self), "rho": f"{self.rho.numerator}/{self.rho.denominator}"}


_ENTRY, _ENTRIES = TypeAdapter(Entry), TypeAdapter(tuple[Entry, ...])


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """All weights in the manifest.

    Raises:
        VqlinkError: when the file is damaged.
    """
    return read_manifest(_ENTRIES, MANIFEST)


def parse_entry(text: str | bytes, name: str) -> Entry:
    """One entry from its JSON; ``name`` is used in error messages.

    Raises:
        VqlinkError: when it is none.
    """
    return parse_json(_ENTRY, text, name)


def find(name: str) -> Entry:
    """The entry of that name.

    Raises:
        VqlinkError: when there is none, or one for something else than pictures.
    """
    return find_entry(name, entries(), "pictures", "weights")


def weights_folder(name_or_folder: str) -> Path:
    """Where the weights of a zoo name, a weights folder or ``hf://ORG/NAME`` lie.

    Raises:
        VqlinkError: for an unknown name, weights for something else than pictures, or a file that
            isn't what the manifest says.
    """
    if name_or_folder.startswith("hf://"):
        from vqlink.zoo.hub import fetch

        return fetch(name_or_folder)[0]
    return find_folder(name_or_folder, entries(), "pictures", "weights")


def load_system(name_or_folder: str) -> tuple[LearnedSystem, Recipe, str]:
    """A learned system by zoo name, weights folder or ``hf://ORG/NAME``.

    Returns:
        The system, its recipe and the sha256 of its weights.

    Raises:
        VqlinkError: as :func:`weights_folder`, and for weights that don't load.
    """
    folder = weights_folder(name_or_folder)
    system, recipe = load_weights(folder)
    return system, recipe, sha256_of(folder / MODEL_NAME)


def load(name_or_folder: str) -> LearnedSystem:
    """A learned system, ready to ``encode``, ``transmit`` and ``decode``.

    Takes a zoo name, a weights folder or ``hf://ORG/NAME[@REVISION]``.

    Example:
        >>> from vqlink import load
        >>> codec = load("jscc-q64-awgn-1-12")
        >>> codec.uses(height=512, width=768)
        98304
    """
    return load_system(name_or_folder)[0]

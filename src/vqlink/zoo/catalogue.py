"""The weights that ship, and how to load them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from pathlib import Path

from vqlink.config.build import LearnedSystem
from vqlink.config.schema import Recipe
from vqlink.config.weights import MODEL_NAME, load_weights, sha256_of
from vqlink.protocols import VqlinkError

ZOO = Path(str(resources.files("vqlink.zoo")))
MANIFEST = ZOO / "manifest.json"


@dataclass(frozen=True)
class Expected:
    """A figure that the weights give, on a case that comes with the product.

    Attributes:
        case: the picture, such as ``sample:astronaut`` (its centre of ``side`` pixels).
        side: of the centre crop.
        snr_db: Es/N0 in AWGN.
        seed: of the noise.
        psnr_db: the figure.
    """

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

    name: str
    recipe: str
    paper: str
    source: str
    channel: str
    rho: Fraction
    bits: float | None
    params: int
    sha256: str
    expected: Expected
    featured: bool = False

    @property
    def folder(self) -> Path:
        return ZOO / "weights" / self.name


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """All weights in the manifest."""
    if not MANIFEST.exists():
        return ()
    return tuple(
        Entry(**{**item, "rho": Fraction(item["rho"]), "expected": Expected(**item["expected"])})
        for item in json.loads(MANIFEST.read_text())
    )


def find(name: str) -> Entry:
    """The entry of that name.

    Raises:
        VqlinkError: when there is none.
    """
    for entry in entries():
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in entries())
    raise VqlinkError(f"no weights named {name!r} in the zoo (known: {known})")


def load_system(name_or_folder: str) -> tuple[LearnedSystem, Recipe, str]:
    """A learned system by zoo name or weights folder: (system, recipe, sha256 of its weights).

    Raises:
        VqlinkError: for an unknown name, or a zoo file that isn't what the manifest says.
    """
    folder = Path(name_or_folder)
    if any(entry.name == name_or_folder for entry in entries()):
        entry = find(name_or_folder)
        folder = entry.folder
        if not (folder / MODEL_NAME).exists() or sha256_of(folder / MODEL_NAME) != entry.sha256:
            raise VqlinkError(f"the weights of {entry.name} are damaged: install vqlink again")
    elif not folder.is_dir():
        find(name_or_folder)
    system, recipe = load_weights(folder)
    return system, recipe, sha256_of(folder / MODEL_NAME)


def load(name_or_folder: str) -> LearnedSystem:
    """A learned system, ready to ``encode``, ``transmit`` and ``decode``.

    Example:
        >>> from vqlink import load
        >>> codec = load("jscc-q64-awgn-1-12")
        >>> codec.uses(height=512, width=768)
        98304
    """
    return load_system(name_or_folder)[0]

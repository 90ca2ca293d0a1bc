"""The priors that ship: their manifest, loading, and how weights get in.

    python -m vqlink.zoo.prior runs/hrvqvae-cifar10-prior/weights [more folders]

A prior belongs to the weights of one codec; the codec's entry is in the images' manifest.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import TypeAdapter

from vqlink.config.prior import load_prior_weights, read_prior_file, save_prior
from vqlink.config.weights import read_tensors
from vqlink.systems.image_prior import ImagePrior
from vqlink.zoo.cases import SMALL, small_pictures
from vqlink.zoo.catalogue import entries
from vqlink.zoo.kinds import Kind
from vqlink.zoo.manifest import STRICT, ZOO, find_folder, read_manifest, write_manifest

MANIFEST = ZOO / "manifest_prior.json"


@dataclass(frozen=True)
class PriorEntry:
    """One prior.

    Attributes:
        codec: zoo name of the codec whose maps it models.
        bits: a picture, the mean over :func:`vqlink.zoo.cases.small_pictures`.
    """

    __pydantic_config__ = STRICT
    kind: ClassVar[Kind] = "samples"

    name: str
    paper: str
    codec: str
    params: int
    sha256: str
    bits: float

    @property
    def folder(self) -> Path:
        return ZOO / "weights" / self.name

    def document(self) -> dict[str, Any]:
        """As a plain mapping with the keys of every zoo entry."""
        return {
            "name": self.name,
            "recipe": self.name,
            "paper": self.paper,
            "source": "images",
            "channel": None,
            "params": self.params,
            "sha256": self.sha256,
            "codec": self.codec,
            "expected": {"case": SMALL, "bits": self.bits},
        }


_ENTRIES = TypeAdapter(tuple[PriorEntry, ...])


@lru_cache(maxsize=1)
def prior_entries() -> tuple[PriorEntry, ...]:
    """All priors in the manifest.

    Raises:
        VqlinkError: when the file is damaged.
    """
    return read_manifest(_ENTRIES, MANIFEST)


def codec_folder(name_or_folder: str) -> Path:
    """The weights folder of a codec by zoo name or folder.

    Raises:
        VqlinkError: for an unknown name.
    """
    return find_folder(name_or_folder, entries(), "pictures", "codec")


def load_prior(name_or_folder: str) -> ImagePrior:
    """A prior by zoo name or weights folder, with its codec, ready to ``sample``.

    Raises:
        VqlinkError: for an unknown name, or a zoo file that isn't what the manifest says.
    """
    folder = find_folder(name_or_folder, prior_entries(), "samples", "prior")
    codec = read_prior_file(folder).recipe.codec
    return load_prior_weights(folder, codec_folder(codec))[0]


def measure_expected(folder: Path) -> float:
    """Bits an image of the manifest's case."""
    prior, _ = load_prior_weights(folder, codec_folder(read_prior_file(folder).recipe.codec))
    crops = small_pictures()
    label = torch.zeros(len(crops), dtype=torch.int64) if prior.classes else None
    with torch.no_grad():
        bits = torch.stack(prior(prior.codes.encode(crops), label)).sum(dim=0)
    return round(float(bits.mean()), 1)


def add(folder: Path) -> PriorEntry:
    """Copy one weights folder into the zoo, in half precision, and into its manifest."""
    file = read_prior_file(folder)
    target = ZOO / "weights" / file.recipe.name
    tensors = read_tensors(folder)
    sha256 = save_prior(target, tensors, file.recipe, file.codec_sha256, half=True)
    entry = PriorEntry(
        name=file.recipe.name,
        paper=file.recipe.paper,
        codec=file.recipe.codec,
        params=sum(tensor.numel() for tensor in tensors.values()),
        sha256=sha256,
        bits=measure_expected(target),
    )
    write_manifest(MANIFEST, [asdict(e) for e in (*prior_entries(), entry)])
    prior_entries.cache_clear()
    return entry


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(add(Path(argument)))

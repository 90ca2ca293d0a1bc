"""Put trained weights into the zoo.

    python -m vqlink.zoo.add [--int8] runs/jscc-awgn-1-12/weights [more folders]

Stores them in half precision (or int8) with their config, measures the expected figure on a bundled
picture, and writes the manifest.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

from vqlink.config.channels import channel_name
from vqlink.config.link_parts import MODEMS, IndexLinkConfig, LayersLinkConfig, ValuesLinkConfig
from vqlink.config.quantizer_parts import IdentityConfig, QAMConfig, SoftToHardConfig
from vqlink.config.schema import Recipe
from vqlink.config.weights import (
    MODEL_NAME,
    Storage,
    load_weights,
    read_config,
    read_tensors,
    save_weights,
    sha256_of,
)
from vqlink.metrics.image import psnr
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.sources.images import open_image
from vqlink.zoo.catalogue import MANIFEST, Entry, Expected, entries
from vqlink.zoo.kinds import check_kind
from vqlink.zoo.manifest import ZOO, write_manifest

_CASE, _SIDE, _SNR_DB, _SEED = "sample:astronaut", 256, 10.0, 0


def add(folder: Path, storage: Storage = "float16") -> Entry:
    """Copy one weights folder into the zoo and its manifest; replaces one of the same name."""
    recipe = read_config(folder)
    target = ZOO / "weights" / recipe.name
    save_weights(target, read_tensors(folder), recipe, storage=storage)
    entry = describe(target)
    others = [_beside(e, entry) for e in entries()]
    write_manifest(MANIFEST, [e.document() for e in (*others, entry)])
    entries.cache_clear()
    return entry


def describe(folder: Path) -> Entry:
    """The manifest's entry of a weights folder; the expected figure is measured.

    Raises:
        VqlinkError: for a folder that is incomplete, or for something else than pictures.
    """
    check_kind(str(folder), "pictures")
    system, recipe = load_weights(folder)
    return Entry(
        name=recipe.name,
        recipe=recipe.name,
        paper=recipe.paper,
        source="images",
        channel=channel_name(recipe.link.channel),
        rho=recipe.rho,
        bits=bits_per_use(recipe),
        params=sum(parameter.numel() for parameter in system.parameters()),
        sha256=sha256_of(folder / MODEL_NAME),
        expected=Expected(_CASE, _SIDE, _SNR_DB, _SEED, measure_expected(folder)),
        featured=is_featured(recipe),
    )


def _beside(old: Entry, new: Entry) -> Entry:
    """An entry of the zoo once ``new`` is there: of two codes for one case the later is shown."""
    case = (new.channel, new.rho, new.bits, new.featured)
    same = (old.channel, old.rho, old.bits, old.featured) == case
    return replace(old, featured=False) if same else old


def is_featured(recipe: Recipe) -> bool:
    """The codes of a ratio that are shown first: 64-QAM and no quantization."""
    quantizer = recipe.quantizer
    fixed = isinstance(quantizer, QAMConfig) and quantizer.order == 64
    return isinstance(recipe.link, ValuesLinkConfig) and (
        fixed or isinstance(quantizer, IdentityConfig)
    )


def bits_per_use(recipe: Recipe) -> float | None:
    """Bits that a channel use can carry; None without an alphabet."""
    if isinstance(recipe.link, IndexLinkConfig | LayersLinkConfig):
        return float(MODEMS[recipe.link.modem])
    if isinstance(recipe.quantizer, SoftToHardConfig):
        return math.log2(recipe.quantizer.order)
    return None


def measure_expected(folder: Path) -> float:
    """PSNR in dB of the manifest's case: hard symbols over simulated noise."""
    system, _ = load_weights(folder)
    image = open_image(_CASE)
    top, left = ((side - _SIDE) // 2 for side in image.shape[1:])
    crop = image[None, :, top : top + _SIDE, left : left + _SIDE]
    noise = stream(_SEED, "expected")
    sent = system.transmit(crop, Point(snr_db=_SNR_DB), generator=noise)
    return round(float(psnr(sent.received, crop)), 3)


if __name__ == "__main__":
    storage: Storage = "int8" if "--int8" in sys.argv else "float16"
    for argument in sys.argv[1:]:
        if argument != "--int8":
            print(add(Path(argument), storage))

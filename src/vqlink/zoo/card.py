"""A model card for the hub, written from what the manifest and the recipe say."""

from __future__ import annotations

from vqlink.config.schema import Recipe
from vqlink.zoo.catalogue import Entry

_PAPERS = {
    "000": "Joint Source Channel Coding Using VQ-VAEs and Transformers",
    "001": "Tung et al., DeepJSCC-Q: Constellation Constrained Deep Joint Source-Channel Coding",
    "002": "Vali and Bäckström, NSVQ: Noise Substitution in Vector Quantization",
    "003": "Adiban et al., Hierarchical Residual Learning Based VQ-VAE (HR-VQVAE)",
    "004": "Fu et al., Vector Quantized Semantic Communication System",
}


def model_card(entry: Entry, recipe: Recipe, location: str, *, licence: str | None = None) -> str:
    """Markdown with the hub's header, for weights that lie at ``location`` (``hf://ORG/NAME``).

    Args:
        licence: the hub's short name of one, such as ``apache-2.0``; None says nothing.
    """
    header = "" if licence is None else f"license: {licence}\n"
    alphabet = "any complex value" if entry.bits is None else f"{entry.bits:g} bits a channel use"
    expected = entry.expected
    deviations = "\n".join(f"- {text}" for text in recipe.deviations) or "- none recorded"
    return f"""---
{header}library_name: vqlink
tags:
- joint-source-channel-coding
- semantic-communication
- vector-quantization
---

# {entry.name}

A learned joint source-channel code for {entry.source}, made by the recipe `{entry.recipe}` of
vqlink: it maps a message straight to what goes on the air.

| | |
|---|---|
| source | {entry.source} |
| channel it was trained for | {entry.channel} |
| rho, complex channel uses per source value | {entry.rho} |
| what a channel use carries | {alphabet} |
| parameters | {entry.params:,} |
| sha256 of `model.safetensors` | `{entry.sha256}` |

## Use

```python
from vqlink import Point, load
from vqlink.rng import stream

codec = load("{location}")
sent = codec.transmit(images, Point(snr_db=10.0), generator=stream(0, "noise"))
```

```
vqlink send photo.png --system {location} --snr 10
```

## What to expect

{expected.psnr_db:.2f} dB PSNR on the centre {expected.side}x{expected.side} of `{expected.case}` at
{expected.snr_db:g} dB mean SNR (Es/N0 per complex channel use) over {entry.channel}, with
hard-quantised symbols and one draw of the channel, seed {expected.seed}. One picture is no
benchmark; `vqlink evaluate` measures on your own.

## Where it comes from

{recipe.figure} of paper {entry.paper}: {_PAPERS.get(entry.paper, "see vqlink's documentation")}.
The nets are vqlink's own where the recipe says so. Deviations from the paper:

{deviations}
"""

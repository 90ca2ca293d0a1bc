"""What codebooks do after an optimiser step, whichever quantizer holds them."""

from __future__ import annotations

import torch
from torch import nn

from vqlink.quantizers.replacement import reset_moments
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.vector import VectorQuantizer

Codebooks = VectorQuantizer | ResidualQuantizer


def keep_up(
    quantizer: Codebooks, optimizer: torch.optim.Optimizer, *, generator: torch.Generator
) -> None:
    """Running means and replacement; the optimiser forgets codewords that are gone.

    Args:
        generator: in the same state on every rank.
    """
    if isinstance(quantizer, ResidualQuantizer):
        moved = quantizer.after_step(generator=generator)
        parts = [(quantizer.codebook(layer), rows) for layer, rows in enumerate(moved)]
    else:
        parts = [(quantizer.codebook, quantizer.after_step(generator=generator).replaced)]
    for codebook, rows in parts:
        if isinstance(codebook, nn.Parameter):
            reset_moments(optimizer, codebook, rows)

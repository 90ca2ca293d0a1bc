"""Validation while training: averaged weights, hard symbols, whole pictures."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from torch import Tensor

from vqlink.config.build import build_system
from vqlink.config.schema import Recipe
from vqlink.config.text import build_text_code
from vqlink.links.bits import LONGEST
from vqlink.metrics.image import psnr
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.sources.datasets import open_images
from vqlink.sources.text import encode, open_sentences
from vqlink.systems.index_code import IndexCode
from vqlink.training.ema import Ema

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Validation:
    """Mean PSNR over the recipe's validation pictures at its evaluation points.

    Of an upper bound, which can't be sent: the mean PSNR without a channel.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.system = build_system(recipe).eval()
        self.images: list[Tensor] = []
        if recipe.source.validation is not None:
            collection = open_images(recipe.source.validation)
            count = min(len(collection), recipe.evaluation.samples)
            self.images = [collection[i][1] for i in range(count)]

    def run(self, ema: Ema) -> dict[str, float]:
        """``{"psnr@10dB": ...}`` for each point; empty where the recipe names no pictures."""
        self.system.load_state_dict(ema.state)
        if isinstance(self.system, IndexCode) and not self.system.codebooks:
            total = sum(float(psnr(self.system.reconstruct(x[None]), x[None])) for x in self.images)
            return {"psnr": total / len(self.images)} if self.images else {}
        figures = {}
        for snr_db in self.recipe.evaluation.snr_db if self.images else ():
            total = 0.0
            for index, image in enumerate(self.images):
                noise = stream(self.recipe.training.seed, "validation", snr_db, index)
                sent = self.system.transmit(image[None], Point(snr_db=snr_db), generator=noise)
                total += float(psnr(sent.received, image[None]))
            figures[f"psnr@{snr_db:g}dB"] = total / len(self.images)
        return figures


class TextValidation:
    """Part of the validation sentences' tokens that arrive, free-running, at each point.

    Args:
        tokenizer: the run's.

    Attributes:
        sent: tokens of the sentences; those that no frame can hold are left out, as in training.
    """

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self.recipe = recipe
        self.system = build_text_code(recipe).eval()
        self.sent: list[list[int]] = []
        if recipe.source.validation is not None:
            sentences = open_sentences(recipe.source.validation)
            coded = (encode(tokenizer, sentence) for sentence in sentences)
            fitting = (tokens for tokens in coded if 0 < len(tokens) <= LONGEST)
            self.sent = list(itertools.islice(fitting, recipe.evaluation.samples))

    def run(self, ema: Ema) -> dict[str, float]:
        """``{"token_accuracy@0.2": ...}``; empty where there are no sentences."""
        self.system.load_state_dict(ema.state)
        sent = self.sent
        if not sent:
            return {}
        points = self.recipe.evaluation.probability
        binary = self.recipe.link.channel.kind in ("bec", "bsc")
        figures = {}
        for value in points if binary else self.recipe.evaluation.snr_db:
            point = Point(probability=value) if binary else Point(snr_db=value)
            noise = stream(self.recipe.training.seed, "validation", value)
            received = self.system.decode(self.system.carry(sent, point, generator=noise))
            right = sum(
                sum(a == b for a, b in zip(tokens, heard, strict=False))
                for tokens, heard in zip(sent, received, strict=True)
            )
            figures[f"token_accuracy@{value:g}"] = right / sum(map(len, sent))
        return figures


AnyValidation = Validation | TextValidation

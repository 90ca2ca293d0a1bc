"""The classical system for sentences: a Huffman code, a channel code, and the bits link's modem.

    sentence -> Huffman -> CRC-16 -> LDPC or turbo, rate matched -> channel -> decoder -> sentence

It fills as many channel uses as the learned code takes for the same sentence. The receiver is given
the frame's length and the block's size, which the learned code pays for in its header.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vqlink.digital.huffman import SentenceCode, sentence_code
from vqlink.digital.short import (
    CRC_BITS,
    ShortCodeName,
    block_size,
    decode_blocks,
    encode_block,
)
from vqlink.links.bits import BitsLink
from vqlink.protocols import Point, TextTransmission, VqlinkError
from vqlink.rng import Generators, check_generators, of_sample

TEXT_LINKS = ("huffman+ldpc5g", "huffman+turbo", "huffman-char+ldpc5g", "huffman-char+turbo")
_BATCH = 1024
_SURE = 20.0


class TextSeparation:
    """A digital text link at a given number of channel uses.

    Where the payload doesn't fit, or its CRC fails, the message is an outage: the receiver reads
    what the bits that it decided say, up to their first impossible symbol, or nothing.

    Args:
        source: Huffman code.
        code: channel code.
        link: modem and channel.
        budget: channel uses of a sentence.
    """

    def __init__(
        self,
        source: SentenceCode,
        code: ShortCodeName,
        link: BitsLink,
        budget: Callable[[str], int],
    ) -> None:
        self.source, self.code, self.link, self.budget = source, code, link, budget

    @property
    def name(self) -> str:
        return f"{self.source.name}+{self.code}"

    def sentence_uses(self, sentence: str) -> int:
        """Channel uses of a sentence: the whole budget."""
        return self.budget(sentence)

    @torch.no_grad()
    def transmit(
        self, sentences: Sequence[str], point: Point, *, generator: Generators
    ) -> TextTransmission:
        """Sentences, a frame each.

        ``stats``: ``payload_bits`` and ``too_small``, 1 where the payload doesn't fit: nothing is
        sent then, an outage of power 0.

        Raises:
            VqlinkError: for a sentence that the budget is not for.
            ValueError: for another number of generators than one, or one a sentence.
        """
        check_generators(generator, len(sentences))
        uses = [self.sentence_uses(sentence) for sentence in sentences]
        payloads = [self.source.encode(sentence) for sentence in sentences]
        received, outage = [""] * len(sentences), torch.ones(len(sentences), dtype=torch.bool)
        groups: defaultdict[int, list[tuple[int, Tensor]]] = defaultdict(list)
        for place, payload in enumerate(payloads):
            coded = uses[place] * self.link.bits_per_use
            size = block_size(self.code, len(payload), coded)
            if size is None:
                continue
            bits = torch.tensor([[float(bit) for bit in payload.ljust(size - CRC_BITS, "0")]])
            random = of_sample(generator, place)
            sent = encode_block(self.code, bits, coded)
            known = self.link(sent * 2 - 1, point.of(place, len(sentences)), generator=random)
            ratios = (2 * torch.atanh(known[0].double())).clamp(-_SURE, _SURE).float()
            groups[size].append((place, ratios))
        for size, group in groups.items():
            for start in range(0, len(group), _BATCH):
                part = group[start : start + _BATCH]
                decided, good = decode_blocks(self.code, [ratios for _, ratios in part], size)
                for (place, _), bits, fine in zip(part, decided, good, strict=True):
                    read = "".join("1" if bit > 0.5 else "0" for bit in bits.tolist())
                    received[place], ended = self.source.decode(read)
                    outage[place] = not (bool(fine) and ended)
        fits = torch.zeros(len(sentences), dtype=torch.bool)
        fits[[place for group in groups.values() for place, _ in group]] = True
        return TextTransmission(
            received=tuple(received),
            uses=torch.tensor(uses, dtype=torch.int64),
            tx_power=fits.float(),
            outage=outage,
            stats={
                "payload_bits": torch.tensor([float(len(payload)) for payload in payloads]),
                "too_small": 1 - fits.float(),
            },
        )


def parse_text_separation(
    name: str, link: BitsLink, budget: Callable[[str], int]
) -> TextSeparation:
    """A digital text link by its name, one of :data:`TEXT_LINKS`.

    Raises:
        VqlinkError: for another name.
    """
    match name:
        case "huffman+ldpc5g":
            return TextSeparation(sentence_code("word"), "ldpc5g", link, budget)
        case "huffman+turbo":
            return TextSeparation(sentence_code("word"), "turbo", link, budget)
        case "huffman-char+ldpc5g":
            return TextSeparation(sentence_code("char"), "ldpc5g", link, budget)
        case "huffman-char+turbo":
            return TextSeparation(sentence_code("char"), "turbo", link, budget)
        case _:
            known = ", ".join(TEXT_LINKS)
            raise VqlinkError(f"unknown digital text link {name!r} (known: {known})")

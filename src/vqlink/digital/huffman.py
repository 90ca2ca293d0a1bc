"""Huffman codes for sentences, by words or by characters, with an escape for the unknown.

A sentence is cut into words and marks, each with the space before it. Both ends hold the same code,
built from counts on training sentences. A piece without a codeword is sent as the escape, its
characters and an end mark; a character without one as the escape and 21 bits, its code point.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import count
from typing import Literal

Level = Literal["word", "char"]

_END, _ESCAPE = "<end>", "<escape>"  # longer than one character, and no piece has a < before a word
_CODE_POINT_BITS = 21
_PIECE = re.compile(r" ?\w+| ?[^\w\s]|\s")


class HuffmanError(Exception):
    """Bits that no sentence has: they were received in error."""


@dataclass(frozen=True)
class Huffman:
    """A prefix code over symbols.

    Attributes:
        codes: symbol -> bits as a text of 0 and 1.
        symbols: the inverse.
    """

    codes: Mapping[str, str]
    symbols: Mapping[str, str]


@dataclass(frozen=True)
class SentenceCode:
    """Sentences <-> bits.

    Attributes:
        name: as in ``huffman+turbo``.
        words: code of pieces; None at the level of characters.
        chars: code of characters.
    """

    name: str
    words: Huffman | None
    chars: Huffman

    def encode(self, sentence: str) -> str:
        """A sentence, white space made single, -> bits as a text of 0 and 1."""
        sentence = " ".join(sentence.split())
        if self.words is None:
            return "".join(_char_bits(self.chars, sentence))
        words = self.words.codes
        bits = []
        for piece in _PIECE.findall(sentence):
            known = words.get(piece)
            bits += [words[_ESCAPE], *_char_bits(self.chars, piece)] if known is None else [known]
        return "".join([*bits, words[_END]])

    def decode(self, bits: str) -> tuple[str, bool]:
        """Bits, perhaps with filling behind -> the sentence, and whether its end was found.

        Of bits in error as much as can be read is returned.
        """
        reader = _Reader(bits)
        pieces: list[str] = []
        try:
            if self.words is None:
                for character in _read_chars(reader, self.chars):
                    pieces.append(character)  # one by one: an error keeps those before it
                return "".join(pieces), True
            while (piece := reader.symbol(self.words)) != _END:
                if piece == _ESCAPE:
                    for character in _read_chars(reader, self.chars):
                        pieces.append(character)
                else:
                    pieces.append(piece)
        except HuffmanError:
            return "".join(pieces).strip(), False
        return "".join(pieces), True


def build_huffman(counts: Mapping[str, int]) -> Huffman:
    """The canonical Huffman code of positive counts: by length, then by symbol.

    Raises:
        ValueError: for fewer than two symbols.
    """
    if len(counts) < 2:
        raise ValueError("a Huffman code has at least two symbols")
    ties = count()
    heap: list[tuple[int, int, list[str]]] = [
        (n, next(ties), [s]) for s, n in sorted(counts.items())
    ]
    lengths = dict.fromkeys(counts, 0)
    heapq.heapify(heap)
    while len(heap) > 1:
        n, _, symbols = heapq.heappop(heap)
        m, _, others = heapq.heappop(heap)
        for symbol in (merged := symbols + others):
            lengths[symbol] += 1
        heapq.heappush(heap, (n + m, next(ties), merged))
    codes, word, width = {}, 0, 0
    for symbol in sorted(counts, key=lambda s: (lengths[s], s)):
        word <<= lengths[symbol] - width
        width = lengths[symbol]
        codes[symbol] = f"{word:0{width}b}"
        word += 1
    return Huffman(codes, {code: symbol for symbol, code in codes.items()})


def count_symbols(sentences: Iterable[str], *, least: int = 2) -> dict[str, dict[str, int]]:
    """Counts of pieces (those seen ``least`` times) and characters, with escapes and ends."""
    words: Counter[str] = Counter()
    chars: Counter[str] = Counter()
    total = 0
    for sentence in sentences:
        total += 1
        clean = " ".join(sentence.split())
        words.update(_PIECE.findall(clean))
        chars.update(clean)
    rare = sum(n for n in words.values() if n < least)
    return {
        "words": {w: n for w, n in words.items() if n >= least} | {_ESCAPE: rare + 1, _END: total},
        "chars": dict(chars) | {_ESCAPE: 1, _END: total},
    }


@lru_cache(maxsize=4)
def sentence_code(level: Level) -> SentenceCode:
    """The code that ships, from the 29,000 training sentences of Multi30k."""
    text = resources.files("vqlink.digital").joinpath("huffman_counts.json").read_text("utf-8")
    counts: dict[str, dict[str, int]] = json.loads(text)
    chars = build_huffman(counts["chars"])
    if level == "char":
        return SentenceCode("huffman-char", None, chars)
    return SentenceCode("huffman", build_huffman(counts["words"]), chars)


def _char_bits(code: Huffman, characters: str) -> Iterator[str]:
    for character in characters:
        known = code.codes.get(character)
        yield known or code.codes[_ESCAPE] + f"{ord(character):0{_CODE_POINT_BITS}b}"
    yield code.codes[_END]


def _read_chars(reader: _Reader, code: Huffman) -> Iterator[str]:
    while (symbol := reader.symbol(code)) != _END:
        yield reader.code_point() if symbol == _ESCAPE else symbol


class _Reader:
    def __init__(self, bits: str) -> None:
        self.bits, self.at = bits, 0

    def symbol(self, code: Huffman) -> str:
        for end in range(self.at + 1, len(self.bits) + 1):
            found = code.symbols.get(self.bits[self.at : end])
            if found is not None:
                self.at = end
                return found
        raise HuffmanError("the bits end within a symbol")

    def code_point(self) -> str:
        bits = self.bits[self.at : self.at + _CODE_POINT_BITS]
        self.at += _CODE_POINT_BITS
        if (
            len(bits) < _CODE_POINT_BITS
            or int(bits, 2) > 0x10FFFF
            or 0xD800 <= int(bits, 2) < 0xE000
        ):
            raise HuffmanError("there is no such character")
        return chr(int(bits, 2))

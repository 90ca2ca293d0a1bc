"""Sentences, and the tokens that stand for them.

A sentence is a string. A location of sentences is a text file (one a line), a parquet file with a
column ``text`` or ``sentence``, or ``hf:NAME:SPLIT`` for a data set of the Hugging Face hub.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqlink.errors import VqlinkError, one_line
from vqlink.rng import stream

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN = "[UNK]"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What a receiver shows for a token that is in no vocabulary."""
_COLUMNS = ("text", "sentence", "en")
_SPACE = "▁"
_NEIGHBOURS = 8  # a batch is drawn from this many times as many sentences of like length


def open_sentences(location: str) -> list[str]:
    """All sentences of a location, without surrounding white space and without empty lines.

    Raises:
        VqlinkError: when there is nothing, or nothing that can be read.
    """
    if location.startswith("hf:"):
        lines = _hub_sentences(location)
    else:
        path = Path(location)
        if not path.is_file():
            raise VqlinkError(
                f"there is no file {location}: sentences come from a .txt or .parquet"
            )
        lines = _column(path) if path.suffix == ".parquet" else _read(path).splitlines()
    sentences = [line.strip() for line in lines if line.strip()]
    if not sentences:
        raise VqlinkError(f"{location} holds no sentences")
    return sentences


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise VqlinkError(f"{path} is no UTF-8 text") from None
    except OSError as error:
        raise VqlinkError(f"can't read {path}: {error.strerror or error}") from None


def _column(path: Path) -> list[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise VqlinkError(f"can't read {path} as parquet: {str(error).splitlines()[0]}") from None
    return _texts(table.column_names, lambda name: table[name].to_pylist(), str(path))


def _hub_sentences(location: str) -> list[str]:
    from datasets import load_dataset

    parts = location.split(":")
    if len(parts) != 3 or not all(parts):
        raise VqlinkError(f"write a hub data set as hf:NAME:SPLIT, not {location}")
    try:
        data = load_dataset(parts[1], split=parts[2])
    except Exception as error:
        reason = one_line(error)
        raise VqlinkError(f"{location} can't be loaded: {reason}") from None
    return _texts(data.column_names, lambda name: list(data[name]), location)


def _texts(names: Sequence[str], column: object, where: str) -> list[str]:
    name = next((name for name in _COLUMNS if name in names), None)
    if name is None:
        raise VqlinkError(f"{where} has no column {' or '.join(_COLUMNS)} (it has {names})")
    values: list[object] = column(name)  # type: ignore[operator]
    if not all(isinstance(value, str) for value in values):
        raise VqlinkError(f"{where}: column {name} holds more than texts")
    return [str(value) for value in values]


def split_sentences(text: str) -> list[str]:
    """Lines and sentences of a running text, in order; empty ones are left out.

    A sentence ends with ``.``, ``!``, ``?`` or their full-width forms before white space.
    """
    pieces = re.split(r"(?<=[.!?。！？])\s+|\s*\n+\s*", text)
    return [" ".join(piece.split()) for piece in pieces if piece and piece.strip()]


def train_tokenizer(sentences: Sequence[str], size: int) -> Tokenizer:
    """A cased WordPiece vocabulary of at most ``size`` tokens that keeps spaces apart from words.

    A word after a space carries a mark for it, and punctuation stands alone, so that decoding
    gives a sentence back exactly, but for runs of white space. Pieces are numbered in order. The
    trainer breaks ties between equally frequent pieces at random, so few sentences can give
    another vocabulary on another run; the one trained with is stored beside the weights.
    """
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )

    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex("^##"), ""),
            decoders.Fuse(),
            decoders.Replace(_SPACE, " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[UNKNOWN], show_progress=False
    )
    tokenizer.train_from_iterator(sentences, trainer)
    # The trainer numbers the pieces by a hash that differs from run to run.
    pieces = sorted(set(tokenizer.get_vocab()) - {UNKNOWN})
    numbers = {piece: number for number, piece in enumerate([UNKNOWN, *pieces])}
    tokenizer.model = models.WordPiece(vocab=numbers, unk_token=UNKNOWN)
    return tokenizer


def open_tokenizer(location: str) -> Tokenizer:
    """A tokenizer from its ``tokenizer.json``, or ``hf:NAME`` from the Hugging Face hub.

    Raises:
        VqlinkError: when it can't be read or fetched.
    """
    from tokenizers import Tokenizer

    if not location.startswith("hf:"):
        return read_tokenizer(Path(location))
    try:
        return Tokenizer.from_pretrained(location.removeprefix("hf:"))
    except Exception as error:  # tokenizers raises bare Exception
        reason = one_line(error)
        raise VqlinkError(f"the tokenizer {location} can't be fetched: {reason}") from None


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer from its JSON file.

    Raises:
        VqlinkError: when the file is missing or holds something else.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VqlinkError(f"there is no tokenizer {path}") from None
    except Exception as error:  # tokenizers raises bare Exception
        reason = one_line(error)
        raise VqlinkError(f"{path} is no tokenizer of the tokenizers library: {reason}") from None


def encode(tokenizer: Tokenizer, sentence: str) -> list[int]:
    """Token numbers of a sentence, without any marks round it.

    Raises:
        VqlinkError: for a string with surrogates, which is what Python makes of bytes that are no
            UTF-8.
    """
    try:
        sentence.encode()
    except UnicodeEncodeError:
        raise VqlinkError("the sentence is no UTF-8 text") from None
    return list(tokenizer.encode(sentence, add_special_tokens=False).ids)


def decode(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """The sentence that tokens stand for; unknown ones show as :data:`REPLACEMENT`."""
    unknown = tokenizer.token_to_id(UNKNOWN)
    runs: list[list[int]] = [[]]
    for token in tokens:
        if token == unknown:
            runs.append([])
        else:
            runs[-1].append(token)
    if len(runs) == 1:
        return str(tokenizer.decode(runs[0], skip_special_tokens=False))
    texts = [str(tokenizer.decode(run, skip_special_tokens=False)) if run else "" for run in runs]
    return f" {REPLACEMENT} ".join(texts).strip()


class TokenBatches:
    """Batches of sentences of like length, each a function of (seed, step, rank) alone.

    Args:
        sentences: to draw from.
        tokenizer: gives their tokens.
        vocabulary: number of tokens that the net knows.
        longest: sentences with more tokens are left out.
        scramble: part of the sentences whose tokens are replaced by any of the vocabulary with
            probability 1/2, so that rare tokens and odd sentences are learned too.

    Raises:
        VqlinkError: when no sentence is left.
    """

    def __init__(
        self,
        sentences: Sequence[str],
        tokenizer: Tokenizer,
        vocabulary: int,
        *,
        longest: int,
        seed: int,
        rank: int = 0,
        scramble: float = 0.0,
    ) -> None:
        coded = (encode(tokenizer, sentence) for sentence in sentences)
        kept = sorted((tokens for tokens in coded if 0 < len(tokens) <= longest), key=len)
        if not kept:
            raise VqlinkError("there are no sentences to train on")
        self.lengths = torch.tensor([len(s) for s in kept])
        self._tokens = torch.zeros(len(kept), int(self.lengths[-1]), dtype=torch.int64)
        for row, sentence in zip(self._tokens, kept, strict=True):
            row[: len(sentence)] = torch.tensor(sentence)
        self.tokenizer = tokenizer
        self.vocabulary, self.seed, self.rank, self.scramble = vocabulary, seed, rank, scramble

    def __len__(self) -> int:
        return len(self.lengths)

    def counts(self) -> Tensor:
        """(vocabulary,) how often each token occurs."""
        real = torch.arange(self._tokens.shape[1]) < self.lengths[:, None]
        return torch.bincount(self._tokens[real], minlength=self.vocabulary)

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Tokens (count, L) int64, filled up with 0, and lengths (count,) of training ``step``."""
        generator = stream(self.seed, "sentences", step, self.rank)
        near = min(len(self), count * _NEIGHBOURS)
        # Windows that overhang an end are moved inside: all sentences are about as likely.
        start = int(torch.randint(-near // 2, len(self) - near // 2 + 1, (), generator=generator))
        start = min(max(start, 0), len(self) - near)
        rows = start + torch.randint(near, (count,), generator=generator)
        lengths = self.lengths[rows]
        tokens = self._tokens[rows, : int(lengths.max())]
        chosen = torch.rand((count, 1), generator=generator) < self.scramble
        chosen = chosen & (torch.rand(tokens.shape, generator=generator) < 0.5)
        others = torch.randint(self.vocabulary, tokens.shape, generator=generator)
        return torch.where(chosen, others, tokens), lengths

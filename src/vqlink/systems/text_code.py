"""The learned system for sentences (paper 000, section 3.5).

sentence -> tokens -> transformer -> Q bits a token -> frame with the number of tokens
         -> channel -> what is known of each bit -> decoder, token after token -> sentence
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from vqlink.links.bits import LONGEST, BitsLink
from vqlink.protocols import Point, Quantizer, QuantizerOutput, TextTransmission, VqlinkError
from vqlink.rng import Generators, check_generators, of_sample
from vqlink.sources import text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BATCH = 64


class TextEncoder(Protocol):
    """(B, L) tokens and (B,) lengths -> (B, L, Q) latents."""

    channels: int

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Tensor: ...


class TextDecoder(Protocol):
    """Received values (B, L, Q) in [-1, 1] and (B,) lengths -> tokens."""

    start: int

    def __call__(self, received: Tensor, lengths: Tensor, before: Tensor) -> Tensor:
        """(B, L, V) logits, given the (B, L) tokens before each position: for training."""
        ...

    def learn_frequencies(self, counts: Tensor) -> None:
        """Begin with (V,) counts of tokens as the prior."""
        ...

    def greedy(self, received: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) tokens, from the received values alone."""
        ...

    def beam(self, received: Tensor, lengths: Tensor, beams: int) -> Tensor:
        """(B, L) tokens by beam search, from the received values alone."""
        ...


@dataclass(frozen=True)
class TextCodeOutput:
    """One pass of training: (B, L, V) logits, teacher-forced, and the quantizer's output."""

    logits: Tensor
    quantized: QuantizerOutput


class TextCode(nn.Module):
    """A transceiver for sentences whose source and channel code are one transformer.

    Args:
        encoder, quantizer, link, decoder: the parts.
        name: what tables and rows call it.

    Attributes:
        tokenizer: sentences <-> token numbers; part of the weights.
        beams: hypotheses of the decoder's search; 1 decodes greedily.

    Example:
        >>> code = load("text-q32")                                              # doctest: +SKIP
        >>> sent = code.transmit(["A dog runs."], Point(probability=0.3), generator=g)
        ...                                                                      # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: nn.Module,
        link: BitsLink,
        decoder: nn.Module,
        *,
        name: str = "text",
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.quantizer, self.link = quantizer, link
        self._name = name
        self.tokenizer: Tokenizer | None = None
        self.beams = 1

    @property
    def name(self) -> str:
        return self._name

    def sentence_uses(self, sentence: str) -> int:
        """Channel uses of a sentence's frame, header included.

        Raises:
            VqlinkError: as :meth:`tokens`.
        """
        return self.link.uses(len(self.tokens(sentence)) * self._encoder.channels)

    def tokens(self, sentence: str) -> list[int]:
        """Token numbers of a sentence.

        Raises:
            VqlinkError: when it is empty or too long for a frame.
        """
        if self.tokenizer is None:
            raise VqlinkError(f"{self.name} has no tokenizer: load it with its weights")
        found = text.encode(self.tokenizer, sentence)
        if not found:
            raise VqlinkError("an empty sentence has nothing to send")
        if len(found) > LONGEST:
            raise VqlinkError(
                f"a sentence of {len(found)} tokens is too long for a frame of {LONGEST}: split it"
            )
        return found

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        before: Tensor,
        point: Point,
        *,
        generator: Generators,
    ) -> TextCodeOutput:
        """One pass of training.

        Args:
            tokens: (B, L) int64, filled up behind ``lengths`` (B,).
            before: (B, L) int64, what the decoder is given as the token before each.
        """
        quantized = self._quantizer(self._encoder(tokens, lengths))
        values = quantized.values
        known = self.link(values.flatten(1), point, generator=generator).reshape(values.shape)
        return TextCodeOutput(self._decoder(known, lengths, before), quantized)

    def learn_statistics(self, lengths: Tensor, counts: Tensor) -> None:
        """Begin with what training sentences say of lengths (N,) and of tokens (V,) counted."""
        self.link.learn_lengths(lengths)
        self._decoder.learn_frequencies(counts)

    @torch.no_grad()
    def bits(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) tokens -> (B, L, Q) of -1 and 1, as they go on the air."""
        return self._quantizer.hard(self._encoder(tokens, lengths))

    @torch.no_grad()
    def decode(self, received: Sequence[Tensor]) -> list[list[int]]:
        """What is known of each sentence's bits, (L, Q) each -> its tokens, free-running."""
        decided: list[list[int]] = []
        for start in range(0, len(received), _BATCH):
            part = received[start : start + _BATCH]
            lengths = torch.tensor([known.shape[0] for known in part], device=self._device)
            padded = nn.utils.rnn.pad_sequence(list(part), batch_first=True).to(self._device)
            if self.beams > 1:
                tokens = self._decoder.beam(padded, lengths, self.beams)
            else:
                tokens = self._decoder.greedy(padded, lengths)
            decided += [row[:n].tolist() for row, n in zip(tokens, lengths, strict=True)]
        return decided

    @torch.no_grad()
    def transmit(
        self, sentences: Sequence[str], point: Point, *, generator: Generators
    ) -> TextTransmission:
        """Sentences, a hard-quantised frame each, across the channel and back.

        ``tx_power`` is 1: BPSK and QPSK have it in every use, and so have bits, each a use.
        ``stats``: ``tokens`` sent, ``length_error`` (tokens received less those sent) and
        ``unknown`` (tokens that are not in the vocabulary).

        Raises:
            VqlinkError: as :meth:`tokens`.
        """
        sent = [self.tokens(sentence) for sentence in sentences]
        known = self.carry(sent, point, generator=generator)
        assert self.tokenizer is not None
        received = tuple(text.decode(self.tokenizer, tokens) for tokens in self.decode(known))
        unknown = self.tokenizer.token_to_id(text.UNKNOWN)
        errors = [len(k) - len(tokens) for k, tokens in zip(known, sent, strict=True)]
        return TextTransmission(
            received=received,
            uses=torch.tensor(
                [self.link.uses(len(t) * self._encoder.channels) for t in sent], dtype=torch.int64
            ),
            tx_power=torch.ones(len(sent)),
            outage=torch.zeros(len(sent), dtype=torch.bool),
            stats={
                "tokens": torch.tensor([float(len(tokens)) for tokens in sent]),
                "length_error": torch.tensor([float(error) for error in errors]),
                "unknown": torch.tensor(
                    [float(sum(token == unknown for token in tokens)) for tokens in sent]
                ),
            },
        )

    @torch.no_grad()
    def carry(
        self, sent: Sequence[Sequence[int]], point: Point, *, generator: Generators
    ) -> list[Tensor]:
        """Tokens of sentences -> what the receiver knows of their bits, (L', Q) each.

        Every frame goes over the channel by itself, on the CPU, so its noise doesn't depend on the
        batch.

        Raises:
            ValueError: for another number of generators than one, or one a sentence.
        """
        check_generators(generator, len(sent))
        known: list[Tensor] = []
        for start in range(0, len(sent), _BATCH):
            part = sent[start : start + _BATCH]
            lengths = torch.tensor([len(tokens) for tokens in part], device=self._device)
            rows = [torch.tensor(tokens, device=self._device) for tokens in part]
            bits = self.bits(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)
            for place, (row, length) in enumerate(zip(bits, lengths, strict=True), start):
                random = of_sample(generator, place)
                frame, _ = self.link.send(
                    row[: int(length)], point.of(place, len(sent)), generator=random
                )
                known.append(frame)
        return known

    @property
    def _device(self) -> torch.device:
        return self.link.get_buffer("length_prior").device

    # nn.Module keeps parts as plain modules; these name what the code relies on.
    @property
    def _encoder(self) -> TextEncoder:
        return self.encoder  # type: ignore[return-value]

    @property
    def _decoder(self) -> TextDecoder:
        return self.decoder  # type: ignore[return-value]

    @property
    def _quantizer(self) -> Quantizer:
        return self.quantizer  # type: ignore[return-value]

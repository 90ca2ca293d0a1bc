"""Received symbols -> token numbers, one after the other (paper 000, section 3.5).

The decoder reads what arrived of the sentence and what it has itself decided so far, nothing else.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vqlink.layers.transformer import (
    Cache,
    DecoderLayer,
    TransformerSize,
    length_mask,
    positions,
)

_WORD, _SYMBOL, _BEFORE, _SHARPNESS = 0.25, 3.0, 0.1, 3.0
"""At the start: sizes of words, of received symbols, of the token before, and of the last norm."""


class TransformerTextDecoder(nn.Module):
    """received values + tokens before -> layers with cross-attention -> scores of the next token.

    Position t's input is the token before it, its place, and the values received for it; the
    values of all other places come by cross-attention.

    Args:
        vocabulary: number of tokens; input and output share their embedding.
        channels: Q, received values a token.
        size: as of the encoder.
    """

    def __init__(self, vocabulary: int, channels: int, size: TransformerSize) -> None:
        super().__init__()
        width = size.width
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary + 1, width)  # the last one starts a sentence
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))
        self.scale = 0.3 * math.sqrt(width)
        self.before = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.register_buffer(
            "position", positions(size.longest, width, clear=channels), persistent=False
        )
        self.symbols = nn.Linear(channels, width)
        self.layers = nn.ModuleList(
            DecoderLayer(width, size.heads, size.dropout) for _ in range(size.depth)
        )
        self.norm = nn.LayerNorm(width)
        nn.init.constant_(self.norm.weight, _SHARPNESS)
        self.drop = nn.Dropout(size.dropout)

    @torch.no_grad()
    def start_as_receiver_of(self, code: Tensor) -> None:
        """Begin as the maximum-likelihood decoder of a code with a word of Q bits for each token.

        The score of a token is the correlation of its word with what was received.

        Args:
            code: (vocabulary, Q) of -1 and 1.
        """
        q = code.shape[1]
        self.embedding.weight[: self.vocabulary, :q] = _WORD * code
        self.embedding.weight[self.vocabulary :, :q] = 0
        self.symbols.weight.zero_()
        self.symbols.bias.zero_()
        nn.init.eye_(self.symbols.weight[:q]).mul_(_SYMBOL)
        nn.init.eye_(self.before.weight).mul_(_BEFORE)
        self.before.weight[:q] = 0  # the word of the token before is no evidence for this one
        nn.init.zeros_(self.before.bias)

    @torch.no_grad()
    def learn_frequencies(self, counts: Tensor) -> None:
        """Begin with how often each token occurs, (vocabulary,), as the prior."""
        self.bias.copy_(((counts + 1) / (counts + 1).sum()).log())

    @property
    def start(self) -> int:
        """The number of the token before the first."""
        return self.vocabulary

    def forward(self, received: Tensor, lengths: Tensor, before: Tensor) -> Tensor:
        """Scores of every position at once, given the tokens before each: for training.

        Args:
            received: (B, L, Q) in [-1, 1], 0 where nothing is known.
            lengths: (B,) int64.
            before: (B, L) int64; column t is the token at t - 1, column 0 :attr:`start`.

        Returns:
            (B, L, vocabulary) logits.
        """
        longest = received.shape[1]
        symbols = self._symbols(received)
        mask = length_mask(lengths, longest)[:, None, None]
        x = self.drop(self.before(self.embedding(before)) * self.scale + symbols)
        for layer in self.layers:
            x = layer(x, layer.cross.project(symbols), mask)  # type: ignore[operator, union-attr]
        return self._scores(x)

    @torch.no_grad()
    def greedy(self, received: Tensor, lengths: Tensor) -> Tensor:
        """The best token at each step, free-running.

        Returns:
            (B, L) int64; columns from ``lengths`` on mean nothing.
        """
        state = _Decoding(self, received, lengths, beams=1)
        token = torch.full((received.shape[0],), self.start, device=received.device)
        decided = []
        for place in range(received.shape[1]):
            token = state.step(place, token).argmax(dim=-1)
            decided.append(token)
        return torch.stack(decided, dim=1) if decided else lengths.new_zeros((len(lengths), 0))

    @torch.no_grad()
    def beam(self, received: Tensor, lengths: Tensor, beams: int) -> Tensor:
        """The most probable sentence that a search with ``beams`` hypotheses finds.

        All hypotheses of a sentence have its length, so their scores compare as they are.

        Returns:
            (B, L) int64, as :meth:`greedy`.
        """
        batch, longest, _ = received.shape
        state = _Decoding(self, received, lengths, beams)
        scores = received.new_full((batch, beams), -math.inf)
        scores[:, 0] = 0.0  # all start alike: only one of them counts
        tokens = torch.full((batch, beams, 1), self.start, device=received.device)
        first = torch.arange(batch, device=received.device)[:, None] * beams
        for place in range(longest):
            steps = state.step(place, tokens[..., -1].flatten()).log_softmax(dim=-1)
            total = scores[..., None] + steps.reshape(batch, beams, -1)
            best, which = total.flatten(1).topk(beams, dim=1)
            parent = torch.div(which, self.vocabulary, rounding_mode="floor")
            running = (place < lengths)[:, None]  # a finished sentence stays as it is
            parent = torch.where(running, parent, torch.arange(beams, device=parent.device))
            scores = torch.where(running, best, scores)
            kept = tokens.gather(1, parent[..., None].expand(-1, -1, tokens.shape[2]))
            tokens = torch.cat([kept, (which % self.vocabulary)[..., None]], dim=2)
            state.reorder((first + parent).flatten())
        chosen = scores.argmax(dim=1)
        return tokens[torch.arange(batch, device=tokens.device), chosen, 1:]

    def _symbols(self, received: Tensor) -> Tensor:
        placed: Tensor = self.symbols(received) + self.get_buffer("position")[: received.shape[1]]
        return placed

    def _scores(self, x: Tensor) -> Tensor:
        words = self.embedding.weight[: self.vocabulary]
        return torch.nn.functional.linear(self.norm(x), words, self.bias)


class _Decoding:
    """The state of step-by-step decoding: projected symbols and a cache for each layer."""

    def __init__(
        self, decoder: TransformerTextDecoder, received: Tensor, lengths: Tensor, beams: int
    ) -> None:
        self.decoder = decoder
        self.symbols = decoder._symbols(received).repeat_interleave(beams, dim=0)
        mask = length_mask(lengths, received.shape[1])[:, None, None]
        self.mask = mask.repeat_interleave(beams, dim=0)
        self.memories = [layer.cross.project(self.symbols) for layer in decoder.layers]  # type: ignore[operator, union-attr]
        self.caches = [Cache() for _ in decoder.layers]

    def step(self, place: int, token: Tensor) -> Tensor:
        """Scores (B, vocabulary) at ``place``, after ``token`` (B,)."""
        decoder = self.decoder
        embedded = decoder.before(decoder.embedding(token))[:, None] * decoder.scale
        x = embedded + self.symbols[:, place : place + 1]
        for layer, memory, cache in zip(decoder.layers, self.memories, self.caches, strict=True):
            x = layer(x, memory, self.mask, cache)
        return decoder._scores(x)[:, 0]

    def reorder(self, rows: Tensor) -> None:
        for cache in self.caches:
            cache.reorder(rows)

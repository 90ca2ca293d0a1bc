"""Token numbers -> one latent vector a token (paper 000, section 3.5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vqlink.layers.transformer import EncoderLayer, TransformerSize, length_mask, positions


class TransformerTextEncoder(nn.Module):
    """tokens -> embedding + position -> self-attention layers -> Q values a token.

    Untrained it is a random code: each token has Q random bits of its own.

    Args:
        vocabulary: number of tokens.
        channels: Q, latent values a token; fewer than the width.
        size: of the transformer; its positions are tokens.
    """

    def __init__(self, vocabulary: int, channels: int, size: TransformerSize) -> None:
        super().__init__()
        width = size.width
        self.channels = channels
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))
        self.scale = math.sqrt(width)
        self.register_buffer(
            "position", positions(size.longest, width, clear=channels), persistent=False
        )
        self.layers = nn.ModuleList(
            EncoderLayer(width, size.heads, size.dropout) for _ in range(size.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, channels)
        self._start_as_a_random_code()
        self.drop = nn.Dropout(size.dropout)

    @torch.no_grad()
    def _start_as_a_random_code(self) -> None:
        """Q dimensions of the embedding are random signs, which go out as they are."""
        q = self.channels
        self.embedding.weight[:, :q] = torch.sign(self.embedding.weight[:, :q]) / self.scale
        nn.init.zeros_(self.out.weight)
        nn.init.eye_(self.out.weight[:, :q])
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) int64 tokens, the first ``lengths`` (B,) of each row real -> (B, L, Q)."""
        longest = tokens.shape[1]
        mask = length_mask(lengths, longest)[:, None, None]
        x = self.drop(self.embedding(tokens) * self.scale + self.get_buffer("position")[:longest])
        for layer in self.layers:
            x = layer(x, mask)
        latents: Tensor = self.out(self.norm(x))
        return latents

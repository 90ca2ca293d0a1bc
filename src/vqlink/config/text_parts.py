"""The parts of a recipe for a text code (paper 000, section 3.5), and how they fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from vqlink.config.channels import BECConfig, ChannelConfig
from vqlink.config.parts import Depth, Part, Width

if TYPE_CHECKING:
    from vqlink.config.schema import Recipe


class TextSource(Part):
    """Sentences.

    Attributes:
        train, validation: a text file (one sentence a line), a parquet file, or ``hf:NAME:SPLIT``.
        vocabulary: tokens of the WordPiece vocabulary that is trained on ``train``.
        tokenizer: a ``tokenizer.json``, or ``hf:NAME``, to use instead, of that many tokens.
        scramble: part of the training sentences half of whose tokens are replaced by any others.
    """

    kind: Literal["text"] = "text"
    train: str
    validation: str | None = None
    vocabulary: int = Field(4096, ge=64, le=1 << 18)
    tokenizer: str | None = None
    scramble: float = Field(0.0, ge=0, le=1)


class TransformerTextNet(Part):
    """A transformer over tokens (000, section 3.5); the paper's sizes are the defaults."""

    kind: Literal["transformer"] = "transformer"
    width: Width = Field(768, multiple_of=2)
    heads: int = Field(6, ge=1)
    depth: Depth = Field(2, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_fit(self) -> TransformerTextNet:
        if self.width % self.heads:
            raise ValueError("width is a multiple of heads")
        return self


class BinaryConfig(Part):
    """tanh and sign: ``bits`` a token (000, section 3.5)."""

    kind: Literal["binary"] = "binary"
    bits: int = Field(ge=1, le=62)


class BitsLinkConfig(Part):
    """Hard bits without a channel code; see :class:`vqlink.links.bits.BitsLink`."""

    kind: Literal["bits"] = "bits"
    channel: ChannelConfig = BECConfig()
    modem: Literal["bpsk", "qpsk"] = "bpsk"
    header_repeats: int = Field(1, ge=1, le=16)


def check_text_code(recipe: Recipe) -> None:
    """Raise ValueError where the parts of a text code don't fit together."""
    encoder, decoder, quantizer, link = (
        recipe.encoder,
        recipe.decoder,
        recipe.quantizer,
        recipe.link,
    )
    if not (
        isinstance(encoder, TransformerTextNet)
        and isinstance(decoder, TransformerTextNet)
        and isinstance(quantizer, BinaryConfig)
        and isinstance(link, BitsLinkConfig)
    ):
        raise ValueError("a text code has transformers, quantizer.kind binary and link.kind bits")
    if set(recipe.losses) != {"cross_entropy"}:
        raise ValueError("the loss of a text code is cross_entropy")
    if encoder.width != decoder.width:
        raise ValueError("encoder.width and decoder.width of a text code are equal")
    if quantizer.bits >= encoder.width:
        raise ValueError("encoder.width of a text code is larger than quantizer.bits")
    if recipe.training.for_indices:
        raise ValueError(f"training.{recipe.training.for_indices[0]} is for index codes")
    probability, snr_db = recipe.training.probability, recipe.training.snr_db
    if link.channel.kind in ("bec", "bsc"):
        if probability is None or not 0 <= probability[0] <= probability[1] <= 1:
            raise ValueError("training.probability goes from the lowest to the highest, in [0, 1]")
    elif probability is not None:
        raise ValueError(f"training.probability is for bec and bsc, not {link.channel.kind}")
    elif snr_db[0] > snr_db[1]:
        raise ValueError("training.snr_db goes from the lowest SNR to the highest")

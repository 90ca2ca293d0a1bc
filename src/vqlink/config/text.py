"""Text codes: recipe -> object, and weights folders that hold a tokenizer too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqlink.channels.bits import BEC, BSC
from vqlink.channels.symbol import SymbolChannel
from vqlink.config.channels import ChannelConfig, build_channel, channel_name
from vqlink.config.link_parts import MODEMS
from vqlink.config.schema import Recipe
from vqlink.config.text_parts import BinaryConfig, BitsLinkConfig, TextSource, TransformerTextNet
from vqlink.config.weights import Storage, load_strict, read_config, read_tensors, save_weights
from vqlink.decoders.text.transformer import TransformerTextDecoder
from vqlink.encoders.text.transformer import TransformerTextEncoder
from vqlink.errors import VqlinkError
from vqlink.layers.transformer import TransformerSize
from vqlink.links.bits import LONGEST, BitChannel, BitsLink
from vqlink.quantizers.binary import BinaryQuantizer
from vqlink.sources import text
from vqlink.systems.text_code import TextCode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_NAME = "tokenizer.json"


def build_text_code(recipe: Recipe) -> TextCode:
    """The recipe's transceiver, initialised from its seed, without a tokenizer yet.

    Global random state is left alone.
    """
    assert isinstance(recipe.source, TextSource)
    assert isinstance(recipe.encoder, TransformerTextNet)
    assert isinstance(recipe.decoder, TransformerTextNet)
    assert isinstance(recipe.quantizer, BinaryConfig)
    assert isinstance(recipe.link, BitsLinkConfig)
    bits, vocabulary = recipe.quantizer.bits, recipe.source.vocabulary
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        encoder = TransformerTextEncoder(vocabulary, bits, _size(recipe.encoder))
        decoder = TransformerTextDecoder(vocabulary, bits, _size(recipe.decoder))
    decoder.start_as_receiver_of(encoder.embedding.weight.detach()[:, :bits].sign())
    link = BitsLink(
        text_channel(recipe.link.channel),
        bits_per_symbol=MODEMS[recipe.link.modem],
        header_repeats=recipe.link.header_repeats,
    )
    return TextCode(encoder, BinaryQuantizer(bits), link, decoder, name=recipe.name)


def _size(net: TransformerTextNet) -> TransformerSize:
    return TransformerSize(net.width, net.heads, net.depth, net.dropout, longest=LONGEST)


def text_channel(config: ChannelConfig) -> BitChannel | SymbolChannel:
    """A channel that sentences can be sent over.

    Raises:
        VqlinkError: for channels of packets.
    """
    channel = build_channel(config)
    if isinstance(channel, BEC | BSC):
        return channel
    if isinstance(channel, SymbolChannel) and channel.point_kind == "snr_db":
        return channel
    raise VqlinkError(f"sentences are not sent over {channel_name(config)}")


def recipe_tokenizer(recipe: Recipe) -> Tokenizer:
    """The tokenizer that the recipe names, or else one trained on its training sentences.

    Raises:
        VqlinkError: when sentences or tokenizer can't be read, or its size is not the recipe's.
    """
    source = recipe.source
    assert isinstance(source, TextSource)
    if source.tokenizer is not None:
        tokenizer = text.open_tokenizer(source.tokenizer)
    else:
        tokenizer = text.train_tokenizer(text.open_sentences(source.train), source.vocabulary)
    size = tokenizer.get_vocab_size()
    if size > source.vocabulary or (source.tokenizer and size != source.vocabulary):
        raise VqlinkError(f"the tokenizer has {size} tokens: --set source.vocabulary={size}")
    return tokenizer


def save_text_weights(
    folder: Path,
    tensors: Mapping[str, Tensor],
    recipe: Recipe,
    tokenizer: Tokenizer,
    *,
    storage: Storage = "float32",
) -> str:
    """As :func:`vqlink.config.weights.save_weights`, with the tokenizer's text beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TOKENIZER_NAME
    temporary = path.with_suffix(".partial")
    temporary.write_text(tokenizer.to_str(), encoding="utf-8")
    os.replace(temporary, path)
    return save_weights(folder, tensors, recipe, storage=storage)


def load_text_code(folder: Path) -> tuple[TextCode, Recipe]:
    """The text code of a weights folder, in evaluation mode, loaded strictly.

    Raises:
        VqlinkError: when the folder is incomplete, or holds another kind of code.
    """
    recipe = read_config(folder)
    if not isinstance(recipe.source, TextSource):
        raise VqlinkError(f"{folder} holds no code for text")
    system = build_text_code(recipe)
    load_strict(system, read_tensors(folder), folder)
    tokenizer = text.read_tokenizer(folder / TOKENIZER_NAME)
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= recipe.source.vocabulary:
        raise VqlinkError(
            f"{folder}: {TOKENIZER_NAME} has a token {largest}, the net {recipe.source.vocabulary} "
            "tokens: they belong to different weights"
        )
    system.tokenizer = tokenizer
    return system.eval(), recipe

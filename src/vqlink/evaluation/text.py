"""Sentences through a channel by several systems: opening them, sending, and result rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from vqlink.config.channels import ChannelConfig, channel_name
from vqlink.config.load import recipe_hash
from vqlink.config.text import text_channel
from vqlink.errors import did_you_mean
from vqlink.evaluation.rows import (
    VERSIONS,
    Case,
    Figure,
    Row,
    axis_of,
    channel_noise,
    digest,
    rows_of,
)
from vqlink.links.bits import BitsLink
from vqlink.metrics.text import TEXT_METRICS, TextMetric
from vqlink.protocols import Point, TextTransceiver, TextTransmission, VqlinkError
from vqlink.sources.text import decode
from vqlink.systems.text_code import TextCode
from vqlink.systems.text_separation import TEXT_LINKS, parse_text_separation
from vqlink.zoo.kinds import check_kind
from vqlink.zoo.text import load_text_system, text_entries

TEXT_VERSIONS = {**VERSIONS, "tokenizers": version("tokenizers")}
DEFAULT_CODE = "text-q32"


@dataclass(frozen=True)
class TextSystem:
    """A transceiver with what its result rows say of it; as :class:`evaluation.systems.System`."""

    name: str
    transceiver: TextTransceiver
    recipe: str | None = None
    weights: str | None = None


def open_text_systems(
    names: Sequence[str], channel: ChannelConfig, *, bits_per_symbol: int | None = None
) -> tuple[TextSystem, ...]:
    """Open learned and digital text systems for one comparison over ``channel``.

    Digital links get, sentence by sentence, the uses of the first learned code among ``names``,
    or else of :data:`DEFAULT_CODE`.

    Args:
        bits_per_symbol: 1 (BPSK) or 2 (QPSK) of symbol channels, for all; None: as each code has.

    Raises:
        VqlinkError: for an unknown system, one for pictures or recordings, or a channel that
            carries no bits.
    """
    learned: dict[str, TextSystem] = {}
    for name in names:
        check_kind(name, "sentences")
        if "+" not in name:
            learned[name] = _open_learned(name, channel, bits_per_symbol)
    reference = next(iter(learned.values()), None)
    if reference is None:
        reference = _open_learned(DEFAULT_CODE, channel, bits_per_symbol)
    code = reference.transceiver
    assert isinstance(code, TextCode)
    link = BitsLink(code.link.channel, bits_per_symbol=code.link.bits_per_symbol)
    return tuple(
        learned[name]
        if name in learned
        else TextSystem(name, parse_text_separation(name, link, code.sentence_uses))
        for name in names
    )


def _open_learned(name: str, channel: ChannelConfig, bits_per_symbol: int | None) -> TextSystem:
    known = [entry.name for entry in text_entries()]
    if name not in known and not Path(name).is_dir():
        hint = did_you_mean(name, [*known, *TEXT_LINKS])
        raise VqlinkError(
            f"unknown text system {name!r}{hint} (known: {', '.join((*known, *TEXT_LINKS))})"
        )
    code, recipe, sha256 = load_text_system(name)
    code.link.channel = text_channel(channel)
    if bits_per_symbol is not None:
        code.link.bits_per_symbol = bits_per_symbol
    return TextSystem(name, code, recipe_hash(recipe), sha256)


def frames(systems: Sequence[TextSystem], sentences: Sequence[str]) -> list[str]:
    """Sentences, cut at words (or within a very long word) until every system can send them.

    Raises:
        VqlinkError: for a sentence that can't be sent whatever its length.
    """
    return [part for sentence in sentences for part in _cut(systems, sentence)]


def _cut(systems: Sequence[TextSystem], sentence: str) -> list[str]:
    try:
        for system in systems:
            system.transceiver.sentence_uses(sentence)
    except VqlinkError:
        words = sentence.split()
        if len(words) > 1:
            middle = len(words) // 2
            parts = " ".join(words[:middle]), " ".join(words[middle:])
        elif len(sentence) > 1:
            middle = len(sentence) // 2
            parts = sentence[:middle], sentence[middle:]
        else:
            raise
        return [piece for part in parts for piece in _cut(systems, part)]
    return [sentence]


@dataclass(frozen=True)
class TextArrival:
    """What one system delivered of some sentences.

    Attributes:
        system: its name.
        sent: the transmission.
        metrics: (B,) values by name.
        rows: the same as result rows, one a metric and sentence.
        seconds: wall time of transmission.
    """

    system: str
    sent: TextTransmission
    metrics: dict[str, Tensor]
    rows: tuple[Row, ...]
    seconds: float


def send_text(
    sentences: Sequence[str],
    systems: Sequence[TextSystem],
    *,
    channel: ChannelConfig,
    point: Point,
    seed: int = 0,
    metrics: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[TextArrival, ...]:
    """Send sentences by each system; sentence i meets noise of (seed, point, i) alone.

    Args:
        point: one for all sentences.
        metrics: names; None for all whose packages are installed.

    Raises:
        VqlinkError: for an unknown metric, or one whose package isn't installed.
    """
    chosen = _metrics(metrics)
    axis, value = axis_of(point)
    cases = [
        Case(channel_name(channel), axis, value, str(i), 0, seed, digest(sentence))
        for i, sentence in enumerate(sentences)
    ]
    arrivals = []
    for system in systems:
        if progress is not None:
            progress(system.name)
        start = time.perf_counter()
        noise = [case.noise() for case in cases]
        sent = system.transceiver.transmit(sentences, point, generator=noise)
        seconds = time.perf_counter() - start
        found = {m.name: m.function(sent.received, sentences) for m in chosen}
        by_sentence = [
            rows_of(
                system,
                sent,
                i,
                case,
                [Figure(name, "", float(values[i])) for name, values in found.items()],
                values=max(1, len(sentences[i])),
                versions=TEXT_VERSIONS,
            )
            for i, case in enumerate(cases)
        ]
        rows = tuple(row for of_metric in zip(*by_sentence, strict=True) for row in of_metric)
        arrivals.append(TextArrival(system.name, sent, found, rows, seconds))
    return tuple(arrivals)


def _metrics(names: Sequence[str] | None) -> list[TextMetric]:
    if names is None:
        return [metric for metric in TEXT_METRICS if metric.installed]
    known = {metric.name for metric in TEXT_METRICS}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise VqlinkError(f"unknown metric {name!r}{hint} (known: {', '.join(sorted(known))})")
    return [metric for metric in TEXT_METRICS if metric.name in names]


@torch.no_grad()
def teacher_forced(
    code: TextCode, sentences: Sequence[str], point: Point, *, seed: int = 0
) -> tuple[list[str], float]:
    """What a decoder that is shown the sent tokens would seem to read. No result: a warning.

    Each token is the best after the true tokens before it, which no receiver has. The channel's
    noise is that of :func:`send_text`.

    Returns:
        The sentences, and the perplexity: exp of the mean negative log-likelihood of a sent token
        given what arrived and the tokens before it.
    """
    assert code.tokenizer is not None
    sent = [code.tokens(sentence) for sentence in sentences]
    (_, value) = axis_of(point)
    noise = [channel_noise(seed, value, 0, str(i)) for i in range(len(sentences))]
    known = code.carry(sent, point, generator=noise)
    read, surprise, count = [], 0.0, 0
    for tokens, heard in zip(sent, known, strict=True):
        length = min(len(tokens), len(heard))
        true = torch.tensor(tokens[:length])
        start = torch.tensor([int(code.decoder.start)])  # type: ignore[arg-type]
        before = functional.pad(torch.cat([start, true[:-1]]), (0, len(heard) - length))
        logits = code.decoder(heard[None], torch.tensor([len(heard)]), before[None])[0]
        read.append(decode(code.tokenizer, logits[:length].argmax(dim=-1).tolist()))
        likelihood = logits[:length].log_softmax(dim=-1)[torch.arange(length), true]
        surprise -= float(likelihood.sum())
        count += length
    return read, float(torch.tensor(surprise / max(1, count)).exp())

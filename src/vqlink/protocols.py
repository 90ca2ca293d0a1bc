"""The results and the protocols that hold vqlink together. Read this file first.

    source -> encoder -> quantizer -> link (power | bits + FEC + modem) -> channel
           -> link (equalise | demap + decode) -> decoder -> metrics

A *message* is one image, sentence or recording; tensors carry a batch of B of them. A learned
system and a classical one are both a :class:`Transceiver`: that is all that evaluation knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from vqlink.errors import VqlinkError as VqlinkError
from vqlink.rng import Generators

MID_GREY = 128 / 255
"""What a receiver shows of a picture that it could not decode."""


@dataclass(frozen=True)
class Point:
    """An operating point on a channel's own axis; may differ for each message.

    Exactly one of the two is set: ``snr_db`` for channels that add noise, ``probability`` for
    channels that erase, flip or drop.

    Attributes:
        snr_db: Es/N0 per complex channel use at P = 1, in dB; a float or a (B,) tensor.
        probability: erasure, flip or loss probability in [0, 1]; a float or a (B,) tensor.
    """

    snr_db: float | Tensor | None = None
    probability: float | Tensor | None = None

    def __post_init__(self) -> None:
        if (self.snr_db is None) == (self.probability is None):
            raise ValueError("a point needs exactly one of snr_db and probability")
        for name in ("snr_db", "probability"):
            value = getattr(self, name)
            if value is None:
                continue
            tensor = torch.as_tensor(value)
            if tensor.ndim > 1 or not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} must be a finite number or one for each message")
            if name == "probability" and bool(((tensor < 0) | (tensor > 1)).any()):
                raise ValueError("probability must lie in [0, 1]")

    def snr(self, batch: int, device: torch.device | None = None) -> Tensor:
        """``snr_db`` as a float32 (B,) tensor. Raises ValueError for an erasure-type point."""
        if self.snr_db is None:
            raise ValueError("this channel needs a point with snr_db")
        return self._per_message(self.snr_db, batch, device)

    def rate(self, batch: int, device: torch.device | None = None) -> Tensor:
        """``probability`` as a float32 (B,) tensor. Raises ValueError for an SNR point."""
        if self.probability is None:
            raise ValueError("this channel needs a point with probability")
        return self._per_message(self.probability, batch, device)

    def of(self, message: int, batch: int) -> Point:
        """The point of one message of a batch."""
        if self.snr_db is not None:
            return Point(snr_db=float(self.snr(batch)[message]))
        return Point(probability=float(self.rate(batch)[message]))

    @staticmethod
    def _per_message(value: float | Tensor, batch: int, device: torch.device | None) -> Tensor:
        tensor = torch.as_tensor(value, dtype=torch.float32, device=device)
        if tensor.ndim == 1 and tensor.shape[0] != batch:
            raise ValueError(f"the point is for {tensor.shape[0]} messages, the batch has {batch}")
        return tensor.expand(batch)


@dataclass(frozen=True)
class QuantizerOutput:
    """What a quantizer makes of latents (..., D).

    Attributes:
        values: (..., D), same shape as the latents; hard codes carrying the estimator's gradient.
        indices: (...) int64 codeword numbers; None where the alphabet is infinite.
        losses: named, unweighted scalars; the recipe weighs them.
        usage: (K,) estimated probability of each codeword, differentiable where the losses need
            it; None where there is no codebook.
        stats: named scalars for the log.
    """

    values: Tensor
    indices: Tensor | None = None
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    usage: Tensor | None = None
    stats: Mapping[str, Tensor] = field(default_factory=dict)


class Quantizer(Protocol):
    """Latent vectors (..., D) -> a finite alphabet (``identity`` is the infinite one)."""

    @property
    def bits_per_vector(self) -> float:
        """log2 of the number of codewords; ``inf`` for identity."""
        ...

    def __call__(self, z: Tensor, *, generator: Generators | None = None) -> QuantizerOutput: ...

    def hard(self, z: Tensor) -> Tensor:
        """(..., D) latents -> (..., D) codewords: ``decode(encode(z))``, without indices."""
        ...

    def encode(self, z: Tensor) -> Tensor:
        """(..., D) latents -> (...) int64 indices of the codewords that go on the air."""
        ...

    def decode(self, indices: Tensor) -> Tensor:
        """(...) int64 indices -> (..., D) codewords; the exact inverse of :meth:`encode`."""
        ...


@dataclass(frozen=True)
class ChannelOutput:
    """What arrives.

    Attributes:
        y: as the input's shape.
        gain: complex h, broadcastable to ``y``; for channels without one, ones.
        noise_var: N0, the total variance of the complex noise, broadcastable to ``y``; zeros for
            channels that erase, flip or drop.
        mask: bool, True where a symbol arrived; None where nothing is ever lost.
    """

    y: Tensor
    gain: Tensor
    noise_var: Tensor
    mask: Tensor | None = None


@runtime_checkable
class Channel(Protocol):
    """Physics alone: never measures or scales the signal, so a weak message stays weak."""

    def __call__(self, x: Tensor, point: Point, *, generator: Generators) -> ChannelOutput:
        """Send complex64 ``x`` (B, n), message by message, at ``point``."""
        ...


@dataclass(frozen=True)
class LinkOutput:
    """One frame a message, after the receiver's front end.

    Attributes:
        received: the latents of every scale, shaped as they were sent.
        uses: complex channel uses of one message: headers, CRC, parity and padding included.
        tx_power: (B,) measured mean |x|^2 over each message's channel uses.
        stats: named (B,) tensors.
        llr: of an index link: log P(1) / P(0) of every bit of the labels after decoding, for each
            scale (B, ..., bits), the highest bit first.
        flat_gain: of a value link: (B,) |h|^2 of the flat channel on which the received values
            would be as noisy; |h|^2 itself on a flat one.
    """

    received: tuple[Tensor, ...]
    uses: int
    tx_power: Tensor
    stats: Mapping[str, Tensor] = field(default_factory=dict)
    llr: tuple[Tensor, ...] = ()
    flat_gain: Tensor | None = None


@dataclass(frozen=True)
class Transmission:
    """The end of a transmission: what the receiver shows its user.

    Attributes:
        received: the messages as received, shaped like those sent; images float32 in [0, 1].
        uses: (B,) int64 complex channel uses.
        tx_power: (B,) measured mean power over those uses (the budget is 1).
        outage: (B,) bool, True where the message could not be decoded and a stand-in (mid-grey,
            the last good guess) was returned. It still counts in every mean.
        stats: named (B,) tensors, for result rows.
        labels: named texts that hold for all messages, such as the chosen MCS.
    """

    received: Tensor
    uses: Tensor
    tx_power: Tensor
    outage: Tensor
    stats: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Transceiver(Protocol):
    """A whole system, learned or classical; all that evaluation knows of it."""

    @property
    def name(self) -> str: ...

    def uses(self, height: int, width: int) -> int:
        """Complex channel uses of a picture of that size."""
        ...

    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Send messages ``x`` (images: (B, 3, H, W) float32 in [0, 1]) at ``point``."""
        ...


@dataclass(frozen=True)
class Reception:
    """Messages decoded from equalised symbols.

    Attributes:
        received: (B, 3, H, W) float32 in [0, 1].
        outage: (B,) bool, True where a stand-in was returned.
        stats: named (B,) tensors.
    """

    received: Tensor
    outage: Tensor
    stats: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class SymbolSystem(Transceiver, Protocol):
    """A transceiver in two halves, for ends that share nothing but what is on the air."""

    @property
    def layers(self) -> int:
        """Scales of latents in a message; 1 for a classical link."""
        ...

    def to_symbols(self, x: Tensor, snr_db: float) -> Tensor:
        """Images (B, 3, H, W) for an expected SNR -> (B, uses) complex64 of mean power 1."""
        ...

    def from_symbols(self, symbols: Tensor, noise_var: Tensor, size: tuple[int, int]) -> Reception:
        """Equalised symbols (B, uses) -> images of ``size`` (H, W).

        Args:
            noise_var: (B, uses), total variance of the complex noise on each equalised symbol.
        """
        ...


@dataclass(frozen=True)
class TextTransmission:
    """The end of a transmission of sentences.

    Attributes:
        received: the sentences that the receiver reads; empty for an outage.
        uses: (B,) int64 channel uses, headers included.
        tx_power: (B,) measured mean power over those uses (the budget is 1).
        outage: (B,) bool, True where nothing could be decoded. It still counts in every mean.
        stats: named (B,) tensors, for result rows.
    """

    received: tuple[str, ...]
    uses: Tensor
    tx_power: Tensor
    outage: Tensor
    stats: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class TextTransceiver(Protocol):
    """A whole system for sentences, learned or classical; all that evaluation knows of it."""

    @property
    def name(self) -> str: ...

    def sentence_uses(self, sentence: str) -> int:
        """Channel uses of a sentence."""
        ...

    def transmit(
        self, sentences: Sequence[str], point: Point, *, generator: Generators
    ) -> TextTransmission:
        """Send sentences, a frame each, at ``point``."""
        ...

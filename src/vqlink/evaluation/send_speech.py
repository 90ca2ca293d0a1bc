"""One recording through the channel by several systems, at the same channel uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from torch import Tensor

from vqlink.config.channels import ChannelConfig
from vqlink.config.load import recipe_hash
from vqlink.digital.mcs import parse_mcs
from vqlink.errors import VqlinkError
from vqlink.evaluation.rows import Case, Figure, digest, rows_of
from vqlink.evaluation.send import Arrival, arrival_of
from vqlink.evaluation.systems import symbol_channel
from vqlink.metrics.audio import perceptual_snr, pesq_wideband, stoi
from vqlink.protocols import Point
from vqlink.systems.speech_codec import SpeechCodec
from vqlink.systems.speech_jscc import SpeechJSCC
from vqlink.systems.speech_link import SpeechLink
from vqlink.zoo.kinds import check_kind
from vqlink.zoo.speech import load_speech, load_speech_codec, speech_entries

CODEC_LINK = "speech+ldpc5g"
UNITS = {"pesq": "MOS", "stoi": "", "psnr_weighted": "dB"}
_METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "pesq": pesq_wideband,
    "stoi": stoi,
    "psnr_weighted": perceptual_snr,
}
_PACKAGES = {"pesq": "pesq", "stoi": "pystoi"}


@dataclass(frozen=True)
class SpeechSystem:
    """A speech transceiver with what its result rows say of it."""

    name: str
    transceiver: SpeechJSCC | SpeechLink
    recipe: str | None = None
    weights: str | None = None


def open_speech_systems(names: Sequence[str], channel: ChannelConfig) -> tuple[SpeechSystem, ...]:
    """Speech codes by zoo name or folder, and ``speech+ldpc5g[@MCS]``; all of the same uses.

    Raises:
        VqlinkError: for an unknown system or MCS, one for pictures or sentences, or a channel that
            carries no symbols.
    """
    for name in names:
        check_kind(name, "recordings")
    return tuple(_open(name, channel) for name in names)


def default_speech_systems() -> tuple[str, ...]:
    """The shipped codes, and the codec over LDPC and QAM."""
    codes = [entry.name for entry in speech_entries() if entry.name != "speech-codec"]
    return (*codes, CODEC_LINK)


def send_speech(
    samples: Tensor,
    systems: Sequence[SpeechSystem],
    *,
    channel: str,
    snr_db: float,
    seed: int,
    sample: str = "input",
    repeat: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[Arrival, ...]:
    """Send one recording (n,) by each system, over noise that belongs to its name and the point."""
    arrivals = []
    case = Case(channel, "snr_db", snr_db, sample, repeat, seed, digest(samples))
    for system in systems:
        if progress is not None:
            progress(system.name)
        start = time.perf_counter()
        point = Point(snr_db=snr_db)
        sent = system.transceiver.transmit(samples[None], point, generator=case.noise())
        seconds = time.perf_counter() - start
        found = measure_speech(sent.received[0], samples)
        figures = [Figure(name, UNITS[name], value) for name, value in found.items()]
        rows = rows_of(system, sent, 0, case, figures, values=samples.shape[0])
        arrivals.append(arrival_of(rows, sent.received[0], seconds))
    return tuple(arrivals)


def measure_speech(received: Tensor, sent: Tensor) -> dict[str, float]:
    """PESQ, STOI and weighted SNR; those whose package isn't installed are left out."""
    return {
        name: function(received, sent)
        for name, function in _METRICS.items()
        if name not in _PACKAGES or find_spec(_PACKAGES[name]) is not None
    }


def _open(name: str, channel: ChannelConfig) -> SpeechSystem:
    symbols = symbol_channel(channel)
    chain, _, scheme = name.partition("@")
    if "+" in chain:
        if chain != CODEC_LINK:
            raise VqlinkError(f"unknown speech link {name!r} (known: {CODEC_LINK}[@MCS])")
        mcs = parse_mcs(scheme) if scheme else None
        return SpeechSystem(name, SpeechLink(load_speech_codec(), symbols, mcs))
    system, recipe, sha256 = load_speech(name)
    if isinstance(system, SpeechCodec):
        raise VqlinkError(f"{name} is a codec: over a channel it is {CODEC_LINK}")
    system.link.channel = symbols
    return SpeechSystem(name, system, recipe=recipe_hash(recipe), weights=sha256)

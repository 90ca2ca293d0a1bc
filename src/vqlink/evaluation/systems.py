"""SYSTEM as the command line writes it -> something that transmits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vqlink.channels.symbol import SymbolChannel
from vqlink.config.build import LearnedSystem
from vqlink.config.channels import ChannelConfig, build_channel, channel_name, parse_channel
from vqlink.config.load import recipe_hash
from vqlink.config.schema import Recipe
from vqlink.deploy.onnx_codec import OnnxCodec, is_export
from vqlink.digital.mcs import choice_settings
from vqlink.errors import did_you_mean
from vqlink.evaluation.rows import digest
from vqlink.protocols import SymbolSystem, Transceiver, VqlinkError
from vqlink.systems.layered_code import LayeredCode
from vqlink.systems.separation import Separation, parse_separation
from vqlink.zoo.catalogue import Entry, entries, load_system
from vqlink.zoo.kinds import check_kind

Budget = Callable[[int, int], int]


@dataclass(frozen=True)
class System:
    """A transceiver with what its result rows say of it.

    Attributes:
        name: as the user wrote it.
        transceiver: bound to the channel.
        recipe: hash of a learned system's recipe, or of a digital image link's settings; None for
            other links.
        weights: sha256 of a learned system's weights, else None.
    """

    name: str
    transceiver: Transceiver
    recipe: str | None = None
    weights: str | None = None

    @property
    def symbols(self) -> SymbolSystem:
        """The transceiver in two halves.

        Raises:
            VqlinkError: for one that has no halves.
        """
        if not isinstance(self.transceiver, SymbolSystem):
            raise VqlinkError(f"{self.name} cannot be sent as a file of samples")
        return self.transceiver

    @property
    def learned(self) -> bool:
        return isinstance(self.transceiver, LearnedSystem | OnnxCodec)


def open_systems(
    names: Sequence[str], channel: ChannelConfig, rho: Fraction | None
) -> tuple[System, ...]:
    """Open learned and classical systems for one comparison over ``channel``.

    Classical links get exactly the uses of the first learned code among ``names``, or, without
    one, floor(rho * height * width * 3).

    Raises:
        VqlinkError: for an unknown system, one for sentences or recordings, a channel that a
            system can't use, learned codes of different rho or of another than ``rho``, or
            classical links alone without ``rho``.
    """
    for name in names:
        check_kind(name, "pictures")
    symbols = symbol_channel(channel)
    learned = {name: _open_learned(name, symbols) for name in names if "+" not in name}
    codes = [system.transceiver for system in learned.values()]
    ratios = {code.uses(512, 768) for code in codes}
    if len(ratios) > 1:
        raise VqlinkError(
            "the systems have different bandwidth ratios: compare codes of one rho at a time"
        )
    if learned and rho is not None:
        _check_rho(rho, *next(iter(learned.items())))
    budget = _budget(codes, rho)
    return tuple(
        learned[name]
        if name in learned
        else link_system(name, parse_separation(name, symbols, budget))
        for name in names
    )


def link_system(name: str, link: Separation) -> System:
    """A digital image link, with a hash of all that tells it from another version of its name."""
    settings = {
        "codec": link.codec.name,
        "settings": dict(link.codec.settings),
        "code": link.code.name,
        "mcs": link.mcs.name if link.mcs else choice_settings(link.code.name),
    }
    return System(name, link, recipe=digest(json.dumps(settings, sort_keys=True)))


def symbol_channel(channel: ChannelConfig) -> SymbolChannel:
    """The channel, which must carry complex symbols at an SNR.

    Raises:
        VqlinkError: for channels of bits or packets.
    """
    built = build_channel(channel)
    if not isinstance(built, SymbolChannel) or built.point_kind != "snr_db":
        raise VqlinkError(
            f"channel {channel_name(channel)!r} has no SNR: images are sent over awgn, rayleigh or "
            "rician (and their -fast forms), and by index codes over packets (`vqlink send`)"
        )
    return built


def default_systems(rho: Fraction, channel: ChannelConfig) -> tuple[str, ...]:
    """The featured image codes at ``rho``, the constellation-constrained first.

    Those that were trained for this kind of channel, or else those for AWGN.

    Raises:
        VqlinkError: when there are none, naming the ratios that there are.
    """
    featured = [entry for entry in entries() if entry.featured]
    at_rho = [entry for entry in featured if entry.rho == rho]
    found = [e for e in at_rho if e.channel == channel_name(channel)]
    found = found or [e for e in at_rho if e.channel == "awgn"]
    if not found:
        known = sorted({entry.rho for entry in featured}, reverse=True)
        ratios = ", ".join(str(value) for value in known) or "none"
        raise VqlinkError(f"no weights for rho {rho}: the zoo has {ratios}")
    return tuple(e.name for e in sorted(found, key=lambda entry: entry.bits or math.inf))


def _check_rho(rho: Fraction, name: str, system: System) -> None:
    """Headers and padding may take a percent of a frame."""
    sent = system.transceiver.uses(512, 768) / (512 * 768 * 3)
    if abs(float(rho) / sent - 1) > 0.01:
        raise VqlinkError(
            f"--rho {rho} is not what {name} sends, {sent:.4f}: leave it out, or name another code"
        )


def _budget(codes: Sequence[Transceiver], rho: Fraction | None) -> Budget:
    if codes:
        return codes[0].uses

    if rho is None:
        raise VqlinkError("classical links alone need --rho, such as 1/12")

    def uses(height: int, width: int) -> int:
        return math.floor(rho * height * width * 3)

    return uses


def _open_learned(name: str, channel: SymbolChannel) -> System:
    system, recipe, sha256 = _load(name)
    for link in system.streams if isinstance(system, LayeredCode) else (system.link,):
        link.channel = channel
    return System(name, system, recipe=recipe_hash(recipe), weights=sha256)


def _load(name: str) -> tuple[LearnedSystem | OnnxCodec, Recipe, str]:
    if is_export(Path(name)):
        exported = OnnxCodec(Path(name))
        return exported, exported.recipe, exported.sha256
    known: dict[str, Entry] = {entry.name: entry for entry in entries()}
    if name not in known and not Path(name).is_dir() and not name.startswith("hf://"):
        hint = did_you_mean(name, [*known, "hevc+ldpc5g", "jpeg+ldpc5g"])
        raise VqlinkError(
            f"unknown system {name!r}{hint} (`vqlink zoo` lists the weights; classical links are "
            "named as in hevc+ldpc5g)"
        )
    return load_system(name)


def open_channel(text: str) -> tuple[ChannelConfig, str]:
    """The channel that a user named, and its canonical name."""
    config = parse_channel(text)
    return config, channel_name(config)

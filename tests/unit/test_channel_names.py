"""Channels as data: names, settings, round trips and one clear line for mistakes."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from vqlink.channels import AWGN, BEC, BSC, PacketErasure, Rayleigh, Rician
from vqlink.config.channels import (
    AWGNConfig,
    ChannelConfig,
    PacketErasureConfig,
    RicianConfig,
    build_channel,
    channel_name,
    parse_channel,
)
from vqlink.protocols import VqlinkError

SPELLINGS = [
    ("awgn", AWGN(), "awgn"),
    (" AWGN ", AWGN(), "awgn"),
    ("rayleigh", Rayleigh("slow"), "rayleigh"),
    ("rayleigh-slow", Rayleigh("slow"), "rayleigh"),
    ("rayleigh-fast", Rayleigh("fast"), "rayleigh-fast"),
    ("rician", Rician(4.0), "rician:k=4"),
    ("rician:k=10", Rician(10.0), "rician:k=10"),
    ("rician-slow:k=0", Rician(0.0), "rician:k=0"),
    ("rician-fast:k=2", Rician(2.0, "fast"), "rician-fast:k=2"),
    ("rician:k=0.1", Rician(0.1), "rician:k=0.1"),
    ("rician:k=3.14159265358979", Rician(3.14159265358979), "rician:k=3.14159265358979"),
    ("bec", BEC(), "bec"),
    ("bsc", BSC(), "bsc"),
    ("packet", PacketErasure(64), "packet:64"),
    ("Packet:12", PacketErasure(12), "packet:12"),
]


@pytest.mark.parametrize(("text", "channel", "name"), SPELLINGS)
def test_text_to_channel_and_back(text: str, channel: object, name: str) -> None:
    config = parse_channel(text)
    assert build_channel(config) == channel
    assert channel_name(config) == name
    assert parse_channel(name) == config


@pytest.mark.parametrize(("text", "channel"), [row[:2] for row in SPELLINGS])
def test_through_json(text: str, channel: object) -> None:
    union: TypeAdapter[ChannelConfig] = TypeAdapter(ChannelConfig)
    restored = union.validate_json(union.dump_json(parse_channel(text)))
    assert restored == parse_channel(text)
    assert build_channel(restored) == channel


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("rayliegh", "did you mean rayleigh?"),
        ("packets:64", "did you mean packet?"),
        ("", "known: awgn, rayleigh, rayleigh-fast, rician, rician-fast, bec, bsc, packet"),
        ("gaussian", "unknown channel 'gaussian'"),
        ("awgn:3", "awgn takes no setting"),
        ("bec:", "bec takes no setting"),
        ("rician:", "rician:k=10"),
        ("rician:10", "rician:k=10"),
        ("rician:k=", "rician:k=10"),
        ("rician:k=six", "rician:k=10"),
        ("rician:k=-1", ">= 0"),
        ("rician:k=inf", "rician:k=10"),
        ("rician:k=nan", "rician:k=10"),
        ("rician:m=3", "rician:k=10"),
        ("packet:0", ">= 1"),
        ("packet:1.5", "whole number"),
        ("packet:many\nlines", "whole number"),
    ],
)
def test_a_users_mistake_is_one_clear_line(text: str, part: str) -> None:
    with pytest.raises(VqlinkError) as caught:
        parse_channel(text)
    message = str(caught.value)
    assert part in message
    assert "\n" not in message


def test_a_far_name_gets_no_guess() -> None:
    with pytest.raises(VqlinkError) as caught:
        parse_channel("zzz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "awgn", "snr": 3},
        {"kind": "rician", "k": 3},
        {"kind": "rician", "k_factor": -1},
        {"kind": "rician", "k_factor": float("inf")},
        {"kind": "rayleigh", "fading": "block"},
        {"kind": "packet", "packet_size": 0},
        {"kind": "gauss"},
        {},
    ],
)
def test_configs_refuse_what_they_do_not_know(data: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ChannelConfig).validate_python(data)


def test_configs_are_frozen_and_hashable() -> None:
    config = RicianConfig(k_factor=2)
    with pytest.raises(ValidationError):
        config.k_factor = 3.0
    assert len({config, RicianConfig(k_factor=2.0), AWGNConfig(), PacketErasureConfig()}) == 3

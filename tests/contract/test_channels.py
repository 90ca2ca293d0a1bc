"""What every channel keeps: a new channel is added to CASES and gets these tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields

import pytest
import torch
from torch import Tensor

from vqlink.channels import (
    AWGN,
    BEC,
    BSC,
    PacketErasure,
    Rayleigh,
    Rician,
    SymbolChannel,
)
from vqlink.protocols import Channel, ChannelOutput, Point
from vqlink.rng import complex_normal, stream, uniform

B, N = 5, 203  # not a multiple of the packet size


def symbols(shape: tuple[int, int]) -> Tensor:
    return complex_normal(shape, generator=stream(1, "symbols"))


def reals(shape: tuple[int, int]) -> Tensor:
    return symbols(shape).real.contiguous()


def bits(shape: tuple[int, int]) -> Tensor:
    return (uniform(shape, generator=stream(1, "bits")) < 0.5).float()


@dataclass(frozen=True)
class Case:
    make: Callable[[], Channel]
    send: Callable[[tuple[int, int]], Tensor]
    gain_shape: tuple[int, int] = (B, 1)


CASES = {
    "awgn": Case(AWGN, symbols),
    "rayleigh-slow": Case(Rayleigh, symbols),
    "rayleigh-fast": Case(lambda: Rayleigh("fast"), symbols, (B, N)),
    "rician-slow": Case(lambda: Rician(3.0), symbols),
    "rician-fast": Case(lambda: Rician(3.0, "fast"), symbols, (B, N)),
    "bec": Case(BEC, bits),
    "bsc": Case(BSC, bits),
    "packet": Case(lambda: PacketErasure(10), symbols),
    "packet-real": Case(lambda: PacketErasure(10), reals),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
noisy_cases = pytest.mark.parametrize(
    "case", [c for k, c in CASES.items() if k[:2] in ("aw", "ra", "ri")]
)
symbol_cases = pytest.mark.parametrize("case", [c for c in CASES.values() if c.send is not bits])


def point_for(channel: Channel, values: Tensor | None = None) -> Point:
    """A point on the channel's own axis; ``values`` in [0, 1], one a message."""
    level: float | Tensor = 0.3 if values is None else values
    if channel.point_kind == "snr_db":
        return Point(snr_db=10.0 * level)
    return Point(probability=level)


def generators(batch: int = B) -> list[torch.Generator]:
    return [stream(7, "channel", sample) for sample in range(batch)]


@every_case
def test_frozen_and_one_of_the_protocol(case: Case) -> None:
    channel = case.make()
    assert isinstance(channel, Channel)
    assert isinstance(channel, SymbolChannel) == (case.send is not bits)
    assert channel == case.make()
    with pytest.raises(FrozenInstanceError):
        channel.anything = 1
    assert all(isinstance(getattr(channel, f.name), int | float | str) for f in fields(channel))


@every_case
def test_shape_and_dtype_are_kept(case: Case) -> None:
    channel, x = case.make(), case.send((B, N))
    out = channel(x, point_for(channel), generator=stream(0, "g"))
    assert isinstance(out, ChannelOutput)
    assert out.y.shape == x.shape
    assert out.y.dtype == x.dtype
    assert out.gain.shape == case.gain_shape
    assert out.noise_var.shape == (B, 1)
    assert not out.noise_var.is_complex()
    assert out.mask is None or (out.mask.shape == x.shape and out.mask.dtype == torch.bool)
    assert (out.y != x).any()  # at 3 dB or 30 %, something happens


@every_case
@pytest.mark.parametrize("silent", [False, True], ids=["sent", "silent"])
def test_a_message_alone_arrives_as_it_does_in_a_batch(case: Case, silent: bool) -> None:
    """Gain, noise and losses bit for bit; h x to 1e-6, as SIMD may fuse its last bit."""
    channel, x = case.make(), case.send((B, N))
    x = torch.zeros_like(x) if silent else x
    tolerance = 0.0 if silent else 1e-6
    levels = torch.linspace(0.1, 0.9, B)
    whole = channel(x, point_for(channel, levels), generator=generators())
    for i in range(B):
        point = point_for(channel, levels[i : i + 1])
        alone = channel(x[i : i + 1], point, generator=[generators()[i]])
        torch.testing.assert_close(alone.y[0], whole.y[i], rtol=tolerance, atol=tolerance)
        assert torch.equal(alone.gain[0], whole.gain[i])
        assert torch.equal(alone.noise_var[0], whole.noise_var[i])


@every_case
def test_the_generator_decides_all(case: Case) -> None:
    channel, x = case.make(), case.send((B, N))
    point = point_for(channel)
    first, again, other = (channel(x, point, generator=stream(s, "g")) for s in (0, 0, 1))
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.y, other.y)
    state = torch.get_rng_state()
    channel(x, point, generator=stream(0, "g"))
    assert torch.equal(state, torch.get_rng_state())  # torch's global stream is left alone


@every_case
def test_generator_is_not_optional(case: Case) -> None:
    channel, x = case.make(), case.send((B, N))
    with pytest.raises(TypeError, match="generator"):
        channel(x, point_for(channel))
    with pytest.raises(TypeError):
        channel(x, point_for(channel), generator=None)
    with pytest.raises(ValueError, match="4 generators for a batch of 5"):
        channel(x, point_for(channel), generator=generators(4))


@every_case
def test_only_its_own_axis_and_shape(case: Case) -> None:
    channel, x = case.make(), case.send((B, N))
    wrong = Point(probability=0.1) if channel.point_kind == "snr_db" else Point(snr_db=3.0)
    with pytest.raises(ValueError, match=channel.point_kind):
        channel(x, wrong, generator=stream(0, "g"))
    with pytest.raises(ValueError, match=r"\(B, n\)"):
        channel(x[None], point_for(channel), generator=stream(0, "g"))
    with pytest.raises(ValueError, match="4 messages"):
        channel(x, point_for(channel, torch.rand(4)), generator=stream(0, "g"))


@symbol_cases
def test_never_rescales(case: Case) -> None:
    """A message 100 times weaker arrives 100 times weaker, in the same noise."""
    channel, x = case.make(), case.send((B, N))
    point = point_for(channel)
    scale = torch.ones(B, 1)
    scale[2] = 0.01
    full, silent, weak = (channel(s * x, point, generator=generators()) for s in (1.0, 0.0, scale))
    signal = full.y - silent.y
    mask = 1 if full.mask is None else full.mask
    torch.testing.assert_close(signal, full.gain * x * mask, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weak.y - silent.y, scale * signal, rtol=1e-5, atol=1e-6)


@symbol_cases
def test_gain_drawn_before_or_inside_is_the_same(case: Case) -> None:
    """The gain is drawn first, then the noise, so precoding does not move the noise."""
    channel, x = case.make(), case.send((B, N))
    point = point_for(channel)
    inside = channel(x, point, generator=stream(3, "g"))
    source = stream(3, "g")
    gain = channel.gains(x, generator=source)
    outside = channel(x, point, generator=source, gain=gain)
    assert gain.shape == case.gain_shape
    assert torch.equal(inside.gain, gain)
    assert torch.equal(inside.y, outside.y)


@symbol_cases
def test_a_given_gain_is_used(case: Case) -> None:
    channel, x = case.make(), case.send((B, N))
    point = point_for(channel)
    h = torch.full((B, 1), 0.5, dtype=x.dtype)
    out = channel(x, point, generator=generators(), gain=h)
    silent = channel(0 * x, point, generator=generators(), gain=h)
    mask = 1 if out.mask is None else out.mask
    torch.testing.assert_close(out.y - silent.y, 0.5 * x * mask, rtol=1e-5, atol=1e-6)
    assert torch.equal(out.gain, h)
    for shape in ((N,), (1, N), (B, 2), (1,)):
        with pytest.raises(ValueError, match="one a message or one a symbol"):
            channel(x, point, generator=generators(), gain=torch.ones(shape))


@every_case
def test_gradient_reaches_the_transmitter(case: Case) -> None:
    channel, x = case.make(), case.send((B, N)).requires_grad_()
    out = channel(x, point_for(channel), generator=stream(0, "g"))
    out.y.abs().square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad != 0).any()


@noisy_cases
def test_noise_channels_refuse_real_symbols(case: Case) -> None:
    with pytest.raises(TypeError, match="complex"):
        case.make()(torch.ones(B, N), Point(snr_db=0.0), generator=stream(0, "g"))


@pytest.mark.parametrize("channel", [BEC(), BSC()])
def test_bit_channels_refuse_anything_but_bits(channel: BEC | BSC) -> None:
    point, g = Point(probability=0.1), stream(0, "g")
    with pytest.raises(ValueError, match="0 or 1"):
        channel(torch.full((B, N), 0.5), point, generator=g)
    for dtype in (torch.bool, torch.complex64):
        with pytest.raises(TypeError, match="bits are 0 and 1"):
            channel(torch.ones((B, N), dtype=dtype), point, generator=g)
    for dtype in (torch.uint8, torch.int64, torch.float32):
        out = channel(torch.ones((B, N), dtype=dtype), point, generator=g)
        assert out.y.dtype == dtype
        assert set(out.y.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("packet_size", [1, 10, 64, 1000])
def test_packets_are_lost_whole(packet_size: int) -> None:
    x = torch.ones(40, N, dtype=torch.complex64)
    out = PacketErasure(packet_size)(x, Point(probability=0.5), generator=stream(0, "g"))
    assert out.mask is not None
    assert torch.equal(out.y, out.mask.to(x.dtype))
    for packet in out.mask.split(packet_size, dim=1):
        assert (packet == packet[:, :1]).all()
    assert out.mask.any()
    assert not out.mask.all()


def test_bad_settings_are_programming_errors() -> None:
    with pytest.raises(ValueError, match="'slow' or 'fast'"):
        Rayleigh("block")
    with pytest.raises(ValueError, match="'slow' or 'fast'"):
        Rician(1.0, "block")
    for k in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="K factor"):
            Rician(k)
    with pytest.raises(ValueError, match="at least one symbol"):
        PacketErasure(0)

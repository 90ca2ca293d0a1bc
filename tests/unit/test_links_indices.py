"""The index link: what arrives, what it costs, and what becomes of lost blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vqlink.channels.awgn import AWGN
from vqlink.channels.fading import Rayleigh, Rician
from vqlink.digital.blocks import SURE, CodeName, plan_code
from vqlink.links.indices import IndexLink, bits_to_labels, labels_to_bits
from vqlink.protocols import Point
from vqlink.rng import stream

BITS = (4, 3, 2, 1)
CODES: list[tuple[CodeName, float]] = [
    ("ldpc5g", 1 / 3), ("ldpc5g", 0.8), ("ldpc80211ad", 1 / 2), ("ldpc80211ad", 13 / 16),
    ("none", 1.0),
]  # fmt: skip


def labels(batch: int = 2, side: int = 4) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randint(2**bits, (batch, side << scale, side << scale), generator=generator)
        for scale, bits in zip((3, 2, 1, 0), BITS, strict=True)
    )


def link(channel: Any = None, **options: Any) -> IndexLink:
    return IndexLink(channel or AWGN(), BITS, **options)


@pytest.mark.parametrize(("code", "rate"), CODES)
@pytest.mark.parametrize("bits_per_symbol", [1, 2, 4, 6, 8])
def test_what_is_sent_arrives_without_noise(
    code: CodeName, rate: float, bits_per_symbol: int
) -> None:
    sent = labels()
    out = link(code=code, rate=rate, bits_per_symbol=bits_per_symbol)(
        sent, Point(snr_db=45.0), generator=stream(0, "noise")
    )
    assert all(torch.equal(a, b) for a, b in zip(out.received, sent, strict=True))
    assert out.stats["lost"].max() == out.stats["bit_error_rate"].max() == 0
    assert out.tx_power == pytest.approx([1, 1], abs=0.05)
    counts = [scale[0].numel() for scale in sent]
    assert out.uses == link(code=code, rate=rate, bits_per_symbol=bits_per_symbol).uses(counts)


@pytest.mark.parametrize(("code", "rate"), CODES)
def test_uses_are_the_code_s(code: CodeName, rate: float) -> None:
    """From the rate: the payload, CRCs on top, whole bytes and whole symbols."""
    payload = 20_032
    uses = plan_code(code, payload, rate, 4).coded / 4
    overhead = {"ldpc5g": 1.012, "ldpc80211ad": 1.05, "none": 1.001}[code]
    assert payload / rate / 4 <= uses < overhead * payload / rate / 4


@pytest.mark.parametrize("channel", [Rayleigh("fast"), Rayleigh("slow"), Rician(2.0, "fast")])
def test_faded_symbols_are_equalised(channel: Any) -> None:
    sent = labels()
    out = link(channel)(sent, Point(snr_db=40.0), generator=stream(1, "noise"))
    assert all(torch.equal(a, b) for a, b in zip(out.received, sent, strict=True))


def test_reliabilities_of_faded_symbols_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without N0 / |h|^2 in the ratios, fast Rayleigh fading loses blocks that it needn't."""
    sent, point = labels(), Point(snr_db=8.0)
    told = link(Rayleigh("fast"))(sent, point, generator=stream(0, "noise"))
    monkeypatch.setattr(
        "vqlink.links.equalize.zero_forcing_noise_var", lambda gain, noise: noise.expand(gain.shape)
    )
    blind = link(Rayleigh("fast"))(sent, point, generator=stream(0, "noise"))
    assert told.stats["lost"].max() == 0
    assert blind.stats["lost"].min() > 0.5


@pytest.mark.parametrize(("code", "rate"), CODES[:4])
def test_lost_blocks_are_hard_decisions_or_concealed_and_never_crash(
    code: CodeName, rate: float
) -> None:
    sent, point = labels(), Point(snr_db=-8.0)
    hard = link(code=code, rate=rate)(sent, point, generator=stream(0, "noise"))
    assert hard.stats["lost"].min() == 1
    assert 0.05 < hard.stats["bit_error_rate"].mean() < 0.5
    assert all(
        (s >= 0).all() and (s < 2**b).all() for s, b in zip(hard.received, BITS, strict=True)
    )
    hidden = link(code=code, rate=rate, lost="conceal")(sent, point, generator=stream(0, "noise"))
    assert all((scale == -1).all() for scale in hidden.received)


def test_ratios_say_how_far_a_lost_label_is_to_be_trusted() -> None:
    """Bits are wrong as often as their ratios say; those of good blocks are certain."""
    sent = labels(batch=4, side=12)
    out = link(lost="soft")(sent, Point(snr_db=0.0), generator=stream(0, "noise"))
    assert out.stats["lost"].min() == 1
    llr = torch.cat([scale.flatten() for scale in out.llr])
    bits = torch.cat(
        [labels_to_bits(s.flatten(), b).flatten() for s, b in zip(sent, BITS, strict=True)]
    )
    wrong = ((llr > 0) != (bits > 0.5)).double()
    claimed = torch.sigmoid(-llr.abs()).double()
    assert wrong.mean().item() == pytest.approx(claimed.mean().item(), abs=0.03)
    doubtful, sure = (wrong[part].mean() for part in (claimed > 0.4, claimed < 0.1))
    assert doubtful > 0.35
    assert sure < 0.12
    arrived = link(lost="soft")(sent, Point(snr_db=12.0), generator=stream(0, "noise"))
    assert all((scale.abs() == SURE).all() for scale in arrived.llr)


def test_a_block_is_lost_alone() -> None:
    """At the edge of the waterfall some blocks arrive: their labels do, the others' are hidden."""
    sent = labels(batch=1, side=12)
    for snr_db in torch.arange(2.0, 6.0, 0.2).tolist():
        out = link(lost="conceal")(sent, Point(snr_db=snr_db), generator=stream(0, "noise"))
        if 0 < out.stats["lost"].item() < 1:
            break
    else:
        pytest.fail("no SNR at which only some of the blocks are lost")
    for received, scale in zip(out.received, sent, strict=True):
        known = received >= 0
        assert torch.equal(received[known], scale[known])


def test_noise_belongs_to_the_message_not_to_the_batch() -> None:
    sent, point = labels(), Point(snr_db=3.0)
    both = link()(sent, point, generator=[stream(0, "a"), stream(0, "b")])
    second = link()(tuple(s[1:] for s in sent), point, generator=[stream(0, "b")])
    for together, alone in zip(both.received, second.received, strict=True):
        assert torch.equal(together[1:], alone)


def test_uncoded_bits_are_wrong_as_often_as_theory_says() -> None:
    """QPSK: Q(sqrt(Es / N0)) a bit; 4 standard errors."""
    sent, snr_db = labels(batch=8), 5.0
    out = link(code="none", bits_per_symbol=2)(
        sent, Point(snr_db=snr_db), generator=stream(0, "noise")
    )
    expected = 0.5 * torch.erfc(torch.tensor((10 ** (snr_db / 10) / 2) ** 0.5)).item()
    count = sum(s[0].numel() * b for s, b in zip(sent, BITS, strict=True)) * 8
    error = (expected * (1 - expected) / count) ** 0.5
    assert out.stats["bit_error_rate"].mean().item() == pytest.approx(expected, abs=4 * error)


def test_labels_and_bits_are_each_other_s_inverse() -> None:
    values = torch.arange(16)[None]
    assert labels_to_bits(values, 4)[0, 4 * 6 : 4 * 7].tolist() == [0, 1, 1, 0]
    assert torch.equal(bits_to_labels(labels_to_bits(values, 4), 4), values)


@pytest.mark.parametrize("payload", [1, 7, 100, 3799, 3800, 3801, 20_032])
@pytest.mark.parametrize(("code", "rate"), CODES)
def test_messages_of_any_length(code: CodeName, rate: float, payload: int) -> None:
    block = plan_code(code, payload, rate, 4)
    bits = (torch.rand(2, payload, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    coded = block.encode(bits)
    assert coded.shape == (2, block.coded)
    assert block.coded % 4 == 0
    decoded, good = block.decode(20 * (2 * coded - 1))
    assert torch.equal((decoded > 0).float(), bits)
    assert good.all()
    assert code == "none" or (decoded.abs() == SURE).all()


@pytest.mark.parametrize("payload", [100, 9000])
def test_below_a_fifth_the_word_is_sent_again(payload: int) -> None:
    once, twice = (plan_code("ldpc5g", payload, rate, 2) for rate in (1 / 5, 1 / 10))
    assert twice.coded == 2 * once.coded
    bits = (torch.rand(1, payload, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    heard = 2 * twice.encode(bits) - 1
    blocks = -(-payload // 3800)
    first, again = heard.view(blocks, 2, -1).unbind(dim=1)
    assert torch.equal(first, again)
    # What one copy lost the other still has, and weak ratios add up to those of one word.
    half = torch.stack([first, again], dim=1)
    half[:, 0, ::2] = half[:, 1, 1::2] = 0
    decoded, good = twice.decode(half.view(1, -1))
    assert good.all()
    assert torch.equal((decoded > 0).float(), bits)
    noisy = torch.randn(blocks, once.coded // blocks, generator=torch.Generator().manual_seed(1))
    weak = torch.stack([0.25 * noisy, 0.75 * noisy], dim=1).view(1, -1)
    for ours, theirs in zip(twice.decode(weak), once.decode(noisy.view(1, -1)), strict=True):
        assert torch.allclose(ours.float(), theirs.float(), atol=1e-3)


@pytest.mark.parametrize("payload", [1, 1000, 4000])
@pytest.mark.parametrize("rate", [1 / 5, 1 / 8, 1 / 50])
def test_the_lowest_rates_fit_whole_symbols_of_six_bits(payload: int, rate: float) -> None:
    code = plan_code("ldpc5g", payload, rate, 6)
    bits = (torch.rand(1, payload, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    coded = code.encode(bits)
    assert coded.shape[1] % 6 == 0
    decoded, good = code.decode(20 * (2 * coded - 1))
    assert good.all()
    assert torch.equal((decoded > 0).float(), bits)


def test_a_rate_that_the_standard_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="1/2, 5/8"):
        plan_code("ldpc80211ad", 100, 1 / 3, 4)

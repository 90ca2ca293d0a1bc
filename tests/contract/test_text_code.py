"""The learned text system: what its receiver may know, and what its frames cost."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from vqlink.channels import AWGN, BEC, BSC
from vqlink.config.schema import Recipe
from vqlink.config.text import build_text_code
from vqlink.links.bits import HEADER_BITS
from vqlink.protocols import Point, TextTransceiver, VqlinkError
from vqlink.rng import stream
from vqlink.sources import text
from vqlink.systems.text_code import TextCode

SENTENCES = [
    "A man rides a horse.",
    "Two dogs run on the grass.",
    "A woman in a red dress is singing on a stage.",
    "Children play football, don't they?",
    "A man is sleeping.",
]


def recipe(bits: int = 8) -> Recipe:
    net = {"kind": "transformer", "width": 16, "heads": 2, "depth": 2, "dropout": 0.0}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "paper": "000",
            "figure": "none",
            "source": {"kind": "text", "train": "nowhere", "vocabulary": 120},
            "encoder": net,
            "quantizer": {"kind": "binary", "bits": bits},
            "link": {"kind": "bits"},
            "decoder": net,
            "losses": {"cross_entropy": 1.0},
            "training": {"steps": 1, "probability": [0.0, 0.9]},
        }
    )


@pytest.fixture(name="code")
def fixture_code() -> TextCode:
    code = build_text_code(recipe()).eval()
    code.tokenizer = text.train_tokenizer(SENTENCES, 120)
    return code


def noise(count: int, seed: int = 0) -> list[torch.Generator]:
    return [stream(seed, "channel", i) for i in range(count)]


def test_it_is_a_text_transceiver(code: TextCode) -> None:
    assert isinstance(code, TextTransceiver)
    sent = code.transmit(SENTENCES, Point(probability=0.2), generator=noise(5))
    assert len(sent.received) == 5
    counts = torch.tensor([len(code.tokens(s)) for s in SENTENCES])
    assert torch.equal(sent.uses, HEADER_BITS + 8 * counts)
    assert [code.sentence_uses(s) for s in SENTENCES] == sent.uses.tolist()
    assert torch.equal(sent.tx_power, torch.ones(5))


def test_noise_does_not_depend_on_the_batch(code: TextCode) -> None:
    point = Point(probability=0.4)
    together = code.transmit(SENTENCES, point, generator=noise(5))
    for i, sentence in enumerate(SENTENCES):
        alone = code.transmit([sentence], point, generator=[noise(5)[i]])
        assert alone.received == (together.received[i],)


# --- the receiver sees what arrived, and nothing else ---------------------------------------


@pytest.mark.parametrize("beams", [1, 3])
def test_the_decoder_cannot_see_the_sent_tokens(code: TextCode, beams: int) -> None:
    """With everything erased two sentences of one length are one; teacher forcing would tell."""
    code.beams = beams
    one, other = "A man rides a horse.", "A man is sleeping."
    with torch.no_grad():  # a decoder that leans on the token before, as teacher forcing needs
        code.decoder.embedding.weight.mul_(8)
    length = min(len(code.tokens(one)), len(code.tokens(other)))
    known = torch.zeros(length, 8)
    tokens = code.decode([known, known])
    assert tokens[0] == tokens[1]
    lost = Point(probability=1.0)
    sent = code.transmit([one, other], lost, generator=noise(2))
    assert sent.received[0] == sent.received[1]  # even the length is only guessed


def test_what_is_read_follows_what_arrived_and_not_what_was_sent(
    code: TextCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swap the bits on the air: the receiver reads the sentence of the other."""
    point = Point(probability=0.0)
    one, other = SENTENCES[0], SENTENCES[2]
    want = code.transmit([other], point, generator=noise(1)).received
    honest = code.transmit([one], point, generator=noise(1)).received
    assert honest != want
    tokens = torch.tensor([code.tokens(other)])
    swapped = code.bits(tokens, torch.tensor([tokens.shape[1]]))[0]
    send: Callable[..., object] = type(code.link).send

    def wiretap(values: torch.Tensor, point: Point, *, generator: torch.Generator) -> object:
        return send(code.link, swapped, point, generator=generator)

    monkeypatch.setattr(code.link, "send", wiretap)
    assert code.transmit([one], point, generator=noise(1)).received == want


def test_free_running_is_not_teacher_forcing(code: TextCode) -> None:
    """The free run's own decisions go in: feeding them to the parallel pass gives the same."""
    tokens = torch.tensor([code.tokens(SENTENCES[2])])
    lengths = torch.tensor([tokens.shape[1]])
    known = code.bits(tokens, lengths)
    decided = code.decoder.greedy(known, lengths)
    before = torch.nn.functional.pad(decided[:, :-1], (1, 0), value=code.decoder.start)
    assert torch.equal(code.decoder(known, lengths, before).argmax(dim=-1), decided)
    forced = torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=code.decoder.start)
    assert not torch.equal(code.decoder(known, lengths, forced).argmax(dim=-1), decided)


# --- decoding ------------------------------------------------------------------------------


def test_padding_changes_nothing(code: TextCode) -> None:
    known = [torch.randn(n, 8, generator=stream(n, "k")).clamp(-1, 1) for n in (3, 9, 5)]
    together = code.decode(known)
    assert together == [code.decode([part])[0] for part in known]
    assert [len(tokens) for tokens in together] == [3, 9, 5]
    code.beams = 4
    assert code.decode(known) == [code.decode([part])[0] for part in known]


def test_a_wide_beam_finds_the_most_probable_sentence(code: TextCode) -> None:
    """Against all 120^2 sentences of two tokens."""
    known = torch.randn(1, 2, 8, generator=stream(0, "k")).clamp(-1, 1)
    lengths = torch.tensor([2])
    decoder, size = code.decoder, 120
    every = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    before = torch.stack([torch.full((size,), decoder.start), torch.arange(size)], dim=1)
    logits = decoder(known.expand(size, -1, -1), lengths.expand(size), before).log_softmax(-1)
    scores = logits[0, 0][every[:, 0]] + logits[every[:, 0], 1, every[:, 1]]
    best = every[scores.argmax()]
    assert torch.equal(decoder.beam(known, lengths, size)[0], best)
    narrow = decoder.beam(known, lengths, 1)
    assert torch.equal(narrow, decoder.greedy(known, lengths))


# --- channels ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "modem", "good", "uses"),
    [
        (BEC(), 1, Point(probability=0.0), 32 + 8),
        (BSC(), 1, Point(probability=0.0), 32 + 8),
        (AWGN(), 1, Point(snr_db=20.0), 32 + 8),
        (AWGN(), 2, Point(snr_db=20.0), 16 + 4),
    ],
)
def test_bits_arrive_over_every_channel(
    code: TextCode, channel: object, modem: int, good: Point, uses: int
) -> None:
    code.link.channel, code.link.bits_per_symbol = channel, modem
    values = torch.randn(4, 8, generator=stream(1, "v")).sign()
    known, length = code.link.send(values, good, generator=stream(0, "n"))
    assert length == 4
    assert torch.equal(known.sign(), values)
    assert code.link.uses(8) == uses


@pytest.mark.parametrize("modem", [1, 2])
def test_soft_bits_are_the_means_of_the_bits(code: TextCode, modem: int) -> None:
    """E[b | y] is calibrated: of the bits known as about m, the mean is m."""
    code.link.channel, code.link.bits_per_symbol = AWGN(), modem
    values = torch.randn(200, 500, generator=stream(1, "v")).sign()
    known = code.link(values, Point(snr_db=1.0), generator=stream(0, "n"))
    for low in (-0.9, -0.5, -0.1, 0.3, 0.7):
        near = (known > low) & (known < low + 0.2)
        assert abs(float(values[near].mean()) - (low + 0.1)) < 0.05
    code.link.channel = BSC()
    flipped = code.link(values, Point(probability=0.2), generator=stream(0, "n"))
    assert flipped.abs().unique().tolist() == pytest.approx([0.6])
    assert abs(float((flipped * values).mean()) - 0.36) < 0.01
    code.link.channel = BEC()
    erased = code.link(values, Point(probability=0.3), generator=stream(0, "n"))
    assert abs(float((erased == 0).float().mean()) - 0.3) < 0.01
    assert torch.equal(erased[erased != 0], values[erased != 0])


def test_the_header_is_part_of_the_frame(code: TextCode) -> None:
    """Its errors are real: a wrong length cuts the payload off or fills it up, with zeros."""
    lengths = set()
    values = torch.ones(10, 8)
    for seed in range(40):
        known, length = code.link.send(values, Point(probability=0.95), generator=stream(seed, "n"))
        assert known.shape == (length, 8)
        assert bool((known[10:] == 0).all())
        lengths.add(length)
    assert len(lengths) > 3
    sure = [
        code.link.send(values, Point(probability=0.4), generator=stream(s, "n"))[1] == 10
        for s in range(60)
    ]
    assert sum(sure) >= 59


# --- mistakes ------------------------------------------------------------------------------


def test_what_cannot_be_sent_is_refused(code: TextCode) -> None:
    with pytest.raises(VqlinkError, match="empty"):
        code.transmit(["  "], Point(probability=0.0), generator=noise(1))
    with pytest.raises(VqlinkError, match="split"):
        code.tokens("man " * 65)
    with pytest.raises(ValueError, match="probability"):
        code.transmit(SENTENCES[:1], Point(snr_db=3.0), generator=noise(1))


def test_unknown_signs_show_as_such(code: TextCode) -> None:
    sent = code.transmit(["A man 😀 rides."], Point(probability=0.0), generator=noise(1))
    assert sent.stats["unknown"].tolist() == [1.0]
    assert code.tokenizer is not None
    ids = text.encode(code.tokenizer, "A man 😀 rides")
    assert text.decode(code.tokenizer, ids).startswith("A man � ride")


def test_training_reaches_every_weight(code: TextCode) -> None:
    tokens = torch.tensor([code.tokens(SENTENCES[2])])
    lengths = torch.tensor([tokens.shape[1]])
    before = torch.zeros_like(tokens)
    out = code(tokens, lengths, before, Point(probability=0.1), generator=stream(0, "n"))
    torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), tokens.flatten()).backward()
    dead = [n for n, p in code.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A key's bias shifts all scores of a query alike.
    assert [name for name in dead if not name.endswith("key.bias")] == []
    assert math.isfinite(float(sum(p.grad.sum() for p in code.parameters())))

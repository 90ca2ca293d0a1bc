"""Text at its edges: recipes that ask for nonsense, sentences that fill a frame, misspelt names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from vqlink.channels import BEC
from vqlink.config.channels import parse_channel
from vqlink.config.load import load_recipe
from vqlink.config.text import build_text_code, load_text_code, save_text_weights
from vqlink.digital.huffman import sentence_code
from vqlink.errors import VqlinkError
from vqlink.evaluation.text import TextSystem, frames, send_text
from vqlink.links.bits import LONGEST, BitsLink
from vqlink.metrics import text as metrics
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.sources.text import train_tokenizer
from vqlink.systems.text_code import TextCode
from vqlink.systems.text_separation import parse_text_separation

NET = [f"{end}.{what}" for end in ("encoder", "decoder") for what in ("width=64", "heads=2")]
LINES = ["A man rides a horse.", "Two dogs run on the grass, don't they?"]


def small_code(lines: Sequence[str] = LINES) -> TextCode:
    """An untrained code: a random one, read by maximum likelihood."""
    code = build_text_code(load_recipe("text-q32", ["source.vocabulary=120", *NET])).eval()
    code.tokenizer = train_tokenizer(lines, 120)
    return code


@pytest.fixture(name="code", scope="module")
def fixture_code() -> TextCode:
    return small_code()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (["encoder.width=100000", "decoder.width=100000"], "less than or equal to 1024"),
        (["encoder.depth=1000"], "less than or equal to 16"),
        (["source.vocabulary=1000000000"], "less than or equal to 262144"),
        (["training.flip=0.1"], "for index codes"),
        (["link.channel.kind=awgn"], "training.probability is for bec and bsc"),
        (
            ["link.channel.kind=awgn", "training.probability=null", "training.snr_db=[9, 3]"],
            "training.snr_db goes from the lowest",
        ),
        (["training.probability=null"], "training.probability goes from the lowest"),
        (["training.probability=[.nan, 0.5]"], "training.probability.0: .* finite number"),
    ],
)
def test_text_recipes_that_cannot_be_trained_are_refused(change: list[str], what: str) -> None:
    with pytest.raises(VqlinkError, match=what):
        load_recipe("text-q16", change)


def test_the_shortest_and_the_longest_frame_arrive(code: TextCode) -> None:
    assert code.tokenizer is not None
    longest = "a" + " a" * (LONGEST - 1)
    assert [len(code.tokens(s)) for s in ("a", longest)] == [1, LONGEST]
    sent = code.transmit(["a", longest], Point(probability=0.1), generator=stream(0, "x"))
    assert sent.received == ("a", longest)
    with pytest.raises(VqlinkError, match="65 tokens"):
        code.tokens(longest + " a")


def test_a_tokenizer_of_other_weights_is_refused(code: TextCode, tmp_path: Path) -> None:
    recipe = load_recipe("text-q32", ["source.vocabulary=120", *NET])
    many = ["".join(chr(0x400 + 7 * i + j) for j in range(5)) for i in range(60)]
    save_text_weights(tmp_path, code.state_dict(), recipe, train_tokenizer(many, 400))
    with pytest.raises(VqlinkError, match="different weights"):
        load_text_code(tmp_path)
    assert code.tokenizer is not None
    save_text_weights(tmp_path, code.state_dict(), recipe, code.tokenizer)
    assert load_text_code(tmp_path)[0].tokens("A man") == code.tokens("A man")


def test_bits_in_error_read_up_to_their_first_impossible_symbol() -> None:
    for level in ("word", "char"):
        code = sentence_code(level)
        bits = code.encode("A man rides Ξenophon.")
        whole, ended = code.decode(bits)
        assert (whole, ended) == ("A man rides Ξenophon.", True)
        read, ended = code.decode(bits[:-1])
        assert not ended
        assert read.startswith("A man rides Ξeno")


def test_no_sentences_are_no_transmission(code: TextCode) -> None:
    link = parse_text_separation("huffman+ldpc5g", BitsLink(BEC()), code.sentence_uses)
    for system in (code, link):
        sent = system.transmit([], Point(probability=0.1), generator=[])
        assert (sent.received, sent.uses.dtype, len(sent.outage)) == ((), torch.int64, 0)


def test_each_sentence_has_its_generator(code: TextCode) -> None:
    link = parse_text_separation("huffman+ldpc5g", BitsLink(BEC()), code.sentence_uses)
    for system in (code, link):
        with pytest.raises(ValueError, match="3 generators for a batch of 2"):
            system.transmit(
                LINES, Point(probability=0.1), generator=[stream(0, "x", i) for i in range(3)]
            )


def test_sentences_are_cut_until_every_system_can_send_them(code: TextCode) -> None:
    other = small_code(["zebra xylophone quiz", "jug wax vex"])  # cuts what is here into letters
    link = parse_text_separation("huffman+turbo", BitsLink(BEC()), code.sentence_uses)
    dots, words = "." * LONGEST, "man rides " * 40
    with pytest.raises(VqlinkError, match="65 tokens"):  # one for the start, too
        code.tokens(dots)
    for transceivers in ([code], [link], [link, code, other]):
        systems = [TextSystem(str(i), t) for i, t in enumerate(transceivers)]
        parts = frames(systems, [dots, words, "man"])
        assert "".join(parts).replace(" ", "") == (dots + words + "man").replace(" ", "")
        for part in parts:
            assert all(t.sentence_uses(part) > 0 for t in transceivers)
    assert len(frames([TextSystem("code", code)], [dots])) == 2
    with pytest.raises(VqlinkError, match="nothing to send"):
        frames([TextSystem("code", code)], [" "])


def test_a_sentence_of_broken_bytes_is_refused(code: TextCode) -> None:
    with pytest.raises(VqlinkError, match="no UTF-8"):
        code.tokens(b"A \xff man".decode(errors="surrogateescape"))


def test_misspelt_metrics_and_mixed_points_are_refused(code: TextCode) -> None:
    systems, channel = [TextSystem("code", code)], parse_channel("bec")
    with pytest.raises(VqlinkError, match="did you mean bleu"):
        send_text(LINES, systems, channel=channel, point=Point(probability=0.1), metrics=["bleu_4"])
    mixed = Point(probability=torch.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match="at one point"):
        send_text(LINES, systems, channel=channel, point=mixed, metrics=["token_accuracy"])


def test_an_empty_reception_scores_nothing() -> None:
    for metric in (metrics.token_accuracy, metrics.sentence_accuracy, metrics.similarity):
        assert metric(["", " "], ["", "A man."]).tolist() == [0.0, 0.0]


def test_embeddings_are_made_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set's order differs from run to run, and a net's rounding with the batch."""
    seen: list[str] = []

    def embed(sentences: Sequence[str]) -> torch.Tensor:
        seen.extend(sentences)
        return torch.eye(len(sentences))

    monkeypatch.setattr(metrics, "_embed", embed)
    words = [f"{a}{b}" for a in "dbca" for b in "zyx"]
    metrics.similarity(words, words[::-1])
    assert seen == sorted(words)

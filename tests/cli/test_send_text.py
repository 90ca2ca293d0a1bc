"""``vqlink send`` of sentences and text files, with an untrained code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vqlink.cli.main import run
from vqlink.cli.send_text import is_text
from vqlink.config.load import load_recipe
from vqlink.config.text import build_text_code, save_text_weights
from vqlink.metrics import text as metrics
from vqlink.sources.text import train_tokenizer

LINES = ["A man rides a horse.", "Two dogs run on the grass, don't they?"]


@pytest.fixture(scope="module", name="code")
def fixture_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    net = ["encoder.width=32", "encoder.heads=2", "decoder.width=32", "decoder.heads=2"]
    recipe = load_recipe("text-q16", ["source.vocabulary=120", *net])
    tensors = build_text_code(recipe).state_dict()
    save_text_weights(folder, tensors, recipe, train_tokenizer(LINES, 120))
    return folder


@pytest.fixture(autouse=True)
def fixture_quick_similarity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding net takes seconds to load, and has tests of its own."""
    kept = [m for m in metrics.TEXT_METRICS if m.name != "similarity"]
    fake = metrics.TextMetric("similarity", metrics.token_accuracy)
    monkeypatch.setattr("vqlink.evaluation.text.TEXT_METRICS", (fake, *kept))


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = run([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_sentence_by_every_system_at_equal_uses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, code: Path
) -> None:
    status, text, errors = call(
        capsys, "send", " ".join(LINES), "--channel", "bec", "--erasure", 0.1, "--system", code,
        "--against", "huffman+ldpc5g", "huffman-char+turbo", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert status == 0, errors
    document = json.loads(text)
    assert document["sentences"] == LINES
    rows = document["rows"]
    assert [row["system"] for row in rows][1:] == ["huffman+ldpc5g", "huffman-char+turbo"]
    assert len({row["uses"] for row in rows}) == 1
    assert all(row["point"] == {"probability": 0.1} for row in rows)
    assert rows[1]["received"] == LINES
    assert rows[1]["bleu4"] == 1.0
    assert (tmp_path / "sent.txt").read_text() == "\n".join(LINES) + "\n"
    assert (tmp_path / "huffman_ldpc5g.txt").read_text() == "\n".join(LINES) + "\n"
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3 * 2 * 7


def test_what_each_receiver_reads_is_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, code: Path
) -> None:
    source = tmp_path / "text.txt"
    long = "A man rides a horse, and " * 6 + "a man rides a horse."
    source.write_text("\n".join((*LINES, long)) + "\nEin 😀 日本.\n", encoding="utf-8")
    status, text, errors = call(
        capsys, "send", source, "--system", code, "--snr", 14, "--modem", "qpsk",
        "--against", "huffman+ldpc5g", "--out", tmp_path / "out",
    )  # fmt: skip
    assert status == 0, errors
    assert "huffman+ldpc5g       A man rides a horse." in text
    assert "not in its vocabulary" in text
    assert "4 sentences over awgn at 14 dB" in text
    assert f"sent                 {long}\n" in text  # in a pipe, lines are not broken


def test_long_texts_go_in_sentences(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, code: Path
) -> None:
    source = tmp_path / "long.txt"
    source.write_text("A man rides a horse. " * 200 + "dogs run " * 200 + "x" * 300)
    status, text, errors = call(
        capsys, "send", source, "--system", code, "--channel", "bec", "--erasure", 0,
        "--against", "huffman+ldpc5g", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert status == 0, errors
    document = json.loads(text)
    joined = " ".join(document["sentences"]).replace("x ", "x").split()
    assert joined[:1000] == ("A man rides a horse. " * 200).split()
    assert joined[1000:1400] == ("dogs run " * 200).split()
    assert len(document["sentences"]) > 200


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["", "--channel", "bec", "--erasure", "0.1"], "nothing to send"),
        (["  \n ", "--channel", "awgn"], "nothing to send"),
        (["A dog.", "--channel", "bec"], "--erasure"),
        (["A dog.", "--channel", "bsc", "--flip", "nan"], "from 0 to 1"),
        (["A dog.", "--channel", "bec", "--erasure", "1.5"], "from 0 to 1"),
        (["A dog.", "--channel", "awgn", "--erasure", "0.5"], "--channel bec"),
        (["A dog.", "--channel", "packet"], "not sent over packet"),
        (["A dog.", "--channel", "bce", "--snr", "3"], "did you mean bsc"),
        (["A dog.", "--system", "text-q33"], "text-q33"),
        (["A dog.", "--modem", "16qam"], "bpsk or qpsk"),
        (["A dog.", "--against", "huffman+polar"], "huffman+turbo"),
        (["missing.txt"], "no file"),
        (["photo of me.png", "--erasure", "0.5"], "--erasure"),
    ],
)
def test_mistakes_end_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, code: Path, words: list[str], what: str
) -> None:
    system = [] if "--system" in words else ["--system", str(code)]
    status, _, errors = call(capsys, "send", *words, *system, "--out", tmp_path)
    assert status == 2
    assert what in errors
    assert len(errors.strip().splitlines()) == 1


def test_pictures_stay_pictures(tmp_path: Path, picture_path: Path, code: Path) -> None:
    assert not is_text("sample:astronaut", "awgn", [])
    assert not is_text(str(picture_path), "awgn", [])
    for name in ("my holiday.jpg", "my photo.jp2", "my photo.heif", "my song.m4a"):
        assert not is_text(name, "awgn", [])
    assert is_text("A dog runs.", "awgn", [])
    assert is_text("hello", "awgn", ["text-q32"])
    assert is_text("hello", "awgn", [str(code)])
    assert not is_text("hello", "awgn", ["jscc-awgn-1-12"])
    assert is_text("hello", "bec", [])
    assert is_text("😀", "awgn", [])


def test_codes_of_one_kind_are_refused_by_the_other(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    picture_path: Path,
    code: Path,
    weights: Path,
) -> None:
    status, _, errors = call(capsys, "send", picture_path, "--system", code, "--out", tmp_path)
    assert (status, "is for sentences, not for pictures" in errors) == (2, True)
    status, _, errors = call(capsys, "send", "A dog.", "--system", weights, "--out", tmp_path)
    assert (status, "is for pictures, not for sentences" in errors) == (2, True)


def test_without_the_extra_the_words_are_counted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, code: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    bare = tuple(m for m in metrics.TEXT_METRICS if m.package is None)
    missing = metrics.TextMetric("similarity", metrics.similarity, "no_such_package")
    monkeypatch.setattr("vqlink.evaluation.text.TEXT_METRICS", (missing, *bare))
    status, text, errors = call(
        capsys, "send", LINES[0], "--system", code, "--snr", 14, "--out", tmp_path,
    )  # fmt: skip
    assert status == 0, errors
    assert "vqlink[text]" in text
    assert {m.name for m in bare} == {"token_accuracy", "sentence_accuracy"}

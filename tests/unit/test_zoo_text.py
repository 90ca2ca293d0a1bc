"""The text codes that ship: what the manifest says is what they are and give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import vqlink
from vqlink.config.load import load_recipe, recipe_names
from vqlink.config.weights import read_config, sha256_of
from vqlink.evaluation.text import DEFAULT_CODE
from vqlink.protocols import Point, VqlinkError
from vqlink.rng import stream
from vqlink.zoo import text as zoo
from vqlink.zoo.text import TextEntry, load_text_system, measure_expected, text_entries


@pytest.mark.parametrize("entry", text_entries(), ids=lambda e: e.name)
def test_manifest_matches_the_files(entry: TextEntry) -> None:
    assert sha256_of(entry.folder / "model.safetensors") == entry.sha256
    assert sha256_of(entry.folder / "tokenizer.json") == entry.tokenizer_sha256
    code, recipe, _ = load_text_system(entry.name)
    assert recipe.rho == entry.bits
    assert sum(p.numel() for p in code.parameters()) == entry.params
    assert (entry.folder / "model.safetensors").stat().st_size < 6e6


@pytest.mark.parametrize("entry", text_entries(), ids=lambda e: e.name)
def test_expected_figure(entry: TextEntry) -> None:
    assert measure_expected(entry.folder) == pytest.approx(entry.expected, abs=0.02)


@pytest.mark.parametrize("entry", text_entries(), ids=lambda e: e.name)
def test_weights_come_from_a_shipped_recipe(entry: TextEntry) -> None:
    assert entry.recipe in recipe_names()
    shipped, used = load_recipe(entry.recipe), read_config(entry.folder)
    assert used.model_copy(update={"deviations": shipped.deviations}) == shipped


@pytest.mark.skipif(not text_entries(), reason="no text weights")
def test_a_sentence_arrives() -> None:
    code = vqlink.load_text(DEFAULT_CODE)
    sentence = "A man is riding a bicycle down the street."
    sent = code.transmit([sentence], Point(probability=0.2), generator=stream(0, "n"))
    assert sent.received == (sentence,)


@pytest.mark.skipif(not text_entries(), reason="no text weights")
@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_damaged_files_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    entry = text_entries()[0]
    shutil.copytree(zoo.ZOO / "weights" / entry.name, tmp_path / "weights" / entry.name)
    monkeypatch.setattr(zoo, "ZOO", tmp_path)
    load_text_system(entry.name)
    path = tmp_path / "weights" / entry.name / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(VqlinkError, match="damaged"):
        load_text_system(entry.name)

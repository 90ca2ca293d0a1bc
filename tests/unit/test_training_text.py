"""Training of text codes: one vocabulary for all ranks, resumptions and beginnings of a run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from vqlink.cli.train import _initial_folder
from vqlink.config.load import load_recipe
from vqlink.config.schema import Recipe
from vqlink.config.text import TOKENIZER_NAME, build_text_code, save_text_weights
from vqlink.links.bits import LONGEST
from vqlink.sources.text import read_tokenizer, train_tokenizer
from vqlink.training.checkpoint import STATE_NAME
from vqlink.training.ema import Ema
from vqlink.training.loop import _tokenizer, train
from vqlink.training.trainer import Trainer
from vqlink.training.validation import TextValidation

LINES = ["A man rides a horse.", "Two dogs run on the grass."]
OTHERS = ["Zwei Hunde laufen im Gras."]


@pytest.fixture(name="recipe")
def fixture_recipe(tmp_path: Path) -> Recipe:
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("\n".join([*LINES, "dog " * 100]) + "\n")
    net = [f"{end}.{what}" for end in ("encoder", "decoder") for what in ("width=16", "heads=2")]
    return load_recipe(
        "text-q8",
        [f"source.train={sentences}", f"source.validation={sentences}", "source.vocabulary=100",
         "evaluation.samples=3", "training.steps=1", "training.messages=2", *net],
    )  # fmt: skip


def test_a_run_keeps_its_vocabulary(tmp_path: Path, recipe: Recipe) -> None:
    """Trained again, few sentences may give another; here other sentences surely do."""
    folder = tmp_path / "run"
    assert train(recipe, folder, progress=False).complete
    first = read_tokenizer(folder / "weights" / TOKENIZER_NAME).get_vocab()
    (tmp_path / "sentences.txt").write_text("\n".join(OTHERS) + "\n")
    fabric = Fabric(devices=1, accelerator="cpu")
    assert _tokenizer(fabric, recipe, folder, None).get_vocab() == first
    assert _tokenizer(fabric, recipe, None, None).get_vocab() != first


def test_dropout_resumes_bit_for_bit(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It draws from torch's global generator, which a new process has in another state."""
    training = recipe.training.model_copy(update={"steps": 4})
    encoder = recipe.encoder.model_copy(update={"dropout": 0.3})
    # One vocabulary for both runs: trained on so few sentences it is not the same each time.
    tokenizer, place = train_tokenizer(LINES, 100), str(tmp_path / "tokenizer.json")
    tokenizer.save(place)
    source = recipe.source.model_copy(
        update={"tokenizer": place, "vocabulary": tokenizer.get_vocab_size()}
    )
    recipe = recipe.model_copy(update={"training": training, "encoder": encoder, "source": source})
    torch.manual_seed(1)
    train(recipe, tmp_path / "whole", progress=False)
    whole = load_file(tmp_path / "whole" / STATE_NAME)
    step = Trainer.run_step

    def stopping(self: Trainer) -> dict[str, Tensor]:
        if self.step == 1:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    monkeypatch.setattr(Trainer, "run_step", stopping)
    torch.manual_seed(2)
    assert train(recipe, tmp_path / "run", progress=False).step == 2
    monkeypatch.undo()
    torch.manual_seed(3)
    assert train(recipe, tmp_path / "run", resume=True, progress=False).complete
    parts = load_file(tmp_path / "run" / STATE_NAME)
    assert all(torch.equal(parts[name], values) for name, values in whole.items())


def test_a_run_takes_the_vocabulary_of_what_it_starts_from(tmp_path: Path, recipe: Recipe) -> None:
    start = tmp_path / "start"
    tokenizer = train_tokenizer(OTHERS, 100)
    save_text_weights(start, build_text_code(recipe).state_dict(), recipe, tokenizer)
    fabric = Fabric(devices=1, accelerator="cpu")
    assert _tokenizer(fabric, recipe, None, start).get_vocab() == tokenizer.get_vocab()
    larger = recipe.source.model_copy(update={"vocabulary": 110})
    other = recipe.model_copy(update={"source": larger})
    assert _tokenizer(fabric, other, None, start).get_vocab() != tokenizer.get_vocab()


def test_a_text_code_of_the_zoo_is_a_beginning() -> None:
    recipe = load_recipe("text-q32", ["training.init_from=text-q16"])
    folder = _initial_folder(recipe)
    assert folder is not None
    assert (folder / TOKENIZER_NAME).is_file()


def test_sentences_that_no_frame_holds_are_not_validated(recipe: Recipe) -> None:
    tokenizer = train_tokenizer(LINES, 100)
    validation = TextValidation(recipe, tokenizer)
    assert [len(tokens) <= LONGEST for tokens in validation.sent] == [True, True]
    assert validation.run(Ema(build_text_code(recipe), 0.9))

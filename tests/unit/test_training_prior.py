"""Priors from recipe to pictures: training, resumption, weights, ``vqlink sample``."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import small_recipe
from vqlink.cli.main import run
from vqlink.config.build import build_system
from vqlink.config.load import recipe_names
from vqlink.config.prior import (
    PriorRecipe,
    load_prior_recipe,
    read_prior_file,
)
from vqlink.config.weights import MODEL_NAME, save_weights, sha256_of
from vqlink.errors import VqlinkError
from vqlink.sources.images import write_image
from vqlink.training.prior import train_prior
from vqlink.zoo.catalogue import find
from vqlink.zoo.prior import PriorEntry, codec_folder, load_prior, measure_expected, prior_entries


@pytest.fixture(name="codec")
def fixture_codec(tmp_path: Path) -> Path:
    recipe = small_recipe("hrvqvae-cifar10", "quantizer.branches=[4, 4, 2]")
    folder = tmp_path / "codec"
    save_weights(folder, build_system(recipe).state_dict(), recipe)
    return folder


def recipe_of(codec: Path, pictures: Path, **training: int) -> PriorRecipe:
    return PriorRecipe.model_validate(
        {
            "name": "small", "paper": "003", "codec": str(codec),
            "source": {"train": str(pictures), "validation": str(pictures), "crop": 32},
            "net": {"width": 8, "depth": 2},
            "training": {"steps": 6, "batch": 2, "log_every": 1, "validate_every": 3, **training},
        }
    )  # fmt: skip


def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(
    codec: Path, picture_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(codec, picture_folder)
    assert train_prior(recipe, codec, tmp_path / "whole").complete

    def interrupt(step: int, _: str) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    part = train_prior(recipe, codec, tmp_path / "parts", report=interrupt)
    assert part.step == 3
    assert train_prior(recipe, codec, tmp_path / "parts", resume=True).complete
    for file in ("state.safetensors", "weights/model.safetensors"):
        whole, parts = (load_file(tmp_path / run_ / file) for run_ in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
    records = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert records[-1]["bits"] < 1.2 * records[-1]["fixed_bits"]


def test_sampling_from_the_command_line(
    codec: Path, picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(recipe_of(codec, picture_folder).model_dump(mode="json")))
    assert run(["train", str(file), "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"]
    weights, grid = str(tmp_path / "run/weights"), tmp_path / "grid.png"
    assert run(["sample", weights, "-n", "5", "--side", "16", "--out", str(grid), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 5
    assert Image.open(grid).size == (3 * 18 - 2, 2 * 18 - 2)
    first = grid.read_bytes()
    assert run(["sample", weights, "-n", "5", "--side", "16", "--out", str(grid)]) == 0
    assert grid.read_bytes() == first
    for words, message in (
        (["nobody"], "no prior named"),
        ([weights, "--label", "1"], "has no classes"),
        ([weights, "--side", "20"], "multiple of 8"),
        ([weights, "--temperature", "0"], "temperature"),
        ([weights, "--out", "x.jpg"], "PNG"),
    ):
        capsys.readouterr()
        assert run(["sample", *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_classes_come_from_a_column(codec: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def picture() -> dict[str, object]:
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    table = pyarrow.table({"image": [picture() for _ in range(6)], "label": [0, 1, 2, 0, 1, 2]})
    path = tmp_path / "pictures.parquet"
    pyarrow.parquet.write_table(table, path)
    plain = recipe_of(codec, path)
    source = plain.source.model_copy(update={"label": "label"})
    recipe = plain.model_copy(
        update={"source": source, "net": plain.net.model_copy(update={"classes": 3})}
    )
    assert train_prior(recipe, codec, tmp_path / "run").complete
    prior = load_prior(str(tmp_path / "run/weights"))
    images = prior.sample(
        2, (8, 8), generator=torch.Generator().manual_seed(0), label=torch.tensor([0, 2])
    )
    assert images.shape == (2, 3, 8, 8)
    wrong = recipe.model_copy(update={"source": source.model_copy(update={"label": "breed"})})
    with pytest.raises(VqlinkError, match="no column 'breed'"):
        train_prior(wrong, codec, tmp_path / "other")


def test_a_folder_of_a_codecs_name_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hrvqvae-cifar10").mkdir()
    monkeypatch.chdir(tmp_path)
    assert codec_folder("hrvqvae-cifar10") == find("hrvqvae-cifar10").folder
    (tmp_path / "mine").mkdir()
    assert codec_folder("mine") == Path("mine")
    with pytest.raises(VqlinkError, match="no codec named 'hrvqvae-cifar11'; did you mean"):
        codec_folder("hrvqvae-cifar11")


def test_validation_pictures_of_a_prior_are_large_enough(
    codec: Path, picture_folder: Path, tmp_path: Path
) -> None:
    tiny = tmp_path / "tiny.png"
    write_image(torch.zeros(3, 16, 16), tiny)
    recipe = recipe_of(codec, picture_folder)
    source = recipe.source.model_copy(update={"validation": str(tiny)})
    recipe = recipe.model_copy(update={"source": source})
    with pytest.raises(VqlinkError, match=r"tiny\.png is smaller"):
        train_prior(recipe, codec, tmp_path / "run")


def test_a_prior_belongs_to_its_codec(codec: Path, picture_folder: Path, tmp_path: Path) -> None:
    train_prior(recipe_of(codec, picture_folder, steps=1), codec, tmp_path / "run")
    recipe = small_recipe("hrvqvae-cifar10", "quantizer.branches=[4, 4, 2]", "training.seed=1")
    save_weights(codec, build_system(recipe).state_dict(), recipe)
    with pytest.raises(VqlinkError, match="prior of other weights"):
        load_prior(str(tmp_path / "run/weights"))


@pytest.mark.parametrize("name", recipe_names("prior"))
def test_shipped_recipes_are_valid(name: str) -> None:
    recipe = load_prior_recipe(name)
    assert recipe.name == name
    assert recipe.deviations
    with pytest.raises(VqlinkError, match="did you mean"):
        load_prior_recipe(name + "s")


@pytest.mark.parametrize("entry", prior_entries(), ids=lambda entry: entry.name)
def test_what_ships_is_what_the_manifest_says(entry: PriorEntry) -> None:
    assert sha256_of(entry.folder / MODEL_NAME) == entry.sha256
    assert read_prior_file(entry.folder).recipe == load_prior_recipe(entry.name)
    prior = load_prior(entry.name)
    assert sum(p.numel() for p in prior.parameters()) == entry.params
    assert measure_expected(entry.folder) == pytest.approx(entry.bits, rel=0.005)
    assert entry.bits < 0.9 * prior.fixed_bits(32, 32)


def test_recipes_verbs_know_priors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "hrvqvae-cifar10-prior"
    assert run(["recipes", "ls"]) == 0
    assert name in capsys.readouterr().out
    assert run(["recipes", "cp", name, str(tmp_path / "mine.yaml")]) == 0
    assert run(["recipes", "validate", str(tmp_path / "mine.yaml"), name]) == 0
    capsys.readouterr()
    for words, message in (
        (["train", name, "--set", "net.wdth=3"], "did you mean net.width"),
        (["train", name, "--devices", "2"], "one process"),
        (["send", "sample:cat", "--system", name], "vqlink sample"),
        (["evaluate", name, "--data", "x", "--snr", "3"], "vqlink sample"),
    ):
        assert run(words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1

"""Every shipped recipe: what it says about itself, and two steps of it."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import yaml
from lightning_fabric import Fabric

from tests.conftest import small_recipe
from vqlink.config.build import build_system
from vqlink.config.load import RECIPES, load_recipe, recipe_names
from vqlink.config.quantizer_parts import IdentityConfig, LearnedConstellationConfig, QAMConfig
from vqlink.config.text import load_text_code
from vqlink.config.weights import load_weights
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.systems.jscc import JSCC
from vqlink.training.loop import _source, train
from vqlink.training.trainer import Trainer
from vqlink.zoo.catalogue import entries

TEXT = [name for name in recipe_names() if name.startswith("text-")]
NAMES = [name for name in recipe_names() if name not in TEXT]
RATIOS = {"1-6": 6, "1-12": 12, "1-24": 24}


def test_the_codes_that_the_zoo_ships_have_recipes() -> None:
    codes = {f"jscc-{q}awgn-{ratio}" for q in ("", "q64-") for ratio in RATIOS}
    assert codes <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_name_says_what_the_recipe_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.figure.startswith(("Fig", "Table"))
    assert recipe.deviations
    if name.startswith(("vqdeepsc", "hrvqvae")):
        assert recipe.paper == {"v": "004", "h": "003"}[name[0]]
        return
    stages = "start|middle|late|deep|long|log|log-start"
    code = re.fullmatch(
        rf"(?:deep)?jsccq?-(?:([ql])(\d+)-)?(awgn|rayleigh)-(1-\d+)(?:-(?:{stages}))?", name
    )
    assert code is not None
    assert recipe.rho == Fraction(1, RATIOS[code[4]])
    if code[1] is None:
        assert isinstance(recipe.quantizer, IdentityConfig)
    else:
        kind = {"q": QAMConfig, "l": LearnedConstellationConfig}[code[1]]
        assert isinstance(recipe.quantizer, kind)
        assert recipe.quantizer.order == int(code[2])
    assert recipe.link.channel.kind == code[3]
    if not name.startswith("deepjsccq"):
        # The code for fading meets more than its mean SNR.
        assert recipe.training.snr_db == (0.0, 24.0 if "log" in name else 20.0)
    assert recipe.paper == "001"


@pytest.mark.parametrize("name", [*NAMES, *TEXT])
def test_overlays_are_small_and_stand_on_a_base(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text()
    assert yaml.safe_load(text)["base"].startswith("base/")
    assert len(text.splitlines()) <= 12


@pytest.mark.parametrize("name", NAMES)
def test_uses_match_the_ratio(name: str) -> None:
    """The built system's channel uses on a whole-block picture are rho times its values."""
    recipe, system = small_recipe(name), build_system(small_recipe(name))
    if isinstance(system, JSCC):
        assert system.uses(64, 96) == round(recipe.rho * 64 * 96 * 3)
    elif system.codebooks:  # CRCs and whole bytes come on top
        exact = float(recipe.rho * 640 * 960 * 3)
        assert exact < system.uses(640, 960) < 1.01 * exact


@pytest.mark.parametrize("name", NAMES)
def test_init_from_is_another_recipes_run(name: str) -> None:
    start = load_recipe(name).training.init_from
    if start is not None and start not in {entry.name for entry in entries()}:
        folder = Path(start)
        assert folder.parts[0] == "runs"
        assert folder.name == "weights"
        assert folder.parts[1] in set(NAMES) - {name}


@pytest.mark.parametrize("name", NAMES)
def test_two_steps(name: str, picture_folder: Path, tmp_path: Path) -> None:
    recipe = small_recipe(
        name,
        *[
            f"source.train={picture_folder}",
            f"source.validation={picture_folder}",
            "source.crop=16",
            "training.steps=2",
            "training.messages=1",
            "training.windows=2",
            "training.log_every=1",
            "evaluation.samples=1",
        ],
    )
    assert train(recipe, tmp_path / name, progress=False).complete
    lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [(r["kind"], r["step"]) for r in records] == [
        ("train", 1), ("train", 2), ("validation", 2),
    ]  # fmt: skip
    assert all(r["loss"] > 0 or r.get("log_mse", 0) < 0 for r in records[:2])
    # The compact net carries a picture from the start, by its linear branch.
    if recipe.encoder.kind in ("multiscale", "vqvae"):
        assert any(key.startswith("psnr") for key in records[2])
        return
    assert records[2]["psnr@20dB"] > (10 if recipe.encoder.kind == "compact" else 5)
    system, stored = load_weights(tmp_path / name / "weights")
    assert stored == recipe
    assert system.name == name


@pytest.mark.parametrize("name", TEXT)
def test_text_recipes(name: str, tmp_path: Path) -> None:
    """What they say, and two steps of each with a small net."""
    shipped = load_recipe(name)
    assert (shipped.name, shipped.paper) == (name, "000")
    assert shipped.rho == int(name.split("-")[1].removeprefix("q"))
    assert shipped.deviations
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("A man rides a horse.\nTwo dogs run on the grass.\n" * 4)
    recipe = load_recipe(
        name,
        [
            f"source.train={sentences}",
            f"source.validation={sentences}",
            "source.vocabulary=100",
            "source.tokenizer=null",
            "encoder.width=40",
            "encoder.heads=2",
            "decoder.width=40",
            "decoder.heads=2",
            "training.steps=2",
            "training.messages=4",
            "training.log_every=1",
            "evaluation.samples=2",
        ],
    )
    assert train(recipe, tmp_path / name, progress=False).complete
    lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [(r["kind"], r["step"]) for r in records] == [
        ("train", 1), ("train", 2), ("validation", 2),
    ]  # fmt: skip
    assert {f"token_accuracy@{p}" for p in ("0", "0.2", "0.5", "0.8")} <= set(records[2])
    code, stored = load_text_code(tmp_path / name / "weights")
    assert stored == recipe
    sent = code.transmit(["A man rides."], Point(probability=0.0), generator=stream(0, "n"))
    assert len(sent.received) == 1


def test_a_text_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("A man rides a horse.\nTwo dogs run on the grass.\n" * 4)
    sizes = ["encoder.width=40", "encoder.heads=2", "decoder.width=40", "decoder.heads=2"]
    recipe = load_recipe(
        "text-q8",
        [f"source.train={sentences}", "source.validation=null", "source.vocabulary=100", *sizes,
         "training.steps=6", "training.messages=4"],
    )  # fmt: skip
    source = _source(recipe, 0)
    fabric = Fabric(devices=1, accelerator="cpu")
    whole, half = (Trainer(recipe, tmp_path / n, fabric, source) for n in ("whole", "half"))
    for _ in range(6):
        whole.run_step()
    for _ in range(3):
        half.run_step()
    half.save()
    rest = Trainer(recipe, tmp_path / "half", fabric, source, resume=True)
    for _ in range(3):
        rest.run_step()
    for name, tensor in whole.system.state_dict().items():
        assert torch.equal(tensor, rest.system.state_dict()[name]), name

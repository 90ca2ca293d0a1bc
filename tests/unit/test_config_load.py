"""Recipes from files: overlays, overrides, the hash, and what mistakes say."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from vqlink.config.load import load_recipe, overlay, read_tree, recipe_hash, recipe_names
from vqlink.config.quantizer_parts import (
    CodebooksConfig,
    IdentityConfig,
    QAMConfig,
    ResidualConfig,
)
from vqlink.config.speech import EnvelopeConfig
from vqlink.protocols import VqlinkError
from vqlink.quantizers.gradients import check_learning

NAME = "jscc-q64-awgn-1-12"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_mappings_merge_and_all_else_is_replaced() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    changes = {"a": {"y": [3]}, "c": None}
    assert overlay(base, changes) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": None}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}  # untouched


def test_a_section_of_another_kind_is_replaced_whole() -> None:
    base = {"q": {"kind": "qam", "order": 64}}
    assert overlay(base, {"q": {"kind": "identity"}}) == {"q": {"kind": "identity"}}
    assert overlay(base, {"q": {"kind": "qam", "hardness": 1}})["q"]["order"] == 64
    assert overlay(base, {"q": {"hardness": 1}})["q"]["order"] == 64


def test_a_file_lies_over_bases_beside_it_and_over_shipped_ones(tmp_path: Path) -> None:
    write(tmp_path / "mine.yaml", f"base: {NAME}.yaml\nname: mine\ntraining: {{steps: 7}}\n")
    top = write(tmp_path / "top.yaml", "base: mine.yaml\nname: top\n")
    recipe, shipped = load_recipe(top), load_recipe(NAME)
    assert (recipe.name, recipe.training.steps) == ("top", 7)
    assert recipe.quantizer == shipped.quantizer
    assert recipe.training.windows == shipped.training.windows


def test_beside_the_file_goes_before_shipped(tmp_path: Path) -> None:
    write(tmp_path / "base" / "jscc.yaml", "paper: local\n")
    top = write(tmp_path / "top.yaml", "base: base/jscc.yaml\n")
    assert read_tree(top) == {"paper": "local"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"top.yaml": "base: top.yaml\n"}, "circle"),
        ({"top.yaml": "base: a.yaml\n", "a.yaml": "base: top.yaml\n"}, "circle"),
        ({"top.yaml": "base: nowhere.yaml\n"}, "nowhere.yaml"),
        ({"top.yaml": "[1, 2]\n"}, "mapping"),
        ({"top.yaml": ""}, "mapping"),
        ({"top.yaml": "a: [1\n"}, "no YAML"),
        ({"top.yaml": "a: !!python/object/apply:os.getcwd []\n"}, "no YAML"),
        ({}, "can't be read"),
    ],
)
def test_unusable_files(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(VqlinkError, match=said) as caught:
        load_recipe(tmp_path / "top.yaml")
    assert "\n" not in str(caught.value)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "top.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(VqlinkError, match="no text file"):
        load_recipe(tmp_path / "top.yaml")


def test_overrides_are_yaml_and_come_in_turn() -> None:
    recipe = load_recipe(
        NAME,
        [
            "training.steps=10",
            "training.learning_rate=1e-4",  # a text in YAML 1.1: the schema makes it a number
            "training.snr_db=[3, 5]",
            "training.init_from=null",
            "training.steps=11",
        ],
    )
    assert recipe.training.steps == 11
    assert recipe.training.learning_rate == 1e-4
    assert recipe.training.snr_db == (3.0, 5.0)
    assert recipe.training.init_from is None


def test_overrides_change_a_kind() -> None:
    assert load_recipe(NAME, ["quantizer.kind=identity"]).quantizer == IdentityConfig()
    qam = load_recipe("jscc-awgn-1-12", ["quantizer.kind=qam", "quantizer.order=16"]).quantizer
    assert qam == QAMConfig(order=16)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.stesp=1", r"unknown key training\.stesp; did you mean training\.steps\?"),
        ("steps=1", r"unknown key steps; did you mean training\.steps\?"),
        ("training.lerning_rate=1", r"did you mean training\.learning_rate\?"),
        ("training.steps", "section.key=value"),
        ("training..steps=1", "section.key=value"),
        ("=1", "section.key=value"),
        ("training.steps=[1", "no YAML value"),
        ("training.steps=many", r"training\.steps: .*integer"),
        ("training.steps=0", r"training\.steps: .*greater than or equal to 1"),
        ("training=3", r"training: .*"),
        ("training.snr_db=[1]", r"training\.snr_db\.1 is missing"),
        ("training.precision=int8", r"training\.precision: .*float32"),
        ("link.channel.kind=aether", r"link\.channel: .*awgn"),
        ("link.channel.k_factor=2", r"link\.channel\.k_factor does not belong"),
        ("link.channel={kind: rician, kfactor: 2}", r"did you mean link\.channel\.k_factor\?"),
        ("losses={msee: 1}", r"losses\.msee: .*mse"),
        ("name=Not A Name", r"name: "),
    ],
)
def test_wrong_overrides_name_their_path(override: str, said: str) -> None:
    with pytest.raises(VqlinkError, match=said) as caught:
        load_recipe(NAME, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "part", [CodebooksConfig(sizes=(4,)), ResidualConfig(branches=(4,)), EnvelopeConfig()]
)
def test_codebooks_learn_in_recipes_as_quantizers_do(
    part: CodebooksConfig | ResidualConfig | EnvelopeConfig,
) -> None:
    ways = (get_args(type(part).model_fields[key].annotation) for key in ("gradient", "learning"))
    for gradient, learning in itertools.product(*ways):
        tree = {**part.model_dump(), "gradient": gradient, "learning": learning}
        try:
            check_learning(gradient, learning)
        except ValueError as error:
            with pytest.raises(ValidationError, match=str(error)):
                type(part).model_validate(tree)
        else:
            assert type(part).model_validate(tree).learning == learning


def test_a_loss_that_the_quantizer_lacks() -> None:
    with pytest.raises(VqlinkError, match="needs a quantizer with a constellation"):
        load_recipe("jscc-awgn-1-12", ["losses.kl=0.1"])


def test_an_unknown_key_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "top.yaml", f"base: {NAME}.yaml\ntraning: {{steps: 7}}\n")
    with pytest.raises(VqlinkError, match=r"unknown key traning; did you mean training\?"):
        load_recipe(path)


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(VqlinkError, match=r"did you mean jscc-q64-awgn-1-12\?"):
        load_recipe("jscc-q64-awng-1-12")


def test_hashes_outlast_new_keys() -> None:
    """Of the first weights, in the rows of results/; keys that came later count where set."""
    assert recipe_hash(load_recipe("jscc-awgn-1-12")) == "f4e2cb216723"
    other = load_recipe("jscc-awgn-1-12", ["training.betas=[0.5, 0.999]"])
    assert recipe_hash(other) != "f4e2cb216723"


def test_hash_names_the_experiment(tmp_path: Path) -> None:
    recipe = load_recipe(NAME)
    assert len(recipe_hash(recipe)) == 12
    assert int(recipe_hash(recipe), 16) >= 0
    seed = recipe.training.seed
    same = load_recipe(NAME, [f"training.seed={seed}"])
    assert recipe_hash(same) == recipe_hash(recipe)
    assert recipe_hash(load_recipe(NAME, [f"training.seed={seed + 1}"])) != recipe_hash(recipe)
    # How a number is written makes no difference, nor does the file it stands in.
    path = write(tmp_path / "copy.yaml", f"base: {NAME}.yaml\nlosses: {{mse: 1}}\n")
    assert recipe_hash(load_recipe(path)) == recipe_hash(recipe)


def test_no_two_shipped_recipes_are_one_experiment() -> None:
    hashes = {recipe_hash(load_recipe(name)) for name in recipe_names()}
    assert len(hashes) == len(recipe_names())

"""Weights folders: what a file keeps of the tensors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import small_recipe
from vqlink.config.build import build_system
from vqlink.config.classifier import load_classifier_weights
from vqlink.config.prior import load_prior_weights
from vqlink.config.speech_weights import load_speech_weights
from vqlink.config.text import load_text_code
from vqlink.config.weights import (
    CONFIG_NAME,
    MODEL_NAME,
    Storage,
    load_weights,
    read_tensors,
    save_weights,
)
from vqlink.errors import VqlinkError
from vqlink.zoo.kinds import all_entries
from vqlink.zoo.prior import codec_folder

LOADERS: dict[str, Callable[[Path], object]] = {
    "jscc-q64-awgn-1-24": load_weights,
    "text-q32": load_text_code,
    "speech-codec": load_speech_weights,
    "speech-jscc": load_speech_weights,
    "hrvqvae-cifar10-prior": partial(
        load_prior_weights, codec_folder=codec_folder("hrvqvae-cifar10")
    ),
    "cifar10-classifier": load_classifier_weights,
}
FOLDERS = {entry.name: entry.folder for entry in all_entries()}


def _is_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _change(path: Path, change: Callable[[dict[str, Tensor], str], None]) -> None:
    """Change a file's tensors, given the name of the one with the most dimensions."""
    tensors = load_file(path)
    change(tensors, max(tensors, key=lambda name: tensors[name].ndim))
    save_file(tensors, path)


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "config missing": (CONFIG_NAME, Path.unlink, "no weights folder: it has no config.json"),
    "config a folder": (CONFIG_NAME, _is_a_folder, "can't read .*config.json: Is a directory"),
    "config no text": (CONFIG_NAME, lambda p: p.write_bytes(b"\xff{"), "no readable JSON"),
    "config deep": (CONFIG_NAME, lambda p: p.write_text("[" * 200_000), "no readable JSON"),
    "config a list": (CONFIG_NAME, lambda p: p.write_text("[1]"), "config.json.*: Input should be"),
    "config of another": (
        CONFIG_NAME,
        lambda p: p.write_text('{"kind": "none"}'),
        "config.json",
    ),
    "tensors missing": (MODEL_NAME, Path.unlink, "no weights folder: it has no model.safetensors"),
    "tensors no such file": (MODEL_NAME, lambda p: p.write_bytes(b"PK"), "not a readable"),
    "one of another shape": (
        MODEL_NAME,
        lambda p: _change(p, lambda t, name: t.update({name: t[name].flatten()[1:].clone()})),
        "weights and config differ: .*size mismatch",
    ),
    "one missing": (
        MODEL_NAME,
        lambda p: _change(p, lambda t, name: t.__delitem__(name)),
        "weights and config differ: .*Missing key",
    ),
    "one too many": (
        MODEL_NAME,
        lambda p: _change(p, lambda t, name: t.update(other=t[name].clone())),
        "weights and config differ: .*Unexpected key",
    ),
}
"""What is the matter -> which file, what was done to it, and what is said."""


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_loader_tells_damage_in_one_line(name: str, damage: str, tmp_path: Path) -> None:
    shutil.copytree(FOLDERS[name], tmp_path, dirs_exist_ok=True)
    file, harm, said = DAMAGES[damage]
    harm(tmp_path / file)
    with pytest.raises(VqlinkError, match=said) as caught:
        LOADERS[name](tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("storage", "error"), [("float32", 0.0), ("float16", 5e-4), ("int8", 4e-3)]
)
def test_stored_tensors_come_back(tmp_path: Path, storage: Storage, error: float) -> None:
    recipe = small_recipe("jscc-l16-awgn-1-12", "encoder.width=[64, 64]")
    system = build_system(recipe)
    tensors = {name: t.clone() for name, t in system.state_dict().items()}
    save_weights(tmp_path, tensors, recipe, storage=storage)
    found = read_tensors(tmp_path)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        if tensor.is_floating_point() and tensor.numel():
            largest = tensor.abs().amax().clamp_min(1e-6)
            assert (found[name] - tensor).abs().amax() <= error * largest, name
        else:
            assert torch.equal(found[name], tensor)
    load_weights(tmp_path)


def test_int8_halves_half_precision_with_a_scale_for_each_channel(tmp_path: Path) -> None:
    recipe = small_recipe("jscc-awgn-1-12")
    kernel = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(0))
    kernel[5] *= 1e-4
    for storage in ("float16", "int8"):
        save_weights(tmp_path / storage, {"kernel": kernel}, recipe, storage=storage)
    sizes = [(tmp_path / s / MODEL_NAME).stat().st_size for s in ("int8", "float16")]
    assert sizes[0] < 0.55 * sizes[1]
    found = read_tensors(tmp_path / "int8")["kernel"]
    relative = (found - kernel).flatten(1).norm(dim=1) / kernel.flatten(1).norm(dim=1)
    assert relative.max() < 0.01, "a quiet channel is as exact as a loud one"

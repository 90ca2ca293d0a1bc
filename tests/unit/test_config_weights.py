"""Weights folders: what a file keeps of the tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import small_recipe
from vqlink.config.build import build_system
from vqlink.config.weights import MODEL_NAME, Storage, load_weights, read_tensors, save_weights


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

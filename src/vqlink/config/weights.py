"""Weights folders: ``config.json`` (the recipe) beside ``model.safetensors``. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vqlink.config.build import LearnedSystem, build_system
from vqlink.config.schema import Recipe, TextSource
from vqlink.protocols import VqlinkError

CONFIG_NAME, MODEL_NAME = "config.json", "model.safetensors"


def save_weights(
    folder: Path, tensors: Mapping[str, Tensor], recipe: Recipe, *, half: bool = False
) -> str:
    """Write a weights folder, each file atomically; returns the sha256 of the tensors' file.

    Args:
        half: store floating-point tensors in float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = {
        name: (t.half() if half and t.is_floating_point() else t).contiguous().cpu()
        for name, t in tensors.items()
    }
    model = folder / MODEL_NAME
    temporary = model.with_suffix(".partial")
    save_file(stored, temporary)
    os.replace(temporary, model)
    text = json.dumps(recipe.model_dump(mode="json"), indent=2) + "\n"
    config = folder / CONFIG_NAME
    temporary = config.with_suffix(".partial")
    temporary.write_text(text)
    os.replace(temporary, config)
    return sha256_of(model)


def read_config(folder: Path) -> Recipe:
    """The recipe in a weights folder.

    Raises:
        VqlinkError: when it is missing or no longer fits the schema.
    """
    path = folder / CONFIG_NAME
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise VqlinkError(f"{folder} is no weights folder: it has no {CONFIG_NAME}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise VqlinkError(f"{path}: {where}: {first['msg']}") from None


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The folder's tensors, in float32.

    Raises:
        VqlinkError: when the file is missing or is no safetensors file.
    """
    path = folder / MODEL_NAME
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise VqlinkError(f"{folder} is no weights folder: it has no {MODEL_NAME}") from None
    except (SafetensorError, OSError) as error:
        raise VqlinkError(f"{path} is not a readable safetensors file: {error}") from None
    return {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}


def load_weights(folder: Path) -> tuple[LearnedSystem, Recipe]:
    """The system of a weights folder, in evaluation mode, loaded strictly.

    Raises:
        VqlinkError: when the folder is incomplete or its tensors are not the recipe's.
    """
    recipe = read_config(folder)
    if isinstance(recipe.source, TextSource):
        raise VqlinkError(f"{folder} holds a code for text, not for pictures")
    system = build_system(recipe)
    try:
        system.load_state_dict(read_tensors(folder), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise VqlinkError(f"{folder}: weights and config differ: {reason}") from None
    system = system.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return system, recipe


def load_overlap(module: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Start ``module`` from another's tensors; where shapes differ, copy the leading overlap.

    So a code for one bandwidth ratio starts from that of another.

    Returns:
        The names that were copied only in part or not at all.
    """
    partial = []
    with torch.no_grad():
        for name, target in module.state_dict().items():
            source = tensors.get(name)
            if source is None or source.ndim != target.ndim:
                partial.append(name)
                continue
            if source.shape != target.shape:
                partial.append(name)
            overlap = tuple(
                slice(0, min(a, b)) for a, b in zip(source.shape, target.shape, strict=True)
            )
            target[overlap].copy_(source[overlap])
    return partial


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Weights folders: ``config.json`` (the recipe) beside ``model.safetensors``. No pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vqlink.config.build import LearnedSystem, build_system
from vqlink.config.load import reason_of
from vqlink.config.schema import Recipe
from vqlink.config.text_parts import TextSource
from vqlink.errors import one_line
from vqlink.protocols import VqlinkError

CONFIG_NAME, MODEL_NAME = "config.json", "model.safetensors"

Storage = Literal["float32", "float16", "int8"]
_Model = TypeVar("_Model", bound=BaseModel)

_SCALE = ".int8_scale"
_WORTH = 30_000  # values; the small layers at both ends of a net are the sensitive ones


def save_weights(
    folder: Path, tensors: Mapping[str, Tensor], recipe: Recipe, *, storage: Storage = "float32"
) -> str:
    """Write a weights folder, each file atomically; returns the sha256 of the tensors' file.

    Args:
        storage: of floating-point tensors. ``int8`` is for matrices and kernels, symmetric, with a
            scale for each output channel; what is smaller stays in float16.

    Raises:
        VqlinkError: when the folder can't be written to, or the disk is full; the files that were
            there stay as they are.
    """
    return write_folder(folder, tensors, recipe.model_dump(mode="json"), storage=storage)


def write_folder(
    folder: Path, tensors: Mapping[str, Tensor], config_tree: object, *, storage: Storage
) -> str:
    """As :func:`save_weights`, with any plain data as ``config.json``."""
    stored = {
        stored_name: part.contiguous().cpu()
        for name, t in tensors.items()
        for stored_name, part in _stored(name, t, storage).items()
    }
    model, config = folder / MODEL_NAME, folder / CONFIG_NAME
    partial = model.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(stored, partial)
        os.replace(partial, model)
        partial = config.with_suffix(".partial")
        partial.write_text(json.dumps(config_tree, indent=2) + "\n")
        os.replace(partial, config)
    except (OSError, SafetensorError) as error:
        remove_quietly(partial)
        raise VqlinkError(f"can't save weights to {folder}: {error}") from None
    return sha256_of(model)


def _stored(name: str, tensor: Tensor, storage: Storage) -> dict[str, Tensor]:
    """A tensor as the file has it."""
    if not tensor.is_floating_point() or storage == "float32":
        return {name: tensor}
    if storage == "float16" or tensor.ndim < 2 or tensor.numel() < _WORTH:
        return {name: tensor.half()}
    scale = tensor.flatten(1).abs().amax(dim=1).clamp_min(1e-12) / 127
    steps = torch.round(tensor / scale.view(-1, *[1] * (tensor.ndim - 1)))
    return {name: steps.to(torch.int8), name + _SCALE: scale.float()}


def _restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`_stored` for a whole file, in float32."""
    tensors = {}
    for name, tensor in stored.items():
        scale = stored.get(name + _SCALE)
        if scale is not None and tensor.dtype == torch.int8 and scale.shape == tensor.shape[:1]:
            tensor = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
        if not name.endswith(_SCALE):
            tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    return tensors


def remove_quietly(path: Path) -> None:
    """Remove a file that could not be written whole, where it can be removed."""
    with contextlib.suppress(OSError):
        path.unlink()


def read_config(folder: Path) -> Recipe:
    """The recipe in a weights folder.

    Raises:
        VqlinkError: when it is missing or no longer fits the schema.
    """
    return read_config_as(folder, Recipe)


def read_config_as(folder: Path, schema: type[_Model]) -> _Model:
    """As :func:`read_config`, of another schema."""
    tree = read_plain_config(folder)
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        reason = reason_of(error, tree, schema)
        raise VqlinkError(f"{folder / CONFIG_NAME}: {reason}") from None


def read_plain_config(folder: Path) -> object:
    """``config.json`` of a weights folder as plain data that no schema has seen.

    Raises:
        VqlinkError: when it is missing, can't be read, or is no JSON.
    """
    path = folder / CONFIG_NAME
    try:
        tree: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise VqlinkError(f"{folder} is no weights folder: it has no {CONFIG_NAME}") from None
    except OSError as error:
        raise VqlinkError(f"can't read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise VqlinkError(f"{path} is no readable JSON") from None
    return tree


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
        raise VqlinkError(f"{path} is not a readable safetensors file: {one_line(error)}") from None
    return _restored(tensors)


def load_weights(folder: Path) -> tuple[LearnedSystem, Recipe]:
    """The system of a weights folder, in evaluation mode, loaded strictly.

    Raises:
        VqlinkError: when the folder is incomplete or its tensors are not the recipe's.
    """
    recipe = read_config(folder)
    if isinstance(recipe.source, TextSource):
        raise VqlinkError(f"{folder} holds a code for text, not for pictures")
    system = build_system(recipe)
    load_strict(system, read_tensors(folder), folder)
    system = system.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return system, recipe


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Fill ``module`` with tensors, each of them and no other; ``folder`` is used in messages.

    Raises:
        VqlinkError: when some are missing, too many, or of another shape.
    """
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise VqlinkError(f"{folder}: weights and config differ: {one_line(error)}") from None


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

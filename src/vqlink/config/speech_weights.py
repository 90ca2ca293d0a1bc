"""Weights folders of speech systems: ``config.json`` beside ``model.safetensors``. No pickle."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from vqlink.config.speech import (
    SpeechCodecRecipe,
    SpeechCodeRecipe,
    SpeechRecipe,
    build_code,
    build_envelope,
    read_speech_recipe,
)
from vqlink.config.weights import CONFIG_NAME, read_tensors, write_folder
from vqlink.errors import VqlinkError
from vqlink.systems.speech_codec import SpeechCodec
from vqlink.systems.speech_envelope import EnvelopeModel
from vqlink.systems.speech_jscc import SpeechJSCC

_NOT_FOR_USE = ("hits", "batches", "distortion", "seen", "steps", "ema_count", "ema_sum")


def save_speech_weights(
    folder: Path, module: EnvelopeModel | SpeechJSCC, recipe: SpeechRecipe, *, half: bool = False
) -> str:
    """Write a weights folder; returns the sha256 of the tensors' file.

    Args:
        half: store floating-point tensors in float16; a codec's tables are integers either way.
    """
    tensors = {
        name: t
        for name, t in module.state_dict().items()
        if name.rpartition(".")[2] not in _NOT_FOR_USE
    }
    plain = recipe.model_dump(mode="json")
    return write_folder(folder, tensors, plain, storage="float16" if half else "float32")


def read_speech_config(folder: Path) -> SpeechRecipe:
    """The recipe in a weights folder.

    Raises:
        VqlinkError: when it is missing, no JSON, or doesn't fit.
    """
    path = folder / CONFIG_NAME
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VqlinkError(f"{folder} is no weights folder: it has no {CONFIG_NAME}") from None
    except (OSError, ValueError):
        raise VqlinkError(f"{path} is no readable JSON") from None
    return read_speech_recipe(tree, str(path))


def load_speech_weights(folder: Path) -> tuple[SpeechCodec | SpeechJSCC, SpeechRecipe]:
    """The codec or code of a weights folder, ready for use.

    Raises:
        VqlinkError: when the folder is incomplete or its tensors are not the recipe's.
    """
    recipe = read_speech_config(folder)
    with torch.random.fork_rng(devices=[]):
        module = (
            build_envelope(recipe.envelope)
            if isinstance(recipe, SpeechCodecRecipe)
            else build_code(recipe)
        )
    tensors = read_tensors(folder)
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    left = [name for name in missing if name.rpartition(".")[2] not in _NOT_FOR_USE]
    if left or unexpected:
        raise VqlinkError(f"{folder}: weights and config differ: {(left + unexpected)[0]}")
    module.eval()
    if isinstance(module, EnvelopeModel):
        assert isinstance(recipe, SpeechCodecRecipe)
        return SpeechCodec(module, filling=recipe.filling), recipe
    assert isinstance(recipe, SpeechCodeRecipe)
    return module, recipe

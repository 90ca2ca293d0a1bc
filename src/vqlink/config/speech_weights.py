"""Weights folders of speech systems: ``config.json`` beside ``model.safetensors``. No pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vqlink.config.speech import (
    SpeechCodecRecipe,
    SpeechCodeRecipe,
    SpeechRecipe,
    build_code,
    build_envelope,
    read_speech_recipe,
)
from vqlink.config.weights import (
    CONFIG_NAME,
    load_strict,
    read_plain_config,
    read_tensors,
    write_folder,
)
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
    kept = _of_training(module)
    tensors = {name: t for name, t in module.state_dict().items() if name not in kept}
    plain = recipe.model_dump(mode="json")
    return write_folder(folder, tensors, plain, storage="float16" if half else "float32")


def _of_training(module: nn.Module) -> dict[str, Tensor]:
    """What a module's tensors hold for training alone: no file has to have it."""
    tensors = module.state_dict().items()
    return {name: t for name, t in tensors if name.rpartition(".")[2] in _NOT_FOR_USE}


def read_speech_config(folder: Path) -> SpeechRecipe:
    """The recipe in a weights folder.

    Raises:
        VqlinkError: when it is missing, no JSON, or doesn't fit.
    """
    return read_speech_recipe(read_plain_config(folder), str(folder / CONFIG_NAME))


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
    load_strict(module, _of_training(module) | read_tensors(folder), folder)
    module.eval()
    if isinstance(module, EnvelopeModel):
        assert isinstance(recipe, SpeechCodecRecipe)
        return SpeechCodec(module, filling=recipe.filling), recipe
    assert isinstance(recipe, SpeechCodeRecipe)
    return module, recipe

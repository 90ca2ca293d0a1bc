"""Train any speech recipe and write its weights folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from vqlink.config.speech import SpeechCodecRecipe, SpeechRecipe
from vqlink.config.speech_weights import save_speech_weights
from vqlink.training.speech import read_frames, train_envelope
from vqlink.training.speech_code import read_recordings, train_code

Log = Callable[[dict[str, float]], None]


def train_speech_recipe(recipe: SpeechRecipe, folder: Path, *, log: Log | None = None) -> Path:
    """Train, with a line of ``log.jsonl`` each 50 steps; returns the weights folder.

    Raises:
        VqlinkError: where the recordings can't be read.
    """
    lines = folder / "log.jsonl"
    lines.write_text("", encoding="utf-8")

    def write(values: dict[str, float]) -> None:
        with lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        if log is not None:
            log(values)

    if isinstance(recipe, SpeechCodecRecipe):
        frames = read_frames(recipe.source, seed=recipe.training.seed)
        save_speech_weights(folder / "weights", train_envelope(recipe, frames, log=write), recipe)
    else:
        recordings = read_recordings(recipe.source)
        save_speech_weights(folder / "weights", train_code(recipe, recordings, log=write), recipe)
    return folder / "weights"

"""Train any speech recipe and write its weights folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vqlink.config.speech import SpeechCodecRecipe, SpeechRecipe
from vqlink.config.speech_weights import save_speech_weights
from vqlink.systems.speech_envelope import EnvelopeModel
from vqlink.systems.speech_jscc import SpeechJSCC
from vqlink.training.log import LOG_NAME, drop_after
from vqlink.training.speech import read_frames, train_envelope
from vqlink.training.speech_code import read_recordings, train_code
from vqlink.training.speech_loop import Checkpoint, Log


@dataclass(frozen=True)
class SpeechTrainingResult:
    """How a run ended.

    Attributes:
        step: finished steps.
        complete: False after an interruption; ``resume=True`` goes on from here.
        weights: the weights folder, written when the run is complete.
    """

    step: int
    complete: bool
    weights: Path


def train_speech_recipe(
    recipe: SpeechRecipe, folder: Path, *, resume: bool = False, log: Log | None = None
) -> SpeechTrainingResult:
    """Train into ``folder``: state, weights, and a line of ``log.jsonl`` each 50 steps.

    Ctrl-C and SIGTERM finish the step, save and return with ``complete=False``.

    Args:
        resume: go on with the folder's run; the result equals an uninterrupted one bit for bit.

    Raises:
        VqlinkError: where the recordings can't be read, or the folder's state doesn't fit.
    """
    checkpoint = Checkpoint(folder, recipe.model_dump_json(), resume=resume)
    folder.mkdir(parents=True, exist_ok=True)
    lines = folder / LOG_NAME
    drop_after(lines, checkpoint.step - 1)  # records name the steps before theirs

    def write(values: dict[str, float]) -> None:
        with lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        if log is not None:
            log(values)

    module: EnvelopeModel | SpeechJSCC
    if isinstance(recipe, SpeechCodecRecipe):
        frames = read_frames(recipe.source, seed=recipe.training.seed)
        module = train_envelope(recipe, frames, log=write, checkpoint=checkpoint)
    else:
        recordings = read_recordings(recipe.source)
        module = train_code(recipe, recordings, log=write, checkpoint=checkpoint)
    complete = checkpoint.step == recipe.training.steps
    if complete:
        save_speech_weights(folder / "weights", module, recipe)
    return SpeechTrainingResult(checkpoint.step, complete, folder / "weights")

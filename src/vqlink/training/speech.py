"""Train the speech codec's envelope: expected bits and perceptual error through its codebooks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vqlink.config.speech import SpeechCodecRecipe, SpeechSource, build_envelope
from vqlink.layers.mdct import HOP, mdct
from vqlink.metrics.audio import perceptual_weights, split_frames
from vqlink.quantizers.replacement import reset_moments
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream, uniform
from vqlink.sources.audio import find_recordings, read_audio
from vqlink.systems.speech_envelope import EnvelopeModel
from vqlink.systems.speech_frames import FRAME_BYTES, OVERHEAD_BITS
from vqlink.systems.speech_rate import rate_distortion
from vqlink.training.speech_loop import Checkpoint, Log, descend, run_steps

DB_PER_BIT = 10 * math.log10(2)  # of a power ratio


@dataclass(frozen=True)
class Frames:
    """Of all recordings.

    Attributes:
        spectra: (N, HOP), in steps of 16-bit sound.
        weights: (N, HOP), the ear's; see :func:`vqlink.metrics.audio.perceptual_weights`.
    """

    spectra: Tensor
    weights: Tensor


def read_frames(source: SpeechSource, *, seed: int) -> Frames:
    """The training recordings at every speed, each from a random sample of its first frame on."""
    spectra, weights = [], []
    for number, speed, varied in recordings_at_speeds(source):
        draw = uniform((1,), generator=stream(seed, "offset", number, speed))
        varied = varied[int(draw * HOP) :]
        spectra.append(mdct(varied))
        weights.append(perceptual_weights(split_frames(varied)))
    return Frames(torch.cat(spectra), torch.cat(weights))


def recordings_at_speeds(source: SpeechSource) -> Iterator[tuple[int, float, Tensor]]:
    """(number of the recording, speed, samples (n,) in steps of 16-bit sound)."""
    from scipy.signal import resample_poly

    for number, path in enumerate(find_recordings(source.train)):
        samples = read_audio(path).samples * 32768
        for speed in source.speeds:
            varied = samples
            if speed != 1:
                resampled = resample_poly(samples.numpy(), 100, round(100 * speed))
                varied = torch.from_numpy(resampled).float()
            yield number, speed, varied


def train_envelope(
    recipe: SpeechCodecRecipe,
    frames: Frames,
    *,
    log: Log | None = None,
    checkpoint: Checkpoint | None = None,
) -> EnvelopeModel:
    """Train, freeze the tables, and return the model in evaluation mode.

    Each frame of a batch is coded at one of the six rates, drawn at random.

    Args:
        checkpoint: where to save; its ``step`` tells whether the run was interrupted.
    """
    training = recipe.training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = build_envelope(recipe.envelope).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
    soft = round(training.steps * (1 - training.hard))
    budgets = 8.0 * torch.tensor(list(FRAME_BYTES.values())) - OVERHEAD_BITS

    def one_step(step: int) -> dict[str, Tensor]:
        random = stream(training.seed, "batch", step)
        chosen = torch.randint(frames.spectra.shape[0], (training.frames,), generator=random)
        rate = torch.randint(len(budgets), (training.frames,), generator=random)
        stages = 1 + step % len(model.sizes)
        spectra = frames.spectra[chosen]
        coded = model(spectra, generator=random, stages=stages, hard=step >= soft)
        distortion, spent = rate_distortion(
            spectra,
            frames.weights[chosen],
            coded.log2_scale,
            coded.log2_step,
            budgets[rate] - sum(model.bits[:stages]),
            uniform((training.frames, HOP), generator=random),
        )
        loss = distortion.mean()
        for out in coded.outputs:
            if "commitment" in out.losses:
                loss = loss + training.commitment * out.losses["commitment"]
            if "codebook" in out.losses:
                loss = loss + out.losses["codebook"]
        descend(loss, model, optimizer, training.clip_norm)
        if step < soft:
            _upkeep(model, optimizer, stages, training.seed, step)
        values = {
            "distortion_db": -DB_PER_BIT * distortion.detach().mean(),
            "bits": spent.mean(),
        }
        if coded.outputs:
            values["perplexity"] = coded.outputs[0].stats["perplexity"]
        return values

    run_steps(
        model,
        optimizer,
        one_step,
        steps=training.steps,
        learning_rate=training.learning_rate,
        log=log,
        checkpoint=checkpoint,
    )
    model.freeze()
    return model.eval()


def _upkeep(
    model: EnvelopeModel, optimizer: torch.optim.Optimizer, stages: int, seed: int, step: int
) -> None:
    for number, stage in enumerate(list(model.stages)[:stages]):
        assert isinstance(stage, VectorQuantizer)
        done = stage.after_step(generator=stream(seed, "upkeep", step, number))
        reset_moments(optimizer, stage.codebook, done.replaced)

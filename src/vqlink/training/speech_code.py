"""Train a joint source-channel code for speech through the channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqlink.config.speech import SpeechCodeRecipe, SpeechSource, build_code
from vqlink.errors import VqlinkError
from vqlink.layers.mdct import HOP, mdct
from vqlink.metrics.audio import perceptual_weights, split_frames
from vqlink.protocols import Point
from vqlink.quantizers.qam import QAMQuantizer
from vqlink.rng import stream, uniform
from vqlink.systems.speech_jscc import SpeechJSCC
from vqlink.systems.speech_rate import ROUNDING
from vqlink.training.speech import DB_PER_BIT, recordings_at_speeds
from vqlink.training.speech_loop import Checkpoint, Log, descend, run_steps


def read_recordings(source: SpeechSource) -> list[Tensor]:
    """The training recordings at every speed, (n,) each, in steps of 16-bit sound."""
    return [varied for _, _, varied in recordings_at_speeds(source)]


def train_code(
    recipe: SpeechCodeRecipe,
    recordings: Sequence[Tensor],
    *,
    log: Log | None = None,
    checkpoint: Checkpoint | None = None,
) -> SpeechJSCC:
    """Train and return the code in evaluation mode.

    The loss is the perceptual error against the signal, in bits: half of it over each message,
    half the mean over its frames, so that quiet frames count too.

    Args:
        checkpoint: where to save; its ``step`` tells whether the run was interrupted.

    Raises:
        VqlinkError: when all recordings are shorter than a message.
    """
    training = recipe.training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        code = build_code(recipe).train()
    optimizer = torch.optim.Adam(code.parameters(), lr=training.learning_rate)
    samples = (training.frames - 1) * HOP
    long_enough = [r for r in recordings if r.shape[0] >= samples]
    if not long_enough:
        raise VqlinkError(f"no recording has {samples} samples: training.frames is too large")

    def one_step(step: int) -> dict[str, Tensor]:
        random = stream(training.seed, "batch", step)
        windows = torch.stack(
            [_window(long_enough, samples, random) for _ in range(training.messages)]
        )
        spectra = mdct(windows)
        weights = torch.stack([perceptual_weights(split_frames(w)) for w in windows])
        rms = spectra.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(1.0)
        low, high = training.snr_db
        snr = low + (high - low) * uniform((training.messages,), generator=random)
        if isinstance(code.quantizer, QAMQuantizer):
            soft, hard = training.hardness
            code.quantizer.set_hardness(soft + (hard - soft) * (step / training.steps))
        received = code(spectra / rms, Point(snr_db=snr), generator=random) * rms
        error = (weights * (received - spectra)).square().sum(dim=2) + ROUNDING
        signal = (weights * spectra).square().sum(dim=2) + ROUNDING
        whole = torch.log2(error.sum(dim=1) / signal.sum(dim=1))
        loss = 0.5 * whole.mean() + 0.5 * torch.log2(error / signal).mean()
        descend(loss, code, optimizer, training.clip_norm)
        return {"loss": loss.detach(), "psnr_db": -DB_PER_BIT * whole.detach().mean()}

    run_steps(
        code,
        optimizer,
        one_step,
        steps=training.steps,
        learning_rate=training.learning_rate,
        log=log,
        checkpoint=checkpoint,
    )
    return code.eval()


def _window(recordings: Sequence[Tensor], samples: int, random: torch.Generator) -> Tensor:
    number = int(torch.randint(len(recordings), (1,), generator=random))
    recording = recordings[number]
    start = int(torch.randint(recording.shape[0] - samples + 1, (1,), generator=random))
    return recording[start : start + samples]

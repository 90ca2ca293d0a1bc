"""What training minimises: the recipe's weighted sum of named losses.

An objective is system and losses as one module of tensors in, tensors out, which is what Fabric
wraps: (N, T, 3, H, W) windows and (N,) dB -> the loss, its named parts, and the received windows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqlink.config.schema import Recipe
from vqlink.layers.transformer import length_mask
from vqlink.protocols import Point
from vqlink.rng import uniform
from vqlink.systems.index_code import IndexCode, IndexCodeOutput
from vqlink.systems.jscc import JSCC, JSCCOutput
from vqlink.systems.layered_code import LayeredCode
from vqlink.systems.text_code import TextCode
from vqlink.units import from_db

# 60 dB: a message that came through this well teaches nothing more.
_LEAST_ERROR = 1e-6


def loss_of(
    output: JSCCOutput, sent: Tensor, snr_db: Tensor, recipe: Recipe
) -> tuple[Tensor, dict[str, Tensor]]:
    """The recipe's weighted sum, and the named parts unweighted.

    Args:
        sent: (N, T, 3, H, W), as the output's ``received``.
        snr_db: (N,) the messages' SNR.

    Returns:
        The scalar to minimise, and the scalars it is made of. ``mse`` and ``ms_ssim`` (which is
        1 - MS-SSIM) are the ones that are trained, each message weighted by its SNR
        (``snr_slope``); ``plain_mse`` the mean without weights. ``log_mse`` is the mean of the
        messages' log errors, so of their PSNR, which weighs easy pictures and clear channels as
        much as the others and needs no slope.
    """
    errors = (output.received - sent).square().flatten(1).mean(dim=1)
    # Balanced round the middle of the range, so that the slope doesn't change the loss's size.
    middle = sum(recipe.training.snr_db) / 2
    weights = from_db(recipe.training.snr_slope * (snr_db - middle))
    parts = {"mse": (errors * weights).mean(), **output.quantized.losses}
    if "log_mse" in recipe.losses:
        parts["log_mse"] = errors.clamp_min(_LEAST_ERROR).log().mean()
    if "ms_ssim" in recipe.losses:
        parts["ms_ssim"] = (_dissimilarity(output.received, sent) * weights).mean()
    total = torch.stack([weight * parts[name] for name, weight in recipe.losses.items()]).sum()
    return total, {**parts, "plain_mse": errors.mean().detach()}


def _dissimilarity(received: Tensor, sent: Tensor) -> Tensor:
    """1 - MS-SSIM of each message, (N, T, 3, H, W) -> (N,); the mean over its windows.

    Terms of a scale that are negative count as 0, where their fractional power is not defined.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    similarity: Tensor = multiscale_structural_similarity_index_measure(
        received.flatten(0, 1).clamp(0, 1),
        sent.flatten(0, 1),
        data_range=1.0,
        reduction="none",
        normalize="relu",
    )
    return 1 - similarity.reshape(sent.shape[:2]).mean(dim=1)


def index_loss_of(
    output: IndexCodeOutput, sent: Tensor, recipe: Recipe
) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 8 of 004 by the recipe's weights, as means over the values of all scales together.

    Every value weighs the same, whatever its scale, as in eq. 8's sums of squares. Means of each
    scale would weigh a value of the coarsest twenty times as much as one of the finest, and the
    commitment would flatten it before it has learned to say anything.

    Args:
        sent: (B, 3, H, W), as the output's ``received``.

    Returns:
        The scalar to minimise, and its named parts; besides, each scale's perplexity.
    """
    error = output.received - sent
    parts = {"mse": error.square().mean(), "mae": error.abs().mean()}
    values = sum(out.values.numel() for out in output.quantized)
    for out in output.quantized:
        for name, loss in out.losses.items():
            share = loss * (out.values.numel() / values)
            parts[name] = parts[name] + share if name in parts else share
    weighed = [weight * parts[name] for name, weight in recipe.losses.items() if weight]
    total = torch.stack(weighed).sum()
    codes = {
        f"perplexity{scale}": out.stats["perplexity"]
        for scale, out in enumerate(output.quantized)
        if "perplexity" in out.stats
    }
    return total, {**parts, **codes}


class Objective(nn.Module):
    """Of a code of symbols: across the channel."""

    def __init__(self, system: JSCC, recipe: Recipe) -> None:
        super().__init__()
        self.system, self.recipe = system, recipe

    def forward(
        self, sent: Tensor, snr_db: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        output = self.system(sent, Point(snr_db=snr_db), generator=generator)
        return *loss_of(output, sent, snr_db, self.recipe), output.received


class IndexObjective(nn.Module):
    """Of a code of indices: without a channel, but for flipped bits where the recipe asks so."""

    def __init__(self, system: IndexCode | LayeredCode, recipe: Recipe) -> None:
        super().__init__()
        self.system, self.recipe = system, recipe

    def forward(
        self, sent: Tensor, snr_db: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        images = sent.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        output = self.system(images, generator=generator, flip=self.recipe.training.flip)
        return *index_loss_of(output, images, self.recipe), output.received.reshape(sent.shape)


class TextObjective(nn.Module):
    """Of a text code: cross-entropy of each token, across a channel of random quality."""

    def __init__(self, system: TextCode, recipe: Recipe) -> None:
        super().__init__()
        self.system, self.config = system, recipe.training

    def forward(
        self, tokens: Tensor, lengths: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, L) tokens and (B,) lengths -> the loss and its named parts."""
        batch, longest = tokens.shape
        low, high = self.config.probability or self.config.snr_db
        level = low + (high - low) * uniform((batch,), generator=generator, like=lengths)
        point = Point(probability=level) if self.config.probability else Point(snr_db=level)
        before = self._before(tokens, generator)
        output = self.system(tokens, lengths, before, point, generator=generator)
        real = length_mask(lengths, longest)
        logits, targets = output.logits[real].float(), tokens[real]
        loss = functional.cross_entropy(logits, targets)
        right = (logits.detach().argmax(dim=-1) == targets).float().mean()
        return loss, {
            "cross_entropy": loss,
            "forced_accuracy": right,
            "saturation": output.quantized.stats["saturation"],
        }

    def _before(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """The token before each, some replaced by any other: what a free run may have decided."""
        decoder = self.system.decoder
        vocabulary, start = int(decoder.vocabulary), int(decoder.start)  # type: ignore[arg-type]
        before = functional.pad(tokens[:, :-1], (1, 0), value=start)
        wrong = uniform(tokens.shape, generator=generator, like=tokens) < self.config.token_dropout
        others = uniform(tokens.shape, generator=generator, like=tokens) * vocabulary
        return torch.where(wrong, others.long(), before)

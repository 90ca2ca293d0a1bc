"""The two ends of an image code as plain functions of tensors, for exporters to trace.

They compute what :class:`JSCC` and :class:`IndexCode` compute between picture and air, without
tiles and without complex tensors, which ONNX has not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqlink.protocols import VqlinkError
from vqlink.quantizers.constellation import ConstellationQuantizer
from vqlink.systems.index_code import IndexCode
from vqlink.systems.jscc import JSCC
from vqlink.systems.layered_code import LayeredCode


class ValuesTransmitter(nn.Module):
    """Picture and SNR -> what a value link sends.

    ``forward(image (B, 3, H, W) in [0, 1], snr_db (B,))`` gives

    - ``symbols`` (B, h, w, channels / 2, 2) float32: (I, Q) of each channel use, hard points at the
      power of the link's constraint;
    - ``latents``, the same shape: in front of the quantizer.

    Sides that are no multiples of the stride are filled by their last row and column.
    """

    inputs = ("image", "snr_db")
    outputs = ("symbols", "latents")

    def __init__(self, system: JSCC) -> None:
        super().__init__()
        self.system = system

    def forward(self, image: Tensor, snr_db: Tensor) -> tuple[Tensor, Tensor]:
        encoder, link = self.system.encoder, self.system.link
        padded = _padded(image, encoder.stride)  # type: ignore[arg-type]
        seen = encoder.statistics(padded)  # type: ignore[operator]
        (z,) = link.drive((encoder(padded, snr_db, seen)[0],), self.system.quantizer)  # type: ignore[arg-type]
        latents = z.reshape(*z.shape[:-1], z.shape[-1] // 2, 2)
        return link.amplify(hard_points(self.system.quantizer, latents)), latents


class ValuesReceiver(nn.Module):
    """Equalised symbols and SNR -> picture.

    ``forward(symbols (B, h, w, channels / 2, 2), snr_db (B,))`` gives ``image`` (B, 3, h * stride,
    w * stride) in [0, 1]. The SNR is that after the fade; the caller cuts the image to its size.
    """

    inputs = ("symbols", "snr_db")
    outputs = ("image",)

    def __init__(self, system: JSCC) -> None:
        super().__init__()
        self.system = system

    def forward(self, symbols: Tensor, snr_db: Tensor) -> Tensor:
        latents = self.system.link.unmix((symbols.flatten(-2),))
        known = self.system.decoder.statistics(latents)  # type: ignore[operator]
        image: Tensor = self.system.decoder(latents, snr_db, known).clamp(0, 1)
        return image


class IndexTransmitter(nn.Module):
    """Picture -> the labels that an index link sends.

    ``forward(image (B, 3, H, W) in [0, 1])`` gives, the largest scale first,

    - ``labels0``, ``labels1``, ...: (B, h, w) int64;
    - ``latents0``, ...: (B, h, w, D) float32, in front of the codebooks.
    """

    inputs = ("image",)

    def __init__(self, system: IndexCode) -> None:
        super().__init__()
        if not system.codebooks:
            raise VqlinkError(f"{system.name} has no codebooks: it sends nothing to be exported")
        self.system = system
        scales = range(len(system.codebooks))
        self.outputs = tuple(f"{what}{n}" for what in ("labels", "latents") for n in scales)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        system = self.system
        scales = system.encoder(_padded(image, system.encoder.stride))  # type: ignore[arg-type]
        labels = tuple(
            system.labels(number)[_nearest(z, quantizer.codebook)]
            for number, (quantizer, z) in enumerate(zip(system.codebooks, scales, strict=True))
        )
        return labels + tuple(scales)


class IndexReceiver(nn.Module):
    """Labels of every scale, -1 where the link lost one -> picture in [0, 1]."""

    outputs = ("image",)

    def __init__(self, system: IndexCode) -> None:
        super().__init__()
        self.system = system
        self.inputs = tuple(f"labels{scale}" for scale in range(len(system.codebooks)))
        for number, quantizer in enumerate(system.codebooks):
            # Codewords in the order of their labels, and in the last place what stands for a lost
            # one; -1 picks the last place.
            codebook = quantizer.codebook.detach()
            by_label = codebook[torch.argsort(system.labels(number))]
            table = torch.cat([by_label, codebook.mean(dim=0, keepdim=True)])
            self.register_buffer(f"table{number}", table, persistent=False)

    def forward(self, *labels: Tensor) -> Tensor:
        values = [self.codewords(number, scale) for number, scale in enumerate(labels)]
        image: Tensor = self.system.decoder(values).clamp(0, 1)
        return image

    def codewords(self, number: int, labels: Tensor) -> Tensor:
        """(...) labels of a scale -> (..., D)."""
        table = self.get_buffer(f"table{number}")
        return table[torch.where(labels < 0, table.shape[0] - 1, labels)]


Nets = tuple[ValuesTransmitter | IndexTransmitter, ValuesReceiver | IndexReceiver]


def nets_of(system: JSCC | IndexCode | LayeredCode) -> Nets:
    """Both ends of a system.

    Raises:
        VqlinkError: for an upper bound, which sends nothing, or a code in layers.
    """
    if isinstance(system, LayeredCode):
        raise VqlinkError(f"{system.name} sends layers, which can't be exported yet")
    if isinstance(system, JSCC):
        return ValuesTransmitter(system).eval(), ValuesReceiver(system).eval()
    return IndexTransmitter(system).eval(), IndexReceiver(system).eval()


def _padded(image: Tensor, stride: int) -> Tensor:
    """As ``pad_to_multiple``, by look-ups, so that it works for any size of a traced net."""
    height, width = image.shape[-2:]
    rows = torch.arange((height + stride - 1) // stride * stride, device=image.device)
    columns = torch.arange((width + stride - 1) // stride * stride, device=image.device)
    tall = image.index_select(2, rows.clamp(max=height - 1))
    return tall.index_select(3, columns.clamp(max=width - 1))


def hard_points(quantizer: nn.Module, latents: Tensor) -> Tensor:
    """The quantizer's ``hard``, in operators that can be exported."""
    if isinstance(quantizer, ConstellationQuantizer):
        points = quantizer.points.detach()
        return points[_nearest(latents, points)]
    hard: Tensor = quantizer.hard(latents)  # type: ignore[operator]
    return hard


def _nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """:func:`vqlink.quantizers.search.nearest` without its buffers: (..., D) -> (...) int64."""
    centre = codebook.detach().mean(dim=0)
    centred = codebook.detach() - centre
    scores = centred.square().sum(dim=1) - 2 * ((vectors - centre) @ centred.T)
    return scores.argmin(dim=-1)
